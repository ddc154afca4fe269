"""Configuration files: YAML to a Config. Every error names the line; all errors of a file come at once (up to 20)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from skep.errors import InputError
from skep.tools.lb.config import (
    TIMEOUTS,
    Address,
    Backend,
    CheckKind,
    Config,
    Forward,
    FragmentPolicy,
    Health,
    Service,
    parse_address,
    parse_endpoint,
    parse_mac,
)
from skep.tools.lb.maglev import MAX_WEIGHT
from skep.tools.names import TCP, UDP
from skep.tools.words import parse_interface, parse_number, parse_port, parse_seconds, text_of
from skep.tools.yaml_reader import YamlReader, read_text
from skep.tools.yaml_text import YamlList, YamlMap, read_yaml

FILE_KEYS = ("source4", "source6", "mtu", "gue_port", "seed", "fragments", "timeouts", "health", "services")
SERVICE_KEYS = ("vip", "proto", "port", "forward", "name", "hash", "health", "backends")
BACKEND_KEYS = ("address", "port", "weight", "mac", "interface")
HEALTH_KEYS = ("check", "port", "path", "host", "status", "every", "timeout", "rise", "fall")
FORWARDS = {forward.name.lower(): forward for forward in Forward}
PROTOCOLS = {"tcp": TCP, "udp": UDP}
HASHES = {"flow": False, "source": True}
MTU = (1340, 9216)  # least: what is left for IPv6 behind the largest outer header (52) is 1280 and more

_FRAGMENTS = {policy.value: policy for policy in FragmentPolicy}
_CHECKS = {kind.value: kind for kind in CheckKind}
_NOWHERE: Address = IPv4Address(0)


def read_config(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        InputError: it cannot be read, or not understood; one diagnostic for each finding.
    """
    return parse_config(read_text(path, "a configuration file"), str(path))


def parse_config(text: str, file: str = "<configuration>") -> Config:
    """Understand the text of a configuration file; as :func:`read_config`."""
    return _Reader(file, text).read(read_yaml(text, file))


class _Reader(YamlReader):
    """One walk over one file."""

    unknown_key = "N0102"
    bad_value = "N0103"

    def read(self, document: Any) -> Config:
        if not isinstance(document, YamlMap):
            self.find("N0101", "a configuration is a mapping with 'services:'", 1, "see docs/tools/lb.md")
            raise InputError(self.findings)
        self.known(document, FILE_KEYS, "in a configuration")
        health = self.value(document, "health", lambda item: self.health(item, Health()), None)
        config = Config(
            tuple(self.services(document, health)),
            self.value(document, "source4", _ipv4, None),
            self.value(document, "source6", _ipv6, None),
            self.value(document, "mtu", lambda item: parse_number(text_of(item), *MTU, "an MTU"), 1500),
            self.value(document, "gue_port", lambda item: parse_number(text_of(item), 1, 65535, "a port"), 6080),
            self.value(document, "seed", lambda item: parse_number(text_of(item), 0, (1 << 32) - 1, "a seed"), 0),
            self.value(document, "fragments", lambda item: self.word(item, _FRAGMENTS), FragmentPolicy.TRACK),
            self.timeouts(document, TIMEOUTS),
            self.file,
        )
        self.finish()
        for code, what, line, help in contradictions(config):
            self.find(code, what, line, help)
        self.finish()
        return config

    def health(self, item: Any, base: Health) -> Health | None:
        if item == "none":
            return None
        if not isinstance(item, YamlMap):
            raise ValueError("a mapping or the word none belongs here; e.g. {check: tcp, every: 5s}")
        self.known(item, HEALTH_KEYS, "under health")
        short = self.seconds(item, "every", base.every), self.seconds(item, "timeout", base.timeout)
        return Health(
            self.value(item, "check", lambda value: self.word(value, _CHECKS), base.kind),
            self.value(item, "port", lambda value: parse_port(text_of(value)), base.port),
            self.value(item, "path", _path, base.path),
            self.value(item, "host", _name, base.host),
            self.value(item, "status", _statuses, base.statuses),
            *short,
            self.value(item, "rise", _count, base.rise),
            self.value(item, "fall", _count, base.fall),
        )

    def seconds(self, item: YamlMap, key: str, default: int) -> int:
        return self.value(item, key, lambda value: parse_seconds(text_of(value)), default)

    # ---- services ----

    def services(self, document: YamlMap, health: Health | None) -> Iterator[Service]:
        items = document.get("services")
        if not isinstance(items, YamlList) or not items:
            line = document.lines.get("services", 1)
            self.find("N0104", "services: a list belongs here", line, "start each service with '- vip: ADDRESS'")
            return
        for item, line in zip(items, items.lines, strict=True):
            if not isinstance(item, YamlMap):
                self.find("N0104", "a service is a mapping", line, "start it with '- vip: ADDRESS'")
                continue
            service = self.service(item, line, health)
            if service is not None:
                yield service

    def service(self, item: YamlMap, line: int, health: Health | None) -> Service | None:
        before = len(self.findings)
        self.known(item, SERVICE_KEYS, "in a service")
        for key in ("vip", "proto", "port", "forward"):
            if key not in item:
                self.find("N0105", f"a service has no '{key}'", line, f"add {key}: {_EXAMPLES[key]}")
        port = self.value(item, "port", _port, 0)
        service = Service(
            self.value(item, "vip", lambda value: parse_address(text_of(value)), _NOWHERE),
            self.value(item, "proto", lambda value: self.word(value, PROTOCOLS), TCP),
            port,
            self.value(item, "forward", lambda value: self.word(value, FORWARDS), Forward.IPIP),
            tuple(self.backends(item, port)),
            self.value(item, "hash", lambda value: self.word(value, HASHES), False),
            self.value(item, "health", lambda value: self.health(value, health or Health()), health),
            self.value(item, "name", _name, ""),
            line,
        )
        if len(self.findings) > before:
            return None
        own = isinstance(item.get("health"), YamlMap)
        if service.protocol == UDP and service.health is not None and not service.health.port:
            if own:
                self.find("N0106", "health of a UDP service asks a TCP port; which?", item.lines["health"], "add port:")
            return replace(service, health=None)
        return service

    def backends(self, item: YamlMap, port: int) -> Iterator[Backend]:
        items = item.get("backends", YamlList())
        if not isinstance(items, YamlList):
            self.find("N0104", "backends: a list belongs here", item.lines["backends"], "e.g. [10.0.0.1, 10.0.0.2]")
            return
        for entry, line in zip(items, items.lines, strict=True):
            if isinstance(entry, str):
                try:
                    address, given = parse_endpoint(entry)
                except ValueError as error:
                    what, _, help = str(error).partition("; ")
                    self.find("N0103", f"backends: {what}", line, help or None)
                    continue
                yield Backend(address, given or port, line=line)
            elif isinstance(entry, YamlMap):
                yield self.backend(entry, line, port)
            else:
                self.find("N0104", "a backend is an address or a mapping", line, "e.g. {address: 10.0.0.1, weight: 2}")

    def backend(self, entry: YamlMap, line: int, port: int) -> Backend:
        self.known(entry, BACKEND_KEYS, "in a backend")
        if "address" not in entry:
            self.find("N0105", "a backend has no 'address'", line, "add address: 10.0.0.1")
        return Backend(
            self.value(entry, "address", lambda value: parse_address(text_of(value)), _NOWHERE),
            self.value(entry, "port", _port, port),
            self.value(entry, "weight", _weight, 1),
            self.value(entry, "mac", lambda value: parse_mac(text_of(value)), b""),
            self.value(entry, "interface", lambda value: parse_interface(text_of(value)), ""),
            line,
        )


_EXAMPLES = {"vip": "203.0.113.10", "proto": "tcp", "port": "80", "forward": "ipip, gue or nat"}

Finding = tuple[str, str, int, str | None]


def contradictions(config: Config) -> Iterable[Finding]:
    """What cannot be together: code, what, line, help."""
    names: dict[str, Service] = {}
    keys: dict[tuple[Address, int, int], Service] = {}
    origins: dict[tuple[Address, int, int], Service] = {}
    vips = {service.address for service in config.services}
    sources: Mapping[int, Address | None] = {4: config.source4, 6: config.source6}
    for service in config.services:
        other = keys.setdefault((service.address, service.protocol, service.port), service)
        if other is not service:
            yield "N0107", f"this service is on line {other.line} already", service.line, "put its backends together"
        elif names.setdefault(service.name, service) is not service:
            yield "N0107", f"two services have the name '{service.name}'", service.line, "give each its own name"
        seen: set[str] = set()
        for backend in service.backends:
            if backend.name in seen:
                yield "N0107", f"{backend.name} is in this service twice", backend.line, "use weight: 2"
            seen.add(backend.name)
            if backend.address in vips:
                yield "N0108", f"{backend.address} is a VIP: packets would go in circles", backend.line, None
            yield from _misfits(service, backend, sources)
            if service.forward is Forward.NAT:
                key = (backend.address, service.protocol, backend.port)
                if origins.setdefault(key, service) is not service:
                    what = f"{backend.name} answers for '{origins[key].name}' already: whose are its packets?"
                    yield "N0108", what, backend.line, "give it another port for this service, or use ipip"


def _misfits(service: Service, backend: Backend, sources: Mapping[int, Address | None]) -> Iterable[Finding]:
    family = backend.address.version
    if service.forward is Forward.NAT:
        if family != service.address.version:
            yield "N0109", "NAT does not turn IPv4 into IPv6", backend.line, "use ipip or gue"
        return
    if backend.port != service.port:
        yield "N0109", "the port stays as it is behind an outer header", backend.line, "leave port out, or use nat"
    if sources[family] is None:
        what = f"the outer header to {backend.address} has no source address"
        yield "N0109", what, backend.line, f"add source{family}: an address of this machine"


def _ipv4(item: Any) -> IPv4Address:
    found = parse_address(text_of(item))
    if not isinstance(found, IPv4Address):
        raise ValueError(f"'{found}' is not an IPv4 address")
    return found


def _ipv6(item: Any) -> IPv6Address:
    found = parse_address(text_of(item))
    if not isinstance(found, IPv6Address):
        raise ValueError(f"'{found}' is not an IPv6 address")
    return found


def _port(item: Any) -> int:
    port = parse_port(text_of(item))
    if not port:
        raise ValueError("there is no port 0")
    return port


def _weight(item: Any) -> int:
    return parse_number(text_of(item), 1, MAX_WEIGHT, "a weight")


def _count(item: Any) -> int:
    return parse_number(text_of(item), 1, 100, "a count")


def _statuses(item: Any) -> tuple[int, int]:
    low, dash, high = text_of(item).partition("-")
    first = parse_number(low, 100, 599, "an HTTP status")
    last = parse_number(high, first, 599, "an HTTP status") if dash else first
    return first, last


def _path(item: Any) -> str:
    path = text_of(item)
    if not path.startswith("/") or not path.isprintable() or " " in path or not path.isascii():
        raise ValueError(f"'{path}' is not the path of a request; e.g. /health")
    return path


def _name(item: Any) -> str:
    name = text_of(item)
    if not name.isprintable() or not name or " " in name:
        raise ValueError("a name has printable characters and no blanks")
    return name

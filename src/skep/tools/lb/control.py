"""What a running load balancer can be asked through its control socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.tools.control import Verb
from skep.tools.lb.balancer import LoadBalancer
from skep.tools.lb.config import Backend, Config, parse_endpoint, parse_mac
from skep.tools.lb.configfile import read_config
from skep.tools.lb.health import Finding, HealthChecks
from skep.tools.lb.layout import Device

SIOCGIFHWADDR = 0x8927


def devices_of(names: set[str]) -> dict[str, Device]:
    """Numbers and hardware addresses of interfaces of this network namespace, of those that exist."""
    import fcntl  # only here: a simulation runs on other systems, too

    there = {name: number for number, name in socket.if_nameindex()}
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for name in names & there.keys():
            answer = fcntl.ioctl(asked, SIOCGIFHWADDR, struct.pack("256s", name.encode()))
            found[name] = Device(there[name], answer[18:24])  # behind ifr_name and sa_family: netdevice(7)
    return found


def named_devices(config: Config) -> dict[str, Device]:
    """The interfaces that backends name, of those that exist."""
    names = {backend.interface for service in config.services for backend in service.backends}
    return devices_of(names - {""})


class Control:
    """The verbs of a running load balancer; its health checks follow what they change."""

    def __init__(self, balancer: LoadBalancer, checks: HealthChecks, file: Path) -> None:
        self.balancer = balancer
        self.checks = checks
        self.file = file
        checks.watch(balancer.checks())

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """What can be asked, by name."""
        return {
            "add": self._add,
            "remove": self._remove,
            "drain": lambda request: self.balancer.drain(
                request["service"], request["backend"], bool(request.get("drain", True))
            ),
            "weight": self._weight,
            "show": lambda request: self.balancer.counts(),
            "reload": self.reload,
        }

    def _add(self, request: Mapping[str, Any]) -> None:
        running = self.balancer.service(request["service"])
        try:
            address, port = parse_endpoint(request["backend"])
            mac = parse_mac(request["mac"]) if request.get("mac") else b""
        except ValueError as error:
            what, _, help = str(error).partition("; ")
            raise UsageError(Diagnostic("N0206", what, help=help or None)) from None
        interface = request.get("interface") or ""
        if interface:
            self.balancer.know(devices_of({interface}))
        backend = Backend(address, port or running.service.port, 1, mac, interface)
        self.balancer.add(request["service"], backend, int(request.get("weight") or 1))
        self.checks.watch(self.balancer.checks())

    def _remove(self, request: Mapping[str, Any]) -> None:
        self.balancer.remove(request["service"], request["backend"])
        self.checks.watch(self.balancer.checks())

    def _weight(self, request: Mapping[str, Any]) -> None:
        self.balancer.weight(request["service"], request["backend"], int(request["weight"]))
        self.checks.watch(self.balancer.checks())

    def reload(self, request: Mapping[str, Any] | None = None) -> int:
        """Go over to the configuration file as it is now, or the one that the request names. How many services."""
        file = Path((request or {}).get("file") or self.file)
        config = read_config(file)
        self.balancer.replace(config, named_devices(config))
        self.file = file
        self.checks.watch(self.balancer.checks(), anew=True)
        return len(config.services)

    def reread(self) -> str:
        """Reload; what to tell the user."""
        return f"{self.file}: {self.reload()} services in force"

    def take_findings(self) -> list[Finding]:
        """Put what the health checks found into force; what it was."""
        found = []
        for finding in self.checks.findings():
            try:
                self.balancer.mark(finding.service, finding.backend, finding.is_up)
            except UsageError:
                continue  # it was removed meanwhile
            found.append(finding)
        return found

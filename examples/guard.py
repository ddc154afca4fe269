"""Protect: run a command that may connect only where a list says; the list can be edited while it runs.

    sudo python examples/guard.py --allow 10.0.0.0/8 --allow 1.1.1.1:53,443 --list allowed.txt -- curl https://example.org

A line of the list is a network or address, IPv4 or IPv6, with or without ports: ``10.0.0.0/8``, ``1.1.1.1:53,443``,
``[2001:db8::/32]:443``; ``#`` begins a comment. Denied connections are printed as they happen (--json: JSON lines); the
command sees "Operation not permitted". Ends when the command and all its children have; exits as the command did.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import skep
from skep.kernel.links.places import cgroup_mount

HERE = Path(__file__).parent
PORTS = 8
PROTOCOLS = {6: "tcp", 17: "udp"}


def parse_rule(text: str) -> tuple[tuple[int, bytes], list[int]]:
    """``NETWORK[:PORT,PORT...]`` -> ((prefix length, address as IPv6), ports)."""
    host, ports = text, ""
    if text.startswith("["):
        host, _, ports = text[1:].partition("]")
        ports = ports.removeprefix(":")
    elif text.count(":") == 1:
        host, _, ports = text.partition(":")
    network = ipaddress.ip_network(host)
    numbers = [int(port) for port in ports.split(",") if port]
    if len(numbers) > PORTS or not all(0 < number < 65536 for number in numbers):
        raise ValueError(f"'{text}': at most {PORTS} ports, each from 1 to 65535")
    if network.version == 4:
        return (network.prefixlen + 96, bytes(10) + b"\xff\xff" + network.network_address.packed), numbers
    return (network.prefixlen, network.network_address.packed), numbers


def read_rules(lines: Iterable[str]) -> dict[tuple[int, bytes], list[int]]:
    """Rules of a list; several lines for one network add their ports."""
    rules: dict[tuple[int, bytes], list[int]] = {}
    for line in lines:
        text = line.partition("#")[0].strip()
        if text:
            key, ports = parse_rule(text)
            rules[key] = rules.get(key, []) + ports
    return rules


class AllowedList:
    """The map of what is allowed, kept equal to the rules of the command line and of a file."""

    def __init__(self, allowed: skep.Map, fixed: list[str], path: Path | None) -> None:
        self._map = allowed
        self._fixed = fixed
        self._path = path
        self._seen: object = None
        self._current: dict[tuple[int, bytes], list[int]] = {}

    def refresh(self) -> bool:
        """Bring the map up to date if the file has changed; whether it has."""
        state = None
        if self._path is not None:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._current and state == self._seen:
            return False
        lines = self._path.read_text().splitlines() if self._path is not None else []
        rules = read_rules([*self._fixed, *lines])
        for key, ports in rules.items():  # first what is new: nothing that stays allowed is ever denied
            if self._current.get(key) != ports:
                self._map[self._key(key)] = {"ports": ports + [0] * (PORTS - len(ports))}
        for key in self._current.keys() - rules.keys():
            del self._map[self._key(key)]
        self._current, self._seen = rules, state
        return True

    @staticmethod
    def _key(key: tuple[int, bytes]) -> dict[str, object]:
        return {"prefixlen": key[0], "address": key[1]}


def show(denial: dict[str, object], as_json: bool) -> None:
    """Print one denied connection."""
    address = ipaddress.IPv6Address(bytes(denial["address"]))
    host = str(address.ipv4_mapped or address)
    protocol = PROTOCOLS.get(denial["protocol"], str(denial["protocol"]))
    if as_json:
        row = {"pid": denial["pid"], "comm": denial["comm"], "protocol": protocol, "address": host}
        print(json.dumps(row | {"port": denial["port"]}), file=sys.stderr, flush=True)
    else:
        place = f"[{host}]:{denial['port']}" if ":" in host else f"{host}:{denial['port']}"
        print(f"guard: denied {protocol} {place} to {denial['comm']} ({denial['pid']})", file=sys.stderr, flush=True)


def remove(cgroup: Path) -> None:
    """Remove the cgroup; what still runs in it (after Ctrl-C) is killed: nothing goes on without its guard."""
    if (cgroup / "cgroup.procs").read_text():
        (cgroup / "cgroup.kill").write_text("1")
        while (cgroup / "cgroup.procs").read_text():
            time.sleep(0.01)
    cgroup.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allow", action="append", default=[], metavar="NETWORK[:PORTS]")
    parser.add_argument("--list", type=Path, metavar="FILE", help="more rules, read again whenever the file changes")
    parser.add_argument("--json", action="store_true", help="denials as JSON lines")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    root = cgroup_mount()
    if root is None:
        parser.error("cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup")
    cgroup = Path(tempfile.mkdtemp(prefix="skep-guard-", dir=root))
    try:
        with skep.load(skep.compile(HERE / "guard.bpf.c"), engine="kernel") as guard:
            rules = AllowedList(guard.maps["allowed"], options.allow, options.list)
            rules.refresh()
            for program in guard.programs.values():
                program.attach(skep.hooks.Cgroup(cgroup))
            entry = cgroup / "cgroup.procs"
            child = subprocess.Popen(options.command, preexec_fn=lambda: entry.write_text(str(os.getpid())))
            lost = guard.variables["lost"]
            with guard.maps["denials"].stream("denial", lost=lambda: lost.value) as denials:
                while True:
                    is_over = child.poll() is not None and not entry.read_text()
                    for denial in denials.poll(0.05):
                        show(denial, options.json)
                    if is_over:
                        break
                    try:
                        rules.refresh()
                    except (OSError, ValueError) as error:  # half-written: the old rules hold until it can be read
                        print(f"guard: {options.list}: {error}", file=sys.stderr)
                if denials.lost:
                    print(f"guard: {denials.lost} more denials were not printed", file=sys.stderr)
            return child.returncode if child.returncode >= 0 else 128 - child.returncode
    finally:
        remove(cgroup)


if __name__ == "__main__":
    sys.exit(main())

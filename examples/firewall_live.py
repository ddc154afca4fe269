"""Filter: the firewall of the vm examples, unchanged, on a network interface; replaced while traffic flows.

    sudo python examples/firewall_live.py --demo              on a veth pair of its own: try this first
    sudo python examples/firewall_live.py eth1 --block 10.77.0.2 --port 23     until Ctrl-C, counters each second

An edit of firewall.bpf.c while it runs is compiled, verified and put in place atomically; a mistake in it changes
nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import skep
from skep.kernel.links.places import CLONE_NEWNET

SOURCE = Path(__file__).with_name("firewall.bpf.c")
NAMES = ("passed", "blocked port", "malformed")
RULE_FIRST_NETWORK = 3
DEMO_ADDRESS, DEMO_PORTS = "10.200.0.2", (7, 23)


def network_key(text: str) -> dict[str, object]:
    """A network as the program's ``struct network``: IPv4 as ::ffff:a.b.c.d, 96 bits longer."""
    network = ipaddress.ip_network(text)
    if network.version == 4:
        return {
            "prefixlen": network.prefixlen + 96,
            "address": bytes(10) + b"\xff\xff" + network.network_address.packed,
        }
    return {"prefixlen": network.prefixlen, "address": network.network_address.packed}


def count(firewall: skep.Object, names: list[str]) -> dict[str, int]:
    """Packets by rule."""
    rules = [sum(cpu["packets"] for cpu in per_cpu) for per_cpu in firewall.maps["rules"].values()]
    return dict(zip(names, rules, strict=False))


def load(blocked: list[str], port: int) -> skep.Object:
    """Compile, load and fill a version of the firewall; it sees no packet yet."""
    firewall = skep.load(skep.compile(SOURCE), engine="kernel", variables={"blocked_port": port})
    for rule, network in enumerate(blocked, RULE_FIRST_NETWORK):
        firewall.maps["networks"][network_key(network)] = rule
    return firewall


def guard(hook: skep.hooks.Xdp, blocked: list[str], port: int, seconds: float) -> None:
    """Filter an interface, show counters, replace the program when its source changes."""
    names = [*NAMES, *blocked]
    firewall = load(blocked, port)
    version, changed = 1, SOURCE.stat().st_mtime_ns
    end = time.monotonic() + seconds if seconds else float("inf")
    try:
        with firewall.programs["firewall"].attach(hook) as link:
            print(f"firewall on {hook.interface}: link {link.info()['id']}", flush=True)
            while time.monotonic() < end:
                time.sleep(min(1.0, max(0.0, end - time.monotonic())))
                counts = {name: n for name, n in count(firewall, names).items() if n}
                print(f"version {version}:", counts, flush=True)
                now = SOURCE.stat().st_mtime_ns
                if now == changed:
                    continue
                changed = now
                try:
                    newer = load(blocked, port)
                    link.update(newer.programs["firewall"])
                except skep.SkepError as error:
                    print(error, file=sys.stderr)
                    continue
                firewall.close()
                firewall, version = newer, version + 1
    finally:
        firewall.close()


@contextlib.contextmanager
def demo_network() -> Iterator[str]:
    """Two network namespaces joined by a veth pair; a process in the second sends datagrams. Gone at the end."""

    def ip(words: str) -> None:
        subprocess.run(["ip", *words.split()], check=True)

    def sender() -> None:
        unshare()
        os.write(ready_write, b"x")
        os.read(go_read, 1)
        ip("addr add 10.200.0.1/24 dev veth-out")
        ip("link set veth-out up")
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while os.getppid() == parent:
            for port in DEMO_PORTS:
                with contextlib.suppress(OSError):
                    datagrams.sendto(b"demo", (DEMO_ADDRESS, port))
            time.sleep(0.001)

    def unshare() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "a network namespace needs root")

    parent = os.getpid()
    unshare()
    (ready_read, ready_write), (go_read, go_write) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            sender()
        finally:
            os._exit(0)
    try:
        os.read(ready_read, 1)
        ip("link add name veth-in type veth peer name veth-out")
        ip(f"link set veth-out netns {child}")
        ip(f"addr add {DEMO_ADDRESS}/24 dev veth-in")
        ip("link set veth-in up")
        os.write(go_write, b"x")
        yield "veth-in"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interface", nargs="?")
    parser.add_argument("--block", action="append", default=[], metavar="NETWORK")
    parser.add_argument("--port", type=int, default=0, help="block this TCP and UDP port")
    parser.add_argument("--seconds", type=float, default=0, help="default: until Ctrl-C")
    parser.add_argument("--demo", action="store_true", help="on a veth pair with traffic, in namespaces of its own")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        interface = options.interface
        if options.demo:
            interface = stack.enter_context(demo_network())
            options.port = options.port or DEMO_PORTS[1]
        if interface is None:
            parser.error("name an interface, or try --demo")
        with contextlib.suppress(KeyboardInterrupt):
            guard(skep.hooks.Xdp(interface), options.block, options.port, options.seconds)


if __name__ == "__main__":
    main()

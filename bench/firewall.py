"""skep firewall at 10, 1,000 and 100,000 rules: packets per second on one core, seconds to load and to replace rules.

The packets are those of bench/packets.py (IMIX, 1000 sources) and none is denied before the last rules, so every one is
looked up among all of them. On the vm over a capture; on the kernel (root) as BPF_PROG_TEST_RUN over one packet, which
leaves out the driver and the caches' misses.

Then live (root): a flood through a veth pair whose packets are denied after all rules, by skep in XDP, by nftables
(netdev ingress), and by skep on the vm from a packet socket's ring.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import skep
from bench import nftables
from bench.flood import Flood, in_namespace
from bench.nftables import Denied
from bench.packets import DROP_ALL
from skep.errors import SkepError
from skep.testing.captures import packets, write_capture
from skep.tools.firewall import Firewall, RuleSet, parse_rules

SIZE = int(os.environ.get("SKEP_BENCH_CAPTURE_BYTES", 1 << 30)) // 4
ROUNDS = 3
COUNTS = (10, 1_000, 100_000)


def denied(count: int, seed: int = 5) -> list[Denied]:
    """Half by source alone (addresses and /24), half by source, protocol and port."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        octets = (chance.randrange(11, 224), chance.randrange(256), chance.randrange(256), chance.randrange(256))
        network = "{}.{}.{}.{}/32".format(*octets) if number % 4 < 2 else "{}.{}.{}.0/24".format(*octets[:3])
        found.append(Denied(network, chance.randrange(1, 65535) if number % 2 else 0))
    return found


def rules_text(count: int) -> str:
    """The rules that deny; then what is allowed."""
    lines = ["default: deny", "rules:"]
    for rule in denied(count):
        service = f", proto: tcp, port: {rule.port}" if rule.port else ""
        lines.append(f"  - deny: {{from: {rule.network}{service}}}")
    lines.append("  - allow: {to: 192.0.2.0/24, proto: tcp}")
    lines.append("  - allow: {to: 192.0.2.0/24, proto: udp, port: 53}")
    return "\n".join(lines)


def main(console: Console) -> None:
    table = Table("rules", "M packets/s", "ns/packet", "read s", "load s", "replace s", "kernel ns/packet")
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "large.pcap"
        write_capture(capture, SIZE)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        for count in COUNTS:
            started = time.perf_counter()
            rules = parse_rules(rules_text(count))
            read = time.perf_counter() - started
            started = time.perf_counter()
            with Firewall(rules) as firewall:
                load = time.perf_counter() - started
                hook = skep.hooks.Pcap(capture)
                firewall.run(hook)
                seconds, run = min((done.seconds, done.packets) for done in (firewall.run(hook) for _ in range(ROUNDS)))
                started = time.perf_counter()
                firewall.replace(rules)
                replace = time.perf_counter() - started
            table.add_row(
                f"{count:,}",
                f"{run / seconds / 1e6:.1f}",
                f"{seconds / run * 1e9:.0f}",
                f"{read:.1f}",
                f"{load:.1f}",
                f"{replace:.1f}",
                kernel_ns(rules),
            )
    console.print(f"capture of {SIZE / 1e9:.2f} GB, one core, best of {ROUNDS} rounds")
    console.print(table)
    in_namespace(console, lambda: measure_live(console))


def kernel_ns(rules: RuleSet) -> str:
    """Nanoseconds of one run in the kernel, or why there is none."""
    packet = next(packets(1))
    try:
        with Firewall(rules, engine="kernel") as firewall:
            return str(firewall.object.programs["firewall_in"].run(packet, repeat=200_000).duration_ns)
    except SkepError as error:
        return error.diagnostic.code


LIVE_SECONDS = 1.0
LINEAR_MOST = 1_000  # rule after rule: beyond this, nftables takes minutes
RING = 256 << 20
RING_PACKETS = 400_000


def measure_live(console: Console) -> None:
    """The flood's nanoseconds per packet with each firewall at the other end, and what that is more than with none."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flood = Flood([_to_nobody(packet) for packet in packets(1024)])
    drop_all = skep.compile(skep.SourceFile("drop.bpf.c", DROP_ALL))
    with skep.load(drop_all, engine="kernel") as live, live.programs["drop_all"].attach(skep.hooks.Xdp("vb")):
        floor = flood.ns_per_packet("va", LIVE_SECONDS)
    nft = nftables.find_nft()
    table = Table(
        "rules", "skep, XDP", "skep, vm from the ring", "nftables, sets", "nftables, load s", "rule after rule"
    )
    for count in COUNTS:
        rules = parse_rules(rules_text(count))
        columns = [_on_kernel(rules, flood, floor), _from_ring(rules, flood)]
        for make, most in ((nftables.with_sets, COUNTS[-1]), (nftables.one_by_one, LINEAR_MOST)):
            if nft is None or count > most:
                found, load = "no nft here" if nft is None else "-", "-"
            else:
                with nftables.in_force(nft, make(denied(count))) as seconds:
                    found, load = _cost(flood.ns_per_packet("va", LIVE_SECONDS), floor), f"{seconds:.1f}"
            columns += [found, load] if make is nftables.with_sets else [found]
        table.add_row(f"{count:,}", *columns)
    console.print(
        "live, veth, one core: M packets/s of sender and firewall together (ns per packet of the firewall alone: what "
        f"is more than with `return XDP_DROP`, {floor:.0f} ns); from the ring: without the sender"
    )
    console.print(table)


def _cost(ns: float, floor: float) -> str:
    return f"{1e3 / ns:.2f} ({ns - floor:.0f} ns)"


def _on_kernel(rules: RuleSet, flood: Flood, floor: float) -> str:
    with Firewall(rules, engine="kernel") as live, live.object.programs["firewall_in"].attach(skep.hooks.Xdp("vb")):
        ns = flood.ns_per_packet("va", LIVE_SECONDS)
        by_policy = live.reasons()["default"].packets / sum(count.packets for count in live.reasons().values())
        assert by_policy > 0.99, live.reasons()  # the interface's own neighbour discovery aside
        return _cost(ns, floor)


def _from_ring(rules: RuleSet, flood: Flood) -> str:
    """The ring is filled while nobody reads, then the loop runs over it."""
    hook = skep.hooks.PacketSocket("vb", ring_bytes=RING)
    with Firewall(rules) as firewall, firewall.object.programs["firewall_in"].attach(hook) as link:
        best = 1e9
        for _ in range(ROUNDS):
            flood.send("va", RING_PACKETS)
            time.sleep(0.05)
            run = link.run(packets=RING_PACKETS, duration=10)
            best = min(best, run.seconds / run.packets * 1e9)
    return f"{1e3 / best:.2f} ({best:.0f} ns)"


def _to_nobody(packet: bytes) -> bytes:
    """The packet to an address that no rule allows: all rules are asked, then the policy."""
    return b"\xff" * 6 + packet[6:30] + bytes((198, 51, 100, 7)) + packet[34:]

"""skep firewall at 10, 1,000 and 100,000 rules: packets per second on one core, seconds to load and to replace rules.

The packets are those of bench/packets.py (IMIX, 1000 sources) and none is denied before the last rules, so every one is
looked up among all of them. On the vm over a capture; on the kernel (root) as BPF_PROG_TEST_RUN over one packet, which
leaves out the driver and the caches' misses. nftables is not measured: `nft` is not on this machine.
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
from skep.errors import SkepError
from skep.testing.captures import packets, write_capture
from skep.tools.firewall import Firewall, RuleSet, parse_rules

SIZE = int(os.environ.get("SKEP_BENCH_CAPTURE_BYTES", 1 << 30)) // 4
ROUNDS = 3
COUNTS = (10, 1_000, 100_000)


def rules_text(count: int, seed: int = 5) -> str:
    """Half by source alone (addresses and /24), half by source, protocol and port; then what is allowed."""
    chance = random.Random(seed)
    lines = ["default: deny", "rules:"]
    for number in range(count):
        octets = (chance.randrange(11, 224), chance.randrange(256), chance.randrange(256), chance.randrange(256))
        network = "{}.{}.{}.{}/32".format(*octets) if number % 4 < 2 else "{}.{}.{}.0/24".format(*octets[:3])
        service = f", proto: tcp, port: {chance.randrange(1, 65535)}" if number % 2 else ""
        lines.append(f"  - deny: {{from: {network}{service}}}")
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


def kernel_ns(rules: RuleSet) -> str:
    """Nanoseconds of one run in the kernel, or why there is none."""
    packet = next(packets(1))
    try:
        with Firewall(rules, engine="kernel") as firewall:
            return str(firewall.object.programs["firewall_in"].run(packet, repeat=200_000).duration_ns)
    except SkepError as error:
        return error.diagnostic.code

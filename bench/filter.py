"""`skep filter` beside `tcpdump -r`: five expressions over a capture of 1 GB, counted on one core, in turns.

Both read the same file from the page cache and count the packets that match; tcpdump's times include its start (some
ms), skep's are without compiling (shown beside). Without tcpdump only skep is measured.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import skep
from skep.frontend.pcap import compile_expression, translate
from skep.testing.captures import write_capture

SIZE = int(os.environ.get("SKEP_BENCH_CAPTURE_BYTES", 1 << 30))
ROUNDS = 3
EXPRESSIONS = (
    "ip",
    "tcp port 443 and not host 10.0.0.1",
    "udp dst port 53 or tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "host 10.1.2.3 or host 10.4.5.6 or net 192.0.2.0/25 or ip6 net 2001:db8::/32",
    "greater 1000 and tcp and ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) > 0",
)


def tcpdump(capture: Path, expression: str) -> tuple[int, float]:
    """Packets that match, and seconds."""
    started = time.perf_counter()
    done = subprocess.run(
        ["tcpdump", "-r", str(capture), "--count", expression], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - started
    found = re.search(r"(\d+) packet", done.stdout + done.stderr)
    if found is None:
        sys.exit(f"tcpdump --count said: {done.stdout}{done.stderr}")
    return int(found[1]), seconds


def main(console: Console) -> None:
    """Print the table."""
    there = shutil.which("tcpdump") is not None
    table = Table("expression", "matched", "skep", "tcpdump", "tcpdump / skep", "M packets/s", "compile ms")
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "large.pcap"
        count = write_capture(capture, SIZE)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        for expression in EXPRESSIONS:
            started = time.perf_counter()
            with skep.load(translate(compile_expression(expression))) as live:
                link = live.programs["filter"].attach(skep.hooks.Pcap(capture))
                first = link.run()
                compiling = time.perf_counter() - started - first.seconds
                ours, theirs = [], []
                for _ in range(ROUNDS):
                    done = link.run()
                    ours.append(done.seconds)
                    if there:
                        matched, seconds = tcpdump(capture, expression)
                        theirs.append(seconds)
                        if matched != done.passed:
                            sys.exit(f"{expression}: skep matches {done.passed} packets, tcpdump {matched}")
            mine = statistics.median(ours)
            table.add_row(
                escape(expression),
                str(first.passed),
                f"{mine / count * 1e9:.1f} ns",
                f"{statistics.median(theirs) / count * 1e9:.1f} ns" if there else "not installed",
                f"{statistics.median(b / a for a, b in zip(ours, theirs, strict=True)):.1f}" if there else "-",
                f"{count / mine / 1e6:.1f}",
                f"{compiling * 1e3:.0f}",
            )
    console.print(f"capture of {SIZE / 1e9:.2f} GB, {count} packets, one core, median of {ROUNDS} rounds in turns")
    console.print(table)

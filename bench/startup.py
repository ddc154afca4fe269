"""Time from `skep run` to the first packet: cold (empty cache) and warm. The work is a capture with one packet."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from skep.testing.captures import PCAP_HEADER, packets

ROUNDS = 5
EXAMPLES = Path(__file__).parent.parent / "examples"


def main(console: Console) -> None:
    table = Table("program", "cold, s", "warm, s", "python -c pass, s")
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "one.pcap"
        (frame,) = packets(1)
        size = len(frame).to_bytes(4, "little")
        capture.write_bytes(PCAP_HEADER + bytes(8) + size + size + frame)
        bare = statistics.median(_timed([sys.executable, "-c", "pass"], {}) for _ in range(ROUNDS))
        for name in ("counter", "firewall", "ratelimit"):
            words = [sys.executable, "-m", "skep", "run", str(EXAMPLES / f"{name}.bpf.c"), "--pcap", str(capture)]
            cold = []
            for turn in range(ROUNDS - 2):
                # Every cold round has a cache folder of its own; the runtime's object code is part of what is cold.
                cold.append(_timed(words, {"SKEP_CACHE": str(Path(folder) / f"{name}{turn}")}))
            warm_cache = {"SKEP_CACHE": str(Path(folder) / f"{name}0")}
            warm = [_timed(words, warm_cache) for _ in range(ROUNDS)]
            table.add_row(name, f"{statistics.median(cold):.2f}", f"{statistics.median(warm):.2f}", f"{bare:.2f}")
    console.print(table)


def _timed(words: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(words, env=os.environ | environment, check=True, capture_output=True)
    return time.perf_counter() - started

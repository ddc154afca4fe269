"""`python -m bench [NAME...]`: run the benchmarks in this folder, all or those named, one after the other."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time

from rich.console import Console

BENCHMARKS = (
    "conformance",
    "verifier",
    "workloads",
    "packets",
    "startup",
    "filter",
    "live",
    "events",
    "firewall",
    "lb",
)


def main() -> None:
    console = Console(highlight=False, width=120)
    wanted = sys.argv[1:] or BENCHMARKS
    unknown = set(wanted) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    console.print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs", style="dim")
    for name in wanted:
        started = time.perf_counter()
        console.rule(name)
        importlib.import_module(f"bench.{name}").main(console)
        console.print(f"({time.perf_counter() - started:.0f} s)", style="dim")


if __name__ == "__main__":
    main()

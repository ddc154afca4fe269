"""The demo: one eBPF program from C source to real packets. Runs what a user would type, and shows it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SKEP = [sys.executable, "-m", "skep"]


def show(*words: str) -> None:
    """Print a command, run it, stop when it fails."""
    print("\n$ skep " + " ".join(word.replace(f"{ROOT}/", "") for word in words), flush=True)
    result = subprocess.run([*SKEP, *words], cwd=ROOT, check=False)
    if result.returncode:
        sys.exit(result.returncode)


def main() -> None:
    examples = ROOT / "examples"
    with tempfile.TemporaryDirectory() as folder:
        passed = str(Path(folder) / "passed.pcap")
        print("A firewall in C, proved safe, compiled to machine code, run over a capture of real traffic:")
        firewall, capture = "examples/firewall.bpf.c", "examples/data/real.pcap"
        fill = f"networks={examples / 'data' / 'networks.json'}"
        show("verify", firewall)
        show("run", firewall, "--pcap", capture, "--out", passed, "--map", fill, "--set", "blocked_port=53")
        print("\nWhat passed, counted by another program:")
        show("run", "examples/counter.bpf.c", "--pcap", passed)


if __name__ == "__main__":
    main()

"""Live registers are those that the running kernel computes (it prints them at log level 2)."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import platform
import re
import struct
from pathlib import Path

import pytest

from skep.abi.helpers import HELPERS
from skep.errors import SkepError
from skep.isa import opcodes as op
from skep.isa.codec import decode
from skep.kernel.host import kernel_version
from skep.verifier.flow import cfg, structure
from skep.verifier.flow.liveness import live_registers

SHARED = Path(os.environ.get("SKEP_SHARED", Path(__file__).parents[5] / "shared"))
CASES = SHARED / "corpus" / "verifier" / "test_verifier.jsonl.gz"
ARGUMENTS = {number: len(row.args) for number, row in HELPERS.items() if row.args is not None}


def kernel_liveness(text: bytes, prog_type: int) -> dict[int, str]:
    """``0.....67..`` by slot; empty if the kernel stopped before it computed them."""
    code, licence = ctypes.create_string_buffer(text, len(text)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 20)
    attr = struct.pack(
        "<IIQQIIQ", prog_type, len(text) // 8, ctypes.addressof(code), ctypes.addressof(licence), 2, len(log),
        ctypes.addressof(log),
    ).ljust(144, b"\0")  # fmt: skip
    fd = ctypes.CDLL(None, use_errno=True).syscall(321, 5, attr, len(attr))
    if fd >= 0:
        os.close(fd)
    elif ctypes.get_errno() in (1, 38):
        pytest.skip(f"bpf(2) is not allowed here: errno {ctypes.get_errno()} (needs CAP_BPF)")
    table = log.value.decode(errors="replace").partition("Live regs before insn:\n")[2]
    found = {}
    for line in table.splitlines():
        row = re.match(r" *(\d+): ([0-9.]{10}) \(", line)
        if row is None:
            break
        found[int(row[1])] = row[2]
    return found


@pytest.mark.kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the system call number is x86-64's")
@pytest.mark.skipif(not CASES.exists(), reason=f"the corpus is not at {SHARED} (SKEP_SHARED)")
def test_same_live_registers() -> None:
    if kernel_version()[:2] < (6, 15):
        pytest.skip("the log tells live registers since Linux 6.15")
    compared = 0
    for line in gzip.decompress(CASES.read_bytes()).splitlines():
        row = json.loads(line)
        prog = row["prog"]
        if row["kernel"]["verdict"] != "ACCEPT":
            continue  # a helper that the program may not call counts as one with five arguments there
        if "insns" not in prog or prog.get("maps") or prog.get("kfuncs") or prog.get("btf"):
            continue
        text = bytes.fromhex(prog["insns"])
        try:
            insns = decode(text)
        except SkepError:
            continue
        if structure.check(insns) or structure.local_faults(insns):
            continue
        if any(insn.opcode & 7 == op.LD and insn.opcode != op.LD_IMM64 for insn in insns):
            continue  # the kernel says that a legacy packet load reads every register
        theirs = kernel_liveness(text, prog["prog_type"])
        if not theirs:
            continue
        live = live_registers(cfg.build(insns), ARGUMENTS)
        ours = {slot: "".join(str(n) if live[slot] >> n & 1 else "." for n in range(10)) for slot in theirs}
        assert ours == theirs, row["id"]
        compared += 1
    assert compared > 50

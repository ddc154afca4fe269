"""Small programs in eBPF assembly, verified: the tests need no clang."""

from __future__ import annotations

from skep.abi.prog_types import ProgType
from skep.vm.programs import VmProgram
from tests.unit.vm.programs import load

EVEN = """
    r0 = 1
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u8 *)(r2 + 17)
    r3 &= 1
    if r3 != 0 goto out
    r0 = 2
out:
    exit
"""


def returns(verdict: int, prog_type: ProgType = ProgType.XDP, **facts: bool) -> VmProgram:
    """A program with one verdict."""
    return load(f"r0 = {verdict}\nexit", prog_type, **facts)

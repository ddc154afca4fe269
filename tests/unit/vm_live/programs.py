"""Small programs with facts written by hand: the tests need neither clang nor the verifier."""

from __future__ import annotations

from dataclasses import replace

from skep.abi.prog_types import ProgType
from skep.model.programs import CallFact
from skep.vm.programs import VmProgram
from tests.unit.jit.builder import make_program
from tests.unit.vm.programs import load


def returns(verdict: int, prog_type: ProgType = ProgType.XDP) -> VmProgram:
    """A program with one verdict; it runs in the ring's memory."""
    return load(f"r0 = {verdict}\nexit", prog_type)


def redirects(ifindex: int, prog_type: ProgType = ProgType.XDP) -> VmProgram:
    """bpf_redirect(ifindex, 0), as the verdict; it runs on copies."""
    program = make_program(f"r1 = {ifindex}\nr2 = 0\ncall 23\nexit", calls={2: CallFact(23)}, resizes_packet=True)
    return VmProgram(replace(program, linked=replace(program.linked, prog_type=prog_type)), {})

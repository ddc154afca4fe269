"""Run conformance cases: a program over a buffer (r1 its address, r2 its length) whose r0 must come out right.

The walk is the usual one: the case is linked, proved (with RFC 9669's masked shifts, which Linux refuses) and run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise

from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, slots
from skep.model.programs import LinkedProgram, Subprogram, VerifiedProgram
from skep.testing.cases import Case
from skep.verifier import verify
from skep.verifier.options import MemoryEntry, Options
from skep.vm.interpreter import InterpretedProgram
from skep.vm.programs import VmProgram
from skep.vm.target import vm_target


def link_case(case: Case) -> LinkedProgram:
    """The case as flat code; its functions start where local calls go."""
    return LinkedProgram(
        name=case.name,
        section="case",
        prog_type=ProgType.SOCKET_FILTER,
        attach_type=None,
        attach_to="",
        sleepable=False,
        frags=False,
        license="GPL",
        insns=case.insns,
        subprograms=find_subprograms(case.insns),
        lines={},
        maps={},
        target=vm_target(),
    )


def find_subprograms(insns: tuple[Instruction, ...]) -> tuple[Subprogram, ...]:
    """Functions of flat code without names: one starts at slot 0 and at each target of a local call or address."""
    table = slots(insns)
    starts = {0}
    for slot, insn in enumerate(table):
        if insn is None:
            continue
        is_call = insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_LOCAL
        if is_call or (insn.opcode == op.LD_IMM64 and insn.src == op.PSEUDO_FUNC):
            starts.add(slot + 1 + insn.imm)
    ordered = [*sorted(start for start in starts if 0 <= start < len(table)), len(table)]
    return tuple(
        Subprogram(f"func{number}" if number else "main", start, end)
        for number, (start, end) in enumerate(pairwise(ordered))
    )


def prove_case(case: Case) -> VerifiedProgram:
    """Verify a case; r1 points to its memory."""
    options = Options(entry=MemoryEntry(len(case.memory or b"")), masked_shifts=True)
    return verify(link_case(case), options)


def run_case(case: Case, engine: str) -> int:
    """r0 after running a case.

    Args:
        engine: ``interpreter`` or ``jit``.

    Raises:
        RejectedError: the verifier does not accept the case.
    """
    return _ENGINES[engine](prove_case(case), case.memory or b"")


def _run(kind: type[VmProgram], verified: VerifiedProgram, memory: bytes) -> int:
    program = kind(verified, {}, memory_size=len(memory))
    try:
        whole = program.run(memory).ctx  # r0 whole; retval is its low half
        return int.from_bytes(whole, "little")
    finally:
        program.close()


_ENGINES: Mapping[str, Callable[[VerifiedProgram, bytes], int]] = {
    "interpreter": partial(_run, InterpretedProgram),
    "jit": partial(_run, VmProgram),
}

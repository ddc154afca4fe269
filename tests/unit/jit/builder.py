"""Programs with facts written by hand: what the verifier would say, for tests of the JIT alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.isa.assembler import assemble
from skep.isa.instruction import Instruction, slots
from skep.jit.blocks import successors
from skep.model.maps import MapSpec
from skep.model.programs import Facts, LinkedProgram, Subprogram, VerifiedProgram
from skep.model.target import Target

VM = Target("vm", (6, 18, 0))
DEPTH = 512


def make_program(
    code: str | tuple[Instruction, ...],
    subprograms: Mapping[str, int] | None = None,
    maps: Mapping[str, MapSpec] | None = None,
    **facts: object,
) -> VerifiedProgram:
    """Text or instructions as a verified program; ``subprograms``: name -> first slot, beside the entry at 0."""
    insns = assemble(code) if isinstance(code, str) else code
    table = slots(insns)
    starts = {"main": 0, **(subprograms or {})}
    ends = [*sorted(starts.values())[1:], len(table)]
    functions = tuple(
        Subprogram(n, s, e) for (n, s), e in zip(sorted(starts.items(), key=lambda i: i[1]), ends, strict=True)
    )
    linked = LinkedProgram(
        name="test", section="xdp", prog_type=ProgType.XDP, attach_type=None, attach_to="", sleepable=False,
        frags=False, license="GPL", insns=insns, subprograms=functions, lines={}, maps=dict(maps or {}), target=VM,
    )  # fmt: skip
    plain = Facts(
        reachable=_reachable(table, starts.values()), accesses={}, calls={}, pointer_results=frozenset(),
        stack_depth=dict.fromkeys(starts.values(), DEPTH), writes_packet=True, resizes_packet=True,
    )  # fmt: skip
    return VerifiedProgram(linked, replace(plain, **facts), len(insns))  # type: ignore[arg-type]


def _reachable(table: tuple[Instruction | None, ...], starts: object) -> frozenset[int]:
    seen: set[int] = set()
    work = list(starts)  # type: ignore[call-overload]
    while work:
        slot = work.pop()
        insn = table[slot]
        if slot in seen or insn is None:
            continue
        seen.add(slot)
        work += successors(insn, slot)
        if insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_LOCAL:
            work.append(slot + 1 + insn.imm)
    return frozenset(seen)

"""A failing program made small: what is not needed for the failure goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from skep.isa import opcodes as op
from skep.isa.arithmetic import signed
from skep.isa.instruction import Instruction
from skep.testing.generate import Sample

NOTHING = Instruction(op.JMP | op.JA)
_MAX_ROUNDS = 8


def minimise(sample: Sample, fails: Callable[[Sample], bool]) -> Sample:
    """The smallest program found that still fails.

    Args:
        fails: whether a program shows the same failure; called often.
    """
    for packet in sample.packets:
        alone = replace(sample, packets=(packet,))
        if fails(alone):
            sample = alone
            break
    insns = list(sample.insns)
    step = max(len(insns) // 4, 1)
    for _ in range(_MAX_ROUNDS):
        before = list(insns)
        for start in range(0, len(insns), step):
            tried = insns[:]
            for number in range(start, min(start + step, len(insns))):
                tried[number] = NOTHING if tried[number].width == 1 else tried[number]
            if tried != insns and fails(replace(sample, insns=tuple(tried))):
                insns = tried
        if step == 1 and insns == before:
            break
        step = max(step // 2, 1)
    short = replace(sample, insns=compact(tuple(insns)))
    return short if fails(short) else replace(sample, insns=tuple(insns))


def compact(insns: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
    """The same program without ``goto +0``."""
    starts, slot = [], 0
    for insn in insns:
        starts.append(slot)
        slot += insn.width
    moved, new = {}, 0
    for start, insn in zip(starts, insns, strict=True):
        moved[start] = new
        new += insn.width if insn != NOTHING else 0
    moved[slot] = new
    return tuple(_moved(insn, start, moved) for start, insn in zip(starts, insns, strict=True) if insn != NOTHING)


def _moved(insn: Instruction, start: int, moved: dict[int, int]) -> Instruction:
    kind, code = insn.opcode & op.CLASS_MASK, insn.opcode & op.CODE_MASK

    def distance(old: int) -> int:
        target = start + 1 + old
        return moved[target] - moved[start] - 1 if target in moved else old

    if insn.opcode == op.LD_IMM64:
        is_function = insn.src == op.PSEUDO_FUNC
        return replace(insn, imm=distance(signed(insn.imm, 32)) & 0xFFFFFFFF) if is_function else insn
    if kind not in (op.JMP, op.JMP32) or code == op.EXIT:
        return insn
    if code == op.CALL or (code == op.JA and kind == op.JMP32):
        is_local = code == op.JA or (insn.src == op.CALL_LOCAL and not insn.opcode & op.X)
        return replace(insn, imm=distance(insn.imm)) if is_local else insn
    return replace(insn, off=distance(insn.off))

"""Mutants: one to three instructions changed, so that a proof that was just enough is not any more, or still is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from skep.isa import opcodes as op
from skep.isa.forms import FORMS, find_form
from skep.isa.instruction import Instruction
from skep.testing.generate.code import CORNERS

_STEPS = (1, 1, 1, -1, -1, 2, -2, 4, -4, 8, -8, 64)
_BY_CLASS: dict[int, tuple[int, ...]] = {
    kind: tuple(sorted({form.opcode for form in FORMS if form.opcode & op.CLASS_MASK == kind})) for kind in range(8)
}
_NOTHING = Instruction(op.JMP | op.JA)


def mutate(insns: tuple[Instruction, ...], seed: int) -> tuple[Instruction, ...]:
    """The program with some instructions changed; it has as many slots as before, and every encoding is legal."""
    chance = random.Random(seed)
    changed = list(insns)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        for _ in range(20):
            number = chance.randrange(len(changed))
            new = chance.choice(_CHANGES)(changed[number], chance, changed)
            if new != changed[number] and new.width == changed[number].width and find_form(new) is not None:
                changed[number] = new
                break
    return tuple(changed)


def nudge(insns: tuple[Instruction, ...], seed: int) -> tuple[Instruction, ...]:
    """The program with one number a little larger or smaller: an offset, a bound, a size. It stays near each rule."""
    chance = random.Random(seed)
    changed = list(insns)
    for _ in range(40):
        number = chance.randrange(len(changed))
        insn = changed[number]
        kind = insn.opcode & op.CLASS_MASK
        if kind in (op.LDX, op.ST, op.STX):
            new = _nudge_off(insn, chance, changed)
        elif kind in (op.JMP, op.JMP32) and insn.opcode & op.CODE_MASK in (op.CALL, op.EXIT, op.JA):
            continue
        else:
            new = _nudge_imm(insn, chance, changed)
        if new != insn and find_form(new) is not None:
            changed[number] = new
            break
    return tuple(changed)


def _nudge_imm(insn: Instruction, chance: random.Random, code: list[Instruction]) -> Instruction:
    if insn.opcode == op.LD_IMM64:
        return replace(insn, imm=insn.imm + chance.choice(_STEPS) & (1 << 64) - 1) if insn.ref is None else insn
    return replace(insn, imm=_fit(insn.imm + chance.choice(_STEPS)))


def _new_imm(insn: Instruction, chance: random.Random, code: list[Instruction]) -> Instruction:
    return replace(insn, imm=_fit(chance.choice(CORNERS))) if insn.opcode != op.LD_IMM64 else insn


def _nudge_off(insn: Instruction, chance: random.Random, code: list[Instruction]) -> Instruction:
    return replace(insn, off=max(-32768, min(32767, insn.off + chance.choice(_STEPS))))


def _other_register(insn: Instruction, chance: random.Random, code: list[Instruction]) -> Instruction:
    if chance.random() < 0.5 or insn.opcode == op.LD_IMM64:  # there, src says what the number means
        return replace(insn, dst=chance.randrange(11))
    return replace(insn, src=chance.randrange(11))


def _other_width(insn: Instruction, chance: random.Random, code: list[Instruction]) -> Instruction:
    swapped = {op.ALU: op.ALU64, op.ALU64: op.ALU, op.JMP: op.JMP32, op.JMP32: op.JMP}
    kind = insn.opcode & op.CLASS_MASK
    return replace(insn, opcode=insn.opcode & ~op.CLASS_MASK | swapped.get(kind, kind))


def _other_opcode(insn: Instruction, chance: random.Random, code: list[Instruction]) -> Instruction:
    return replace(insn, opcode=chance.choice(_BY_CLASS[insn.opcode & op.CLASS_MASK]))


def _no_insn(insn: Instruction, chance: random.Random, code: list[Instruction]) -> Instruction:
    return _NOTHING


def _copy(insn: Instruction, chance: random.Random, code: list[Instruction]) -> Instruction:
    other = chance.choice(code)
    return other if insn.opcode & op.CLASS_MASK not in (op.JMP, op.JMP32) else replace(other, off=insn.off)


def _fit(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


_CHANGES: tuple[Callable[[Instruction, random.Random, list[Instruction]], Instruction], ...] = (
    _nudge_imm, _nudge_imm, _new_imm, _nudge_off, _other_register, _other_width, _other_opcode, _no_insn, _no_insn,
    _copy,
)  # fmt: skip

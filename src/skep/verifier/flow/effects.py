"""What an instruction reads and writes, as bits; looked up once per kind of instruction, not per instruction."""

from __future__ import annotations

from typing import NamedTuple

from skep.isa.forms import FORMS, Form, Role, find_form, registers_read, registers_written
from skep.isa.instruction import Instruction


class Effect(NamedTuple):
    """Of an instruction itself; what a call does to its arguments is the caller's matter.

    Attributes:
        form: the row of the table of encodings; None: not a legal encoding, and nothing is read or written.
        reads, writes: registers, bit n for rn (writes: also those whose life ends).
    """

    form: Form | None
    reads: int
    writes: int


_FREE = frozenset({Role.DISPLACEMENT, Role.JUMP, Role.IMMEDIATE, Role.IMMEDIATE64})

# Opcodes whose forms take any value in the field: it does not decide about the form.
_ANY_OFF = frozenset(form.opcode for form in FORMS) - {form.opcode for form in FORMS if form.off not in _FREE}
_ANY_IMM = frozenset(form.opcode for form in FORMS) - {form.opcode for form in FORMS if form.imm not in _FREE}

_ENTRIES = 1 << 14
_cache: dict[tuple[int, int, int, int, int], Effect] = {}


def effect(insn: Instruction) -> Effect:
    """The effect of one instruction."""
    opcode = insn.opcode
    key = (opcode, insn.dst, insn.src, 0 if opcode in _ANY_OFF else insn.off, 0 if opcode in _ANY_IMM else insn.imm)
    found = _cache.get(key)
    if found is None:
        found = Effect(find_form(insn), _bits(registers_read(insn)), _bits(registers_written(insn)))
        if len(_cache) >= _ENTRIES:
            _cache.clear()
        _cache[key] = found
    return found


def _bits(registers: frozenset[int]) -> int:
    return sum(1 << register for register in registers)

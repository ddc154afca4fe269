"""Where a value came from: the part of a failing path that made it, found by walking the path backwards."""

from __future__ import annotations

from collections.abc import Sequence

from skep.isa import opcodes as op
from skep.isa.forms import registers_read, registers_written
from skep.isa.instruction import Instruction

Code = Sequence[Instruction | None]

_CALL = op.JMP | op.CALL
_EXIT = op.JMP | op.EXIT
_MOVE = op.ALU64 | op.MOV | op.X
_FILL = op.LDX | op.MEM | op.DW
_SPILL = op.STX | op.MEM | op.DW
_FRAME = 10

# What a walk looks for: ("r", number) or ("fp", offset in the frame).
_Place = tuple[str, int]


def makers(code: Code, trace: Sequence[int], reg: int) -> list[int]:
    """Slots on the path that made what ``reg`` holds at its end, latest first; the last one is where it came from.

    Copies and saves to the stack are followed; arithmetic is followed through its first operand. Callees that ran in
    between are skipped, unless the value is their result.

    Args:
        trace: slots executed, oldest first; the last one is the instruction that uses ``reg``.
    """
    found: list[int] = []
    wanted: _Place = ("r", reg)
    skipping = 0  # how many calls deep, walking backwards, in functions that do not matter
    for slot in reversed(trace[:-1]):
        insn = code[slot]
        if insn is None:
            continue
        if insn.opcode == _EXIT:
            if not (wanted == ("r", 0) and not skipping):
                skipping += 1
            continue
        is_local_call = insn.opcode == _CALL and insn.src == op.CALL_LOCAL
        if skipping:
            skipping -= is_local_call
            continue
        following = _before(insn, wanted)
        if following == wanted and not (wanted[0] == "r" and wanted[1] in _changed(insn)):
            continue
        if is_local_call:  # into the caller: arguments keep their registers, its result was handled above
            continue
        found.append(slot)
        if following is None:
            break
        wanted = following
    return found


def _changed(insn: Instruction) -> frozenset[int]:
    return registers_written(insn)


def _before(insn: Instruction, wanted: _Place) -> _Place | None:
    """Where the value was before this instruction; None: the instruction itself made it."""
    kind, number = wanted
    if kind == "fp":
        stores = insn.opcode & op.CLASS_MASK in (op.ST, op.STX) and insn.dst == _FRAME and insn.off == number
        if not stores:
            return wanted
        return ("r", insn.src) if insn.opcode == _SPILL else None
    if number not in _changed(insn):
        return wanted
    if insn.opcode == _MOVE and insn.off == 0:
        return ("r", insn.src)
    if insn.opcode == _FILL and insn.src == _FRAME:
        return ("fp", insn.off)
    if insn.opcode & op.CLASS_MASK in (op.ALU, op.ALU64) and number in registers_read(insn):
        return wanted
    return None

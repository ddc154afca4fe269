"""Where a value came from: the part of a failing path that made it, found by walking the path backwards.

A path is a list of slots, oldest first. Calls are in it with everything that ran inside them, loops with every round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skep.isa import opcodes as op
from skep.isa.forms import registers_read, registers_written
from skep.isa.instruction import Instruction

Code = Sequence[Instruction | None]

_CALL = op.JMP | op.CALL
_EXIT = op.JMP | op.EXIT
_MOVES = frozenset({op.ALU64 | op.MOV | op.X, op.ALU | op.MOV | op.X})
_STORES = frozenset({op.ST, op.STX})
_FRAME = 10
_ARGUMENTS = range(1, 6)

# What a walk looks for: ("r", number) or ("fp", offset in the frame).
_Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Origin:
    """How a register got its value.

    Attributes:
        makers: slots that handed it on, latest first; the last one is where it came from.
        parameter: (a slot of the function, 1 to 5) if it is what the function that uses it was given.
    """

    makers: tuple[int, ...]
    parameter: tuple[int, int] | None = None


def depths(code: Code, trace: Sequence[int]) -> list[int]:
    """How many calls deep each step of a path is; the first is 0, and steps after it may be less."""
    found, depth = [], 0
    for index, slot in enumerate(trace):
        found.append(depth)
        insn = code[slot]
        if insn is None or index + 1 == len(trace):
            continue
        if insn.opcode == _EXIT:
            depth -= 1
        elif insn.opcode == _CALL and (insn.src == op.CALL_LOCAL or trace[index + 1] not in (slot, slot + 1)):
            depth += 1  # into a function, or into the callback of a helper
    return found


def simple_path(code: Code, trace: Sequence[int]) -> list[int]:
    """Positions in ``trace`` of the steps that lead to its end: calls that came back are left out, and of a loop only
    the last round is kept."""
    deep = depths(code, trace)
    kept: list[int] = []
    lowest = deep[-1] if deep else 0
    for index in range(len(trace) - 1, -1, -1):
        lowest = min(lowest, deep[index])
        if deep[index] == lowest:
            kept.append(index)
    kept.reverse()
    path: list[int] = []
    at: dict[tuple[int, int], int] = {}
    for index in kept:
        place = (deep[index], trace[index])
        if place in at:
            start = at[place]
            for dropped in path[start:]:
                del at[deep[dropped], trace[dropped]]
            del path[start:]
        at[place] = len(path)
        path.append(index)
    return path


def makers(code: Code, trace: Sequence[int], reg: int) -> list[int]:
    """Slots on the path that made what ``reg`` holds at its end, latest first; the last one is where it came from."""
    return list(find_origin(code, trace, reg).makers)


def find_origin(code: Code, trace: Sequence[int], reg: int) -> Origin:
    """How ``reg`` got what it holds where the path ends.

    Copies and saves to the stack are followed; arithmetic is followed through its first operand. Callees that ran in
    between are skipped, unless the value is their result.

    Args:
        trace: slots executed, oldest first; the last one is the instruction that uses ``reg``.
    """
    deep = depths(code, trace)
    found: list[int] = []
    wanted: _Place = ("r", reg)
    depth = deep[-1] if deep else 0
    parameter: tuple[int, int] | None = None
    entered = trace[-1] if trace else 0
    for index in range(len(trace) - 2, -1, -1):
        slot, insn = trace[index], code[trace[index]]
        if insn is None:
            continue
        if deep[index] > depth:  # in a call that came back; only its result matters
            if insn.opcode == _EXIT and wanted == ("r", 0) and deep[index] == depth + 1:
                depth += 1
            continue
        if deep[index] < depth:  # the call that we are in
            if wanted[0] != "r" or wanted[1] not in _ARGUMENTS:
                break
            if depth == deep[-1]:
                parameter = (entered, wanted[1])
            depth = deep[index]
            if insn.src != op.CALL_LOCAL:
                break  # a callback's arguments come from the helper
            entered = slot
            continue
        entered = slot
        if insn.opcode == _CALL and insn.src == op.CALL_LOCAL and wanted == ("r", 0):
            continue
        following = _before(insn, wanted)
        if following == wanted and not (wanted[0] == "r" and wanted[1] in registers_written(insn)):
            continue
        found.append(slot)
        if following is None:
            return Origin(tuple(found), parameter)
        wanted = following
    if parameter is None and wanted[0] == "r" and wanted[1] in _ARGUMENTS:
        parameter = (entered, wanted[1])
    return Origin(tuple(found), parameter)


def _before(insn: Instruction, wanted: _Place) -> _Place | None:
    """Where the value was before this instruction; None: the instruction itself made it."""
    kind, number = wanted
    klass = insn.opcode & op.CLASS_MASK
    if kind == "fp":
        stores = klass in _STORES and insn.dst == _FRAME and insn.off == number
        if not stores:
            return wanted
        return ("r", insn.src) if klass == op.STX and insn.opcode & op.MODE_MASK == op.MEM else None
    if number not in registers_written(insn):
        return wanted
    if insn.opcode in _MOVES:
        return ("r", insn.src)
    if klass == op.LDX and insn.src == _FRAME:
        return ("fp", insn.off)
    if klass in (op.ALU, op.ALU64) and number in registers_read(insn):
        return wanted
    return None

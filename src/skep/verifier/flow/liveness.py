"""Which registers matter later: what exploration may ignore when it compares two states at the same place.

The calling convention makes this a matter of one function at a time (RFC 9669 section 2): a call reads its arguments,
spoils r0-r5 and keeps the caller's r6-r9; an exit reads r0. The kernel's compute_live_registers() does the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.verifier.flow.cfg import Extent, Flow
from skep.verifier.flow.effects import effect

_CALL = op.JMP | op.CALL
_CALL_REGISTER = op.JMP | op.CALL | op.X
_ARGUMENTS = 0b111110  # r1-r5
_CALLER_SAVED = 0b111111
FRAME_POINTER = 1 << 10


def live_registers(flow: Flow, helper_arguments: Mapping[int, int] | None = None) -> tuple[int, ...]:
    """By slot: the registers (bit n: rn) whose value before the instruction may still be used; r10 always is.

    Args:
        helper_arguments: number of arguments by helper id; a helper that is not in it may read all five.
    """
    live = [FRAME_POINTER] * len(flow.code)
    effects = [_effect(insn, helper_arguments or {}) for insn in flow.code]
    for extent in flow.subprograms:
        _settle(extent, flow, effects, live)
    return tuple(live)


def _effect(insn: Instruction | None, helper_arguments: Mapping[int, int]) -> tuple[int, int]:
    """Registers read, and registers that hold something else afterwards, as bits."""
    if insn is None:
        return 0, 0
    if insn.opcode == _CALL:
        count = helper_arguments.get(insn.imm, 5) if insn.src == op.CALL_HELPER else 5
        return ((1 << count + 1) - 1) & _ARGUMENTS, _CALLER_SAVED
    if insn.opcode == _CALL_REGISTER:
        return _ARGUMENTS | 1 << insn.dst, _CALLER_SAVED
    return effect(insn)[1:]


def _settle(extent: Extent, flow: Flow, effects: list[tuple[int, int]], live: list[int]) -> None:
    """Backward until nothing changes; blocks in postorder settle in few rounds."""
    ends = {block.start: block.end for block in extent.blocks}
    after = {block.start: block.successors for block in extent.blocks}
    changed = True
    while changed:
        changed = False
        for start in extent.postorder:
            current = FRAME_POINTER
            for successor in after[start]:
                current |= live[successor]
            for slot in range(ends[start] - 1, start - 1, -1):
                read, written = effects[slot]
                current = current & ~written | read | FRAME_POINTER
                if live[slot] != current:
                    live[slot] = current
                    changed = True

"""A pointer that a CPU may not have moved while it runs ahead (kernel: sanitize_ptr_alu)."""

from __future__ import annotations

from collections.abc import Callable

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.verifier.state.machine import MachineState
from skep.verifier.state.speculation import mispredicted
from skep.verifier.state.values import Kind, Number, Pointer
from skep.verifier.state.world import World
from skep.verifier.transfer.branch import Branch, Fork


def masked(insn: Instruction, slot: int, world: World, effect: Callable[[MachineState], None]) -> Branch:
    """An addition or subtraction of a register: a pointer that moves by a number that is not known may stay where it
    was, because the mask made the number 0 (kernel: sanitize_ptr_alu).
    """
    speculation = world.speculation
    assert speculation is not None
    is_wide = insn.opcode & op.CLASS_MASK == op.ALU64

    def full(state: MachineState, forks: list[Fork]) -> int:
        dst, src = state.regs[insn.dst], state.regs[insn.src]
        pointer, by = (dst, src) if isinstance(dst, Pointer) else (src, dst)
        if (
            isinstance(pointer, Pointer)
            and pointer.kind is not Kind.PROBED
            and isinstance(by, Number)
            and by.value is None
            and is_wide
            and slot not in speculation.barriers
        ):
            other = mispredicted(state)
            other.regs[insn.dst] = pointer
            forks.append((slot + 1, other))
        effect(state)
        return slot + 1

    return full

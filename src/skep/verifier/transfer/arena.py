"""What casts and arithmetic leave where a pointer into an arena takes part (kernel: adjust_reg_min_max_vals)."""

from __future__ import annotations

from collections.abc import Callable

from skep.isa.instruction import Instruction
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Kind, Pointer, Value, unknown
from skep.verifier.state.world import World

_FROM_ARENA = 1  # imm of a cast from the arena's space to the kernel's

POINTER = Pointer(Kind.ARENA)
"""All pointers into arenas are alike: nothing is known of where they point."""


def cast(insn: Instruction, slot: int, world: World) -> Callable[[MachineState], None]:
    """``dst = addr_space_cast(src, to, from)``: a pointer that can be followed, or a number for user space."""
    dst, follows = insn.dst, insn.imm == _FROM_ARENA
    notes = world.notes

    def full(state: MachineState) -> None:
        state.regs[dst] = POINTER if follows else unknown()
        notes.result(slot, follows)

    return full


def is_arena(value: Value | None) -> bool:
    """Whether it points into an arena."""
    return isinstance(value, Pointer) and value.kind is Kind.ARENA

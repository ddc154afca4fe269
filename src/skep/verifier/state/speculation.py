"""What a CPU may run before it knows better (Spectre), for programs that must not learn addresses.

The kernel walks such paths too, for programs without CAP_PERFMON: the side of a jump that is not taken, and pointer
arithmetic whose number was cut to 0. What would be an error there puts a barrier before the instruction instead
(kernel: do_check, insn_aux_data.nospec, 6.17 and later).
"""

from __future__ import annotations

from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import MISC, ZERO
from skep.verifier.state.values import Pointer, Value, unknown

SCALAR_WINDOW = (1 << 3, 0)  # the arithmetic of numbers alone (BPF_ALU_NON_POINTER)


class Speculation:
    """Facts about instructions on which all paths must agree.

    Attributes:
        barriers: slots before which nothing runs ahead; paths under speculation end there.
        stores: slots of stores that a barrier follows (kernel: nospec_result, against Spectre v4).
        windows: by slot of an addition or subtraction of a register, how its number is masked: flags and limit
            (kernel: alu_state, alu_limit).
        tail_calls: by slot, the map of programs that is called; mixed: slots where it is not always the same one, so
            that the kernel cannot mask the index into it (do_misc_fixups).
        strict: some pointer was moved by a number that is not known, so that paths must not be merged whose numbers
            differ (kernel: explore_alu_limits).
    """

    __slots__ = ("barriers", "mixed", "stores", "strict", "tail_calls", "windows")

    def __init__(self) -> None:
        self.barriers: set[int] = set()
        self.stores: set[int] = set()
        self.windows: dict[int, tuple[int, int]] = {}
        self.tail_calls: dict[int, Value | None] = {}
        self.mixed: set[int] = set()
        self.strict = False

    def tail_call(self, slot: int, programs: Value | None) -> None:
        """A path calls a program of the map in r2."""
        first = self.tail_calls.setdefault(slot, programs)
        if isinstance(first, Pointer) and isinstance(programs, Pointer) and first.map is not programs.map:
            self.mixed.add(slot)


def mispredicted(state: MachineState, *regs: int | None) -> MachineState:
    """The side of a jump that is not taken. Nothing is known there of what was compared (kernel:
    sanitize_speculative_path).
    """
    other = state.copy()
    other.speculative = True
    for reg in regs:
        if reg is not None:
            other.regs[reg] = unknown()
    return other


def needs_barrier(frame: Frame, low: int, size: int, value: Value | None) -> bool:
    """Whether a store to the stack must have been done before anything runs ahead, lest it reads what was there before
    (kernel: check_stack_write_fixed_off, Spectre v4): it stores a pointer, or not over plain bytes.
    """
    if isinstance(value, Pointer):
        return True
    cell = frame.cell((-low - 1) // 8)
    if cell is None:
        return True
    # As the kernel has it: from the end of the cell, wherever the store goes.
    return any(kind not in (MISC, ZERO) for kind in cell.types[8 - size :])

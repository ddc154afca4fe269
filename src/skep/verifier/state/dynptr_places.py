"""Which dynptr a register points to (kernel: dynptr_get_spi, is_dynptr_reg_valid_init)."""

from __future__ import annotations

from skep.verifier.state.dynptrs import CELLS, Dynptr
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Kind, Pointer, Value


def first_cell(pointer: Pointer) -> int | str:
    """Index of the cell at the pointer's address; or the kernel's reason why no dynptr can start there."""
    var = pointer.var
    if var is not None and var.mask:
        return "dynptr has to be at a constant offset"
    off = pointer.off + (var.smin if var is not None else 0)
    if off % 8 or off > -8 * CELLS:
        return f"cannot pass in dynptr at an offset={off}"
    return -off // 8 - 1


def find(state: MachineState, value: Value | None) -> Dynptr | None:
    """The initialised dynptr that a register points to; None: there is none."""
    if not isinstance(value, Pointer):
        return None
    if value.kind is Kind.DYNPTR:
        return value.dynptr if isinstance(value.dynptr, Dynptr) else None
    index = first_cell(value) if value.kind is Kind.STACK else ""
    if isinstance(index, str):
        return None
    cell = state.frames[value.frame].cell(index)
    found = cell.object if cell is not None else None
    return found if isinstance(found, Dynptr) and found.part == 0 else None

"""What stores do to objects on the stack."""

from __future__ import annotations

from collections.abc import Callable

from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import MISC, SPILL, Cell
from skep.verifier.state.stack_objects import StackObject

Displace = Callable[[MachineState, Frame, int, StackObject], None]

DISPLACED: dict[type[StackObject], Displace] = {}
"""By kind: what else happens when a store hits the cell at an index of the frame. Most kinds need nothing."""


def displace(state: MachineState, frame: Frame, low: int, high: int) -> None:
    """Bytes low..high (offsets from r10) are about to be overwritten."""
    for index in range(max(0, -high // 8), -(low // 8)):
        cell = frame.cell(index)
        if cell is not None and cell.object is not None:
            act = DISPLACED.get(type(cell.object))
            if act is not None:
                act(state, frame, index, cell.object)


def torn(cell: Cell, first: int, count: int) -> Cell | None:
    """A store somewhere changed some bytes of an object's cell, nobody knows which: the others still count as its
    (kernel: check_stack_write_var_off). None: the cell has no such bytes.
    """
    if max(cell.types) <= SPILL:
        return None
    return Cell(cell.types[:first] + bytes([MISC] * count) + cell.types[first + count :])

"""Saved interrupt flags on the stack, and the order in which they must be restored (kernel: acquire_irq_state)."""

from __future__ import annotations

from dataclasses import dataclass

from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import ALL_INVALID, IRQ_FLAG, Cell, part_of
from skep.verifier.state.stack_objects import SameId, StackObject


@dataclass(frozen=True, slots=True)
class IrqFlag(StackObject):
    """The flags that one call saved; ``ref`` is their id in :attr:`MachineState.irqs`.

    Attributes:
        by_lock: a lock saved them, and only the function that unlocks may restore them.
    """

    by_lock: bool = False

    def covers(self, new: StackObject, same_id: SameId) -> bool:
        """Saved by the same kind of function."""
        return isinstance(new, IrqFlag) and self.by_lock == new.by_lock and same_id(self.ref, new.ref)


def save(state: MachineState, frame: Frame, index: int, id: int, slot: int, *, by_lock: bool) -> None:
    """The cell at ``index`` holds saved flags now."""
    frame.set_cell(index, part_of(IrqFlag(0, id, by_lock), IRQ_FLAG))
    state.irqs = (*state.irqs, (id, slot))


def restore(state: MachineState, frame: Frame, index: int) -> None:
    """The flags in the cell at ``index``, which were saved last, are restored."""
    cell = frame.cell(index)
    assert cell is not None
    cell.mark_read()
    frame.set_cell(index, Cell(ALL_INVALID))
    state.irqs = state.irqs[:-1]

"""Loops that the program does not count: callbacks. Numbers that change from one round to the next are given up."""

from __future__ import annotations

from skep.verifier.state.machine import MachineState
from skep.verifier.state.stack import Cell
from skep.verifier.state.values import Number, Value, unknown


def widen(previous: MachineState, state: MachineState) -> None:
    """Forget numbers that differ from a round before and that nothing relied on (kernel: widen_imprecise_scalars)."""
    for old, new in zip(previous.frames, state.frames, strict=False):
        for index in range(10):
            value = _widened(old.regs[index], new.regs[index])
            if value is not new.regs[index]:
                new.regs[index] = value
        for index, cell in enumerate(new.stack):
            before = old.cell(index)
            if cell is None or before is None or cell.value is None or cell.types != before.types:
                continue
            value = _widened(before.value, cell.value)
            if value is not cell.value:
                made = Cell(cell.types, value, cell.size, zero=cell.zero)
                made.links = (cell,)
                new.stack[index] = made


def _widened(old: Value | None, new: Value | None) -> Value | None:
    if type(old) is not Number or type(new) is not Number or old is new:
        return new
    if old.precise or new.precise or old.range == new.range:
        return new
    return unknown()

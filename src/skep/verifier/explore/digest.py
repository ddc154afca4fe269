"""What has to be compared of a saved state from which everything is explored: what proofs relied on, and nothing else.

By then nothing that follows can mark more of it, so it is written down once. Marks that come later come from paths that
share a number or cell with the state but do not lead through it; leaving them out is right, and covers more.
"""

from __future__ import annotations

from dataclasses import dataclass

from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import ZERO, Cell
from skep.verifier.state.values import Number, Value


@dataclass(frozen=True, slots=True)
class FrameDigest:
    """One frame.

    Attributes:
        numbers: registers that must hold a number, any.
        values: registers that are compared: pointers, and numbers that a proof relied on.
        cells: stack cells that are read later and must hold the like, by index; the flag says whether their spill is
            compared. The order changes: what told two states apart last time comes first.
        loose: stack cells that are read later, and of which any bytes would do.
    """

    frame: Frame
    numbers: tuple[int, ...]
    values: tuple[tuple[int, Value], ...]
    cells: list[tuple[int, Cell, bool]]
    loose: tuple[tuple[int, Cell], ...]


def make_digest(
    state: MachineState, live: tuple[int, ...], cells: tuple[int, ...], *, strict: bool = False
) -> tuple[FrameDigest, ...]:
    """Write it down.

    Args:
        live, cells: for each frame the registers and stack cells that matter.
        strict: numbers are compared though nothing relied on them.
    """
    return tuple(
        [
            _frame(frame, mask, cell_mask, strict)
            for frame, mask, cell_mask in zip(state.frames, live, cells, strict=True)
        ]
    )


def _frame(frame: Frame, live: int, cells: int, strict_numbers: bool) -> FrameDigest:
    numbers: list[int] = []
    values: list[tuple[int, Value]] = []
    for index, value in enumerate(frame.regs[:10]):
        if value is not None and live >> index & 1:
            if type(value) is Number and not value.precise and not strict_numbers:
                numbers.append(index)
            else:
                values.append((index, value))
    strict: list[tuple[int, Cell, bool]] = []
    loose: list[tuple[int, Cell]] = []
    for index, cell in enumerate(frame.stack):
        if cell is not None and cell.read and cells >> index & 1:
            if _is_loose(cell):
                loose.append((index, cell))
            else:
                strict.append((index, cell, _is_compared(cell.value) or (strict_numbers and cell.value is not None)))
    return FrameDigest(frame, tuple(numbers), tuple(values), strict, tuple(loose))


def _is_loose(cell: Cell) -> bool:
    if cell.value is not None or cell.object is not None or max(cell.types) > ZERO:
        return False
    return not (cell.zero.precise and ZERO in cell.types)


def _is_compared(value: Value | None) -> bool:
    return value is not None and (type(value) is not Number or value.precise)

"""Accesses that touch an object on the stack (kernel: check_stack_read_fixed_off, check_stack_range_initialized)."""

from __future__ import annotations

from collections.abc import Callable

from skep.verifier.requirements.kinds import Requirement, Rule, Violation
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import DYNPTR, IRQ_FLAG, ITERATOR, OBJECTS, SPILL
from skep.verifier.state.stack_objects import StackObject

Overwrite = Callable[[Requirement, MachineState, Frame, int, int, StackObject], Violation | None]

OVERWRITE: dict[type[StackObject], Overwrite] = {}
"""By kind: whether the cell at an index of the frame may be overwritten; the register through which is the fifth
argument. Kinds that are not here always may."""

NAMES = {ITERATOR: "an iterator", DYNPTR: "a dynptr", IRQ_FLAG: "saved interrupt flags"}


def unreadable(need: Requirement, frame: Frame, low: int, high: int, reg: int, prefix: str = "") -> Violation | None:
    """Bytes low..high (offsets from r10) hold no object. ``prefix``: the register's name where the kernel says it."""
    for index in range((-low - 1) // 8, -high // 8 - 1, -1):
        cell = frame.cell(index)
        if cell is None or max(cell.types) <= SPILL:
            continue
        start = -8 * (index + 1)
        for off in range(max(low, start), min(high, start + 8)):
            kind = cell.types[off - start]
            if kind in OBJECTS:
                said = f"invalid read from stack {prefix}off {low}+{off - low} size {high - low}"
                values: dict[str, object] = {"offset": off, "size": high - low, "object": NAMES[kind]}
                return Violation(Rule.STACK_OBJECT, need, said, reg, values)
    return None


def overwritable(
    need: Requirement, state: MachineState, frame: Frame, low: int, high: int, reg: int
) -> Violation | None:
    """Whether a store may hit bytes low..high (offsets from r10)."""
    for index in range(max(0, -high // 8), -(low // 8)):
        cell = frame.cell(index)
        rule = OVERWRITE.get(type(cell.object)) if cell is not None and cell.object is not None else None
        if rule is not None and cell is not None and cell.object is not None:
            violation = rule(need, state, frame, index, reg, cell.object)
            if violation is not None:
                return violation
    return None

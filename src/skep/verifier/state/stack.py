"""Eight bytes of stack: what each byte is, and the value that was spilled there.

Cells are immutable but for the mark ``read``: a saved state compares only cells that some path read afterwards (or may
yet).
"""

from __future__ import annotations

from skep.verifier.state.stack_objects import StackObject
from skep.verifier.state.values import Pointer, Value

INVALID, MISC, ZERO, SPILL = 0, 1, 2, 3
ITERATOR, DYNPTR, IRQ_FLAG = 4, 5, 6  # bytes of objects that only kernel functions and helpers touch
OBJECTS = frozenset({ITERATOR, DYNPTR, IRQ_FLAG})

ALL_INVALID = bytes([INVALID] * 8)
ALL_MISC = bytes([MISC] * 8)
ALL_ZERO = bytes([ZERO] * 8)
ALL_SPILL = bytes([SPILL] * 8)


class Cell:
    """One aligned cell.

    Attributes:
        types: for each byte in address order INVALID (never written), MISC (anything), ZERO, SPILL (part of ``value``),
            or one of OBJECTS (part of ``object``).
        value: what was spilled: its low ``size`` bytes lie at the cell's start. None: nothing.
        size: bytes of the spill, 8 for pointers.
        object: the stack object that the cell is a part of. None with bytes of OBJECTS: something wrote over others.
        read: some path has read it since it was written.
        links: cells in covered states that must be marked read with this one.
    """

    __slots__ = ("links", "object", "read", "size", "types", "value")

    def __init__(
        self, types: bytes, value: Value | None = None, size: int = 8, object: StackObject | None = None
    ) -> None:
        self.types = types
        self.value = value
        self.size = size
        self.object = object
        self.read = False
        self.links: tuple[Cell, ...] = ()

    def mark_read(self) -> None:
        """Some path reads it."""
        if self.read:
            return
        pending = [self]
        while pending:
            cell = pending.pop()
            if not cell.read:
                cell.read = True
                pending.extend(cell.links)
                cell.links = ()

    def follow(self, other: Cell) -> None:
        """If this cell is ever read, ``other`` (in a covered state) counts as read too."""
        if self.read:
            other.mark_read()
        elif other is not self:
            self.links = (*self.links, other)

    def __repr__(self) -> str:
        return f"Cell({''.join('?m0sidf'[t] for t in self.types)}, {self.object or self.value})"


def spilled(value: Value, size: int, previous: Cell | None) -> Cell:
    """A cell whose first ``size`` bytes are a spilled value; the rest keeps what it was, without its spill."""
    if size == 8:
        return Cell(ALL_SPILL, value)
    rest = ALL_INVALID if previous is None else scrubbed(previous).types
    made = Cell(bytes([SPILL] * size) + rest[size:], value, size)
    _keep_link(made, previous)
    return made


def scrubbed(cell: Cell) -> Cell:
    """The cell after its spill or object was destroyed in part: the bytes that remain of it become MISC."""
    if cell.value is None and max(cell.types) <= SPILL:
        return cell
    made = Cell(bytes(MISC if t >= SPILL else t for t in cell.types))
    _keep_link(made, cell)
    return made


def _keep_link(made: Cell, previous: Cell | None) -> None:
    """Bytes of ``previous`` live on in ``made``: a read of these is a read of those."""
    if previous is not None:
        made.links = (previous,)


def overwritten(cell: Cell | None, first: int, size: int, kind: int) -> Cell:
    """The cell after bytes ``first`` .. ``first + size`` became MISC or ZERO."""
    if size == 8:
        return Cell(ALL_ZERO if kind == ZERO else ALL_MISC)
    types = ALL_INVALID if cell is None else scrubbed(cell).types
    made = Cell(types[:first] + bytes([kind] * size) + types[first + size :])
    _keep_link(made, cell)
    return made


def part_of(object: StackObject, kind: int) -> Cell:
    """A cell that belongs to a stack object."""
    return Cell(bytes([kind] * 8), object=object)


def object_index(pointer: Pointer, cells: int) -> int | None:
    """Index of the cell at the lowest address of an object of so many cells; None: an object cannot be there
    (kernel: stack_slot_obj_get_spi).
    """
    if pointer.var is not None and pointer.var.mask:
        return None
    off = pointer.off + pointer.low
    index = (-off - 1) // 8
    return index if off % 8 == 0 and index + 1 >= cells else None


def holds_pointer(cell: Cell) -> bool:
    """Whether a pointer is spilled here."""
    return isinstance(cell.value, Pointer)

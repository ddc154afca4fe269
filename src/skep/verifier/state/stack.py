"""Eight bytes of stack: what each byte is, and the value that was spilled there.

Cells are immutable but for the mark ``read``: a saved state compares only cells that some path read afterwards (or may
yet).
"""

from __future__ import annotations

from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.stack_objects import StackObject
from skep.verifier.state.values import Number, Pointer, Value

INVALID, MISC, ZERO, SPILL = 0, 1, 2, 3
ITERATOR, DYNPTR, IRQ_FLAG = 4, 5, 6  # bytes of objects that only kernel functions and helpers touch
OBJECTS = frozenset({ITERATOR, DYNPTR, IRQ_FLAG})

_RELIED_ZERO = Number(Scalar.ZERO)
_RELIED_ZERO.precise = True

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
        zero: the number 0 that its ZERO bytes hold: whether a proof relied on it, and where it came from. Where nobody
            says, one that was relied on.
    """

    __slots__ = ("links", "object", "read", "size", "types", "value", "zero")

    def __init__(
        self,
        types: bytes,
        value: Value | None = None,
        size: int = 8,
        object: StackObject | None = None,
        zero: Number | None = None,
    ) -> None:
        self.types = types
        self.value = value
        self.size = size
        self.object = object
        self.zero = zero or _RELIED_ZERO
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
    made = Cell(bytes([SPILL] * size) + rest[size:], value, size, zero=None if previous is None else previous.zero)
    _keep_link(made, previous)
    return made


def scrubbed(cell: Cell) -> Cell:
    """The cell after its spill or object was destroyed in part: the bytes that remain of it become MISC."""
    if cell.value is None and max(cell.types) <= SPILL:
        return cell
    made = Cell(bytes(MISC if t >= SPILL else t for t in cell.types), zero=cell.zero)
    _keep_link(made, cell)
    return made


def _keep_link(made: Cell, previous: Cell | None) -> None:
    """Bytes of ``previous`` live on in ``made``: a read of these is a read of those."""
    if previous is not None:
        made.links = (previous,)


def overwritten(cell: Cell | None, first: int, size: int, zero: Number | None = None) -> Cell:
    """The cell after bytes ``first`` .. ``first + size`` became MISC; ZERO where ``zero`` was stored."""
    kind = MISC if zero is None else ZERO
    if size == 8:
        return Cell(ALL_MISC) if zero is None else Cell(ALL_ZERO, zero=_zero_from(zero))
    types = ALL_INVALID if cell is None else scrubbed(cell).types
    types = types[:first] + bytes([kind] * size) + types[first + size :]
    made = Cell(types, zero=_common_zero(cell, zero))
    _keep_link(made, cell)
    return made


def _zero_from(value: Number) -> Number:
    """The zero of bytes to which ``value`` was stored."""
    return Number(Scalar.ZERO, () if value.precise else (value,))


def _common_zero(cell: Cell | None, zero: Number | None) -> Number | None:
    """The zero of a cell in which some bytes may have been ZERO before, and some are now."""
    if zero is None:
        return None if cell is None else cell.zero
    if cell is None or ZERO not in cell.types:
        return _zero_from(zero)
    if cell.zero is _RELIED_ZERO:  # where it came from is not known
        zero.rely()
        return None
    return Number(Scalar.ZERO, tuple(number for number in (cell.zero, zero) if not number.precise))


def renewed_zero(cell: Cell) -> Number:
    """The same zero, as if nothing had relied on it yet; what it came from is marked already if something did."""
    known = cell.zero
    return Number(Scalar.ZERO) if known.precise and known is not _RELIED_ZERO else known


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

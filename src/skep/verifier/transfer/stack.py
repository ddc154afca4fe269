"""Reads and writes of stack memory (kernel: check_stack_read_fixed_off, check_stack_write_fixed_off and their kin)."""

from __future__ import annotations

from collections.abc import Iterator

from skep.verifier.domains import alu
from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.speculation import needs_barrier
from skep.verifier.state.stack import INVALID, MISC, SPILL, ZERO, Cell, overwritten, spilled
from skep.verifier.state.values import Kind, Number, Pointer, Value, unknown
from skep.verifier.state.world import World
from skep.verifier.transfer import stack_objects


def _span(pointer: Pointer, offset: int) -> tuple[int, int]:
    """Lowest and highest offset from r10 that the pointer may mean."""
    off = pointer.off + offset
    var = pointer.var
    return (off, off) if var is None else (off + var.smin, off + var.smax)


def read(frame: Frame, pointer: Pointer, offset: int, size: int, world: World) -> Value:
    """What a load gives, before it is cut to size."""
    low, high = _span(pointer, offset)
    world.notes.stack(frame.start, -low)
    if low != high:
        return _read_bytes(frame, low, high + size, world)
    index, rest = divmod(-low - 1, 8)
    first = 7 - rest
    cell = frame.cell(index)
    if cell is None:
        world.notes.reads_uninit_stack = True
        return unknown()
    cell.mark_read()
    value = cell.value
    if value is None or cell.types[first] != SPILL:
        return _read_bytes(frame, low, low + size, world)
    if first == 0 and size <= cell.size:
        if isinstance(value, Number):
            if size == cell.size or value.range.umax >> (8 * size) == 0:
                value.shared = True
            return value
        return value
    return _read_bytes(frame, low, low + size, world, spill=True)


def _read_bytes(frame: Frame, low: int, high: int, world: World, *, spill: bool = False) -> Number:
    """Bytes low..high that are no whole spill: 0 if all are known to be, else anything.

    ``spill``: the bytes of a spilled constant 0 count, where all of them are its (kernel: check_stack_read_fixed_off).
    """
    zeros, spilled_zeros = 0, 0
    source: Number | None = None
    origins: dict[int, Number] = {}
    for off in range(low, high):
        index, rest = divmod(-off - 1, 8)
        cell = frame.cell(index)
        if cell is None:
            world.notes.reads_uninit_stack = True
            continue
        cell.mark_read()
        kind = cell.types[7 - rest]
        if kind == INVALID:
            world.notes.reads_uninit_stack = True
        elif kind == ZERO:
            zeros += 1
            origins[id(cell.zero)] = cell.zero
        elif kind == SPILL and isinstance(cell.value, Number) and cell.value.value == 0:
            spilled_zeros += 1
            source = cell.value
    if zeros == high - low:
        return Number(Scalar.ZERO, tuple(zero for zero in origins.values() if not zero.precise))
    if spill and source is not None and spilled_zeros == high - low:
        return Number(Scalar.ZERO, () if source.precise else (source,))
    return unknown()


def write(state: MachineState, pointer: Pointer, offset: int, size: int, value: Value, world: World, slot: int) -> None:
    """A store of ``value`` by the instruction at ``slot``."""
    frame = state.frames[pointer.frame]
    low, high = _span(pointer, offset)
    world.notes.stack(frame.start, -low)
    stack_objects.displace(state, frame, low, high + size)
    if isinstance(value, Pointer) and value.kind is Kind.DYNPTR:
        value = unknown()  # not one of the kinds that are remembered (kernel: is_spillable_regtype)
    if low != high:
        _write_somewhere(frame, low, high + size, value, world)
        return
    if world.speculation is not None and needs_barrier(frame, low, size, value):
        world.speculation.stores.add(slot)
    index, rest = divmod(-low - 1, 8)
    first = 7 - rest
    old = frame.cell(index)
    if first == 0:
        if isinstance(value, Number):
            value = _cut(value, size)
        frame.set_cell(index, spilled(value, size, old))
        return
    zero = None
    if isinstance(value, Number) and value.value is not None and value.value & ((1 << 8 * size) - 1) == 0:
        zero = value
    frame.set_cell(index, overwritten(old, first, size, zero))


def _cut(value: Number, size: int) -> Number:
    """The low ``size`` bytes of a number, linked with it if that is all of it."""
    if size == 8 or value.range.umax >> (8 * size) == 0:
        value.shared = True
        return value
    return Number(alu.truncate(value.range, size), () if value.precise else (value,))


def _pieces(low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """Bytes low..high cell by cell: index, first byte in the cell, number of bytes."""
    while low < high:
        index, rest = divmod(-low - 1, 8)
        count = min(rest + 1, high - low)
        yield index, 7 - rest, count
        low += count


def _write_somewhere(frame: Frame, low: int, high: int, value: Value | None, world: World) -> None:
    """A store to one place among bytes low..high: any of them may have changed (kernel: check_stack_write_var_off)."""
    zero = value if isinstance(value, Number) and value.value == 0 else None
    world.notes.stack(frame.start, -low)
    for index, first, count in _pieces(low, high):
        cell = frame.cell(index) or Cell(bytes(8))
        kinds = cell.types[first : first + count]
        if INVALID in kinds:
            world.notes.reads_uninit_stack = True
        if zero is not None:
            _write_zero_somewhere(frame, index, first, kinds, zero)
        elif cell.value is not None or kinds.count(MISC) < count:
            frame.set_cell(index, stack_objects.torn(cell, first, count) or overwritten(cell, first, count))


def _write_zero_somewhere(frame: Frame, index: int, first: int, kinds: bytes, zero: Number) -> None:
    """Bytes that are known to be 0 stay so."""
    for place, kind in enumerate(kinds, start=first):
        cell = frame.cell(index) or Cell(bytes(8))
        if kind == SPILL and isinstance(cell.value, Number) and cell.value.value == 0:
            zero.rely()
            cell.value.rely()
        elif kind == ZERO:
            zero.rely()
            cell.zero.rely()
        else:
            frame.set_cell(index, stack_objects.torn(cell, place, 1) or overwritten(cell, place, 1))


def clobber(
    state: MachineState, pointer: Pointer, offset: int, size: int, world: World, *, fills: bool = False
) -> None:
    """Somebody wrote something to ``size`` bytes. ``fills``: to all of them."""
    frame = state.frames[pointer.frame]
    low, high = _span(pointer, offset)
    if size == 0:
        return
    world.notes.stack(frame.start, -low)
    stack_objects.displace(state, frame, low, high + size)
    if low != high or not fills:
        _write_somewhere(frame, low, high + size, None, world)
        return
    for index, first, count in _pieces(low, low + size):
        frame.set_cell(index, overwritten(frame.cell(index), first, count))


def used(frame: Frame, pointer: Pointer, size: int, world: World) -> None:
    """A helper reads ``size`` bytes."""
    low, high = _span(pointer, 0)
    if size == 0:
        return
    world.notes.stack(frame.start, -low)
    for index, first, count in _pieces(low, high + size):
        cell = frame.cell(index)
        if cell is None:
            world.notes.reads_uninit_stack = True
            continue
        cell.mark_read()
        if INVALID in cell.types[first : first + count]:
            world.notes.reads_uninit_stack = True

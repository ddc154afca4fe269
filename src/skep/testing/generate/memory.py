"""Blocks that touch memory: stack, packet, map values, ring records; through constant and through computed offsets."""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.testing.generate.arithmetic import index
from skep.testing.generate.code import (
    CONTEXT,
    END,
    FIRST_STACK,
    LAST_STACK,
    PACKET,
    POINTER_AT,
    SCRATCH,
    Function,
    Label,
)

LOOKUP, RESERVE, SUBMIT, DISCARD = 1, 131, 132, 133
SIZES = (1, 2, 4, 8)
_ATOMICS = (op.ATOMIC_ADD, op.ATOMIC_OR, op.ATOMIC_AND, op.ATOMIC_XOR)
KEYED = (MapType.ARRAY, MapType.HASH, MapType.PERCPU_ARRAY, MapType.LRU_HASH, MapType.PERCPU_HASH)
KEYS = 4  # how many different keys programs use


def stack(f: Function) -> None:
    """A store and a load, of any sizes, where stores of other sizes were."""
    size = f.chance.choice(SIZES)
    off = f.stack_offset(size)
    if f.chance.random() < 0.25:
        f.store_imm(10, off, size, f.imm())
    else:
        f.store(10, off, size, f.number())
    if f.chance.random() < 0.7:
        size = f.chance.choice(SIZES)
        r = f.temporary()
        near = max(FIRST_STACK, min(LAST_STACK + 8 - size, off // size * size))
        f.load(r, 10, near, size, signed=size < 8 and f.chance.random() < 0.2)
        f.scalars.add(r)


def stack_variable(f: Function) -> None:
    """An access at a computed place of the stack."""
    size = f.chance.choice(SIZES)
    room = LAST_STACK + 8 - FIRST_STACK
    limit = room - size + _jitter(f)
    r = index(f, max(limit, 0))
    base = f.temporary(r)
    f.scalars.discard(base)
    f.move(base, 10)
    f.add(base, FIRST_STACK)
    f.emit(op.ALU64 | op.ADD | op.X, base, r)
    _use(f, base, 0, size, writable=True)


def atomic(f: Function) -> None:
    """An atomic operation on the stack."""
    size = f.chance.choice((4, 8))
    _atomic(f, 10, f.stack_offset(size), size)


def _atomic(f: Function, base: int, off: int, size: int) -> None:
    width = op.DW if size == 8 else op.W
    source = f.number()
    kind = f.chance.randrange(4)
    if kind == 0:
        f.emit(op.STX | op.ATOMIC | width, base, source, off, f.chance.choice(_ATOMICS))
        return
    if source in f.busy or (kind == 3 and 0 in f.busy):
        return
    if kind == 1:
        f.emit(op.STX | op.ATOMIC | width, base, source, off, f.chance.choice(_ATOMICS) | op.FETCH)
    elif kind == 2:
        f.emit(op.STX | op.ATOMIC | width, base, source, off, op.XCHG)
    elif 0 in f.scalars and base != 0:
        f.emit(op.STX | op.ATOMIC | width, base, source, off, op.CMPXCHG)


def _jitter(f: Function) -> int:
    """How far from right a limit is."""
    return f.chance.choice((1, 1, 2, 8, -1)) if f.slip(0.15) else 0


def _use(f: Function, base: int, off: int, size: int, *, writable: bool, atomics: bool = False) -> None:
    """Load or store at a checked place."""
    kind = f.chance.random()
    with f.keeping(base):
        if atomics and kind < 0.15 and size >= 4 and off % size == 0:
            _atomic(f, base, off, size)
        elif writable and kind < 0.5:
            if f.chance.random() < 0.3:
                f.store_imm(base, off, size, f.imm())
            else:
                f.store(base, off, size, f.number())
        else:
            r = base if f.chance.random() < 0.2 and base not in (PACKET, END, CONTEXT, 10) else f.temporary(base)
            f.load(r, base, off, size, signed=size < 8 and f.chance.random() < 0.2)
            f.scalars.add(r)


def ordered(f: Function) -> None:
    """A load with acquire or a store with release semantics."""
    size = f.chance.choice(SIZES)
    width = {1: op.B, 2: op.H, 4: op.W, 8: op.DW}[size]
    off = f.stack_offset(size)
    if f.chance.random() < 0.5:
        f.emit(op.STX | op.ATOMIC | width, 10, f.number(), off, op.STORE_RELEASE)
    else:
        r = f.temporary()
        f.emit(op.STX | op.ATOMIC | width, r, 10, off, op.LOAD_ACQUIRE)
        f.scalars.add(r)


def _through_stack(f: Function, base: int, *besides: int) -> int:
    """Spill a pointer and fill it again; a register with it."""
    f.store(10, POINTER_AT, 8, base)
    if f.slip(0.1):
        f.store_imm(10, POINTER_AT + f.chance.randrange(8), 1, 0)
    if base not in (PACKET, END, CONTEXT, 10) and f.chance.random() < 0.5:
        f.load(base, 10, POINTER_AT, 8)
        return base
    r = f.temporary(base, *besides)
    f.scalars.discard(r)
    f.load(r, 10, POINTER_AT, 8)
    return r


# ---- packet ----


def check_packet(f: Function) -> None:
    """Load the packet's bounds and check some bytes of it."""
    f.checked = 0
    start, end = {ProgType.XDP: (0, 4)}.get(f.prog_type, (76, 80))
    f.load(PACKET, CONTEXT, start, 4)
    f.load(END, CONTEXT, end, 4)
    length = f.chance.choice((1, 2, 8, 14, 15, 16, 20, 34, 34, 42, 54, 60))
    r = f.temporary()
    f.scalars.discard(r)
    f.move(r, PACKET)
    f.add(r, length)
    _against_end(f, r)
    if f.slip(0.1):
        length += f.chance.choice((1, 1, 4))
    f.checked = length


def _against_end(f: Function, r: int) -> None:
    """Fail unless r <= end."""
    kind = f.chance.randrange(6)
    if kind < 3:
        f.jump(f.fail, op.JMP | op.JGT | op.X, r, END)
    elif kind == 3:
        f.jump(f.fail, op.JMP | op.JLT | op.X, END, r)
    else:
        good = Label()
        if kind == 4:
            f.jump(good, op.JMP | op.JLE | op.X, r, END)
        else:
            f.jump(good, op.JMP | op.JGE | op.X, END, r)
        f.jump(f.fail)
        f.place(good)


def packet(f: Function) -> None:
    """An access at a constant offset of the packet."""
    if not f.checked or (f.is_main and f.chance.random() < 0.15):
        if not f.is_main:
            return
        check_packet(f)
    size = f.chance.choice([size for size in SIZES if size <= f.checked])
    off = f.chance.choice((f.checked - size, f.chance.randrange(f.checked - size + 1))) + _jitter(f)
    _use(f, PACKET, off, size, writable=True)


def packet_length(f: Function) -> None:
    """The difference of two packet pointers."""
    if f.checked and f.is_main:
        r = f.temporary()
        f.move(r, END)
        f.emit(op.ALU64 | op.SUB | op.X, r, PACKET)
        f.scalars.add(r)


def packet_variable(f: Function) -> None:
    """An access at a computed offset, with a check of its own."""
    if not f.is_main:
        return
    if not f.checked:
        check_packet(f)
    r = index(f, f.chance.choice((7, 15, 60, 255, 1500, 0xFFFF)))
    base = f.temporary(r)
    f.scalars.discard(base)
    f.move(base, PACKET)
    f.emit(op.ALU64 | op.ADD | op.X, base, r)
    f.scalars.discard(r)
    size = f.chance.choice(SIZES)
    before = f.chance.choice((0, 0, 0, 2, 14))
    if before:
        f.add(base, before)
    if f.slip(0.05):
        _use(f, base, 0, size, writable=True)
        return
    end = f.temporary(base)
    f.scalars.discard(end)
    f.move(end, base)
    f.add(end, size)
    _against_end(f, end)
    _use(f, base, _jitter(f) - (before if f.chance.random() < 0.2 else 0), size, writable=True)


# ---- maps ----


def key_on_stack(f: Function, size: int, entries: int) -> int:
    """Write a key; its offset from r10."""
    off = SCRATCH
    value = f.chance.randrange(entries + 1)
    source = f.number()
    if f.chance.random() < 0.6:
        f.store_imm(10, off, size, value)
        return off
    r = f.temporary()
    f.move(r, source)
    f.emit(op.ALU64 | op.AND | op.K, r, imm=3)
    f.store(10, off, size, r)
    f.scalars.add(r)
    return off


def point(f: Function, r: int, off: int) -> None:
    """r = r10 + off."""
    f.move(r, 10)
    f.add(r, off)


def lookup(f: Function, name: str) -> Label:
    """r0 = the value of some key, not NULL; where there is none, at the label returned (to be placed)."""
    spec = f.maps[name]
    off = key_on_stack(f, spec.key_size, min(spec.max_entries, KEYS))
    point(f, 2, off)
    f.load_map(1, name)
    f.call(LOOKUP)
    missing = Label()
    if not f.slip(0.05):
        f.jump(missing, op.JMP | op.JEQ | op.K, 0, imm=0)
    return missing


def map_value(f: Function) -> None:
    """Accesses of a map's value, at constant and computed offsets."""
    name = f.chance.choice([name for name, spec in f.maps.items() if spec.type in KEYED and spec.contents is None])
    size = f.maps[name].value_size
    missing = lookup(f, name)
    with f.apart():
        base = f.chance.choice((0, 0, 3))
        if base:
            f.move(base, 0)
        with f.keeping(base):
            for _ in range(f.chance.randint(1, 3)):
                _in_region(f, base, size)
    f.scalars.discard(base)
    f.scalars.discard(0)
    f.place(missing)


def data(f: Function) -> None:
    """Global variables: one that changes, one that is known."""
    name = f.chance.choice((".data", ".rodata"))
    spec = f.maps[name]
    r = f.temporary()
    f.scalars.discard(r)
    start = f.chance.choice((0, 0, 4, 8))
    f.load_value(r, name, start)
    with f.keeping(r):
        _in_region(f, r, spec.value_size - start, writable=not spec.frozen or f.slip(0.1))


def record(f: Function) -> None:
    """A ring buffer record: reserved, written, given back on every path."""
    size = f.chance.choice((8, 16, 24, 40))
    f.load_map(1, "ring")
    f.set(2, size)
    f.set(3, 0)
    f.call(RESERVE)
    missing, outer = Label(), f.fail
    f.jump(missing, op.JMP | op.JEQ | op.K, 0, imm=0)
    with f.apart():
        kept = 9 if 9 not in f.busy else None
        if kept is None:
            f.move(1, 0)
        else:
            f.move(kept, 0)
            f.scalars.discard(kept)
            done = Label()
            f.fail = done if not f.slip(0.1) else outer
            with f.keeping(kept):
                for _ in range(f.chance.randint(1, 2)):
                    _in_region(f, kept, size)
            f.fail = outer
            f.place(done)
            f.move(1, kept)
        f.set(2, 0)
        f.call(f.chance.choice((SUBMIT, DISCARD)))
    if kept is not None:
        f.scalars.discard(kept)
    f.place(missing)
    if kept is not None:
        f.set(kept, f.chance.randrange(100))
        f.scalars.add(kept)


def given(f: Function) -> None:
    """The memory that a subprogram was given."""
    if f.memory is not None:
        with f.keeping(f.memory[0]):
            _in_region(f, *f.memory)


def _in_region(f: Function, base: int, size: int, *, writable: bool = True) -> None:
    """One access somewhere in base..base+size."""
    width = f.chance.choice([width for width in SIZES if width <= size])
    if f.chance.random() < 0.35:
        off = f.chance.choice((0, size - width, f.chance.randrange(size - width + 1) // width * width))
        _use(f, base, off + _jitter(f), width, writable=writable, atomics=True)
        return
    off = f.chance.choice((0, 0, 0, f.chance.randrange(size - width + 1)))
    limit = size - width - off + _jitter(f)
    r = index(f, max(limit, 0), base)
    place = f.temporary(r, base)
    f.scalars.discard(place)
    if f.chance.random() < 0.15:
        base = _through_stack(f, base, r)
        f.move(place, base)
        f.emit(op.ALU64 | op.ADD | op.X, place, r)
    elif f.chance.random() < 0.7:
        f.move(place, base)
        f.emit(op.ALU64 | op.ADD | op.X, place, r)
    else:
        f.move(place, r)
        f.emit(op.ALU64 | op.ADD | op.X, place, base)
    if f.chance.random() < 0.1:  # away and back
        step = f.chance.choice((8, 100, 4096))
        f.add(place, step)
        f.add(place, -step)
    _use(f, place, off, width, writable=writable, atomics=False)


MEMORY_BLOCKS: tuple[tuple[Callable[[Function], None], int], ...] = (
    (stack, 8),
    (stack_variable, 3),
    (atomic, 2),
    (packet, 5),
    (packet_variable, 4),
    (packet_length, 1),
    (ordered, 1),
    (map_value, 6),
    (data, 4),
    (record, 1),
    (given, 4),
)

"""Blocks that call: map helpers, packet helpers, subprograms, bpf_loop, tail calls; and legacy packet loads."""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.testing.generate.arithmetic import index
from skep.testing.generate.code import CONTEXT, FIRST_STACK, SCRATCH, Function
from skep.testing.generate.memory import KEYS, key_on_stack, point

UPDATE, DELETE, TAIL_CALL, SKB_LOAD, CSUM_DIFF, PULL_DATA = 2, 3, 12, 26, 28, 39
ADJUST_HEAD, ADJUST_TAIL, PUSH, POP, PEEK, XDP_LOAD = 44, 65, 87, 88, 89, 189
VALUE_AT = -264  # values for helpers: up to 64 bytes, below keys and the counters of loops


def update(f: Function) -> None:
    """bpf_map_update_elem."""
    name = f.chance.choice(("array", "hash", "lru", "percpu_hash"))
    spec = f.maps[name]
    off = key_on_stack(f, spec.key_size, min(spec.max_entries, KEYS))
    for place in range(0, spec.value_size, 8):
        f.store(10, VALUE_AT + place, 8, f.number())
    point(f, 2, off)
    point(f, 3, VALUE_AT)
    f.load_map(1, name)
    f.set(4, f.chance.choice((0, 0, 0, 1, 2)))
    f.call(UPDATE)
    f.scalars.add(0)


def delete(f: Function) -> None:
    """bpf_map_delete_elem."""
    name = f.chance.choice(("hash", "lru"))
    point(f, 2, key_on_stack(f, f.maps[name].key_size, KEYS))
    f.load_map(1, name)
    f.call(DELETE)
    f.scalars.add(0)


def queue(f: Function) -> None:
    """Push, pop or peek."""
    helper = f.chance.choice((PUSH, PUSH, POP, PEEK))
    if helper == PUSH:
        f.store(10, SCRATCH, 8, f.number())
        f.set(3, f.chance.choice((0, 0, 2)))
    point(f, 2, SCRATCH)
    f.load_map(1, "queue")
    f.call(helper)
    f.scalars.add(0)
    if helper != PUSH:
        r = f.temporary(0)
        f.load(r, 10, SCRATCH, 8)  # zero where there was none to pop: helpers clear what they cannot fill
        f.scalars.add(r)


def load_bytes(f: Function) -> None:
    """bpf_skb_load_bytes or bpf_xdp_load_bytes, of a length that is computed, to the stack."""
    if not f.is_main:
        return
    room = -FIRST_STACK
    exact = f.chance.random() < 0.4
    if exact:
        size = f.chance.randint(1, room) + (f.chance.choice((1, 4)) if f.slip(0.1) else 0)
        f.set(4, size)
    else:
        r = index(f, room - 1)
        f.add(r, 0 if f.slip(0.1) else 1)
        if r != 4:
            f.move(4, r)
    f.scalars.discard(4)
    with f.keeping(4):
        if f.chance.random() < 0.5:
            f.set(2, f.chance.choice((0, 1, 14, 30, 60)))
        else:
            r = index(f, 63, 4)
            if r != 2:
                f.move(2, r)
    point(f, 3, FIRST_STACK)
    f.move(1, CONTEXT)
    f.call(XDP_LOAD if f.prog_type is ProgType.XDP else SKB_LOAD)
    f.scalars.add(0)


def checksum(f: Function) -> None:
    """bpf_csum_diff over a part of the stack."""
    if f.prog_type is ProgType.SOCKET_FILTER:
        return
    r = index(f, 64 // 4 - 1)
    f.emit(op.ALU64 | op.LSH | op.K, r, imm=2)
    if r != 4:
        f.move(4, r)
    point(f, 3, FIRST_STACK)
    f.set(1, 0)
    f.set(2, 0)
    f.set(5, f.chance.getrandbits(16))
    f.call(CSUM_DIFF)
    f.scalars.add(0)


def resize(f: Function) -> None:
    """Move the packet's bounds; what was checked before is not checked any more."""
    if not f.is_main or f.prog_type is ProgType.SOCKET_FILTER:
        return
    if f.prog_type is ProgType.XDP:
        helper = f.chance.choice((ADJUST_HEAD, ADJUST_TAIL))
        f.set(2, f.chance.choice((-16, -4, -1, 0, 1, 4, 14)) if helper == ADJUST_HEAD else f.chance.choice((-8, -1, 0)))
    else:
        helper = PULL_DATA
        f.set(2, f.chance.choice((0, 14, 60)))
    f.move(1, CONTEXT)
    f.call(helper)
    f.scalars.add(0)
    if not f.slip(0.3):
        f.forget_packet()


def tail_call(f: Function) -> None:
    """bpf_tail_call: to a small program, to itself never, or to nothing."""
    if not f.is_main:
        return
    f.load_map(2, "jumps")
    if f.chance.random() < 0.6:
        f.set(3, f.chance.choice((0, 1, 1, 1, 7)))
    else:
        r = index(f, 7, 2)
        if r != 3:
            f.move(3, r)
    f.move(1, CONTEXT)
    f.call(TAIL_CALL)


def legacy(f: Function) -> None:
    """LD_ABS, LD_IND; a load outside the packet ends the program."""
    if f.prog_type is ProgType.XDP or not f.is_main:
        return
    size = f.chance.choice((op.B, op.H, op.W))
    if f.chance.random() < 0.5:
        f.emit(op.LD | op.ABS | size, imm=f.chance.choice((0, 12, 14, 23, 40, 59, 200)))
    else:
        r = index(f, 40)
        f.emit(op.LD | op.IND | size, src=r, imm=f.chance.choice((0, 1, 14)))
    f.scalars -= {1, 2, 3, 4, 5}
    f.scalars.add(0)


def context_write(f: Function) -> None:
    """mark, cb and others that programs may write."""
    if not f.is_main or f.prog_type is ProgType.XDP:
        return
    off = f.chance.choice((48, 52, 56, 60, 64) if f.prog_type is ProgType.SOCKET_FILTER else (8, 32, 48, 52, 64))
    f.store(CONTEXT, off, 4, f.number())


CALL_BLOCKS: tuple[tuple[Callable[[Function], None], int], ...] = (
    (update, 3),
    (delete, 1),
    (queue, 1),
    (load_bytes, 4),
    (checksum, 2),
    (resize, 1),
    (tail_call, 1),
    (legacy, 2),
    (context_write, 2),
)

"""Whole programs: blocks inside branches and loops, subprograms, callbacks; the maps they use and packets to run on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.model.maps import MapSpec, Slot
from skep.testing.generate.arithmetic import alu, bound, compare, index
from skep.testing.generate.calls import CALL_BLOCKS
from skep.testing.generate.code import CONTEXT, FIRST_STACK, LAST_STACK, LOOPS, SCALAR, SCRATCH, Function, Label
from skep.testing.generate.memory import MEMORY_BLOCKS, check_packet, lookup, point

LOOP = 181
MAX_DEPTH = 3
TYPES = (ProgType.XDP,) * 5 + (ProgType.SCHED_CLS,) * 4 + (ProgType.SOCKET_FILTER,)
RDONLY_PROG = 1 << 7


@dataclass(frozen=True, slots=True)
class Sample:
    """A generated program with all it takes to run it.

    Attributes:
        seed: makes the same again; for a mutant, that of the program it was made from.
        insns: maps are names.
        target: the program at index 1 of the map ``jumps``, of the same type.
        packets: what to run it on, one after the other on the same maps.
        mutation: seed of the mutation, None for a program as generated.
    """

    seed: int
    prog_type: ProgType
    insns: tuple[Instruction, ...] = field(repr=False)
    maps: tuple[MapSpec, ...] = field(repr=False)
    target: tuple[Instruction, ...] = field(repr=False, default=())
    packets: tuple[bytes, ...] = field(repr=False, default=())
    mutation: int | None = None


def generate(seed: int, *, wildness: float | None = None, runs: int = 3) -> Sample:
    """A program.

    Args:
        seed: the same seed (and version of skep) gives the same program.
        wildness: how often checks are wrong on purpose: 0 never, 1 often; None: chosen by the seed.
        runs: how many packets.
    """
    chance = random.Random(seed)
    prog_type = chance.choice(TYPES)
    if wildness is None:
        wildness = chance.choice((0.0, 0.0, 0.3, 1.0))
    maps = {spec.name: spec for spec in _maps(chance)}
    insns = _Program(chance, prog_type, maps, wildness).build()
    used = {insn.ref.name for insn in insns if insn.ref is not None}
    packets = tuple(make_packet(chance) for _ in range(runs))
    target = (
        Instruction(op.LDX | op.MEM | op.W, 0, 1, 16),
        Instruction(op.ALU | op.ADD | op.K, 0, imm=chance.choice((0, 1, 500, 999))),
        Instruction(op.JMP | op.EXIT),
    )
    return Sample(seed, prog_type, insns, tuple(m for m in maps.values() if m.name in used), target, packets)


def _maps(chance: random.Random) -> Iterator[MapSpec]:
    sizes = (8, 16, 24, 48, 64)
    yield MapSpec("array", MapType.ARRAY, 4, chance.choice(sizes), 4)
    yield MapSpec("hash", MapType.HASH, chance.choice((4, 8)), chance.choice(sizes), 3)
    yield MapSpec("percpu", MapType.PERCPU_ARRAY, 4, chance.choice(sizes), 2)
    yield MapSpec("lru", MapType.LRU_HASH, 4, chance.choice(sizes), 1024)
    yield MapSpec("percpu_hash", MapType.PERCPU_HASH, 4, chance.choice(sizes), 16)
    yield MapSpec(".data", MapType.ARRAY, 4, 64, 1, contents=chance.randbytes(64))
    yield MapSpec(".rodata", MapType.ARRAY, 4, 32, 1, RDONLY_PROG, contents=_small(chance, 32), frozen=True)
    yield MapSpec("queue", MapType.QUEUE, 0, 8, 3)
    yield MapSpec("ring", MapType.RINGBUF, 0, 0, 4096)
    yield MapSpec("jumps", MapType.PROG_ARRAY, 4, 4, 4, slots=(Slot(1, "target"),))


def _small(chance: random.Random, size: int) -> bytes:
    """Numbers of 4 bytes, most of them small."""
    return b"".join(
        chance.choice((chance.randrange(64), chance.getrandbits(32))).to_bytes(4, "little") for _ in range(size // 4)
    )


def make_packet(chance: random.Random) -> bytes:
    """A packet: zeros, ones, or noise in which numbers at borders are frequent."""
    size = chance.choice((14, 15, 33, 34, 42, 60, 64, 100, 256))
    kind = chance.randrange(4)
    if kind == 0:
        return bytes(size)
    if kind == 1:
        return b"\xff" * size
    body = bytearray(chance.randbytes(size))
    for _ in range(chance.randrange(8)):
        body[chance.randrange(size)] = chance.choice((0, 1, 7, 8, 63, 64, 127, 128, 255))
    return bytes(body)


class _Program:
    """One program under construction: its main function and what that calls."""

    def __init__(self, chance: random.Random, prog_type: ProgType, maps: dict[str, MapSpec], wildness: float) -> None:
        self.chance = chance
        self.prog_type = prog_type
        self.maps = maps
        self.wildness = wildness
        self.functions: list[tuple[Label, Function]] = []
        self.has_direct_packet = prog_type is not ProgType.SOCKET_FILTER
        memory = [row for row in MEMORY_BLOCKS if self.has_direct_packet or not row[0].__name__.startswith("packet")]
        rows: list[tuple[Callable[[Function], None], int]] = [
            (alu, 30), (self.branch, 10), (self.loop, 3), (self.subprogram, 3), (self.bpf_loop, 1), (self.known, 2),
            *memory, *CALL_BLOCKS,
        ]  # fmt: skip
        self.blocks = [block for block, _ in rows]
        self.weights = [weight for _, weight in rows]

    def build(self) -> tuple[Instruction, ...]:
        main = Function(self.chance, self.prog_type, self.maps, self.wildness)
        self.functions.append((Label(), main))
        main.move(CONTEXT, 1)
        self._initialise(main)
        if self.has_direct_packet and self.chance.random() < 0.8:
            check_packet(main)
        self._some_blocks(main, self.chance.choice((2, 4, 8, 14)))
        self._finish(main)
        return _join(self.functions)

    def _initialise(self, f: Function) -> None:
        """Stack and registers hold something everywhere."""
        for off in range(FIRST_STACK, LAST_STACK + 8, 8):
            f.store_imm(10, off, 8, f.imm())
        if f.is_main:
            f.store_imm(10, SCRATCH, 8, 0)
            for r in (0, 2, 3, 4, 5, SCALAR):
                f.set(r, f.constant())
                f.scalars.add(r)

    def _finish(self, f: Function) -> None:
        """r0 is made of all numbers that are there, so that a wrong one shows."""
        live = sorted(f.scalars)
        if 0 not in f.scalars:
            f.set(0, 1)
        for r in live:
            if r:
                f.emit(op.ALU64 | op.MUL | op.K, 0, imm=31)
                f.emit(op.ALU64 | op.XOR | op.X, 0, r)
        if f.is_main:
            for off in range(FIRST_STACK, LAST_STACK + 8, 8):
                f.load(1, 10, off, 8)
                f.emit(op.ALU64 | op.MUL | op.K, 0, imm=33)
                f.emit(op.ALU64 | op.ADD | op.X, 0, 1)
            f.move(1, 0)
            f.emit(op.ALU64 | op.RSH | op.K, 1, imm=32)
            f.emit(op.ALU64 | op.XOR | op.X, 0, 1)
        f.exit()
        f.place_failure(self.chance.randrange(1000))

    def _some_blocks(self, f: Function, count: int) -> None:
        for _ in range(count):
            block = self.chance.choices(self.blocks, self.weights)[0]
            block(f)

    # ---- control ----

    @contextmanager
    def _deeper(self, f: Function) -> Iterator[bool]:
        f.depth += 1
        yield f.depth <= MAX_DEPTH
        f.depth -= 1

    def branch(self, f: Function) -> None:
        """if, with or without else."""
        with self._deeper(f) as allowed:
            if not allowed:
                return
            other, after = Label(), Label()
            compare(f, other)
            before, checked = set(f.scalars), f.checked
            self._some_blocks(f, self.chance.randint(1, 3))
            one, one_checked = set(f.scalars), f.checked
            f.scalars, f.checked = set(before), checked
            if self.chance.random() < 0.4:
                f.jump(after)
                f.place(other)
                self._some_blocks(f, self.chance.randint(1, 2))
                f.place(after)
            else:
                f.place(other)
            f.scalars &= one
            f.checked = min(f.checked, one_checked)

    def loop(self, f: Function) -> None:
        """A loop of few turns, counted in a register or on the stack."""
        with self._deeper(f) as allowed:
            if not allowed or f.loops >= 4:
                return
            slot = LOOPS - 8 * f.loops
            f.loops += 1
            turns = self.chance.randint(1, 5)
            f.store_imm(10, slot, 8, 0)
            again = Label()
            checked = f.checked
            # What holds at the start of each turn: numbers that the body may destroy do not.
            f.scalars &= {r for r in f.scalars if r in f.busy}
            start = set(f.scalars)
            f.place(again)
            self._some_blocks(f, self.chance.randint(1, 2))
            r = f.temporary()
            f.load(r, 10, slot, 8)
            f.add(r, 1)
            f.store(10, slot, 8, r)
            if f.checked < checked:  # the body moved the packet: nothing is known at the next turn
                f.checked = 0
                turns = 1
            if self.chance.random() < 0.2:  # the kernel's budget for loops never runs out here: the counter is first
                out = Label()
                f.jump(out, op.JMP | self.chance.choice((op.JGE, op.JSGE, op.JEQ)) | op.K, r, imm=turns)
                f.jump(out, op.JMP | op.JCOND)
                f.jump(again)
                f.place(out)
            else:
                f.jump(again, op.JMP | self.chance.choice((op.JLT, op.JSLT, op.JNE)) | op.K, r, imm=turns)
            f.scalars = start | {r}

    def known(self, f: Function) -> None:
        """Bound a number for good: later blocks use what is known."""
        r = f.number()
        if r not in f.busy:
            bound(f, r, self.chance.choice((1, 7, 15, 63, 255, 4095)))

    # ---- functions ----

    def subprogram(self, f: Function) -> None:
        """Call a new subprogram, or one that is there already, with numbers and perhaps memory."""
        if len(self.functions) > 3 or not f.is_main:
            return
        memory, missing = None, None
        if self.chance.random() < 0.5:
            if self.chance.random() < 0.5:
                name = self.chance.choice(("array", "hash", "lru"))
                memory, missing = self.maps[name].value_size, lookup(f, name)
                f.move(4, 0)
            else:
                memory = -FIRST_STACK
                point(f, 4, FIRST_STACK)
        with f.apart():
            f.scalars -= {0, 4} if memory else set()
            with f.keeping(4):
                for r in (1, 2, 3):
                    if r not in f.scalars:
                        f.set(r, f.constant())
            label = self._function(memory)
            f.jump(label, op.JMP | op.CALL, src=op.CALL_LOCAL)
            f.scalars -= {0, 1, 2, 3, 4, 5}
        if missing is not None:
            f.place(missing)
        else:
            f.scalars.add(0)

    def _function(self, memory: int | None) -> Label:
        label = Label()
        f = Function(self.chance, self.prog_type, self.maps, self.wildness, is_main=False)
        self.functions.append((label, f))
        self._initialise(f)
        f.scalars = {1, 2, 3}
        if memory is not None:
            f.move(6, 4)
            f.memory = (6, memory)
        f.set(SCALAR, f.constant())
        f.scalars.add(SCALAR)
        self._some_blocks(f, self.chance.randint(1, 4))
        self._finish(f)
        return label

    def bpf_loop(self, f: Function) -> None:
        """bpf_loop with a callback that works on the caller's stack."""
        if len(self.functions) > 3 or not f.is_main:
            return
        label = Label()
        callback = Function(self.chance, self.prog_type, self.maps, self.wildness, is_main=False)
        self.functions.append((label, callback))
        self._initialise(callback)
        callback.move(6, 2)
        callback.memory = (6, -FIRST_STACK)
        callback.scalars = {1}
        self._some_blocks(callback, self.chance.randint(1, 3))
        if self.chance.random() < 0.5:
            callback.set(0, 0)
        else:
            r = callback.number()
            callback.move(0, r)
            callback.emit(op.ALU64 | op.AND | op.K, 0, imm=1 if not callback.slip(0.1) else 3)
        callback.exit()
        callback.place_failure(1)
        if self.chance.random() < 0.6:
            f.set(1, self.chance.randrange(6))
        else:
            r = index(f, 8)
            if r != 1:
                f.move(1, r)
        f.jump(label, op.LD_IMM64, 2, op.PSEUDO_FUNC)
        point(f, 3, FIRST_STACK)
        f.set(4, 0)
        f.call(LOOP)
        f.scalars.add(0)


def _join(functions: list[tuple[Label, Function]]) -> tuple[Instruction, ...]:
    """All functions one after the other, with distances instead of labels."""
    places: dict[Label, int] = {}
    slot = 0
    for label, function in functions:
        places[label] = slot
        for item in function.items:
            if isinstance(item, Label):
                places[item] = slot
            else:
                slot += item.width
    insns: list[Instruction] = []
    slot = 0
    for _, function in functions:
        for number, item in enumerate(function.items):
            if isinstance(item, Label):
                continue
            to = function.jumps.get(number)
            if to is not None:
                distance = places[to] - slot - 1
                is_call = item.opcode in (op.JMP | op.CALL, op.LD_IMM64)
                item = (
                    replace(item, imm=distance & 0xFFFFFFFF if item.opcode == op.LD_IMM64 else distance)
                    if is_call
                    else replace(item, off=distance)
                )
            insns.append(item)
            slot += item.width
    return tuple(insns)

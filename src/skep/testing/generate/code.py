"""Code under construction: instructions, labels, and what the generator knows of the registers so far."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, MapRef, MapValueRef, Ref
from skep.model.maps import MapSpec

CONTEXT, PACKET, END, SCALAR = 6, 7, 8, 9  # what r6-r9 are kept for in a main program
FIRST_STACK, LAST_STACK = -64, -8  # initialised cells that any block may read and write
SCRATCH = -128  # keys and values for helpers lie from here up to FIRST_STACK
LOOPS = -136  # counters of loops, downwards
POINTER_AT = -272  # a pointer that is spilled, below the values for helpers


class Label:
    """A place in the code."""


@dataclass(slots=True)
class Function:
    """A function under construction.

    Attributes:
        items: instructions; where a Label stands the next instruction has it.
        jumps: by index in ``items``: where that jump (or call, or function address) leads.
        scalars: registers that hold numbers.
        fail: where a failed check leads.
        checked: bytes of the packet that are readable through r7; 0: r7 is no packet pointer.
        memory: register and size of memory that a subprogram was given.
    """

    chance: random.Random
    prog_type: ProgType
    maps: dict[str, MapSpec]
    wildness: float = 0.0
    is_main: bool = True
    items: list[Instruction | Label] = field(default_factory=list)
    jumps: dict[int, Label] = field(default_factory=dict)
    scalars: set[int] = field(default_factory=set)
    fail: Label = field(default_factory=Label)
    checked: int = 0
    memory: tuple[int, int] | None = None
    busy: frozenset[int] = frozenset()
    depth: int = 0
    loops: int = 0

    # ---- emitting ----

    def emit(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0, ref: Ref | None = None) -> None:
        """One instruction."""
        self.items.append(Instruction(opcode, dst, src, off, imm, ref))

    def jump(self, to: Label, opcode: int = op.JMP | op.JA, dst: int = 0, src: int = 0, imm: int = 0) -> None:
        """An instruction that names a place."""
        self.jumps[len(self.items)] = to
        self.items.append(Instruction(opcode, dst, src, 0, imm))

    def place(self, label: Label) -> None:
        """The next instruction has this label."""
        self.items.append(label)

    def move(self, dst: int, src: int) -> None:
        """dst = src, 64 bits."""
        self.emit(op.ALU64 | op.MOV | op.X, dst, src)

    def set(self, dst: int, value: int) -> None:
        """dst = a number of any size."""
        if -(1 << 31) <= value < 1 << 31:
            self.emit(op.ALU64 | op.MOV | op.K, dst, imm=value)
        else:
            self.emit(op.LD_IMM64, dst, imm=value & (1 << 64) - 1)

    def add(self, dst: int, value: int) -> None:
        """dst += a number."""
        self.emit(op.ALU64 | op.ADD | op.K, dst, imm=value)

    def load(self, dst: int, base: int, off: int, size: int, *, signed: bool = False) -> None:
        """dst = *(base + off)."""
        self.emit(op.LDX | (op.MEMSX if signed else op.MEM) | _SIZES[size], dst, base, off)

    def store(self, base: int, off: int, size: int, src: int) -> None:
        """*(base + off) = src."""
        self.emit(op.STX | op.MEM | _SIZES[size], base, src, off)

    def store_imm(self, base: int, off: int, size: int, value: int) -> None:
        """*(base + off) = value."""
        self.emit(op.ST | op.MEM | _SIZES[size], base, off=off, imm=value)

    def load_map(self, dst: int, name: str) -> None:
        """dst = a map."""
        self.emit(op.LD_IMM64, dst, op.PSEUDO_MAP_FD, ref=MapRef(name))

    def load_value(self, dst: int, name: str, offset: int = 0) -> None:
        """dst = an address in an array's first value."""
        self.emit(op.LD_IMM64, dst, op.PSEUDO_MAP_VALUE, imm=offset << 32, ref=MapValueRef(name, offset))

    def call(self, helper: int) -> None:
        """Call a helper: r1-r5 are gone."""
        self.emit(op.JMP | op.CALL, imm=helper)
        self.scalars -= {0, 1, 2, 3, 4, 5}

    def exit(self) -> None:
        """End the function."""
        self.emit(op.JMP | op.EXIT)

    def place_failure(self, result: int) -> None:
        """Where failed checks lead, if there are any: code that nothing reaches is rejected."""
        if self.fail in self.jumps.values():
            self.place(self.fail)
            self.set(0, result)
            self.exit()

    # ---- choosing ----

    def slip(self, probability: float) -> bool:
        """Whether to do it wrong here."""
        return self.wildness > 0 and self.chance.random() < probability * self.wildness

    def number(self) -> int:
        """A register with a number; one is made where there is none."""
        known = sorted(self.scalars)
        if not known:
            known = [self.fresh()]
        return self.chance.choice(known)

    def temporary(self, *besides: int) -> int:
        """A register that may be overwritten."""
        free = [r for r in (0, 1, 2, 3, 4, 5, SCALAR) if r not in besides and r not in self.busy]
        return self.chance.choice(free)

    def fresh(self, *besides: int) -> int:
        """A register with a number that the verifier does not know (mostly)."""
        r = self.temporary(*besides)
        sources: list[Callable[[int], None]] = [self._from_stack, self._from_stack, self._from_context, self._constant]
        if self.checked:
            sources += [self._from_packet] * 3
        self.chance.choice(sources)(r)
        self.scalars.add(r)
        return r

    def _from_stack(self, r: int) -> None:
        size = self.chance.choice((1, 2, 4, 8))
        self.load(r, 10, self.stack_offset(size), size, signed=size < 8 and self.chance.random() < 0.2)

    def _from_packet(self, r: int) -> None:
        size = self.chance.choice((1, 2, 4, 8))
        if self.checked < size:
            return self._constant(r)
        off = self.chance.randrange(self.checked - size + 1)
        return self.load(r, PACKET, off, size, signed=size < 8 and self.chance.random() < 0.2)

    def _from_context(self, r: int) -> None:
        offsets = {ProgType.XDP: (12, 16)}.get(self.prog_type, (0, 8, 16, 32, 48, 52, 56, 60, 64))
        if self.is_main:
            self.load(r, CONTEXT, self.chance.choice(offsets), 4)
        else:
            self._from_stack(r)

    def _constant(self, r: int) -> None:
        self.set(r, self.constant())

    def stack_offset(self, size: int) -> int:
        """An aligned place of ``size`` bytes in the initialised stack."""
        return self.chance.randrange(FIRST_STACK, LAST_STACK + 9 - size, size)

    def constant(self) -> int:
        """A number that matters: corners, powers of two, small ones."""
        kind = self.chance.randrange(5)
        if kind == 0:
            return self.chance.choice(CORNERS)
        if kind == 1:
            return self.chance.randint(-4, 70)
        if kind == 2:
            return (1 << self.chance.randrange(64)) + self.chance.randint(-1, 1)
        if kind == 3:
            return self.chance.getrandbits(32)
        return self.chance.getrandbits(64)

    def imm(self) -> int:
        """A number that fits an immediate."""
        value = self.constant() & 0xFFFFFFFF
        return value - (1 << 32) if value >> 31 else value

    def forget_packet(self) -> None:
        """Packet pointers are no longer valid."""
        self.checked = 0

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What the body makes known holds only inside; what it destroys is unknown afterwards, too."""
        before, checked = set(self.scalars), self.checked
        yield
        self.scalars &= before
        self.checked = min(checked, self.checked)

    @contextmanager
    def keeping(self, *registers: int) -> Iterator[None]:
        """Registers that nothing inside overwrites."""
        before = self.busy
        self.busy = before | frozenset(registers)
        yield
        self.busy = before


_SIZES = {1: op.B, 2: op.H, 4: op.W, 8: op.DW}
CORNERS = (
    0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF,
    0x80000000, 0xFFFFFFFF, 0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, -1, -2, -8, -0x80000000, -0x80000001,
)  # fmt: skip

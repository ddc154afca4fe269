"""The machine: eleven registers, frames, one function for each kind of instruction; isa.arithmetic does the sums."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from skep.abi.contexts import Context, FieldKind
from skep.diagnostics import Span
from skep.errors import InternalError
from skep.isa import arithmetic
from skep.isa import opcodes as op
from skep.isa.forms import find_form, registers_read, registers_written
from skep.isa.instruction import Instruction, MapRef, MapValueRef, slots
from skep.model.programs import LinkedProgram
from skep.vm.interpreter.memory import Fault, Memory

STACK_BYTES = 512
MAX_FRAMES = 8
MAX_STEPS = 200_000_000
MAY_GOTO_TURNS = 1 << 23  # BPF_MAX_LOOPS
MASK64 = (1 << 64) - 1
_FRAME_POINTER = 10
_ARGUMENTS, _SAVED = 0b11_1110, 0b11_1100_0000  # r1-r5, r6-r9


class StepLimitError(InternalError):
    """The program ran longer than the interpreter was told to wait."""


class Host(Protocol):
    """What surrounds a program: packet, maps, helpers. Addresses are this process's."""

    memory: Memory

    def map_address(self, name: str) -> int:
        """What LD_IMM64 of a map gives."""

    def map_value_address(self, name: str) -> int:
        """The first value of an array map; the host allows its memory."""

    def context_pointer(self, kind: FieldKind) -> int:
        """What a load of a pointer field of the context gives."""

    def arguments(self, helper: int) -> int:
        """How many registers from r1 on a helper reads; Fault if there is none of this number."""

    def returns_value(self, helper: int) -> bool:
        """Whether r0 holds something after the helper."""

    def call(self, machine: Interpreter, helper: int, args: list[int]) -> int:
        """Call a helper with r1..r5; r0."""

    def kfunc(self, name: str) -> tuple[int, bool]:
        """How many registers a function with a name reads, and whether it leaves something in r0; Fault: none such."""

    def call_kfunc(self, name: str, args: list[int]) -> int:
        """Call a function by name with r1..r5; r0."""

    @property
    def packet_start(self) -> int:
        """Where the packet's first byte lies now; 0: there is no packet."""

    def legacy_load(self, offset: int, size: int) -> int | None:
        """LD_ABS and LD_IND: a big-endian number from the packet, None outside it."""


class TailCall(Exception):
    """The helper bpf_tail_call found its target: ``run(context)`` runs it. Control flow, from host to machine."""

    def __init__(self, run: Callable[[int], int]) -> None:
        self.run = run


@dataclass(slots=True)
class _Frame:
    """One active subprogram. ``stack`` keeps the memory alive; r6-r9 of the caller wait in ``saved``."""

    return_slot: int
    saved: list[int]
    known: int
    stack: ctypes.Array[ctypes.c_char]
    top: int
    turns: int = MAY_GOTO_TURNS


@dataclass(slots=True)
class Interpreter:
    """Runs one linked program.

    Attributes:
        rules: what may be done with the context at r1; None: it is plain memory, which the host allows.
        steps_left: instructions until StepLimitError.
        trace: told (slot, registers) before each instruction, if given.
        known: bit n: rn holds something that the program may read.
        stack_fill: what a stack holds in every byte before something is written there.
    """

    program: LinkedProgram
    host: Host
    rules: Context | None = None
    steps_left: int = MAX_STEPS
    trace: Callable[[int, list[int]], None] | None = None
    known: int = 0
    stack_fill: int = 0
    _code: tuple[Instruction | None, ...] = ()
    _uses: tuple[tuple[int, int], ...] = ()
    _context: int = 0
    _frames: list[_Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._code, self._uses = _prepare(self.program.insns)

    def run(self, context: int, second: int | None = None) -> int:
        """r0 after running with r1 = ``context`` and r2 = ``second`` (the size of a conformance case's memory)."""
        self._context = context
        registers = [0] * 11
        registers[1], registers[2] = context, second or 0
        self.known = 0b10 if second is None else 0b110
        return self._call_slot(0, registers)

    def call_back(self, slot: int, args: list[int]) -> int:
        """Run a callback (bpf_loop, bpf_for_each_map_elem) to its end; its r0."""
        registers = [0, *args, *[0] * (10 - len(args))]
        before, self.known = self.known, _ARGUMENTS
        try:
            return self._call_slot(slot, registers)
        finally:
            self.known = before

    @property
    def stacks(self) -> tuple[int, ...]:
        """For each active frame, main program first, the value of its r10."""
        return tuple(frame.top for frame in self._frames)

    def _call_slot(self, slot: int, registers: list[int]) -> int:
        depth = len(self._frames)
        self._push_frame(0, registers)
        try:
            return self._execute(slot, registers, depth + 1)
        finally:
            while len(self._frames) > depth:
                self._pop_frame(registers)

    def _execute(self, slot: int, r: list[int], depth: int) -> int:
        code, uses = self._code, self._uses
        try:
            while True:
                insn = code[slot] if 0 <= slot < len(code) else None
                if insn is None:
                    raise Fault(f"jump to slot {slot}, where no instruction starts")
                if self.trace is not None:
                    self.trace(slot, r)
                self.steps_left -= 1
                if self.steps_left < 0:
                    raise StepLimitError(f"'{self.program.name}' did not end in the number of instructions allowed")
                reads, writes = uses[slot]
                if reads & ~self.known:
                    raise Fault(f"{_names(reads & ~self.known)} read before anything was written there")
                kind = insn.opcode & op.CLASS_MASK
                if kind in (op.ALU, op.ALU64):
                    r[insn.dst] = arithmetic.evaluate(insn, r[insn.dst], r[insn.src])
                    self.known |= writes
                    slot += 1
                    continue
                if kind in (op.JMP, op.JMP32):
                    following = self._jump(insn, insn.opcode & op.CODE_MASK, slot, r)
                else:
                    following = slot + insn.width if self._memory_access(insn, kind, slot, r) else None
                    self.known |= writes
                if following is not None:
                    slot = following
                elif len(self._frames) > depth:
                    slot = self._pop_frame(r)
                elif self.known & 1:
                    return r[0]
                else:
                    raise Fault("the end, and nothing was written to r0")
        except Fault as fault:
            fault.locate(self.program.name, slot, self._span(slot), r)
            raise

    def _span(self, slot: int) -> Span | None:
        """The source line of a slot: lines are noted where a new one starts."""
        before = [start for start in self.program.lines if start <= slot]
        return self.program.lines[max(before)] if before else None

    # ---- jumps and calls ----

    def _jump(self, insn: Instruction, code: int, slot: int, r: list[int]) -> int | None:
        """The slot of the next instruction; None: this frame ends."""
        if code == op.EXIT:
            return None
        if code == op.CALL:
            return self._call(insn, slot, r)
        if code == op.JA:
            return slot + 1 + (insn.imm if insn.opcode & op.CLASS_MASK == op.JMP32 else insn.off)
        if code == op.JCOND:
            frame = self._frames[-1]
            frame.turns -= 1
            return slot + 1 + (insn.off if frame.turns < 0 else 0)
        return slot + 1 + (insn.off if arithmetic.branches(insn, r[insn.dst], r[insn.src]) else 0)

    def _call(self, insn: Instruction, slot: int, r: list[int]) -> int | None:
        by_register = bool(insn.opcode & op.X)
        if not by_register and insn.src == op.CALL_LOCAL:
            self._push_frame(slot + 1, r)
            return slot + 1 + insn.imm
        if not by_register and insn.src == op.CALL_KFUNC:
            return self._call_kfunc(getattr(insn.ref, "name", ""), slot, r)
        helper = r[insn.dst] if by_register else insn.imm  # callx: the register holds a helper's number
        unknown = (0b10 << self.host.arguments(helper)) - 2 & ~self.known
        if unknown:
            raise Fault(f"{_names(unknown)} given to helper {helper} before anything was written there")
        try:
            r[0] = self.host.call(self, helper, r[1:6])
        except TailCall as call:
            r[0] = call.run(self._context)
            self.known |= 1
            return None
        self.known = self.known & ~(_ARGUMENTS | 1) | self.host.returns_value(helper)
        return slot + 1

    def _call_kfunc(self, name: str, slot: int, r: list[int]) -> int:
        count, returns = self.host.kfunc(name)
        unknown = (0b10 << count) - 2 & ~self.known
        if unknown:
            raise Fault(f"{_names(unknown)} given to {name}() before anything was written there")
        r[0] = self.host.call_kfunc(name, r[1:6])
        self.known = self.known & ~(_ARGUMENTS | 1) | returns
        return slot + 1

    def _push_frame(self, return_slot: int, r: list[int]) -> None:
        # Callbacks nest too: the kernel's limit of 8 holds for each chain of calls, the machine's own is wider.
        if len(self._frames) >= 4 * MAX_FRAMES:
            raise Fault("calls are nested too deeply")
        stack = ctypes.create_string_buffer(STACK_BYTES + 8)
        if self.stack_fill:
            ctypes.memset(stack, self.stack_fill, STACK_BYTES + 8)
        bottom = ctypes.addressof(stack) + 7 & ~7
        self.host.memory.allow(bottom, STACK_BYTES, "stack")
        self._frames.append(_Frame(return_slot, r[6:11], self.known, stack, bottom + STACK_BYTES))
        self.known = self.known & _ARGUMENTS | 1 << _FRAME_POINTER
        r[_FRAME_POINTER] = bottom + STACK_BYTES

    def _pop_frame(self, r: list[int]) -> int:
        frame = self._frames.pop()
        self.host.memory.forget("stack", frame.top - STACK_BYTES)
        r[6:11] = frame.saved
        self.known = self.known & 1 | frame.known & (_SAVED | 1 << _FRAME_POINTER)
        return frame.return_slot

    # ---- memory ----

    def _memory_access(self, insn: Instruction, kind: int, slot: int, r: list[int]) -> bool:
        """Do a load, store or LD instruction. False: this frame ends with r0 = 0 (a legacy load outside the packet)."""
        mode, size = insn.opcode & op.MODE_MASK, op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
        if kind == op.LD:
            if insn.opcode == op.LD_IMM64:
                r[insn.dst] = self._immediate(insn, slot)
                return True
            offset = insn.imm + (r[insn.src] & 0xFFFFFFFF if mode == op.IND else 0)
            value = self.host.legacy_load(arithmetic.signed(offset, 32), size)
            self.known &= ~_ARGUMENTS
            r[0] = value or 0
            return value is not None
        if kind == op.LDX:
            r[insn.dst] = self._load(r[insn.src] + insn.off & MASK64, size, signed=mode == op.MEMSX)
        elif mode == op.ATOMIC:
            self._atomic(insn, size, r)
        else:
            self._store(r[insn.dst] + insn.off & MASK64, size, r[insn.src] if kind == op.STX else insn.imm)
        return True

    def _in_context(self, address: int) -> bool:
        return self.rules is not None and 0 <= address - self._context < self.rules.size

    def _field(self, address: int, size: int, *, write: bool) -> FieldKind:
        """What the context's field at an address is; Fault where the access is against its rules."""
        rules, offset = self.rules, address - self._context
        assert rules is not None
        found = rules.field_at(offset, size, write, self.program.attach_type)
        if found is None:
            raise Fault(rules.why_not(offset, size, write, self.program.attach_type))
        return found.kind

    def _load(self, address: int, size: int, *, signed: bool) -> int:
        if self._in_context(address):
            kind = self._field(address, size, write=False)
            if kind is not FieldKind.SCALAR:
                return self.host.context_pointer(kind)
        value = self.host.memory.read(address, size)
        return arithmetic.sign_extend(value, 8 * size) if signed else value

    def _store(self, address: int, size: int, value: int) -> None:
        if self._in_context(address):
            self._field(address, size, write=True)
        self.host.memory.write(address, size, value)

    def _immediate(self, insn: Instruction, slot: int) -> int:
        if isinstance(insn.ref, MapRef):
            return self.host.map_address(insn.ref.name)
        if isinstance(insn.ref, MapValueRef):
            return self.host.map_value_address(insn.ref.name) + insn.ref.offset
        if insn.src == op.PSEUDO_FUNC:
            return slot + 1 + arithmetic.signed(insn.imm & 0xFFFFFFFF, 32)  # a slot: what helpers are given as callback
        if insn.src:
            raise Fault("an unresolved reference")
        return insn.imm & MASK64

    def _atomic(self, insn: Instruction, size: int, r: list[int]) -> None:
        """One thread at a time runs here, so atomics are plain; only the JIT must order them."""
        memory = self.host.memory
        if insn.imm == op.LOAD_ACQUIRE:
            r[insn.dst] = memory.read(r[insn.src] + insn.off & MASK64, size)
            return
        address = r[insn.dst] + insn.off & MASK64
        if insn.imm == op.STORE_RELEASE:
            memory.write(address, size, r[insn.src])
            return
        if self._in_context(address):
            raise Fault("an atomic operation on the context")
        old = memory.read(address, size)
        memory.check(address, size, write=True)
        mask = (1 << 8 * size) - 1
        if insn.imm == op.CMPXCHG:
            if old == r[0] & mask:
                memory.write(address, size, r[insn.src])
            r[0] = old
            return
        memory.write(address, size, arithmetic.atomic(insn.imm, old, r[insn.src], 8 * size))
        if insn.imm & op.FETCH:
            r[insn.src] = old


@lru_cache(maxsize=64)
def _prepare(
    insns: tuple[Instruction, ...],
) -> tuple[tuple[Instruction | None, ...], tuple[tuple[int, int], ...]]:
    """By slot: the instruction, and its registers as bits: read, written. What calls do is seen when they happen."""
    code = slots(insns)
    return code, tuple(_use(insn) for insn in code)


def _use(insn: Instruction | None) -> tuple[int, int]:
    if insn is None:
        return 0, 0
    form = find_form(insn)
    if form is not None and form.clobbers:
        written = 1 if form.group == "packet" else 0
    else:
        written = sum(1 << register for register in registers_written(insn))
    # A static subprogram may end without a result; the end of a program or callback is checked when it comes.
    is_exit = insn.opcode == op.JMP | op.EXIT
    return 0 if is_exit else sum(1 << register for register in registers_read(insn)), written


def _names(bits: int) -> str:
    """``r1, r3``: the registers whose bits are set."""
    return ", ".join(f"r{number}" for number in range(11) if bits >> number & 1)

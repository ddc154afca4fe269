"""The machine: eleven registers, frames, one function for each kind of instruction; isa.arithmetic does the sums."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from skep.abi.contexts import CONTEXTS, FieldKind
from skep.errors import InternalError
from skep.isa import arithmetic
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, MapRef, MapValueRef, slots
from skep.model.programs import LinkedProgram
from skep.vm.interpreter.memory import Fault, Memory

STACK_BYTES = 512
MAX_FRAMES = 8
MASK64 = (1 << 64) - 1
_FRAME_POINTER = 10


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

    def call(self, machine: Interpreter, helper: int, args: list[int]) -> int:
        """Call a helper with r1..r5; r0."""

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
    stack: ctypes.Array[ctypes.c_char]
    top: int


@dataclass(slots=True)
class Interpreter:
    """Runs one linked program.

    Attributes:
        steps_left: instructions until StepLimitError.
        trace: told (slot, registers) before each instruction, if given.
    """

    program: LinkedProgram
    host: Host
    steps_left: int = 50_000_000
    trace: Callable[[int, list[int]], None] | None = None
    _code: tuple[Instruction | None, ...] = ()
    _pointer_fields: Mapping[int, FieldKind] = field(default_factory=dict)
    _context: int = 0
    _frames: list[_Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._code = slots(self.program.insns)
        context = CONTEXTS.get(self.program.prog_type)
        fields = context.fields if context else ()
        self._pointer_fields = {f.offset: f.kind for f in fields if f.kind is not FieldKind.SCALAR}

    def run(self, context: int, second: int = 0) -> int:
        """r0 after running with r1 = ``context`` and r2 = ``second`` (the size of a conformance case's memory)."""
        self._context = context
        registers = [0] * 11
        registers[1], registers[2] = context, second
        return self._call_slot(0, registers)

    def call_back(self, slot: int, args: list[int]) -> int:
        """Run a callback (bpf_loop, bpf_for_each_map_elem) to its end; its r0."""
        registers = [0, *args, *[0] * (10 - len(args))]
        return self._call_slot(slot, registers)

    def _call_slot(self, slot: int, registers: list[int]) -> int:
        depth = len(self._frames)
        self._push_frame(0, registers)
        try:
            return self._execute(slot, registers, depth + 1)
        finally:
            while len(self._frames) > depth:
                self._pop_frame(registers)

    def _execute(self, slot: int, r: list[int], depth: int) -> int:
        while True:
            insn = self._fetch(slot)
            if self.trace is not None:
                self.trace(slot, r)
            self.steps_left -= 1
            if self.steps_left < 0:
                raise StepLimitError(f"'{self.program.name}' did not end in the number of instructions allowed")
            kind = insn.opcode & op.CLASS_MASK
            if kind in (op.ALU, op.ALU64):
                r[insn.dst] = arithmetic.evaluate(insn, r[insn.dst], r[insn.src])
                slot += 1
            elif kind in (op.JMP, op.JMP32):
                following = self._jump(insn, insn.opcode & op.CODE_MASK, slot, r)
                if following is None and len(self._frames) == depth:
                    return r[0]
                slot = self._pop_frame(r) if following is None else following
            else:
                done = self._memory_access(insn, kind, slot, r)
                if done is not None:
                    return done
                slot += insn.width

    def _fetch(self, slot: int) -> Instruction:
        insn = self._code[slot] if 0 <= slot < len(self._code) else None
        if insn is None:
            raise Fault(f"jump to slot {slot}, where no instruction starts")
        return insn

    # ---- jumps and calls ----

    def _jump(self, insn: Instruction, code: int, slot: int, r: list[int]) -> int | None:
        """The slot of the next instruction; None: this frame ends."""
        if code == op.EXIT:
            return None
        if code == op.CALL:
            return self._call(insn, slot, r)
        if code == op.JA:
            return slot + 1 + (insn.imm if insn.opcode & op.CLASS_MASK == op.JMP32 else insn.off)
        if code == op.JCOND:  # may_goto: the loop's budget is the step limit
            return slot + 1
        return slot + 1 + (insn.off if arithmetic.branches(insn, r[insn.dst], r[insn.src]) else 0)

    def _call(self, insn: Instruction, slot: int, r: list[int]) -> int | None:
        if insn.opcode & op.X:  # callx: the register holds a helper's number
            r[0] = self.host.call(self, r[insn.dst], r[1:6])
        elif insn.src == op.CALL_LOCAL:
            self._push_frame(slot + 1, r)
            return slot + 1 + insn.imm
        elif insn.src == op.CALL_HELPER:
            try:
                r[0] = self.host.call(self, insn.imm, r[1:6])
            except TailCall as call:
                r[0] = call.run(self._context)
                return None
        else:
            raise Fault(f"slot {slot}: call of a kernel function")
        return slot + 1

    def _push_frame(self, return_slot: int, r: list[int]) -> None:
        # Callbacks nest too: the kernel's limit of 8 holds for each chain of calls, the machine's own is wider.
        if len(self._frames) >= 4 * MAX_FRAMES:
            raise Fault("calls are nested too deeply")
        stack = ctypes.create_string_buffer(STACK_BYTES)
        bottom = ctypes.addressof(stack)
        self.host.memory.allow(bottom, STACK_BYTES, "stack")
        self._frames.append(_Frame(return_slot, r[6:11], stack, bottom + STACK_BYTES))
        r[_FRAME_POINTER] = bottom + STACK_BYTES

    def _pop_frame(self, r: list[int]) -> int:
        frame = self._frames.pop()
        self.host.memory.forget("stack", frame.top - STACK_BYTES)
        r[6:11] = frame.saved
        return frame.return_slot

    # ---- memory ----

    def _memory_access(self, insn: Instruction, kind: int, slot: int, r: list[int]) -> int | None:
        """Do a load, store or LD instruction. A number: the program ends with it (a legacy load outside the packet)."""
        mode, size = insn.opcode & op.MODE_MASK, op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
        why = f"slot {slot}"
        if kind == op.LD:
            if insn.opcode == op.LD_IMM64:
                r[insn.dst] = self._immediate(insn, slot)
                return None
            offset = insn.imm + (r[insn.src] & 0xFFFFFFFF if mode == op.IND else 0)
            value = self.host.legacy_load(arithmetic.signed(offset, 32), size)
            if value is None:
                return 0
            r[0] = value
        elif kind == op.LDX:
            r[insn.dst] = self._load(r[insn.src] + insn.off, size, signed=mode == op.MEMSX, why=why)
        elif mode == op.ATOMIC:
            self._atomic(insn, size, r, why)
        else:
            value = r[insn.src] if kind == op.STX else insn.imm
            self.host.memory.write((r[insn.dst] + insn.off) & MASK64, size, value, why)
        return None

    def _load(self, address: int, size: int, *, signed: bool, why: str) -> int:
        address &= MASK64
        kind = self._pointer_fields.get(address - self._context) if self._pointer_fields else None
        if kind is not None and self._context:
            return self.host.context_pointer(kind)
        value = self.host.memory.read(address, size, why)
        return arithmetic.sign_extend(value, 8 * size) if signed else value

    def _immediate(self, insn: Instruction, slot: int) -> int:
        if isinstance(insn.ref, MapRef):
            return self.host.map_address(insn.ref.name)
        if isinstance(insn.ref, MapValueRef):
            return self.host.map_value_address(insn.ref.name) + insn.ref.offset
        if insn.src == op.PSEUDO_FUNC:
            return slot + 1 + arithmetic.signed(insn.imm & 0xFFFFFFFF, 32)  # a slot: what helpers are given as callback
        if insn.src:
            raise Fault(f"slot {slot}: an unresolved reference")
        return insn.imm & MASK64

    def _atomic(self, insn: Instruction, size: int, r: list[int], why: str) -> None:
        """One thread at a time runs here, so atomics are plain; only the JIT must order them."""
        memory = self.host.memory
        if insn.imm == op.LOAD_ACQUIRE:
            r[insn.dst] = memory.read((r[insn.src] + insn.off) & MASK64, size, why)
            return
        address = (r[insn.dst] + insn.off) & MASK64
        if insn.imm == op.STORE_RELEASE:
            memory.write(address, size, r[insn.src], why)
            return
        old = memory.read(address, size, why)
        memory.check(address, size, write=True, why=why)
        mask = (1 << 8 * size) - 1
        if insn.imm == op.CMPXCHG:
            if old == r[0] & mask:
                memory.write(address, size, r[insn.src], why)
            r[0] = old
            return
        memory.write(address, size, arithmetic.atomic(insn.imm, old, r[insn.src], 8 * size), why)
        if insn.imm & op.FETCH:
            r[insn.src] = old

"""Native code does what the interpreter does, on random programs: arithmetic, jumps, memory, atomics, moved pointers.

Each program runs with two sets of facts: none (every register's kind is found by the JIT alone) and those of the
verifier, where it accepts. Failing examples are kept by hypothesis.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from skep import jit
from skep.abi.prog_types import ProgType
from skep.errors import SkepError
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.model.programs import VerifiedProgram
from skep.verifier import verify
from skep.verifier.options import MemoryEntry, Options
from skep.vm.interpreter import Interpreter, Memory
from tests.unit.jit.builder import make_program

MEMORY = 64
NUMBERS = (0, 2, 3, 4, 5)  # r6 keeps the memory's address, r7 moves through it, r8 and r9 are numbers, too
EDGES = (0, 1, -1, 2, 31, 32, 63, 0x7FFFFFFF, -0x80000000, 0x55AA)
imm32 = st.one_of(st.sampled_from(EDGES), st.integers(-(1 << 31), (1 << 31) - 1))
number = st.sampled_from((*NUMBERS, 8, 9))
ALU_CODES = (op.ADD, op.SUB, op.MUL, op.DIV, op.OR, op.AND, op.MOD, op.XOR, op.MOV)
CONDITIONS = (op.JEQ, op.JGT, op.JGE, op.JSET, op.JNE, op.JSGT, op.JSGE, op.JLT, op.JLE, op.JSLT, op.JSLE)
SIZES = {op.B: 1, op.H: 2, op.W: 4, op.DW: 8}


@st.composite
def alu(draw: st.DrawFn) -> list[Instruction]:
    group = draw(st.sampled_from((op.ALU, op.ALU64)))
    dst, src = draw(number), draw(number)
    if draw(st.booleans()):
        code = draw(st.sampled_from(ALU_CODES))
        signed = code in (op.DIV, op.MOD) and draw(st.booleans())
        if draw(st.booleans()):
            return [Instruction(group | code | op.X, dst, src, off=int(signed))]
        divides = code in (op.DIV, op.MOD)
        value = draw(imm32.filter(lambda v: v != 0 or not divides))
        return [Instruction(group | code | op.K, dst, off=int(signed), imm=value)]
    kind = draw(st.integers(0, 4))
    bits = 64 if group == op.ALU64 else 32
    if kind == 0:
        return [Instruction(group | op.NEG, dst)]
    if kind == 1:
        return [
            Instruction(
                group | draw(st.sampled_from((op.LSH, op.RSH, op.ARSH))), dst, imm=draw(st.integers(0, bits - 1))
            )
        ]
    if kind == 2:
        widths = (8, 16, 32) if bits == 64 else (8, 16)
        return [Instruction(group | op.MOV | op.X, dst, src, off=draw(st.sampled_from(widths)))]
    if kind == 3:
        return [Instruction(group | draw(st.sampled_from((op.LSH, op.RSH, op.ARSH))) | op.X, dst, src)]
    source = op.K if group == op.ALU64 else draw(st.sampled_from((op.K, op.X)))
    return [Instruction(group | op.END | source, dst, imm=draw(st.sampled_from((16, 32, 64))))]


@st.composite
def memory(draw: st.DrawFn) -> list[Instruction]:
    """Loads and stores on the stack and in the buffer, through its base and through r7, which is moved inside it."""
    size = draw(st.sampled_from(tuple(SIZES)))
    width = SIZES[size]
    base = draw(st.sampled_from((6, 7, 10)))
    before: list[Instruction] = []
    if base == 7:
        at = draw(st.integers(0, 24))
        before = [Instruction(op.ALU64 | op.MOV | op.X, 7, 6), Instruction(op.ALU64 | op.ADD | op.K, 7, imm=at)]
        if draw(st.booleans()):  # spill the address and fill it again
            before += [
                Instruction(op.STX | op.MEM | op.DW, 10, 7, -64),
                Instruction(op.ALU64 | op.MOV | op.K, 7, imm=0),
                Instruction(op.LDX | op.MEM | op.DW, 7, 10, -64),
            ]
    off = (
        draw(st.integers(-56 // width, -1)) * width
        if base == 10
        else draw(st.integers(0, (32 - width) // width)) * width
    )
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return [*before, Instruction(op.LDX | op.MEM | size, draw(number), base, off)]
    if kind == 1:
        return [*before, Instruction(op.STX | op.MEM | size, base, draw(number), off)]
    if kind == 2:
        return [*before, Instruction(op.ST | op.MEM | size, base, off=off, imm=draw(imm32))]
    if kind == 3 and width < 8:
        return [*before, Instruction(op.LDX | op.MEMSX | size, draw(number), base, off)]
    wide = draw(st.sampled_from((op.W, op.DW)))
    off = draw(st.sampled_from((-8, -16, -24)))
    codes: tuple[int, ...] = (op.ATOMIC_ADD, op.ATOMIC_OR, op.ATOMIC_AND, op.ATOMIC_XOR)
    codes = (*codes, *(code | op.FETCH for code in codes), op.XCHG, op.CMPXCHG)
    return [Instruction(op.STX | op.ATOMIC | wide, 10, draw(number), off, draw(st.sampled_from(codes)))]


@st.composite
def jump(draw: st.DrawFn) -> list[Instruction]:
    """A branch over one to three other instructions."""
    group = draw(st.sampled_from((op.JMP, op.JMP32)))
    body = [insn for part in draw(st.lists(st.one_of(alu(), memory()), min_size=1, max_size=3)) for insn in part]
    code = draw(st.sampled_from(CONDITIONS))
    if draw(st.booleans()):
        return [Instruction(group | code | op.X, draw(number), draw(number), len(body)), *body]
    return [Instruction(group | code | op.K, draw(number), off=len(body), imm=draw(imm32)), *body]


def _assemble(parts: list[list[Instruction]], seeds: list[int], turns: int) -> tuple[Instruction, ...]:
    start = [Instruction(op.ALU64 | op.MOV | op.X, 6, 1), Instruction(op.ALU64 | op.MOV | op.X, 7, 1)]
    start += [Instruction(op.ST | op.MEM | op.DW, 10, off=-8 * i, imm=seeds[i % len(seeds)]) for i in range(1, 9)]
    start += [Instruction(op.ST | op.MEM | op.DW, 10, off=-72, imm=turns)]
    for register, seed in zip((*NUMBERS, 8, 9), seeds, strict=True):
        start.append(Instruction(op.LD_IMM64, register, imm=seed & (1 << 64) - 1))
    body = [insn for part in parts for insn in part]
    again = [
        Instruction(op.LDX | op.MEM | op.DW, 1, 10, -72),
        Instruction(op.ALU64 | op.SUB | op.K, 1, imm=1),
        Instruction(op.STX | op.MEM | op.DW, 10, 1, -72),
        Instruction(op.JMP | op.JNE | op.K, 1, off=-len(body) - 4),
    ]
    mix = [Instruction(op.ALU64 | op.MUL | op.K, 0, imm=31)]
    end = [insn for r in (2, 3, 4, 5, 8, 9) for insn in (*mix, Instruction(op.ALU64 | op.XOR | op.X, 0, r))]
    end += [Instruction(op.ALU64 | op.SUB | op.X, 7, 6), Instruction(op.ALU64 | op.ADD | op.X, 0, 7)]
    return (*start, *body, *again, *end, Instruction(op.JMP | op.EXIT))


programs = st.builds(
    _assemble,
    st.lists(st.one_of(alu(), memory(), jump()), min_size=1, max_size=25),
    st.lists(st.one_of(st.sampled_from(EDGES), st.integers(-(1 << 63), (1 << 63) - 1)), min_size=7, max_size=7),
    st.integers(1, 3),
)


class _Host:
    """An interpreter's surroundings: one buffer."""

    def __init__(self, block: ctypes.Array[ctypes.c_char]) -> None:
        self.memory = Memory()
        self.memory.allow(ctypes.addressof(block), MEMORY, "buffer")


def _interpreted(program: VerifiedProgram, data: bytes) -> tuple[int, bytes]:
    block = ctypes.create_string_buffer(data, MEMORY)
    result = Interpreter(program.linked, _Host(block)).run(ctypes.addressof(block), MEMORY)  # type: ignore[arg-type]
    return result, block.raw


def _compiled(program: VerifiedProgram, data: bytes, level: int) -> tuple[int, bytes]:
    block = ctypes.create_string_buffer(data, MEMORY)
    code = jit.compile_program(program, jit.Rows({}), None, {}, memory_size=MEMORY, level=level)
    native = jit.load_code(code, {}, {}, None)
    call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)(native.addresses[jit.ENTRY])
    result = call(block, block)
    native.close()
    return result, block.raw


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKEP_CACHE", "")


def _with_facts(program: VerifiedProgram) -> VerifiedProgram | None:
    try:
        return verify(program.linked, Options(entry=MemoryEntry(MEMORY), masked_shifts=True))
    except SkepError:
        return None


_EXAMPLES = int(os.environ.get("SKEP_RANDOM_PROGRAMS", "60"))


@settings(
    max_examples=_EXAMPLES, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(programs, st.binary(min_size=MEMORY, max_size=MEMORY))
@example(
    _assemble([[Instruction(op.ALU64 | op.DIV | op.X, 0, 2, off=1)]], [-(1 << 63), -1, 0, 0, 0, 0, 0], 1), bytes(MEMORY)
)
@example(
    _assemble([[Instruction(op.ALU | op.MOD | op.X, 0, 2, off=1)]], [-(1 << 31), -1, 0, 0, 0, 0, 0], 1), bytes(MEMORY)
)
def test_native_code_and_interpreter_agree(insns: tuple[Instruction, ...], data: bytes) -> None:
    program = make_program(insns)
    program = replace(program, linked=replace(program.linked, prog_type=ProgType.KPROBE))  # no pointers in its context
    expected = _interpreted(program, data)
    assert _compiled(program, data, level=2) == expected
    proved = _with_facts(program)
    if proved is not None:
        assert _compiled(proved, data, level=2) == expected

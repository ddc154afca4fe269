"""All 313 conformance cases are read, are legal, survive text, and give their result on the arithmetic of isa."""

from __future__ import annotations

import os
import pathlib

import pytest

from skep.isa import arithmetic
from skep.isa import opcodes as op
from skep.isa.assembler import assemble
from skep.isa.codec import encode
from skep.isa.disassembler import disassemble
from skep.isa.forms import find_form
from skep.isa.instruction import Instruction, slots
from skep.testing.cases import Case, parse_case

_SHARED = os.environ.get("SKEP_SHARED", str(pathlib.Path(__file__).parents[2].parent / "shared"))
_FILES = sorted(pathlib.Path(_SHARED, "corpus", "conformance").glob("*.data"))
_STACK = 1 << 20
_NEEDS_HELPERS = {"call_unwind_fail", "callx"}  # they call helper 5 of the harness

pytestmark = pytest.mark.skipif(not _FILES, reason=f"no conformance cases under {_SHARED} (set SKEP_SHARED)")


def test_there_are_313() -> None:
    assert len(_FILES) == 313


class Machine:
    """The smallest interpreter: the arithmetic of isa, and one flat memory."""

    def __init__(self, case: Case) -> None:
        self.memory = bytearray(case.memory or b"") + bytearray(8)
        self.stack = bytearray(4096)
        self.r = [0] * 11
        self.r[1], self.r[2], self.r[10] = 0, len(case.memory or b""), _STACK + 4096
        self.frames: list[tuple[int, list[int]]] = []

    def place(self, address: int) -> tuple[bytearray, int]:
        address &= arithmetic.MASK64
        return (self.stack, address - _STACK) if address >= _STACK else (self.memory, address)

    def load(self, address: int, size: int) -> int:
        memory, at = self.place(address)
        return int.from_bytes(memory[at : at + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        memory, at = self.place(address)
        memory[at : at + size] = (value & arithmetic.mask(size * 8)).to_bytes(size, "little")

    def run(self, program: tuple[Instruction | None, ...]) -> int:
        pc = 0
        for _ in range(100_000):
            insn = program[pc]
            assert insn is not None
            pc += insn.width
            klass = insn.opcode & op.CLASS_MASK
            if klass in (op.ALU, op.ALU64):
                self.r[insn.dst] = arithmetic.evaluate(insn, self.r[insn.dst], self.r[insn.src])
            elif insn.opcode == op.LD_IMM64:
                self.r[insn.dst] = insn.imm
            elif klass not in (op.JMP, op.JMP32):
                self.access(insn, klass)
            elif insn.opcode == op.JMP | op.EXIT:
                if not self.frames:
                    return self.r[0]
                pc, self.r[6:11] = self.frames.pop()
            elif insn.opcode == op.JMP | op.CALL:
                self.frames.append((pc, self.r[6:11]))
                pc += insn.imm
                self.r[10] -= 512
            elif insn.opcode & op.CODE_MASK == op.JA:
                pc += insn.off if klass == op.JMP else insn.imm
            elif arithmetic.branches(insn, self.r[insn.dst], self.r[insn.src]):
                pc += insn.off
        raise AssertionError("it does not end")

    def access(self, insn: Instruction, klass: int) -> None:
        size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
        if klass == op.LDX:
            value = self.load(self.r[insn.src] + insn.off, size)
            signed = insn.opcode & op.MODE_MASK == op.MEMSX
            self.r[insn.dst] = arithmetic.sign_extend(value, size * 8) if signed else value
            return
        address = self.r[insn.dst] + insn.off
        if insn.opcode & op.MODE_MASK == op.MEM:
            self.store(address, size, insn.imm if klass == op.ST else self.r[insn.src])
            return
        old, width = self.load(address, size), size * 8
        if insn.imm == op.CMPXCHG:
            if old == self.r[0] & arithmetic.mask(width):
                self.store(address, size, self.r[insn.src])
            self.r[0] = old
            return
        self.store(address, size, arithmetic.atomic(insn.imm, old, self.r[insn.src], width))
        if insn.imm & op.FETCH:
            self.r[insn.src] = old


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_case(path: pathlib.Path) -> None:
    case = parse_case(path.read_text(), path.stem)
    assert all(find_form(insn) for insn in case.insns)
    assert assemble("\n".join(disassemble(insn) for insn in case.insns)) == case.insns
    if case.raw is not None:
        assert encode(case.insns) == case.raw
    if case.name not in _NEEDS_HELPERS:
        assert Machine(case).run(slots(case.insns)) == case.result

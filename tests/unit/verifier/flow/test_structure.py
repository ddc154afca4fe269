"""What is wrong with the text of programs, and that the running kernel says the same."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

import pytest

from skep.isa import opcodes as op
from skep.isa.assembler import assemble
from skep.isa.codec import encode
from skep.isa.instruction import Instruction
from skep.verifier.flow import structure
from skep.verifier.flow.structure import Flaw

EXIT = Instruction(op.JMP | op.EXIT)
ZERO = Instruction(op.ALU64 | op.MOV | op.K, 0, 0, 0, 0)
WIDE = Instruction(op.LD_IMM64, 1, 0, 0, 5)


def goto(distance: int) -> Instruction:
    return Instruction(op.JMP | op.JA, off=distance)


def branch(distance: int) -> Instruction:
    return Instruction(op.JMP | op.JEQ | op.K, 1, 0, distance, 0)


def call(distance: int) -> Instruction:
    return Instruction(op.JMP | op.CALL, 0, op.CALL_LOCAL, 0, distance)


def alu(code: int, imm: int, dst: int = 0, klass: int = op.ALU64) -> Instruction:
    return Instruction(klass | code | op.K, dst, 0, 0, imm)


STATIC: dict[str, tuple[list[Instruction], Flaw, int, str]] = {
    "jump beyond the end": ([ZERO, goto(5), EXIT], Flaw.JUMP_RANGE, 1, "jump out of range from insn 1 to 7"),
    "jump before the start": ([ZERO, branch(-9), EXIT], Flaw.JUMP_RANGE, 1, "jump out of range from insn 1 to -7"),
    "jump into another function": (
        [call(1), EXIT, branch(-2), ZERO, EXIT], Flaw.JUMP_RANGE, 2, "jump out of range from insn 2 to 1",
    ),
    "jump into ld_imm64": (
        [branch(1), WIDE, ZERO, EXIT], Flaw.JUMP_MIDDLE, 0, "jump into the middle of ldimm64 insn 1",
    ),
    "runs over the end": ([ZERO], Flaw.LAST_INSN, 0, "last insn is not an exit or jmp"),
    "ends with a conditional": ([ZERO, EXIT, branch(-2)], Flaw.LAST_INSN, 2, "last insn is not an exit or jmp"),
    "unreachable": ([ZERO, EXIT, ZERO, EXIT], Flaw.UNREACHABLE, 2, "unreachable insn 2"),
    "skipped": ([ZERO, goto(1), ZERO, EXIT], Flaw.UNREACHABLE, 2, "unreachable insn 2"),
    "opcode": ([ZERO, Instruction(0xFF), EXIT], Flaw.OPCODE, 1, "unknown opcode ff"),
    "call outside": ([call(9), EXIT], Flaw.CALL_TARGET, 0, "call to invalid destination"),
    "recursion": ([call(1), EXIT, call(-1), EXIT], Flaw.RECURSION, 2, "the call stack of 9 frames is too deep"),
    "jump table": ([ZERO, Instruction(op.JMP | op.JA | op.X, 0), EXIT], Flaw.OPCODE, 1, "unknown opcode 0d"),
}  # fmt: skip

LOCAL: dict[str, tuple[list[Instruction], Flaw, int, str]] = {
    "division": ([ZERO, alu(op.DIV, 0), EXIT], Flaw.DIVISION_BY_ZERO, 1, "div by zero"),
    "modulo": ([ZERO, alu(op.MOD, 0, klass=op.ALU), EXIT], Flaw.DIVISION_BY_ZERO, 1, "div by zero"),
    "shift 64": ([ZERO, alu(op.LSH, 64), EXIT], Flaw.SHIFT_AMOUNT, 1, "invalid shift 64"),
    "shift 32": ([ZERO, alu(op.ARSH, 32, klass=op.ALU), EXIT], Flaw.SHIFT_AMOUNT, 1, "invalid shift 32"),
    "shift negative": ([ZERO, alu(op.RSH, -1), EXIT], Flaw.SHIFT_AMOUNT, 1, "invalid shift -1"),
    "frame pointer": ([ZERO, alu(op.ADD, 1, dst=10), EXIT], Flaw.FRAME_POINTER, 1, "frame pointer is read only"),
    "frame pointer loaded": (
        [ZERO, Instruction(op.LD_IMM64, 10, 0, 0, 1), EXIT], Flaw.FRAME_POINTER, 1, "frame pointer is read only",
    ),
    "register": ([ZERO, alu(op.ADD, 1, dst=12), EXIT], Flaw.REGISTER_NUMBER, 1, "R12 is invalid"),
    "byte swap": (
        [ZERO, Instruction(op.ALU | op.END | op.X, 0, 0, 0, 24), EXIT], Flaw.RESERVED_FIELD, 1,
        "BPF_END uses reserved fields",
    ),
    "exit": (
        [ZERO, Instruction(op.JMP | op.EXIT, 0, 0, 0, 7)], Flaw.RESERVED_FIELD, 1, "BPF_EXIT uses reserved fields",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATIC)
def test_static(name: str) -> None:
    insns, rule, slot, kernel = STATIC[name]
    first = structure.check(insns)[0]
    assert (first.rule, first.slot, first.kernel) == (rule, slot, kernel)


@pytest.mark.parametrize("name", LOCAL)
def test_local(name: str) -> None:
    insns, rule, slot, kernel = LOCAL[name]
    assert structure.check(insns) == ()
    faults = structure.local_faults(insns)
    assert [(f.rule, f.slot, f.kernel) for f in faults.values()] == [(rule, slot, kernel)]
    assert set(faults) == {slot}


def test_masked_shifts() -> None:
    assert structure.local_faults(LOCAL["shift 64"][0], masked_shifts=True) == {}


def test_good() -> None:
    program = assemble("r0 = 0\nif r1 == 0 goto +2\nr2 = 0x123456789 ll\nexit")
    assert structure.check(program) == ()
    assert structure.local_faults(program) == {}


def test_empty_and_huge() -> None:
    assert structure.check([])[0].rule is Flaw.EMPTY
    assert structure.check([ZERO] * 1_000_001)[0].rule is Flaw.TOO_LARGE


def test_deep_call_chain() -> None:
    chain = [insn for _ in range(8) for insn in (call(1), EXIT)]
    assert structure.check([*chain[:14], ZERO, EXIT]) == ()  # 8 frames
    found = structure.check([*chain, ZERO, EXIT])[0]
    assert (found.rule, found.values["frames"]) == (Flaw.CALL_CHAIN, 9)


def kernel_log(insns: list[Instruction]) -> str | None:
    """Load a socket filter into the running kernel; its log if it is refused, None if it is accepted."""
    text = encode(insns)
    code, licence, log = (
        ctypes.create_string_buffer(text, len(text)),
        ctypes.create_string_buffer(b"GPL"),
        ctypes.create_string_buffer(1 << 16),
    )
    attr = struct.pack(
        "<IIQQIIQ", 1, len(text) // 8, ctypes.addressof(code), ctypes.addressof(licence), 1, len(log),
        ctypes.addressof(log),
    ).ljust(144, b"\0")  # fmt: skip
    fd = ctypes.CDLL(None, use_errno=True).syscall(321, 5, attr, len(attr))
    if fd >= 0:
        os.close(fd)
        return None
    if ctypes.get_errno() in (1, 38):
        pytest.skip(f"bpf(2) is not allowed here: errno {ctypes.get_errno()} (needs CAP_BPF)")
    return log.value.decode()


@pytest.mark.kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the system call number is x86-64's")
@pytest.mark.parametrize("name", [*STATIC, *LOCAL])
def test_kernel_says_the_same(name: str) -> None:
    insns, rule, _, sentence = (STATIC | LOCAL)[name]
    log = kernel_log(insns)
    assert log is not None, "the kernel accepts it"
    if rule is Flaw.RESERVED_FIELD or name == "call outside":  # which fields it names changed between versions
        assert "uses reserved fields" in log or "invalid destination" in log
    elif rule is Flaw.RECURSION:
        assert any(said in log for said in ("too deep", "recursive", "infinite loop", "back-edge"))
    else:
        assert sentence in log, log

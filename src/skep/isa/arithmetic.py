"""Exact meaning of every computation, on Python ints (RFC 9669 sections 4.1 to 4.3).

Values go in and come out unsigned, of the width named (32 or 64 bits). A 32-bit result is the whole register: its upper
half is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction

MASK32 = (1 << 32) - 1
MASK64 = (1 << 64) - 1


def mask(width: int) -> int:
    """All ones of ``width`` bits."""
    return (1 << width) - 1


def signed(value: int, width: int = 64) -> int:
    """The two's complement reading of the low ``width`` bits."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def sign_extend(value: int, from_bits: int, width: int = 64) -> int:
    """Low ``from_bits`` bits, sign-extended to ``width``: movsx and ldsx."""
    return signed(value, from_bits) & mask(width)


def _divide(a: int, b: int, width: int) -> int:
    return a // b if b else 0


def _modulo(a: int, b: int, width: int) -> int:
    return a % b if b else a


def _truncated_quotient(a: int, b: int) -> int:
    """C's division: towards zero."""
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def _signed_divide(a: int, b: int, width: int) -> int:
    # INT_MIN / -1 overflows back to INT_MIN when the caller masks it.
    return _truncated_quotient(signed(a, width), signed(b, width)) if b else 0


def _signed_modulo(a: int, b: int, width: int) -> int:
    if not b:
        return a
    x, y = signed(a, width), signed(b, width)
    return x - y * _truncated_quotient(x, y)


_OPERATIONS: dict[int, Callable[[int, int, int], int]] = {
    op.ADD: lambda a, b, width: a + b,
    op.SUB: lambda a, b, width: a - b,
    op.MUL: lambda a, b, width: a * b,
    op.DIV: _divide,
    op.OR: lambda a, b, width: a | b,
    op.AND: lambda a, b, width: a & b,
    op.LSH: lambda a, b, width: a << (b & (width - 1)),
    op.RSH: lambda a, b, width: a >> (b & (width - 1)),
    op.MOD: _modulo,
    op.XOR: lambda a, b, width: a ^ b,
    op.MOV: lambda a, b, width: b,
    op.ARSH: lambda a, b, width: signed(a, width) >> (b & (width - 1)),
}
_SIGNED_OPERATIONS: dict[int, Callable[[int, int, int], int]] = {op.DIV: _signed_divide, op.MOD: _signed_modulo}


def alu(code: int, dst: int, src: int, width: int = 64, is_signed: bool = False) -> int:
    """ADD SUB MUL DIV OR AND LSH RSH MOD XOR MOV ARSH. Division by zero gives 0, modulo by zero the dividend; shift
    amounts are taken modulo the width; ``is_signed`` chooses sdiv and smod."""
    table = _SIGNED_OPERATIONS if is_signed else _OPERATIONS
    bits = mask(width)
    return table[code](dst & bits, src & bits, width) & bits


def negate(value: int, width: int = 64) -> int:
    """Two's complement negation."""
    return -value & mask(width)


def byteswap(value: int, bits: int, kind: Literal["le", "be", "bswap"], byte_order: str = "little") -> int:
    """Convert the low ``bits`` bits (16, 32, 64) and zero the rest. ``le`` and ``be`` do nothing but truncate on a
    machine of that byte order; ``bswap`` always swaps (section 4.2)."""
    value &= mask(bits)
    if kind == ("le" if byte_order == "little" else "be"):
        return value
    return int.from_bytes(value.to_bytes(bits // 8, "little"), "big")


_CONDITIONS: dict[int, Callable[[int, int, int], bool]] = {
    op.JEQ: lambda a, b, width: a == b,
    op.JNE: lambda a, b, width: a != b,
    op.JSET: lambda a, b, width: a & b != 0,
    op.JGT: lambda a, b, width: a > b,
    op.JGE: lambda a, b, width: a >= b,
    op.JLT: lambda a, b, width: a < b,
    op.JLE: lambda a, b, width: a <= b,
    op.JSGT: lambda a, b, width: signed(a, width) > signed(b, width),
    op.JSGE: lambda a, b, width: signed(a, width) >= signed(b, width),
    op.JSLT: lambda a, b, width: signed(a, width) < signed(b, width),
    op.JSLE: lambda a, b, width: signed(a, width) <= signed(b, width),
}


def condition(code: int, a: int, b: int, width: int = 64) -> bool:
    """Does the comparison JEQ..JSLE hold between the low ``width`` bits of a and b?"""
    bits = mask(width)
    return _CONDITIONS[code](a & bits, b & bits, width)


def atomic(operation: int, old: int, operand: int, width: int = 64) -> int:
    """What ADD, OR, AND, XOR (with or without FETCH) and XCHG leave in memory."""
    if operation == op.XCHG:
        return operand & mask(width)
    return alu(operation & ~op.FETCH, old, operand, width)


_SWAPS: dict[int, Literal["le", "be", "bswap"]] = {
    op.ALU | op.END | op.K: "le",
    op.ALU | op.END | op.X: "be",
    op.ALU64 | op.END | op.K: "bswap",
}


def evaluate(insn: Instruction, dst: int, src: int, byte_order: str = "little") -> int:
    """The new value of ``insn.dst`` for a legal ALU or ALU64 instruction, given the 64-bit values of both registers.
    An address-space cast is not arithmetic and is not handled here."""
    code = insn.opcode & op.CODE_MASK
    width = 64 if insn.opcode & op.CLASS_MASK == op.ALU64 else 32
    if code == op.END:
        return byteswap(dst, insn.imm, _SWAPS[insn.opcode], byte_order)
    if code == op.NEG:
        return negate(dst, width)
    if not insn.opcode & op.X:
        return alu(code, dst, insn.imm, width, insn.off == 1)
    if code == op.MOV and insn.off:
        return sign_extend(src, insn.off, width)
    return alu(code, dst, src, width, insn.off == 1)


def branches(insn: Instruction, dst: int, src: int) -> bool:
    """Is the jump taken? For conditional jumps of JMP and JMP32."""
    width = 64 if insn.opcode & op.CLASS_MASK == op.JMP else 32
    return condition(insn.opcode & op.CODE_MASK, dst, src if insn.opcode & op.X else insn.imm, width)

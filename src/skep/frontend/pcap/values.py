"""Numbers that a filter computes from a packet, as trees without side effects.

Because a tree always means the same for the same packet, equal trees are equal numbers: that is what lets the optimiser
forget a test whose answer is known and a load whose result is still in a register.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from skep.isa.classic import opcodes as op

MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Constant:
    """A number of 32 bits."""

    value: int


@dataclass(frozen=True, slots=True)
class PacketLength:
    """The packet's length on the wire."""


@dataclass(frozen=True, slots=True)
class Load:
    """``size`` (op.W, op.H, op.B) bytes at ``offset``, plus ``index`` if there is one; big-endian."""

    size: int
    offset: int
    index: Value | None = None


@dataclass(frozen=True, slots=True)
class HeaderLength:
    """Four times the low nibble of the byte at ``offset``: an IPv4 header's length."""

    offset: int


@dataclass(frozen=True, slots=True)
class Binary:
    """An operation (op.ADD ...) of two numbers."""

    code: int
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Negative:
    """Minus a number, modulo 2**32."""

    operand: Value


Value = Constant | PacketLength | Load | HeaderLength | Binary | Negative

#: Operations on constants; division by zero and too wide shifts are refused before.
_FOLD: Mapping[int, Callable[[int, int], int]] = {
    op.ADD: lambda a, b: a + b,
    op.SUB: lambda a, b: a - b,
    op.MUL: lambda a, b: a * b,
    op.DIV: lambda a, b: a // b,
    op.MOD: lambda a, b: a % b,
    op.AND: lambda a, b: a & b,
    op.OR: lambda a, b: a | b,
    op.XOR: lambda a, b: a ^ b,
    op.LSH: lambda a, b: a << b if b < 32 else 0,
    op.RSH: lambda a, b: a >> b if b < 32 else 0,
}
_NEUTRAL = {op.ADD: 0, op.SUB: 0, op.MUL: 1, op.DIV: 1, op.OR: 0, op.XOR: 0, op.LSH: 0, op.RSH: 0, op.AND: MASK}


def binary(code: int, left: Value, right: Value) -> Value:
    """The operation, done at once where both numbers are known."""
    if isinstance(right, Constant):
        if isinstance(left, Constant) and not (code in (op.DIV, op.MOD) and right.value == 0):
            return Constant(_FOLD[code](left.value, right.value) & MASK)
        if _NEUTRAL.get(code) == right.value:
            return left
    return Binary(code, left, right)


def negative(operand: Value) -> Value:
    """Minus a number."""
    return Constant(-operand.value & MASK) if isinstance(operand, Constant) else Negative(operand)


def load(size: int, offset: int, index: Value | None = None) -> Value:
    """Bytes of the packet; a known index is part of the offset."""
    if isinstance(index, Constant):
        return Load(size, (offset + index.value) & MASK)
    match index:
        case Binary(op.ADD, HeaderLength() as start, Constant(further)) if further < 1 << 16:
            return Load(size, offset + further, start)
        case _:
            return Load(size, offset & MASK, index)


def header_length(offset: int, index: Value | None = None) -> Value:
    """An IPv4 header's length."""
    if index is None:
        return HeaderLength(offset)
    return binary(op.LSH, binary(op.AND, load(op.B, offset, index), Constant(15)), Constant(2))


def total(left: Value | None, right: Value | None) -> Value | None:
    """The sum of two numbers, either of which may not be there."""
    if left is None or right is None:
        return right if left is None else left
    return binary(op.ADD, left, right)

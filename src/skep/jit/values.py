"""Registers while IR is written: each may be known as an ``i64``, as a ``ptr``, or as both.

Values are LLVM operands as text: ``%v7``, or a decimal constant, which is folded here so that the text stays short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Value:
    """What a register holds: as integer, as pointer; at least one of both."""

    integer: str | None = None
    pointer: str | None = None

    def copy(self) -> Value:
        """One that may gain its other form without telling this one."""
        return Value(self.integer, self.pointer)


def constant(operand: str) -> int | None:
    """The number that an operand is, or None for a name."""
    return int(operand) if operand[0] in "-0123456789" else None


def signed(number: int, bits: int) -> int:
    """A number cut to ``bits`` and read as two's complement: the way LLVM's text wants constants."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


class Body:
    """The text of one LLVM function while it grows: fresh names, labels, registers of the current block."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.registers: dict[int, Value] = {}
        self.label = ""
        self._next = 0

    def emit(self, line: str) -> None:
        """Add an instruction without result."""
        self.lines.append("  " + line)

    def assign(self, expression: str) -> str:
        """Add an instruction; the name of its result."""
        self._next += 1
        name = f"%v{self._next}"
        self.lines.append(f"  {name} = {expression}")
        return name

    def fresh_label(self) -> str:
        """A label nobody uses yet."""
        self._next += 1
        return f"l{self._next}"

    def start(self, label: str) -> None:
        """Begin an LLVM block."""
        self.label = label
        self.lines.append(f"{label}:")

    def integer(self, register: int) -> str:
        """The register as i64."""
        value = self.registers.get(register)
        if value is None:
            return "0"  # never written on any path: the verifier proved that nobody looks
        if value.integer is None:
            value.integer = self.assign(f"ptrtoint ptr {value.pointer} to i64")
        return value.integer

    def pointer(self, register: int) -> str:
        """The register as ptr."""
        value = self.registers.get(register)
        if value is None:
            return "null"
        if value.pointer is None:
            value.pointer = self.as_pointer(value.integer or "0")
        return value.pointer

    def as_pointer(self, operand: str) -> str:
        """An i64 operand as ptr."""
        return "null" if operand == "0" else self.assign(f"inttoptr i64 {operand} to ptr")

    def narrow(self, register: int, bits: int) -> str:
        """The low bits of the register, as an integer of that width."""
        operand = self.integer(register)
        return self.cut(operand, bits)

    def cut(self, operand: str, bits: int) -> str:
        """An i64 operand truncated."""
        if bits == 64:
            return operand
        number = constant(operand)
        if number is not None:
            return str(signed(number, bits))
        return self.assign(f"trunc i64 {operand} to i{bits}")

    def widen(self, operand: str, bits: int, extend: str = "zext") -> str:
        """An operand of ``bits`` as i64; ``extend`` is zext or sext."""
        if bits == 64:
            return operand
        number = constant(operand)
        if number is not None:
            return str(signed(number, bits) if extend == "sext" else number & ((1 << bits) - 1))
        return self.assign(f"{extend} i{bits} {operand} to i64")

    def set_integer(self, register: int, operand: str) -> None:
        """The register now holds this i64."""
        self.registers[register] = Value(integer=operand)

    def set_pointer(self, register: int, operand: str) -> None:
        """The register now holds this ptr."""
        self.registers[register] = Value(pointer=operand)

    def forget(self, registers: Iterator[int] | range) -> None:
        """These registers hold nothing any more (a call clobbered them)."""
        for register in registers:
            self.registers.pop(register, None)

    def offset(self, pointer: str, distance: str) -> str:
        """A pointer moved by an i64 distance in bytes."""
        return pointer if distance == "0" else self.assign(f"getelementptr i8, ptr {pointer}, i64 {distance}")

"""What a filter asks about a packet: tests of values, joined by and, or, not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from skep.frontend.pcap.values import MASK, Binary, Constant, Value, binary
from skep.isa.classic import opcodes as op
from skep.isa.classic.instruction import ClassicInstruction


@dataclass(frozen=True, slots=True)
class Test:
    """``left code right``, where code is op.JEQ, JGT, JGE or JSET (unsigned)."""

    code: int
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Negation:
    """The opposite."""

    child: Condition


@dataclass(frozen=True, slots=True)
class Junction:
    """All (is_and) or any of the children, tested in order; all of none is true, any of none false."""

    is_and: bool
    children: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Run ``code``, then: A is ``number``. For what keeps a state in A, X and M[]; nothing is known of it elsewhere."""

    code: tuple[ClassicInstruction, ...]
    number: int


@dataclass(frozen=True, slots=True)
class Choice:
    """``then`` where the condition holds, else ``other``: neither is asked when the other has been."""

    condition: Condition
    then: Condition
    other: Condition


Condition = Test | Negation | Junction | Step | Choice

TRUE = Junction(True, ())
FALSE = Junction(False, ())


def both(*conditions: Condition | None) -> Condition:
    """All of them, in this order; None asks nothing."""
    return _join(True, conditions)


def either(*conditions: Condition | None) -> Condition:
    """Any of them, in this order."""
    return _join(False, conditions)


def _join(is_and: bool, conditions: Iterable[Condition | None]) -> Condition:
    there = tuple(condition for condition in conditions if condition is not None)
    return there[0] if len(there) == 1 else Junction(is_and, there)


def negate(condition: Condition) -> Condition:
    """The opposite."""
    return condition.child if isinstance(condition, Negation) else Negation(condition)


def compare(code: int, left: Value, right: Value) -> Condition:
    """A test; ``x & mask == 0`` becomes the test for bits, which needs no result."""
    match code, left, right:
        case op.JEQ, Binary(op.AND, value, Constant(mask)), Constant(0):
            return Negation(Test(op.JSET, value, Constant(mask)))
        case _:
            return Test(code, left, right)


def equal(value: Value, number: int, mask: int = MASK) -> Condition:
    """The value, masked, is this number."""
    return compare(op.JEQ, binary(op.AND, value, Constant(mask)), Constant(number & mask))


def at_least(value: Value, number: int) -> Condition:
    """value >= number."""
    return Test(op.JGE, value, Constant(number))


def above(value: Value, number: int) -> Condition:
    """value > number."""
    return Test(op.JGT, value, Constant(number))


def has_bits(value: Value, mask: int) -> Condition:
    """Some bit of mask is set."""
    return Test(op.JSET, value, Constant(mask))

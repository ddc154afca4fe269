"""Tristate numbers: sets of numbers given by which bits are known (kernel/bpf/tnum.c; Vishwanathan et al., CGO 2022).

The functions work on bare (value, mask) pairs because the verifier calls them for nearly every instruction;
:class:`Tnum` is the same thing with a face. A mask bit of 1 means "not known"; the value is 0 there.
``full`` is ``2**width - 1``.
"""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[int, int]


def add(av: int, am: int, bv: int, bm: int, full: int) -> Pair:
    """Sum: every bit that a carry could reach and that carries differently with all-0 and all-1 unknowns is unknown."""
    low = av + bv
    unknown = (low + am + bm ^ low | am | bm) & full
    return low & ~unknown & full, unknown


def sub(av: int, am: int, bv: int, bm: int, full: int) -> Pair:
    """Difference; Python's unbounded two's complement carries the borrow."""
    middle = av - bv
    unknown = ((middle + am) ^ (middle - bm) | am | bm) & full
    return middle & ~unknown & full, unknown


def mul(av: int, am: int, bv: int, bm: int, full: int) -> Pair:
    """Product: shift and add, where an unknown bit of ``a`` may or may not add (kernel 6.18's tnum_mul())."""
    value = mask = 0
    while av or am:
        if (av | am) & 1:
            low = value + bv
            unknown = (low + mask + bm ^ low | mask | bm) & full
            added = low & ~unknown & full
            if am & 1:
                unknown |= mask | (value ^ added)
                added &= ~unknown
            value, mask = added, unknown
        av >>= 1
        am >>= 1
        bv = bv << 1 & full
        bm = bm << 1 & full
    return value, mask


def and_(av: int, am: int, bv: int, bm: int) -> Pair:
    """Bitwise and."""
    value = av & bv
    return value, (av | am) & (bv | bm) & ~value


def or_(av: int, am: int, bv: int, bm: int) -> Pair:
    """Bitwise or."""
    value = av | bv
    return value, (am | bm) & ~value


def xor(av: int, am: int, bv: int, bm: int) -> Pair:
    """Bitwise exclusive or."""
    mask = am | bm
    return (av ^ bv) & ~mask, mask


def arshift(value: int, mask: int, amount: int, sign: int, full: int) -> Pair:
    """Arithmetic right shift; ``sign`` is the sign bit of the width. An unknown sign bit spreads."""
    return ((value ^ sign) - sign >> amount) & full, ((mask ^ sign) - sign >> amount) & full


def join(av: int, am: int, bv: int, bm: int) -> Pair:
    """The smallest tnum that holds both."""
    mask = am | bm | (av ^ bv)
    return av & ~mask, mask


def meet(av: int, am: int, bv: int, bm: int) -> Pair | None:
    """What both allow (exact), or None if they know some bit differently."""
    if (av ^ bv) & ~am & ~bm:
        return None
    return av | bv, am & bm


def from_range(low: int, high: int) -> Pair:
    """The smallest tnum that holds low..high: the leading bits that both ends share are known."""
    delta = (1 << (low ^ high).bit_length()) - 1
    return low & ~delta, delta


def least_from(value: int, mask: int, bound: int) -> int | None:
    """The smallest number of the set that is at least ``bound``; None if there is none."""
    wrong = (bound ^ value) & ~mask
    if not wrong:
        return bound
    top = wrong.bit_length() - 1
    if value >> top & 1:  # the bound lacks a bit that all numbers have: below it, the least
        return bound >> top + 1 << top + 1 | value & (2 << top) - 1
    free = mask & ~bound & -(2 << top)  # unknown bits above that the bound leaves 0: the lowest of them goes up
    if not free:
        return None
    step = free & -free
    return (bound & -(step << 1)) | step | value & step - 1


def next_after(value: int, mask: int, member: int) -> int | None:
    """The next larger number of the set after one of its numbers; None after the largest."""
    after = (member | ~mask) + 1 & mask | value
    return after if after > member else None


def covers(av: int, am: int, bv: int, bm: int) -> bool:
    """Whether every number of ``b`` is one of ``a``."""
    return not (bm & ~am) and not ((av ^ bv) & ~am)


class Tnum(NamedTuple):
    """A set of numbers of ``width`` bits: those that agree with ``value`` where ``mask`` is 0."""

    value: int
    mask: int

    @staticmethod
    def constant(value: int, width: int = 64) -> Tnum:
        """The set of one number, taken modulo 2**width."""
        return Tnum(value & ((1 << width) - 1), 0)

    @staticmethod
    def unknown(width: int = 64) -> Tnum:
        """All numbers of a width."""
        return Tnum(0, (1 << width) - 1)

    @staticmethod
    def from_range(low: int, high: int) -> Tnum:
        """The smallest tnum that holds the unsigned numbers low..high."""
        return Tnum(*from_range(low, high))

    @property
    def is_const(self) -> bool:
        """Whether every bit is known."""
        return not self.mask

    def contains(self, number: int) -> bool:
        """Whether the unsigned ``number`` is in the set."""
        return number & ~self.mask == self.value

    def covers(self, other: Tnum) -> bool:
        """Whether every number of ``other`` is in this set."""
        return covers(*self, *other)

    def join(self, other: Tnum) -> Tnum:
        """The smallest tnum that holds both sets."""
        return Tnum(*join(*self, *other))

    def meet(self, other: Tnum) -> Tnum | None:
        """The numbers in both, or None if there are none."""
        pair = meet(*self, *other)
        return None if pair is None else Tnum(*pair)

    def add(self, other: Tnum, width: int = 64) -> Tnum:
        """Sum modulo 2**width."""
        return Tnum(*add(*self, *other, (1 << width) - 1))

    def sub(self, other: Tnum, width: int = 64) -> Tnum:
        """Difference modulo 2**width."""
        return Tnum(*sub(*self, *other, (1 << width) - 1))

    def neg(self, width: int = 64) -> Tnum:
        """Two's complement."""
        return Tnum(*sub(0, 0, *self, (1 << width) - 1))

    def mul(self, other: Tnum, width: int = 64) -> Tnum:
        """Product modulo 2**width."""
        return Tnum(*mul(*self, *other, (1 << width) - 1))

    def and_(self, other: Tnum) -> Tnum:
        """Bitwise and."""
        return Tnum(*and_(*self, *other))

    def or_(self, other: Tnum) -> Tnum:
        """Bitwise or."""
        return Tnum(*or_(*self, *other))

    def xor(self, other: Tnum) -> Tnum:
        """Bitwise exclusive or."""
        return Tnum(*xor(*self, *other))

    def lshift(self, amount: int, width: int = 64) -> Tnum:
        """Left shift by a known amount."""
        full = (1 << width) - 1
        return Tnum(self.value << amount & full, self.mask << amount & full)

    def rshift(self, amount: int) -> Tnum:
        """Logical right shift by a known amount."""
        return Tnum(self.value >> amount, self.mask >> amount)

    def arshift(self, amount: int, width: int = 64) -> Tnum:
        """Arithmetic right shift by a known amount."""
        return Tnum(*arshift(*self, amount, 1 << (width - 1), (1 << width) - 1))

    def cast(self, width: int) -> Tnum:
        """The low ``width`` bits, zero-extended."""
        full = (1 << width) - 1
        return Tnum(self.value & full, self.mask & full)

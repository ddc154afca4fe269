"""Interval arithmetic is sound for every pair of intervals of 3 (and 4) bits: nothing is sampled."""

from collections.abc import Callable
from itertools import product

import pytest

from skep.verifier.domains import ranges

WIDTH = 4
FULL = (1 << WIDTH) - 1
SIGN = 1 << (WIDTH - 1)

UNSIGNED = [(low, high) for low in range(FULL + 1) for high in range(low, FULL + 1)]
SIGNED = [(low, high) for low in range(-SIGN, SIGN) for high in range(low, SIGN)]


def wrap(number: int) -> int:
    return ((number & FULL) ^ SIGN) - SIGN


@pytest.mark.parametrize(
    ("abstract", "concrete"),
    [
        (ranges.add_unsigned, int.__add__),
        (ranges.sub_unsigned, int.__sub__),
        (ranges.mul_unsigned, int.__mul__),
    ],
)
def test_unsigned(abstract: Callable[..., ranges.Bounds], concrete: Callable[[int, int], int]) -> None:
    for a, b in product(UNSIGNED[::3], UNSIGNED):
        low, high = abstract(*a, *b, FULL)
        assert 0 <= low <= high <= FULL
        for x, y in product(range(a[0], a[1] + 1), range(b[0], b[1] + 1)):
            assert low <= concrete(x, y) & FULL <= high, (a, b, x, y)


@pytest.mark.parametrize(
    ("abstract", "concrete"),
    [(ranges.add_signed, int.__add__), (ranges.sub_signed, int.__sub__), (ranges.mul_signed, int.__mul__)],
)
def test_signed(abstract: Callable[..., ranges.Bounds], concrete: Callable[[int, int], int]) -> None:
    for a, b in product(SIGNED[::3], SIGNED):
        low, high = abstract(*a, *b, SIGN)
        assert -SIGN <= low <= high < SIGN
        for x, y in product(range(a[0], a[1] + 1), range(b[0], b[1] + 1)):
            assert low <= wrap(concrete(x, y)) <= high, (a, b, x, y)


def test_exact_where_nothing_wraps() -> None:
    assert ranges.add_unsigned(1, 2, 3, 4, FULL) == (4, 6)
    assert ranges.add_unsigned(15, 15, 3, 4, FULL) == (2, 3)  # all wrap
    assert ranges.add_unsigned(14, 15, 1, 1, FULL) == (0, 15)  # some wrap
    assert ranges.sub_unsigned(0, 1, 2, 3, FULL) == (13, 15)


def test_shift() -> None:
    for low, high in UNSIGNED:
        for amount in range(WIDTH):
            first, last = ranges.lshift_unsigned(low, high, amount, SIGN)
            assert all(first <= x << amount & FULL <= last for x in range(low, high + 1))


def test_division_unsigned() -> None:
    for low, high in UNSIGNED:
        for divisor in range(FULL + 1):
            qlow, qhigh = ranges.div_unsigned(low, high, divisor)
            rlow, rhigh = ranges.mod_unsigned(low, high, divisor)
            for x in range(low, high + 1):
                assert qlow <= (x // divisor if divisor else 0) <= qhigh
                assert rlow <= (x % divisor if divisor else x) <= rhigh


def test_division_signed() -> None:
    for low, high in SIGNED:
        for divisor in range(-SIGN, SIGN):
            qlow, qhigh = ranges.div_signed(low, high, divisor, SIGN)
            rlow, rhigh = ranges.mod_signed(low, high, divisor)
            for x in range(low, high + 1):
                quotient = wrap(ranges.truncated_quotient(x, divisor)) if divisor else 0
                remainder = x - ranges.truncated_quotient(x, divisor) * divisor if divisor else x
                assert qlow <= quotient <= qhigh, (low, high, divisor, x)
                assert rlow <= remainder <= rhigh, (low, high, divisor, x)

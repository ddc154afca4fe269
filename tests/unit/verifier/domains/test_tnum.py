"""Tnum operations are sound for every pair of tnums of 3 bits (and of 4, for the cheap ones): nothing is sampled."""

from collections.abc import Callable, Iterator
from itertools import product

import pytest

from skep.verifier.domains.tnum import Tnum, least_from, next_after

WIDTH = 3
FULL = (1 << WIDTH) - 1
SIGN = 1 << (WIDTH - 1)


def tnums(width: int = WIDTH) -> list[Tnum]:
    """Every tnum of a width: 3**width of them."""
    return [Tnum(v, m) for m in range(1 << width) for v in range(1 << width) if not v & m]


def members(t: Tnum, width: int = WIDTH) -> Iterator[int]:
    """The numbers in a tnum."""
    return (n for n in range(1 << width) if t.contains(n))


BINARY: dict[str, tuple[Callable[[Tnum, Tnum], Tnum], Callable[[int, int], int]]] = {
    "add": (lambda a, b: a.add(b, WIDTH), lambda x, y: x + y & FULL),
    "sub": (lambda a, b: a.sub(b, WIDTH), lambda x, y: x - y & FULL),
    "mul": (lambda a, b: a.mul(b, WIDTH), lambda x, y: x * y & FULL),
    "and": (Tnum.and_, lambda x, y: x & y),
    "or": (Tnum.or_, lambda x, y: x | y),
    "xor": (Tnum.xor, lambda x, y: x ^ y),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_sound_and_well_formed(name: str) -> None:
    abstract, concrete = BINARY[name]
    for a, b in product(tnums(), repeat=2):
        result = abstract(a, b)
        assert not result.value & result.mask
        assert result.covers(result)
        assert (result.value | result.mask) <= FULL
        for x, y in product(members(a), members(b)):
            assert result.contains(concrete(x, y)), (a, b, x, y, result)


@pytest.mark.parametrize("name", ["add", "sub", "and", "or", "xor"])
def test_binary_optimal(name: str) -> None:
    """These are known to be the best possible (Vishwanathan et al.): the smallest tnum of all results."""
    abstract, concrete = BINARY[name]
    for a, b in product(tnums(), repeat=2):
        results = [concrete(x, y) for x, y in product(members(a), members(b))]
        best = Tnum.constant(results[0], WIDTH)
        for number in results[1:]:
            best = best.join(Tnum.constant(number, WIDTH))
        assert abstract(a, b) == best


@pytest.mark.parametrize("name", BINARY)
def test_binary_monotone(name: str) -> None:
    abstract, _ = BINARY[name]
    everything = tnums()
    for a, wider in product(everything, repeat=2):
        if wider.covers(a):
            for b in everything:
                if name != "mul":  # the kernel's product is not monotone
                    assert abstract(wider, b).covers(abstract(a, b))


@pytest.mark.parametrize("amount", range(WIDTH))
def test_shifts(amount: int) -> None:
    for a in tnums():
        for x in members(a):
            signed = (x ^ SIGN) - SIGN
            assert a.lshift(amount, WIDTH).contains(x << amount & FULL)
            assert a.rshift(amount).contains(x >> amount)
            assert a.arshift(amount, WIDTH).contains(signed >> amount & FULL)


def test_neg_and_cast() -> None:
    for a in tnums():
        for x in members(a):
            assert a.neg(WIDTH).contains(-x & FULL)
            assert a.cast(2).contains(x & 3)


def test_order_and_lattice() -> None:
    everything = tnums(4)
    sets = {t: frozenset(members(t, 4)) for t in everything}
    for a, b in product(everything, repeat=2):
        assert a.covers(b) == (sets[a] >= sets[b])
        assert sets[a.join(b)] >= sets[a] | sets[b]
        both = a.meet(b)
        assert (frozenset() if both is None else sets[both]) == sets[a] & sets[b]


def test_from_range_is_smallest() -> None:
    everything = tnums(4)
    for low in range(16):
        for high in range(low, 16):
            found = Tnum.from_range(low, high)
            assert all(found.contains(n) for n in range(low, high + 1))
            assert not any(
                t != found
                and found.covers(t)
                and t.contains(low)
                and t.contains(high)
                and all(t.contains(n) for n in range(low, high + 1))
                for t in everything
            )


def test_constant_and_unknown() -> None:
    assert Tnum.constant(-1) == Tnum((1 << 64) - 1, 0)
    assert Tnum.constant(5).is_const
    assert not Tnum.unknown(3).is_const
    assert list(members(Tnum.unknown(3))) == list(range(8))


def test_walk_through_members() -> None:
    for t in tnums(4):
        inside = list(members(t, 4))
        for bound in range(16):
            assert least_from(*t, bound) == next((n for n in inside if n >= bound), None)
        for member, after in zip(inside, [*inside[1:], None], strict=True):
            assert next_after(*t, member) == after

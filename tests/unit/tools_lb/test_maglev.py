"""Maglev tables: against a plain implementation, balanced by weight, and few entries move."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from skep.tools.lb.maglev import MAX_WEIGHT, TABLE, Candidate, TableBuilder
from tests.conftest import SLOWNESS
from tests.unit.tools_lb.lb_model import maglev


@pytest.fixture(scope="module")
def builder() -> Iterator[TableBuilder]:
    with TableBuilder() as made:
        yield made


def names(count: int, first: int = 0) -> list[str]:
    return [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:80" for n in range(first, first + count)]


def built(builder: TableBuilder, weights: dict[str, int]) -> list[str]:
    known = list(weights)
    table = builder.build([Candidate(name, weights[name], number) for number, name in enumerate(known)])
    return [known[number] for number in table]


@pytest.mark.parametrize("seed", range(4))
def test_as_the_paper_has_it(builder: TableBuilder, seed: int) -> None:
    chance = random.Random(seed)
    weights = {name: chance.choice([1, 1, 2, 5, MAX_WEIGHT]) for name in chance.sample(names(500), 1 + 9 * seed)}
    assert built(builder, weights) == maglev(list(weights.items()))


@pytest.mark.parametrize("count", [1, 3, 100, 1000])
def test_equal_backends_get_equal_shares(builder: TableBuilder, count: int) -> None:
    shares = Counter(built(builder, dict.fromkeys(names(count), 1)))
    assert len(shares) == count
    assert max(shares.values()) - min(shares.values()) <= 1


def test_shares_follow_weights(builder: TableBuilder) -> None:
    weights = {name: number % 7 + 1 for number, name in enumerate(names(40))}
    shares = Counter(built(builder, weights))
    for name, weight in weights.items():
        assert shares[name] / TABLE == pytest.approx(weight / sum(weights.values()), rel=0.02)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("change", ["remove", "add"])
def test_one_of_a_hundred_moves_at_most_two_points_more_than_it_must(
    builder: TableBuilder, seed: int, change: str
) -> None:
    """The ideal: the share of the one that comes or goes. The bar of the issue: 2 percentage points more."""
    chance = random.Random(seed)
    before = dict.fromkeys(chance.sample(names(5000), 100), 1)
    after = dict(before)
    if change == "remove":
        del after[chance.choice(list(after))]
    else:
        after["192.0.2.77:80"] = 1
    one, other = built(builder, before), built(builder, after)
    moved = sum(a != b for a, b in zip(one, other, strict=True)) / TABLE
    ideal = 1 / max(len(before), len(after))
    assert ideal * 0.99 <= moved <= ideal + 0.02


def test_the_order_of_backends_does_not_matter(builder: TableBuilder) -> None:
    some = names(30)
    assert built(builder, dict.fromkeys(some, 2)) == built(builder, dict.fromkeys(reversed(some), 2))


def test_a_hundred_backends_in_well_under_a_second(builder: TableBuilder) -> None:
    candidates = [Candidate(name, 1, number) for number, name in enumerate(names(100))]
    started = time.perf_counter()
    builder.build(candidates)
    assert time.perf_counter() - started < 0.5 * SLOWNESS


def test_a_thousand_backends_of_which_one_is_heavy(builder: TableBuilder) -> None:
    """Many turns that take nothing: more steps than one call of bpf_loop() makes."""
    weights = dict.fromkeys(names(1000), 1) | {"192.0.2.1:80": MAX_WEIGHT}
    shares = Counter(built(builder, weights))
    assert len(shares) == 1001
    assert shares["192.0.2.1:80"] / TABLE == pytest.approx(256 / 1256, rel=0.02)

"""The reduction never loses a member: every pair of views is tried at 4 bits with halves of 2."""

from itertools import product

from skep.verifier.domains.reduction import Views, reduce

NARROW = {"half": 2, "full": 15, "sign": 8, "low": 3, "low_sign": 2}
TOP = [(0, 15), (0, 15), (-8, 7), (0, 3), (-2, 1)]  # value/mask, u, s, u low, s low


def options(view: int) -> list[tuple[int, int]]:
    if view == 0:
        return [(v, m) for m in range(16) for v in range(16) if not v & m]
    low, high = TOP[view]
    return [(a, b) for a in range(low, high + 1) for b in range(a, high + 1)]


def is_member(number: int, views: Views) -> bool:
    value, mask, umin, umax, smin, smax, u32min, u32max, s32min, s32max = views
    low = number & 3
    return (
        number & ~mask == value
        and umin <= number <= umax
        and smin <= (number ^ 8) - 8 <= smax
        and u32min <= low <= u32max
        and s32min <= (low ^ 2) - 2 <= s32max
    )


def flat(choice: list[tuple[int, int]]) -> Views:
    (a, b), (c, d), (e, f), (g, h), (i, j) = choice
    return a, b, c, d, e, f, g, h, i, j


def check(choice: list[tuple[int, int]]) -> None:
    before = flat(choice)
    after = reduce(*before, **NARROW)
    for number in range(16):
        if is_member(number, before):
            assert after is not None, before
            assert is_member(number, after), (number, before, after)
        elif after is not None:
            assert not is_member(number, after), "grew"


def test_every_pair_of_views() -> None:
    for first in range(5):
        for second in range(first + 1, 5):
            for one, two in product(options(first), options(second)):
                choice = list(TOP)
                choice[first], choice[second] = one, two
                check(choice)


def test_three_views() -> None:
    for one, two, three in product(options(1)[::5], options(2)[::5], options(4)):
        check([TOP[0], one, two, TOP[3], three])


def test_constant_from_any_view() -> None:
    for view in (0, 1, 2):
        for number in range(16):
            choice = list(TOP)
            signed = (number ^ 8) - 8
            choice[view] = [(number, 0), (number, number), (signed, signed)][view]
            low = number & 3
            expected = (number, 0, number, number, signed, signed, low, low, (low ^ 2) - 2, (low ^ 2) - 2)
            assert reduce(*flat(choice), **NARROW) == expected


def test_contradictions_found() -> None:
    assert reduce(*flat([(1, 14), (4, 4), *TOP[2:]]), **NARROW) is None  # odd, but 4
    assert reduce(*flat([(0, 15), (8, 15), (0, 7), *TOP[3:]]), **NARROW) is None

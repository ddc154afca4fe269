"""Scalars at full width: every operation keeps the concrete results, whatever the members."""

import operator
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.isa.opcodes import (
    ADD,
    AND,
    ARSH,
    DIV,
    JEQ,
    JGE,
    JGT,
    JLE,
    JLT,
    JNE,
    JSET,
    JSGE,
    JSGT,
    JSLE,
    JSLT,
    LSH,
    MOD,
    MOV,
    MUL,
    OR,
    RSH,
    SUB,
    XOR,
)  # fmt: skip
from skep.verifier.domains import alu, branch
from skep.verifier.domains.ranges import truncated_quotient
from skep.verifier.domains.reduction import reduce
from skep.verifier.domains.scalar import S32, S64, U32, U64, Scalar, make

quick = settings(max_examples=100, deadline=None)

EDGES = [0, 1, 2, 7, 31, 32, 63, 64, 127, 128, 255, 256, 65535, S32 - 1, S32, U32, U32 + 1, S64 - 1, S64, U64]
number = st.one_of(
    st.sampled_from(EDGES),
    st.integers(0, U64),
    st.integers(0, 300),
    st.integers(-300, -1).map(lambda n: n & U64),
    st.sampled_from(EDGES).flatmap(lambda e: st.integers(-3, 3).map(lambda d: (e + d) & U64)),
)


def signed(n: int, sign: int) -> int:
    return (n ^ sign) - sign


@st.composite
def scalar_and_member(draw: st.DrawFn) -> tuple[Scalar, int]:
    """A scalar and a number in it: views are widened around the number at random, then brought in step."""
    member = draw(number)
    others = draw(st.lists(number, max_size=3))
    kind = draw(st.sampled_from(["const", "bits", "unsigned", "signed", "low", "mixed", "join"]))
    if kind == "const":
        return Scalar.constant(member), member
    if kind == "join":
        result = Scalar.constant(member)
        for other in others:
            result = result.join(Scalar.constant(other))
        return result, member
    views = [0, U64, 0, U64, -S64, S64 - 1, 0, U32, -S32, S32 - 1]
    group = [member, *others]
    low = [n & U32 for n in group]
    if kind in ("bits", "mixed"):
        mask = draw(number)
        views[0:2] = [member & ~mask, mask]
    if kind in ("unsigned", "mixed"):
        views[2:4] = [min(group), max(group)]
    if kind in ("signed", "mixed"):
        views[4:6] = [min(signed(n, S64) for n in group), max(signed(n, S64) for n in group)]
    if kind in ("low", "mixed"):
        views[6:8] = [min(low), max(low)]
        if draw(st.booleans()):
            views[8:10] = [min(signed(n, S32) for n in low), max(signed(n, S32) for n in low)]
    made = make(*views)
    assert made is not None, views
    return made, member


def concrete(code: int, x: int, y: int, width: int, is_signed: bool) -> int:
    """RFC 9669 section 4.1, written out once more."""
    full, sign = (U64, S64) if width == 64 else (U32, S32)
    x, y = x & full, y & full
    sx, sy = signed(x, sign), signed(y, sign)
    if code == DIV:
        return (truncated_quotient(sx, sy) & full if is_signed else x // y) if y else 0
    if code == MOD:
        return ((sx - truncated_quotient(sx, sy) * sy) & full if is_signed else x % y) if y else x
    table: dict[int, Callable[[], int]] = {
        ADD: lambda: x + y, SUB: lambda: x - y, MUL: lambda: x * y, AND: lambda: x & y, OR: lambda: x | y,
        XOR: lambda: x ^ y, MOV: lambda: y, LSH: lambda: x << y % width, RSH: lambda: x >> y % width,
        ARSH: lambda: sx >> y % width,
    }  # fmt: skip
    return table[code]() & full


CODES = {
    "add": ADD, "sub": SUB, "mul": MUL, "and": AND, "or": OR, "xor": XOR, "mov": MOV, "lsh": LSH, "rsh": RSH,
    "arsh": ARSH, "div": DIV, "mod": MOD,
}  # fmt: skip


def well_formed(s: Scalar) -> bool:
    """Views are in step at least so far that another reduction finds no contradiction, and constants look like it."""
    return reduce(*s) is not None and s.is_const == (s.umin == s.umax) and not s.value & s.mask


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", CODES)
@quick
@given(first=scalar_and_member(), second=scalar_and_member(), is_signed=st.booleans(), tracked=st.booleans())
def test_apply(
    name: str,
    width: int,
    first: tuple[Scalar, int],
    second: tuple[Scalar, int],
    is_signed: bool,
    tracked: bool,
) -> None:
    (a, x), (b, y) = first, second
    result = alu.apply(CODES[name], a, b, width, is_signed, tracked=tracked)
    assert well_formed(result)
    assert result.contains(concrete(CODES[name], x, y, width, is_signed)), (a, b, x, y, result)
    small = alu.apply(CODES[name], a, Scalar.constant(y & 63), width, is_signed, tracked=tracked)
    assert small.contains(concrete(CODES[name], x, y & 63, width, is_signed)), (a, x, y & 63, small)


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", ["add", "sub", "and", "or", "xor", "lsh", "rsh", "arsh"])
@quick
@given(first=scalar_and_member(), third=scalar_and_member(), second=scalar_and_member())
def test_apply_monotone(
    name: str, width: int, first: tuple[Scalar, int], second: tuple[Scalar, int], third: tuple[Scalar, int]
) -> None:
    """A larger operand gives a larger result, or pruning would compare apples with pears."""
    (a, x), (b, y) = first, second
    wider = a.join(third[0])
    narrow, wide = (alu.apply(CODES[name], s, b, width) for s in (a, wider))
    assert wide.covers(narrow), (a, wider, b, narrow, wide)
    assert wide.contains(concrete(CODES[name], third[1], y, width, False)) or not b.is_const
    assert narrow.contains(concrete(CODES[name], x, y, width, False))


JUMPS: dict[str, tuple[int, bool, Callable[[int, int], bool]]] = {
    "eq": (JEQ, False, operator.eq), "ne": (JNE, False, operator.ne), "gt": (JGT, False, operator.gt),
    "ge": (JGE, False, operator.ge), "lt": (JLT, False, operator.lt), "le": (JLE, False, operator.le),
    "set": (JSET, False, lambda x, y: bool(x & y)), "sgt": (JSGT, True, operator.gt), "sge": (JSGE, True, operator.ge),
    "slt": (JSLT, True, operator.lt), "sle": (JSLE, True, operator.le),
}  # fmt: skip


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", JUMPS)
@quick
@given(first=scalar_and_member(), second=scalar_and_member())
def test_refine(name: str, width: int, first: tuple[Scalar, int], second: tuple[Scalar, int]) -> None:
    code, is_signed, holds = JUMPS[name]
    (a, x), (b, y) = first, second
    full, sign = (U64, S64) if width == 64 else (U32, S32)
    cx, cy = (signed(n & full, sign) if is_signed else n & full for n in (x, y))
    split = branch.refine(code, a, b, width)
    side = split.taken if holds(cx, cy) else split.fallthrough
    assert side is not None, (a, b, x, y)
    assert side[0].contains(x), (a, b, x, y, side)
    assert side[1].contains(y), (a, b, x, y, side)
    for pair in split:
        if pair is not None:
            assert a.covers(pair[0]) or a.meet(pair[0]) is not None
            assert well_formed(pair[0])
            assert well_formed(pair[1])
    assert branch.evaluate(code, x, y, width) == holds(cx, cy)


@quick
@given(first=scalar_and_member(), second=scalar_and_member())
def test_lattice(first: tuple[Scalar, int], second: tuple[Scalar, int]) -> None:
    (a, x), (b, y) = first, second
    joined = a.join(b)
    assert joined.covers(a)
    assert joined.covers(b)
    assert joined.contains(x)
    assert joined.contains(y)
    widened = a.widen(b)
    assert widened.contains(x)
    assert widened.contains(y)
    both = a.meet(b)
    if a.contains(y):
        assert both is not None
        assert both.contains(y)
    if both is not None:
        assert a.covers(both)
        assert b.covers(both)
    if a.covers(b):
        assert a.contains(y)


@pytest.mark.parametrize("width", [32, 64])
@quick
@given(given_scalar=scalar_and_member())
def test_unary(width: int, given_scalar: tuple[Scalar, int]) -> None:
    a, x = given_scalar
    full = U64 if width == 64 else U32
    assert alu.negate(a, width).contains(-x & full)
    assert a.zext32().contains(x & U32)
    assert a.subreg.umax <= U32
    for size in (1, 2, 4, 8):
        assert alu.truncate(a, size).contains(x & ((1 << 8 * size) - 1))
    for bits in (8, 16, 32):
        if bits < width:
            low = signed(x & ((1 << bits) - 1), 1 << (bits - 1))
            assert alu.sign_extend(a, bits, width).contains(low & full), (a, x, bits)
    for bits in (16, 32, 64):
        low = x & ((1 << bits) - 1)
        swapped = int.from_bytes(low.to_bytes(bits // 8, "little"), "big")
        for tracked in (False, True):
            assert alu.byteswap(a, bits, "bswap", tracked=tracked).contains(swapped)
            assert alu.byteswap(a, bits, "be", tracked=tracked).contains(swapped)
            assert alu.byteswap(a, bits, "le", tracked=tracked).contains(low)
            assert alu.byteswap(a, bits, "be", byte_order="big", tracked=tracked).contains(low)

"""What a comparison teaches about its operands, on each side of the branch.

Precision is that of Linux 6.18 (is_branch_taken(), regs_refine_cond_op()).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from skep.isa.opcodes import JEQ, JGE, JGT, JLE, JLT, JNE, JSET, JSGE, JSGT, JSLE, JSLT
from skep.verifier.domains import tnum
from skep.verifier.domains.scalar import ANY32, ANY64, S32, S64, U32, U64, Scalar, make

Operands = tuple[Scalar, Scalar]


class Split(NamedTuple):
    """The operands (a, b) where the comparison holds and where it does not; None: that side is impossible."""

    taken: Operands | None
    fallthrough: Operands | None


_CACHE_ENTRIES = 1 << 14  # about 20 MB when full
_cache: dict[tuple[int, int, Scalar, Scalar], Split] = {}


def refine(code: int, a: Scalar, b: Scalar, width: int = 64) -> Split:
    """Split the pairs (x, y) of ``a`` and ``b`` by whether ``x code y`` holds.

    Args:
        code: JEQ JNE JGT JGE JLT JLE JSGT JSGE JSLT JSLE JSET of skep.isa.opcodes.
        width: 64, or 32 to compare the low halves.
    """
    if not a[1] and not b[1]:
        holds = evaluate(code, a[0], b[0], width)
        return Split((a, b), None) if holds else Split(None, (a, b))
    key = (code, width, a, b)
    found = _cache.get(key)
    if found is None:
        yes, no = _SIDES[code]
        found = Split(_side(yes, a, b, width), _side(no, a, b, width))
        if len(_cache) >= _CACHE_ENTRIES:
            _cache.clear()
        _cache[key] = found
    return found


def evaluate(code: int, x: int, y: int, width: int = 64) -> bool:
    """Whether ``x code y`` holds for two unsigned numbers (RFC 9669 section 4.3)."""
    full, sign = (U64, S64) if width == 64 else (U32, S32)
    x &= full
    y &= full
    if code in _SIGNED:
        x, y = (x ^ sign) - sign, (y ^ sign) - sign
    return _CONCRETE[code](x, y)


_SIGNED = frozenset({JSGT, JSGE, JSLT, JSLE})
_CONCRETE: dict[int, Callable[[int, int], bool]] = {
    JEQ: lambda x, y: x == y,
    JNE: lambda x, y: x != y,
    JSET: lambda x, y: x & y != 0,
    **dict.fromkeys((JGT, JSGT), lambda x, y: x > y),
    **dict.fromkeys((JGE, JSGE), lambda x, y: x >= y),
    **dict.fromkeys((JLT, JSLT), lambda x, y: x < y),
    **dict.fromkeys((JLE, JSLE), lambda x, y: x <= y),
}


# A fact that may hold on one side of a branch: takes and gives operands, None where it cannot hold.
_Fact = Callable[[Scalar, Scalar, int], Operands | None]


def _side(fact: tuple[_Fact, bool], a: Scalar, b: Scalar, width: int) -> Operands | None:
    rule, swapped = fact
    if not swapped:
        return rule(a, b, width)
    found = rule(b, a, width)
    return None if found is None else (found[1], found[0])


def _equal(a: Scalar, b: Scalar, width: int) -> Operands | None:
    if width == 64:
        both = a.meet(b)
        if both is None:
            return None
        # The kernel does not hand on the bounds of the low halves here: each operand keeps its own.
        first = make(*both[:6], *a[6:])
        second = make(*both[:6], *b[6:])
        return None if first is None or second is None else (first, second)
    low = a.zext32().meet(b.zext32())
    if low is None:
        return None
    first, second = _with_low_half(a, low), _with_low_half(b, low)
    return None if first is None or second is None else (first, second)


def _with_low_half(a: Scalar, low: Scalar) -> Scalar | None:
    """``a`` where its low half is known to be in ``low``."""
    bits = tnum.meet(a.value, a.mask, low.value, low.mask | U64 ^ U32)
    return None if bits is None else make(*bits, *a[2:6], *low[6:])


def _different(a: Scalar, b: Scalar, width: int) -> Operands | None:
    """Only a constant teaches anything: it is cut off where it is an end of the other's bounds."""
    full, sign = (U64, S64) if width == 64 else (U32, S32)
    if not b.mask & full:
        cut = _without(a, b.value & full, width, full, sign)
        return None if cut is None else (cut, b)
    if not a.mask & full:
        cut = _without(b, a.value & full, width, full, sign)
        return None if cut is None else (a, cut)
    return a, b


def _without(a: Scalar, number: int, width: int, full: int, sign: int) -> Scalar | None:
    if not a.mask & full:
        return None if a.value & full == number else a
    low, high, slow, shigh = a[2:6] if width == 64 else a[6:]
    signed = (number ^ sign) - sign
    return _bounded(
        a,
        low + (low == number),
        high - (high == number),
        slow + (slow == signed),
        shigh - (shigh == signed),
        width,
    )


def _bounded(a: Scalar, low: int, high: int, slow: int, shigh: int, width: int) -> Scalar | None:
    """``a`` with new bounds of one width; itself if they are not new, None if they leave nothing."""
    bounds = (low, high, slow, shigh)
    if bounds == (a[2:6] if width == 64 else a[6:]):
        return a
    if low > high or slow > shigh:
        return None
    return make(*a[:2], *bounds, *a[6:]) if width == 64 else make(*a[:6], *bounds)


def _less(a: Scalar, b: Scalar, width: int) -> Operands | None:
    return _ordered(a, b, width, 1)


def _less_equal(a: Scalar, b: Scalar, width: int) -> Operands | None:
    return _ordered(a, b, width, 0)


def _ordered(a: Scalar, b: Scalar, width: int, gap: int) -> Operands | None:
    """a + gap <= b, unsigned."""
    low, high, slow, shigh = a[2:6] if width == 64 else a[6:]
    blow, bhigh, bslow, bshigh = b[2:6] if width == 64 else b[6:]
    if low + gap > bhigh:
        return None
    first = _bounded(a, low, min(high, bhigh - gap), slow, shigh, width)
    second = _bounded(b, max(blow, low + gap), bhigh, bslow, bshigh, width)
    return None if first is None or second is None else (first, second)


def _less_signed(a: Scalar, b: Scalar, width: int) -> Operands | None:
    return _ordered_signed(a, b, width, 1)


def _less_equal_signed(a: Scalar, b: Scalar, width: int) -> Operands | None:
    return _ordered_signed(a, b, width, 0)


def _ordered_signed(a: Scalar, b: Scalar, width: int, gap: int) -> Operands | None:
    """a + gap <= b, signed."""
    low, high, slow, shigh = a[2:6] if width == 64 else a[6:]
    blow, bhigh, bslow, bshigh = b[2:6] if width == 64 else b[6:]
    if slow + gap > bshigh:
        return None
    first = _bounded(a, low, high, slow, min(shigh, bshigh - gap), width)
    second = _bounded(b, blow, bhigh, max(bslow, slow + gap), bshigh, width)
    return None if first is None or second is None else (first, second)


def _some_bit(a: Scalar, b: Scalar, width: int) -> Operands | None:
    """a & b is not 0. Only a single bit that is tested teaches: it is 1."""
    full = U64 if width == 64 else U32
    if not (a.value | a.mask) & (b.value | b.mask) & full:
        return None
    for known, other, order in ((b, a, 1), (a, b, -1)):
        bit = known.value & full
        if not known.mask & full and bit & (bit - 1) == 0:
            if not other.mask & bit:
                break
            changed = make(other.value | bit, other.mask & ~bit, *other[2:])
            if changed is None:
                return None
            return (changed, known) if order == 1 else (known, changed)
    return a, b


def _no_bit(a: Scalar, b: Scalar, width: int) -> Operands | None:
    """a & b is 0: all bits that a constant tests are 0."""
    full = U64 if width == 64 else U32
    if a.value & b.value & full:
        return None
    if not (a.value | a.mask) & (b.value | b.mask) & full:  # never taken: nothing is learned
        return a, b
    for known, other, order in ((b, a, 1), (a, b, -1)):
        if not known.mask & full:
            bits = known.value & full
            if make(other.value, other.mask & ~bits, *other[2:]) is None:
                return None
            # The kernel forgets the bounds here, and takes new ones from the bits.
            changed = make(other.value, other.mask & ~bits, *ANY64, *ANY32)
            if changed is None:
                return None
            return (changed, known) if order == 1 else (known, changed)
    return a, b


# For each comparison the fact of its taken side and of its other side; True: the operands change places.
_SIDES: dict[int, tuple[tuple[_Fact, bool], tuple[_Fact, bool]]] = {
    JEQ: ((_equal, False), (_different, False)),
    JNE: ((_different, False), (_equal, False)),
    JLT: ((_less, False), (_less_equal, True)),
    JLE: ((_less_equal, False), (_less, True)),
    JGT: ((_less, True), (_less_equal, False)),
    JGE: ((_less_equal, True), (_less, False)),
    JSLT: ((_less_signed, False), (_less_equal_signed, True)),
    JSLE: ((_less_equal_signed, False), (_less_signed, True)),
    JSGT: ((_less_signed, True), (_less_equal_signed, False)),
    JSGE: ((_less_equal_signed, True), (_less_signed, False)),
    JSET: ((_some_bit, False), (_no_bit, False)),
}

"""What an arithmetic operation does to sets of numbers.

Precision is that of Linux 6.18 (adjust_scalar_min_max_vals()), on purpose: a verdict that depends on a sharper bound
would differ from the kernel's. Where newer kernels are sharper (division, byte swaps), ``tracked`` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable

from skep.isa.opcodes import ADD, AND, ARSH, DIV, LSH, MOD, MOV, MUL, OR, RSH, SUB, XOR
from skep.verifier.domains import ranges, tnum
from skep.verifier.domains.scalar import ANY32, ANY64, S32, S64, U32, U64, Scalar, from32, make

# The result of one 32-bit operation: value, mask, u32 bounds, s32 bounds.
_Views32 = tuple[int, int, int, int, int, int]

_CACHE_ENTRIES = 1 << 14  # about 20 MB when full
_cache: dict[tuple[int, int, Scalar, Scalar], Scalar] = {}


def apply(code: int, a: Scalar, b: Scalar, width: int = 64, signed: bool = False, *, tracked: bool = False) -> Scalar:
    """The set of all ``x op y`` for x in ``a`` and y in ``b``.

    Args:
        code: ADD SUB MUL DIV MOD AND OR XOR LSH RSH ARSH MOV of skep.isa.opcodes.
        width: 64, or 32: the operands' low halves, result zero-extended.
        signed: DIV and MOD are the signed ones.
        tracked: follow DIV and MOD by constants as kernels after 6.18 do; 6.18 forgets their result.
    """
    if code == MOV:
        return b if width == 64 else b.zext32()
    if code in (DIV, MOD):
        return _divide(code, a, b, width, signed) if tracked else Scalar.UNKNOWN
    if not a[1] and not b[1]:
        return _fold(code, a[0], b[0], width)
    key = (code, width, a, b)
    found = _cache.get(key)
    if found is not None:
        return found
    if code in _SHIFTS:
        result = _SHIFTS[code](a, b, width)
    elif width == 64:
        result = _apply64(code, a, b)
    else:
        result = from32(*_apply32(code, a, b))
    if len(_cache) >= _CACHE_ENTRIES:
        _cache.clear()
    _cache[key] = result
    return result


def negate(a: Scalar, width: int = 64) -> Scalar:
    """Two's complement: 0 - a."""
    return apply(SUB, Scalar.ZERO, a, width)


def _fold(code: int, x: int, y: int, width: int) -> Scalar:
    """Two constants."""
    full, sign = (U64, S64) if width == 64 else (U32, S32)
    if code in _SHIFTS and y >= width:  # the whole register counts, see _amount()
        return Scalar.UNKNOWN
    x &= full
    y &= full
    if code == ADD:
        return Scalar.constant(x + y & full)
    if code == SUB:
        return Scalar.constant(x - y & full)
    if code == AND:
        return Scalar.constant(x & y)
    if code == OR:
        return Scalar.constant(x | y)
    if code == XOR:
        return Scalar.constant(x ^ y)
    if code == MUL:
        return Scalar.constant(x * y & full)
    if code == LSH:
        return Scalar.constant(x << y & full)
    if code == RSH:
        return Scalar.constant(x >> y)
    return Scalar.constant(((x ^ sign) - sign >> y) & full)


def _apply64(code: int, a: Scalar, b: Scalar) -> Scalar:
    """ADD SUB MUL AND OR XOR on 64 bits; the low halves are followed on their own, as they never depend on the high."""
    av, am, au, aU, as_, aS, _, _, _, _ = a
    bv, bm, bu, bU, bs, bS, _, _, _, _ = b
    _, _, *bounds32 = _apply32(code, a, b)
    if code in _BITWISE:
        value, mask = _BITWISE[code](av, am, bv, bm)
        bounds64 = _bitwise_bounds(code, value, mask, au, aU, bu, bU, U64, S64)
    else:
        bits, unsigned, signed = _ARITHMETIC[code]
        value, mask = bits(av, am, bv, bm, U64)
        bounds64 = (*unsigned(au, aU, bu, bU, U64), *signed(as_, aS, bs, bS, S64))
    return make(value, mask, *bounds64, *bounds32) or Scalar.UNKNOWN


def _apply32(code: int, a: Scalar, b: Scalar) -> _Views32:
    """ADD SUB MUL AND OR XOR on the low 32 bits."""
    av, am, _, _, _, _, au, aU, as_, aS = a
    bv, bm, _, _, _, _, bu, bU, bs, bS = b
    if code in _BITWISE:
        value, mask = _BITWISE[code](av & U32, am & U32, bv & U32, bm & U32)
        return value, mask, *_bitwise_bounds(code, value, mask, au, aU, bu, bU, U32, S32)
    bits, unsigned, signed = _ARITHMETIC[code]
    value, mask = bits(av & U32, am & U32, bv & U32, bm & U32, U32)
    return value, mask, *unsigned(au, aU, bu, bU, U32), *signed(as_, aS, bs, bS, S32)


def _bitwise_bounds(
    code: int, value: int, mask: int, alow: int, ahigh: int, blow: int, bhigh: int, full: int, sign: int
) -> tuple[int, int, int, int]:
    """Bounds (unsigned, signed) of AND OR XOR: no larger than an operand, no smaller, or what the bits say."""
    low, high = value, value | mask
    if code == AND:
        high = min(ahigh, bhigh)
    elif code == OR:
        low = max(alow, blow)
    slow, shigh = (low ^ sign) - sign, (high ^ sign) - sign
    return (low, high, slow, shigh) if slow <= shigh else (low, high, -sign, sign - 1)


def _shift_left(a: Scalar, b: Scalar, width: int) -> Scalar:
    amount = _amount(b, width)
    if amount is None:
        return Scalar.UNKNOWN
    value, mask, umin, umax, _, _, u32min, u32max, s32min, s32max = a
    low = ranges.lshift_unsigned(u32min, u32max, amount, S32)
    if width == 32:
        return from32(value << amount & U32, mask << amount & U32, *low, -S32, S32 - 1)
    bounds = ranges.lshift_unsigned(umin, umax, amount, S64)
    signed = (s32min << 32, s32max << 32) if amount == 32 else (-S64, S64 - 1)
    made = make(value << amount & U64, mask << amount & U64, *bounds, *signed, *low, -S32, S32 - 1)
    return made or Scalar.UNKNOWN


def _shift_right(a: Scalar, b: Scalar, width: int) -> Scalar:
    amount = _amount(b, width)
    if amount is None:
        return Scalar.UNKNOWN
    value, mask, umin, umax, _, _, u32min, u32max, _, _ = a
    if width == 32:
        bits = (value & U32) >> amount, (mask & U32) >> amount
        return from32(*bits, u32min >> amount, u32max >> amount, -S32, S32 - 1)
    made = make(value >> amount, mask >> amount, umin >> amount, umax >> amount, -S64, S64 - 1, *ANY32)
    return made or Scalar.UNKNOWN


def _shift_right_signed(a: Scalar, b: Scalar, width: int) -> Scalar:
    amount = _amount(b, width)
    if amount is None:
        return Scalar.UNKNOWN
    value, mask, _, _, smin, smax, _, _, s32min, s32max = a
    if width == 32:
        bits = tnum.arshift(value & U32, mask & U32, amount, S32, U32)
        return from32(*bits, 0, U32, s32min >> amount, s32max >> amount)
    bits = tnum.arshift(value, mask, amount, S64, U64)
    return make(*bits, 0, U64, smin >> amount, smax >> amount, *ANY32) or Scalar.UNKNOWN


def _amount(b: Scalar, width: int) -> int | None:
    """A shift's amount, or None where it is not known, or not below the width.

    Then the kernel forgets the result altogether, that the upper half of a 32-bit one is zero as well.
    """
    if b[1] & (U64 if width == 64 else U32) or b[3] >= width:  # the whole register counts, in 32-bit shifts too
        return None
    return b[0]


def _divide(code: int, a: Scalar, b: Scalar, width: int, signed: bool) -> Scalar:
    """DIV and MOD by a constant."""
    full, sign = (U64, S64) if width == 64 else (U32, S32)
    if b.mask & full:
        return Scalar.of_size(width >> 3)
    divisor = b.value & full
    if not signed:
        low, high = (a.umin, a.umax) if width == 64 else (a.u32min, a.u32max)
        return Scalar.unsigned(*(ranges.div_unsigned if code == DIV else ranges.mod_unsigned)(low, high, divisor))
    low, high = (a.smin, a.smax) if width == 64 else (a.s32min, a.s32max)
    divisor = ranges.to_signed(divisor, sign)
    bounds = ranges.div_signed(low, high, divisor, sign) if code == DIV else ranges.mod_signed(low, high, divisor)
    return Scalar.signed(*bounds) if width == 64 else from32(0, U32, 0, U32, *bounds)


def truncate(a: Scalar, size: int) -> Scalar:
    """The low ``size`` bytes (1, 2, 4, 8), zero-extended: what a narrow load of a spilled number gives."""
    if size == 8 or a[3] <= (1 << 8 * size) - 1:
        return a
    if size == 4:
        return a.zext32()
    full = (1 << 8 * size) - 1
    low, high = (a.umin & full, a.umax & full) if a.umin & ~full == a.umax & ~full else (0, full)
    return make(a.value & full, a.mask & full, low, high, low, high, *ANY32) or Scalar.of_size(size)


def sign_extend(a: Scalar, from_bits: int, width: int = 64) -> Scalar:
    """The low ``from_bits`` (8, 16, 32) read as signed, in ``width`` bits; the rest zero (movsx, ldsx)."""
    sign, full = 1 << (from_bits - 1), (1 << from_bits) - 1
    if not a[1]:
        number = ((a[0] & full) ^ sign) - sign
        return Scalar.constant(number & (U64 if width == 64 else U32))
    low, high = (a.smin, a.smax) if width == 64 else (a.s32min, a.s32max)
    bounds, bits = (-sign, sign - 1), (0, U64 if width == 64 else U32)
    if low >> from_bits == high >> from_bits:
        first, last = ((low & full) ^ sign) - sign, ((high & full) ^ sign) - sign
        if first <= last and (first < 0) == (last < 0):
            bounds = first, last
            bits = tnum.from_range(first & bits[1], last & bits[1])
    if width == 32:
        return from32(*bits, 0, U32, *bounds)
    return make(*bits, 0, U64, *bounds, *ANY32) or Scalar.UNKNOWN


def byteswap(a: Scalar, bits: int, kind: str, *, byte_order: str = "little", tracked: bool = False) -> Scalar:
    """``bits`` (16, 32, 64) low bits, put in another byte order.

    Args:
        kind: ``"le"`` or ``"be"`` (to that order from the machine's) or ``"bswap"``.
        byte_order: the machine's.
        tracked: follow it as kernels after 6.18 do; 6.18 forgets the result.
    """
    if not tracked:
        return Scalar.UNKNOWN
    size = bits >> 3
    if kind != "bswap" and byte_order.startswith(kind[0]):
        return truncate(a, size)
    value, mask = (
        int.from_bytes((view & ((1 << bits) - 1)).to_bytes(size, "little"), "big") for view in (a.value, a.mask)
    )
    return make(value, mask, *ANY64, *ANY32) or Scalar.of_size(size)


_Bits = Callable[[int, int, int, int], tnum.Pair]
_Wrapping = Callable[[int, int, int, int, int], tuple[int, int]]

_BITWISE: dict[int, _Bits] = {AND: tnum.and_, OR: tnum.or_, XOR: tnum.xor}
_ARITHMETIC: dict[int, tuple[_Wrapping, _Wrapping, _Wrapping]] = {
    ADD: (tnum.add, ranges.add_unsigned, ranges.add_signed),
    SUB: (tnum.sub, ranges.sub_unsigned, ranges.sub_signed),
    MUL: (tnum.mul, ranges.mul_unsigned, ranges.mul_signed),
}
_SHIFTS: dict[int, Callable[[Scalar, Scalar, int], Scalar]] = {
    LSH: _shift_left,
    RSH: _shift_right,
    ARSH: _shift_right_signed,
}

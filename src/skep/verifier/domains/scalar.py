"""A set of 64-bit numbers as the verifier knows it: known bits and four pairs of bounds, always in step."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from skep.verifier.domains import tnum
from skep.verifier.domains.reduction import Views, reduce
from skep.verifier.domains.tnum import Tnum

U64, U32 = (1 << 64) - 1, (1 << 32) - 1
S64, S32 = 1 << 63, 1 << 31  # sign bits

# Views that know nothing.
ANY64 = (0, U64, -S64, S64 - 1)
ANY32 = (0, U32, -S32, S32 - 1)


class _Views(NamedTuple):
    value: int
    mask: int
    umin: int
    umax: int
    smin: int
    smax: int
    u32min: int
    u32max: int
    s32min: int
    s32max: int


class Scalar(_Views):
    """A non-empty set of 64-bit numbers.

    A tuple, because the verifier makes, compares and hashes millions of them and tuples do that in C. Make one with
    the class methods; all of them return reduced scalars (see :mod:`skep.verifier.domains.reduction`), or None when the
    set would be empty.

    Attributes:
        value, mask: known bits, see :class:`Tnum`; ``value`` is the number itself if the scalar is a constant.
        umin, umax, smin, smax: bounds of the number, unsigned and signed (inclusive).
        u32min, u32max, s32min, s32max: bounds of its low 32 bits.
    """

    __slots__ = ()

    UNKNOWN: ClassVar[Scalar]
    ZERO: ClassVar[Scalar]

    @staticmethod
    def constant(number: int) -> Scalar:
        """The set of one number, taken modulo 2**64."""
        number &= U64
        found = _SMALL.get(number)
        return _constant(number) if found is None else found

    @staticmethod
    def unsigned(low: int, high: int) -> Scalar:
        """All numbers low..high, unsigned."""
        made = make(0, U64, low, high, -S64, S64 - 1, *ANY32)
        return Scalar.UNKNOWN if made is None else made

    @staticmethod
    def signed(low: int, high: int) -> Scalar:
        """All numbers low..high, signed."""
        made = make(0, U64, 0, U64, low, high, *ANY32)
        return Scalar.UNKNOWN if made is None else made

    @staticmethod
    def of_size(size: int) -> Scalar:
        """What a zero-extending load of ``size`` bytes (1, 2, 4, 8) may give."""
        return _SIZED[size]

    @staticmethod
    def from_tnum(bits: Tnum) -> Scalar:
        """All numbers with these known bits."""
        made = make(*bits, *ANY64, *ANY32)
        return Scalar.UNKNOWN if made is None else made

    @property
    def bits(self) -> Tnum:
        """The known bits."""
        return Tnum(self.value, self.mask)

    @property
    def is_const(self) -> bool:
        """Whether it is one number: ``value``."""
        return not self.mask

    @property
    def is_const32(self) -> bool:
        """Whether the low 32 bits are one number."""
        return not self.mask & U32

    @property
    def is_unknown(self) -> bool:
        """Whether nothing at all is known."""
        return self == Scalar.UNKNOWN

    @property
    def signed_value(self) -> int:
        """The constant, read as signed."""
        return (self.value ^ S64) - S64

    def zext32(self) -> Scalar:
        """The low 32 bits, zero-extended: what every 32-bit operation leaves (kernel: zext_32_to_64())."""
        if self[3] <= U32:
            return self
        value, mask, _, _, _, _, umin, umax, smin, smax = self
        return from32(value & U32, mask & U32, umin, umax, smin, smax)

    @property
    def subreg(self) -> Scalar:
        """The low 32 bits as a number."""
        return self.zext32()

    def contains(self, number: int) -> bool:
        """Whether ``number`` (modulo 2**64) is in the set."""
        number &= U64
        low = number & U32
        return (
            number & ~self.mask == self.value
            and self.umin <= number <= self.umax
            and self.smin <= (number ^ S64) - S64 <= self.smax
            and self.u32min <= low <= self.u32max
            and self.s32min <= (low ^ S32) - S32 <= self.s32max
        )

    def covers(self, other: Scalar) -> bool:
        """Whether every number of ``other`` is in this set: the order that pruning relies on."""
        if self is other:
            return True
        av, am, au, aU, as_, aS, au3, aU3, as3, aS3 = self
        bv, bm, bu, bU, bs, bS, bu3, bU3, bs3, bS3 = other
        return (
            au <= bu
            and aU >= bU
            and as_ <= bs
            and aS >= bS
            and not (bm & ~am)
            and not ((av ^ bv) & ~am)
            and au3 <= bu3
            and aU3 >= bU3
            and as3 <= bs3
            and aS3 >= bS3
        )

    def join(self, other: Scalar) -> Scalar:
        """A set that holds both (not always the smallest such set of numbers, but the smallest in each view)."""
        if self is other:
            return self
        av, am, au, aU, as_, aS, au3, aU3, as3, aS3 = self
        bv, bm, bu, bU, bs, bS, bu3, bU3, bs3, bS3 = other
        mask = am | bm | (av ^ bv)
        return tuple.__new__(
            Scalar,
            (
                av & ~mask,
                mask,
                au if au < bu else bu,
                aU if aU > bU else bU,
                as_ if as_ < bs else bs,
                aS if aS > bS else bS,
                au3 if au3 < bu3 else bu3,
                aU3 if aU3 > bU3 else bU3,
                as3 if as3 < bs3 else bs3,
                aS3 if aS3 > bS3 else bS3,
            ),
        )

    def meet(self, other: Scalar) -> Scalar | None:
        """The numbers in both, or None if there can be none."""
        if self is other:
            return self
        av, am, au, aU, as_, aS, au3, aU3, as3, aS3 = self
        bv, bm, bu, bU, bs, bS, bu3, bU3, bs3, bS3 = other
        bits = tnum.meet(av, am, bv, bm)
        if bits is None:
            return None
        return make(
            *bits,
            au if au > bu else bu,
            aU if aU < bU else bU,
            as_ if as_ > bs else bs,
            aS if aS < bS else bS,
            au3 if au3 > bu3 else bu3,
            aU3 if aU3 < bU3 else bU3,
            as3 if as3 > bs3 else bs3,
            aS3 if aS3 < bS3 else bS3,
        )

    def widen(self, newer: Scalar) -> Scalar:
        """A set that holds both and that a loop reaches in few steps: bounds that still move are given up."""
        joined = self.join(newer)
        if joined == self:
            return self
        views = (
            joined.value,
            joined.mask,
            self.umin if joined.umin == self.umin else 0,
            self.umax if joined.umax == self.umax else U64,
            self.smin if joined.smin == self.smin else -S64,
            self.smax if joined.smax == self.smax else S64 - 1,
            self.u32min if joined.u32min == self.u32min else 0,
            self.u32max if joined.u32max == self.u32max else U32,
            self.s32min if joined.s32min == self.s32min else -S32,
            self.s32max if joined.s32max == self.s32max else S32 - 1,
        )
        return make(*views) or Scalar.UNKNOWN

    def __str__(self) -> str:
        """The kernel's way to print it, short: ``5``, ``scalar()`` or ``scalar(umin=1,smax=9,var_off=(0x0; 0xf))``."""
        if self.is_const:
            return str(self.signed_value)
        parts = []
        if self.smin != -S64:
            parts.append(f"smin={self.smin}")
        if self.smax != S64 - 1:
            parts.append(f"smax={self.smax}")
        if self.umin:
            parts.append(f"umin={self.umin}")
        if self.umax != U64:
            parts.append(f"umax={self.umax}")
        if self.mask != U64:
            parts.append(f"var_off=({self.value:#x}; {self.mask:#x})")
        return f"scalar({','.join(parts)})"


def _constant(number: int) -> Scalar:
    low = number & U32
    signed, signed32 = (number ^ S64) - S64, (low ^ S32) - S32
    return tuple.__new__(Scalar, (number, 0, number, number, signed, signed, low, low, signed32, signed32))


def make(
    value: int,
    mask: int,
    umin: int,
    umax: int,
    smin: int,
    smax: int,
    u32min: int,
    u32max: int,
    s32min: int,
    s32max: int,
) -> Scalar | None:
    """The scalar with these views, brought in step; None if no number fits them."""
    views: Views | None = reduce(value, mask, umin, umax, smin, smax, u32min, u32max, s32min, s32max)
    if views is None:
        return None
    if not views[1]:
        return Scalar.constant(views[0])
    made = tuple.__new__(Scalar, views)
    if views[2] == views[3]:  # the bounds found the constant in the last step, after the bits had their turn
        return Scalar.constant(views[2]) if made.contains(views[2]) else None
    return made


def from32(value: int, mask: int, umin: int, umax: int, smin: int, smax: int) -> Scalar:
    """The zero-extended result of a 32-bit operation from its 32-bit views (kernel: __reg_assign_32_into_64())."""
    wide = (smin, smax) if smin >= 0 else (0, U32)
    return make(value, mask, umin, umax, *wide, umin, umax, smin, smax) or _SIZED[4]


_SMALL: dict[int, Scalar] = {}
_SMALL.update({number & U64: _constant(number & U64) for number in range(-256, 1025)})
_SIZED: dict[int, Scalar] = {8: tuple.__new__(Scalar, (0, U64, *ANY64, *ANY32))}
Scalar.UNKNOWN = _SIZED[8]
Scalar.ZERO = _SMALL[0]
_SIZED.update({size: Scalar.unsigned(0, (1 << 8 * size) - 1) for size in (1, 2, 4)})

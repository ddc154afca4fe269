"""Interval arithmetic modulo 2**width: what an operation does to the bounds low..high of its operands.

Unsigned intervals take ``full`` (2**width - 1), signed ones ``sign`` (2**(width - 1)). A result that would wrap on some
but not all members is the whole width: an interval here never wraps. Precision: Linux 6.18's scalar_min_max_*().
"""

from __future__ import annotations

Bounds = tuple[int, int]


def to_signed(number: int, sign: int) -> int:
    """Read an unsigned number of a width as two's complement."""
    return (number ^ sign) - sign


def add_unsigned(alow: int, ahigh: int, blow: int, bhigh: int, full: int) -> Bounds:
    """Sum. When all members wrap, or none does, the bounds stay exact."""
    low = alow + blow
    high = ahigh + bhigh
    if high <= full:
        return low, high
    if low > full:
        return low & full, high & full
    return 0, full


def sub_unsigned(alow: int, ahigh: int, blow: int, bhigh: int, full: int) -> Bounds:
    """Difference. When all members wrap, or none does, the bounds stay exact."""
    low = alow - bhigh
    high = ahigh - blow
    if low >= 0:
        return low, high
    if high < 0:
        return low & full, high & full
    return 0, full


def mul_unsigned(alow: int, ahigh: int, blow: int, bhigh: int, full: int) -> Bounds:
    """Product."""
    high = ahigh * bhigh
    return (alow * blow, high) if high <= full else (0, full)


def add_signed(alow: int, ahigh: int, blow: int, bhigh: int, sign: int) -> Bounds:
    """Sum."""
    low = alow + blow
    high = ahigh + bhigh
    return (low, high) if low >= -sign and high < sign else (-sign, sign - 1)


def sub_signed(alow: int, ahigh: int, blow: int, bhigh: int, sign: int) -> Bounds:
    """Difference."""
    low = alow - bhigh
    high = ahigh - blow
    return (low, high) if low >= -sign and high < sign else (-sign, sign - 1)


def mul_signed(alow: int, ahigh: int, blow: int, bhigh: int, sign: int) -> Bounds:
    """Product: the extremes are at the corners."""
    if alow >= 0 and blow >= 0:
        low, high = alow * blow, ahigh * bhigh
    else:
        corners = (alow * blow, alow * bhigh, ahigh * blow, ahigh * bhigh)
        low, high = min(corners), max(corners)
    return (low, high) if low >= -sign and high < sign else (-sign, sign - 1)


def lshift_unsigned(low: int, high: int, amount: int, sign: int) -> Bounds:
    """Left shift by a known amount. Bits may reach the sign bit, as a power of two, but not beyond."""
    return (low << amount, high << amount) if high << amount <= sign else (0, 2 * sign - 1)


def div_unsigned(low: int, high: int, divisor: int) -> Bounds:
    """Quotient by a known divisor; division by 0 gives 0 (RFC 9669 section 4.1)."""
    return (low // divisor, high // divisor) if divisor else (0, 0)


def mod_unsigned(low: int, high: int, divisor: int) -> Bounds:
    """Remainder by a known divisor; modulo 0 leaves the dividend (RFC 9669 section 4.1)."""
    if not divisor or high < divisor:
        return low, high
    if low // divisor == high // divisor:
        return low % divisor, high % divisor
    return 0, divisor - 1


def truncated_quotient(dividend: int, divisor: int) -> int:
    """Signed division that rounds towards zero, as eBPF's does."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def div_signed(low: int, high: int, divisor: int, sign: int) -> Bounds:
    """Signed quotient by a known divisor. The lowest number divided by -1 wraps to itself."""
    if not divisor:
        return 0, 0
    if divisor == -1 and low == -sign:
        return (low, low) if high == low else (-sign, sign - 1)
    ends = truncated_quotient(low, divisor), truncated_quotient(high, divisor)
    return min(ends), max(ends)


def mod_signed(low: int, high: int, divisor: int) -> Bounds:
    """Signed remainder by a known divisor: it has the dividend's sign and is smaller than the divisor."""
    if not divisor:
        return low, high
    limit = abs(divisor) - 1
    if -limit <= low and high <= limit:
        return low, high
    return (0 if low >= 0 else max(low, -limit)), (0 if high <= 0 else min(high, limit))

"""Keep the five views of a number in step: known bits, and bounds as u64, s64, u32 and s32.

Each view may know what another does not yet. :func:`reduce` lets them teach each other, in the order and as often as
Linux 6.18's reg_bounds_sync(), so that both come to the same bounds. All views hold for the number, so what one of them
excludes is excluded.
"""

from __future__ import annotations

from skep.verifier.domains.tnum import least_from, next_after

Views = tuple[int, int, int, int, int, int, int, int, int, int]

_ROUNDS = 3


def reduce(
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
    half: int = 32,
    full: int = (1 << 64) - 1,
    sign: int = 1 << 63,
    low: int = (1 << 32) - 1,
    low_sign: int = 1 << 31,
) -> Views | None:
    """Tighten all views of one number, or find that no number fits them (None).

    The last five parameters are the widths (``half`` bits of ``2 * half``): defaults are what programs use; tests try
    narrow ones exhaustively.
    """
    ones = value | mask
    highest = umax if umax < ones else ones
    if smin >= 0 and smax < highest:
        highest = smax
    if highest < low_sign:
        return _reduce_small(
            value,
            mask,
            max(umin, smin, u32min, s32min),
            min(highest, smax, u32max, s32max),
        )
    for first in (True, False):
        # What the known bits say about bounds: unknown bits all 0 and all 1, the sign bit the other way round.
        ones = value | mask
        if value > umin:
            umin = value
        if ones < umax:
            umax = ones
        bound = ((value | mask & sign) ^ sign) - sign
        if bound > smin:
            smin = bound
        bound = ((value | mask & ~sign) ^ sign) - sign
        if bound < smax:
            smax = bound
        small = value & low
        if small > u32min:
            u32min = small
        if ones & low < u32max:
            u32max = ones & low
        bound = ((small | mask & low_sign) ^ low_sign) - low_sign
        if bound > s32min:
            s32min = bound
        bound = ((small | mask & low & ~low_sign) ^ low_sign) - low_sign
        if bound < s32max:
            s32max = bound
        if umin > umax or smin > smax or u32min > u32max or s32min > s32max:
            return None
        if mask & mask + 1:  # the set has holes: perhaps the bounds leave one number
            least = least_from(value, mask, umin)
            if least is None or least > umax:
                return None
            after = next_after(value, mask, least)
            if after is None or after > umax:
                return _only(least, smin, smax, u32min, u32max, s32min, s32max, sign, low, low_sign)
        if not first:
            break
        bounds = (umin, umax, smin, smax, u32min, u32max, s32min, s32max)
        for _ in range(_ROUNDS):
            before = bounds
            bounds = _teach(*before, half, full, sign, low, low_sign)
            if bounds == before:
                break
        umin, umax, smin, smax, u32min, u32max, s32min, s32max = bounds
        if umin > umax or smin > smax or u32min > u32max or s32min > s32max:
            return None
        # What bounds say about bits: the leading bits that both ends share.
        unknown = (1 << (umin ^ umax).bit_length()) - 1
        if (value ^ umin) & ~mask & ~unknown:
            return None
        value |= umin & ~unknown
        mask &= unknown
        unknown = full ^ low | (1 << (u32min ^ u32max).bit_length()) - 1
        if (value ^ u32min) & ~mask & ~unknown:
            return None
        value |= u32min & ~unknown
        mask &= unknown
    return value, mask, umin, umax, smin, smax, u32min, u32max, s32min, s32max


def _reduce_small(value: int, mask: int, least: int, most: int) -> Views | None:
    """Numbers below the lower sign bit look the same in all views: one pair of bounds is enough."""
    if value > least:
        least = value
    if least > most:
        return None
    unknown = (1 << (least ^ most).bit_length()) - 1
    if (value ^ least) & ~mask & ~unknown:
        return None
    value |= least & ~unknown
    mask &= unknown
    if value > least:
        least = value
    if value | mask < most:
        most = value | mask
    if mask & mask + 1:
        number = least_from(value, mask, least)
        if number is None or number > most:
            return None
        after = next_after(value, mask, number)
        if after is None or after > most:
            least = most = number
    if least == most:
        value, mask = least, 0
    return value, mask, least, most, least, most, least, most, least, most


def _only(
    number: int,
    smin: int,
    smax: int,
    u32min: int,
    u32max: int,
    s32min: int,
    s32max: int,
    sign: int,
    low: int,
    low_sign: int,
) -> Views | None:
    """The views of the one number that is left, if the other bounds allow it."""
    signed, small = (number ^ sign) - sign, number & low
    signed_small = (small ^ low_sign) - low_sign
    if smin <= signed <= smax and u32min <= small <= u32max and s32min <= signed_small <= s32max:
        return number, 0, number, number, signed, signed, small, small, signed_small, signed_small
    return None


def _teach(
    umin: int,
    umax: int,
    smin: int,
    smax: int,
    u32min: int,
    u32max: int,
    s32min: int,
    s32max: int,
    half: int,
    full: int,
    sign: int,
    low: int,
    low_sign: int,
) -> tuple[int, int, int, int, int, int, int, int]:
    """One round: the bounds of 64 bits teach those of 32, signed and unsigned teach each other, 32 teach 64."""
    # The low half of an interval whose high half is the same at both ends (or steps by one over the sign change).
    for least, most in ((umin, umax), (smin, smax)):
        step = (most >> half) - (least >> half)
        if step > 1:
            continue
        ulow, uhigh = least & low, most & low
        slow, shigh = (ulow ^ low_sign) - low_sign, (uhigh ^ low_sign) - low_sign
        if not step:
            if ulow > u32min:
                u32min = ulow
            if uhigh < u32max:
                u32max = uhigh
        if slow <= shigh if not step else slow < 0 <= shigh:
            if slow > s32min:
                s32min = slow
            if shigh < s32max:
                s32max = shigh
    # An unsigned interval that stays on one side of the sign bit is a signed interval, and the other way round.
    slow, shigh = (u32min ^ low_sign) - low_sign, (u32max ^ low_sign) - low_sign
    if slow <= shigh:
        if slow > s32min:
            s32min = slow
        if shigh < s32max:
            s32max = shigh
    ulow, uhigh = s32min & low, s32max & low
    if ulow <= uhigh:
        if ulow > u32min:
            u32min = ulow
        if uhigh < u32max:
            u32max = uhigh
    elif u32max < ulow:  # s32min..-1 is above every unsigned candidate: only 0..s32max is left
        if s32min < u32min:
            s32min = u32min
        if uhigh < u32max:
            u32max = uhigh
    elif u32min > uhigh:  # 0..s32max is below every unsigned candidate: only s32min..-1 is left
        if shigh < s32max:
            s32max = shigh
        if ulow > u32min:
            u32min = ulow
    slow, shigh = (umin ^ sign) - sign, (umax ^ sign) - sign
    if slow <= shigh:
        if slow > smin:
            smin = slow
        if shigh < smax:
            smax = shigh
    ulow, uhigh = smin & full, smax & full
    if ulow <= uhigh:
        if ulow > umin:
            umin = ulow
        if uhigh < umax:
            umax = uhigh
    elif umax < ulow:  # smin..-1 is above every unsigned candidate: only 0..smax is left
        if smin < umin:
            smin = umin
        if uhigh < umax:
            umax = uhigh
    elif umin > uhigh:  # 0..smax is below every unsigned candidate: only smin..-1 is left
        if shigh < smax:
            smax = shigh
        if ulow > umin:
            umin = ulow
    # The ends of 64-bit intervals cannot have a low half that 32-bit bounds exclude.
    high = ~low
    bound = umin & high | u32min
    if bound > umin:
        umin = bound
    bound = umax & high | u32max
    if bound < umax:
        umax = bound
    bound = smin & high | u32min
    if bound > smin:
        smin = bound
    bound = smax & high | u32max
    if bound < smax:
        smax = bound
    if s32min >= 0 and smin >= -low_sign and smax < low_sign:  # the high half is a copy of bit 31, which is 0
        if s32min > smin:
            smin = s32min
        if s32max < smax:
            smax = s32max
    return umin, umax, smin, smax, u32min, u32max, s32min, s32max

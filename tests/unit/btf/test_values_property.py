"""Any type, any value: encode and decode are inverse, and decoding takes any bytes."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from skep.btf.catalog import align_of, size_of
from skep.btf.types import Array, Btf, Enum, Float, Int, Member, Ptr, Struct, Union, Void
from skep.btf.values import codec

SCALARS = [
    *(Int(f"int{size}{sign}", size, size * 8, sign) for size in (1, 2, 4, 8, 16) for sign in (False, True)),
    Int("_Bool", 1, 8, boolean=True),
    Int("char", 1, 8, True),
    Ptr(0),
    Float("float", 4),
    Float("double", 8),
    Enum("e", 4, True, (("A", -1), ("B", 1))),
]


@st.composite
def type_sets(draw: st.DrawFn) -> Btf:
    """Scalars, then arrays, structs and unions of what comes before; bitfields of ints."""
    types: list = [Void(), *SCALARS]
    for number in range(draw(st.integers(1, 5))):
        btf = Btf(types)
        kind = draw(st.sampled_from(["array", "struct", "union"]))
        if kind == "array":
            types.append(Array(draw(st.integers(1, len(types) - 1)), 1, draw(st.integers(0, 4))))
            continue
        members, at = [], 0
        for index in range(draw(st.integers(0, 5))):
            type_id = draw(st.integers(1, len(types) - 1))
            size = size_of(btf, type_id)
            if kind == "union":
                members.append(Member(f"m{index}", type_id, 0))
                at = max(at, size * 8)
            elif isinstance(types[type_id], Int) and draw(st.booleans()):
                bits = draw(st.integers(1, size * 8))
                members.append(Member(f"m{index}", type_id, at, bits))
                at += bits
            else:
                align = align_of(btf, type_id) * 8
                at = -(-at // align) * align
                members.append(Member(f"m{index}", type_id, at))
                at += size * 8
        made = Struct if kind == "struct" else Union
        types.append(made(f"t{number}", -(-at // 64) * 8, tuple(members)))
    return Btf(types, byte_order=draw(st.sampled_from(["little", "big"])))


def plain(value):
    """Values with NaN made comparable."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if hasattr(value, "items") and not hasattr(value, "raw"):
        return {name: plain(each) for name, each in value.items()}
    return value


@settings(max_examples=150, deadline=None)
@given(type_sets(), st.randoms(use_true_random=False))
def test_decode_encode_decode(btf: Btf, random) -> None:
    last = len(btf) - 1
    each = codec(btf, last)
    data = random.randbytes(each.size)
    value = each.decode(data)
    again = each.encode(value)
    assert len(again) == each.size
    assert plain(each.decode(again)) == plain(value)
    assert each.encode(each.decode(again)) == again or "nan" in repr(value)
    mask = each.mask()
    if "nan" not in repr(value) and not any(isinstance(t, Union) for t in btf):
        assert bytes(a & m for a, m in zip(data, mask, strict=True)) == again  # padding is zeroed, all else kept
    hash(value)

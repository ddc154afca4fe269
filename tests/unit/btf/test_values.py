from __future__ import annotations

import copy
import json
import pickle

import pytest

from skep.btf.reader import parse_btf
from skep.btf.types import (
    Array,
    Btf,
    Datasec,
    Enum64,
    Float,
    Fwd,
    Int,
    Member,
    Ptr,
    SectionVar,
    Struct,
    Typedef,
    Union,
    Var,
    Void,
)
from skep.btf.values import codec, to_json
from skep.btf.writer import encode_btf
from skep.errors import BtfError, UsageError

SOURCE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef u8 mac_t[6];
enum color { RED, GREEN = 5, CRIMSON = 0 };
enum sign { MINUS = -1, PLUS = 1 };
struct flat { u32 a; u16 b; u64 c; int d; };
struct mixed {
	char name[16];
	u8 flag : 3, rest : 5;
	int low : 5, high : 11;
	_Bool on;
	enum color color;
	enum sign sign;
	mac_t mac;
	short shorts[2][2];
	struct flat inner;
	void *pointer;
	union { u32 v4; u8 v6[16]; };
	struct { u8 x; u16 y; };
	union { u64 whole; struct { u32 lo, hi; } halves; } named;
	double real;
	float small;
	signed char minus;
	char letter;
	__int128 huge;
};
struct flexible { u32 count; u16 items[]; };
struct empty {};
struct mixed mixed; struct flexible flexible = { 1, { 2 } }; struct empty empty; enum color color;
struct flat flats[2]; char text[4]; unsigned char bytes[3];
"""
VALUE = {
    "name": "comm", "flag": 5, "rest": 17, "low": -3, "high": 1000, "on": True, "color": "GREEN", "sign": "MINUS",
    "mac": b"\1\2\3\4\5\6", "shorts": [[1, -2], [3, 4]], "inner": {"a": 1, "b": 2, "c": 1 << 63, "d": -4},
    "pointer": 0xFFFF888000000000, "v6": bytes(range(16)), "x": 7, "y": 65535, "named": {"whole": 0x1122334455667788},
    "real": 2.5, "small": -0.5, "minus": -128, "letter": 65, "huge": -(1 << 100),
}  # fmt: skip


@pytest.fixture(params=["bpfel", "bpfeb"])
def btf(request, compiled) -> Btf:
    return compiled(SOURCE, request.param).btf


def make(btf: Btf, name: str, *kinds: type):
    return codec(btf, btf.find(name, *kinds))


def problem(codec, value) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        codec.encode(value)
    return caught.value.diagnostic.code, caught.value.diagnostic.what


def test_a_struct_of_everything(btf: Btf) -> None:
    mixed = make(btf, "mixed", Struct)
    data = mixed.encode(VALUE)
    value = mixed.decode(data)
    assert len(data) == mixed.size == btf[btf.find("mixed", Struct)].size
    for name in VALUE:
        assert value[name] == VALUE[name] or name == "named", name
    assert value.named.whole == 0x1122334455667788
    little = btf.byte_order == "little"
    assert value.named.halves.lo == (0x55667788 if little else 0x11223344)
    assert value.v4 == int.from_bytes(bytes(range(4)), btf.byte_order)
    assert mixed.encode(value) == data
    assert mixed.encode(data) == data
    assert {value: 1}[mixed.decode(data)] == 1
    assert codec(btf, btf.find("mixed", Struct)) is mixed


def test_bitfields_lie_where_clang_puts_them(compiled) -> None:
    """Clang initialises the same value: its bytes are the judge, in both byte orders."""
    source = """
    struct bits { unsigned a:3; int b:7; unsigned long long c:40; _Bool d:1; unsigned char e:8; };
    struct bits bits = { 5, -33, 0xABCDEF0123ULL, 1, 200 };
    """
    for target in ("bpfel", "bpfeb"):
        made = compiled(source, target)
        data = made.sections[".data"]
        bits = make(made.btf, "bits", Struct)
        value = {"a": 5, "b": -33, "c": 0xABCDEF0123, "d": True, "e": 200}
        assert bits.decode(data) == value
        assert bits.encode(value) == data


def test_flat_structs_and_arrays_of_them(btf: Btf) -> None:
    order = btf.byte_order
    flats = codec(btf, btf[btf.find("flats")].type)
    value = [{"a": 1, "b": 2, "c": 3, "d": -1}, {"a": 4, "b": 5, "c": 6, "d": 7}]
    data = flats.encode(value)
    assert flats.decode(data) == value
    assert data[:8] == (1).to_bytes(4, order) + (2).to_bytes(2, order) + b"\0\0"  # padding is zero
    first = flats.decode(data)[0]
    assert (first.a, first["d"], dict(first)) == (1, -1, value[0])
    assert repr(first) == "struct flat(a=1, b=2, c=3, d=-1)"
    assert copy.deepcopy(first) == first
    assert pickle.loads(pickle.dumps(first)) == first
    with pytest.raises(AttributeError, match="read-only"):
        first.a = 2
    with pytest.raises(AttributeError, match="no member"):
        _ = first.nothing


def test_text(btf: Btf) -> None:
    text = codec(btf, btf[btf.find("text")].type)
    assert text.encode("ab") == b"ab\0\0"
    assert text.decode(b"ab\0\0") == "ab"
    assert text.decode(b"abcd") == "abcd"
    assert text.decode(b"\xff\0\0\0") == b"\xff\0\0\0"
    dirty = text.decode(b"a\0xy")
    assert dirty == "a"
    assert text.encode(dirty) == b"a\0xy"
    assert text.encode(b"\xff") == b"\xff\0\0\0"
    assert problem(text, "abcde")[0] == "B0205"
    assert problem(text, 5)[0] == "B0201"


def test_enums_take_names_and_numbers(btf: Btf) -> None:
    color = make(btf, "color")
    assert color.decode(color.encode("GREEN")) == "GREEN"
    assert color.decode(color.encode(5)) == "GREEN"
    assert color.decode(color.encode("CRIMSON")) == "RED"  # the first name of a value
    assert color.decode(color.encode(77)) == 77
    code, what = problem(color, "BLUE")
    assert code == "B0206"
    assert "GREEN" in what


def test_a_flexible_array_takes_what_there_is(btf: Btf) -> None:
    flexible = make(btf, "flexible", Struct)
    data = flexible.encode({"count": 2, "items": [7, 8]})
    assert len(data) == 8
    assert flexible.decode(data) == {"count": 2, "items": [7, 8]}
    assert flexible.decode(data[:4]) == {"count": 2, "items": []}
    assert problem(flexible, {"count": 2, "items": [7, "x"]})[1].endswith("items[1]")


def test_unions_want_members_that_agree(btf: Btf) -> None:
    mixed = make(btf, "mixed", Struct)
    order = btf.byte_order
    agreeing = {**VALUE, "v4": int.from_bytes(bytes(range(4)), order)}
    assert mixed.encode(agreeing) == mixed.encode(VALUE)
    assert problem(mixed, {**VALUE, "v4": 9})[0] == "B0207"
    missing = {k: v for k, v in VALUE.items() if k != "v6"}
    assert problem(mixed, missing)[0] == "B0203"


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"x": 256}, "B0202", "x"),
        ({"x": -1}, "B0202", "x"),
        ({"low": 16}, "B0202", "low"),
        ({"flag": 8}, "B0202", "flag"),
        ({"x": "7"}, "B0201", "x"),
        ({"x": 1.5}, "B0201", "x"),
        ({"x": None}, "B0201", "x"),
        ({"inner": 3}, "B0201", "inner"),
        ({"inner": {"a": 1, "b": 2, "c": 3}}, "B0203", "'d'"),
        ({"inner": {"a": 1, "b": 1 << 16, "c": 3, "d": 4}}, "B0202", "inner.b"),
        ({"nonsense": 1}, "B0204", "nonsense"),
        ({"shorts": [[1, 2]]}, "B0205", "shorts"),
        ({"shorts": [[1, 2], [3, 70000]]}, "B0202", "shorts[1][1]"),
        ({"mac": b"123"}, "B0205", "mac"),
        ({"mac": [1, 2, 3, 4, 5, 256]}, "B0202", "mac[5]"),
        ({"real": "x"}, "B0201", "real"),
        ({"small": 1e300}, "B0202", "small"),
        ({"huge": 1 << 127}, "B0202", "huge"),
        ({"named": {}}, "B0203", "named"),
    ],
)
def test_wrong_values_are_told_by_place(btf: Btf, change: dict, code: str, text: str) -> None:
    found, what = problem(make(btf, "mixed", Struct), {**VALUE, **change})
    assert found == code
    assert text in what


def test_wrong_sizes(btf: Btf) -> None:
    with pytest.raises(UsageError, match="24 bytes, not 3"):
        make(btf, "flat").decode(b"123")
    assert problem(make(btf, "flat"), b"123")[0] == "B0205"


def test_json(btf: Btf) -> None:
    mixed = make(btf, "mixed", Struct)
    read = json.loads(json.dumps(to_json(mixed.decode(mixed.encode(VALUE)))))
    assert read["mac"] == [1, 2, 3, 4, 5, 6]
    assert read["shorts"] == [[1, -2], [3, 4]]
    assert read["inner"]["c"] == 1 << 63
    assert read["color"] == "GREEN"


def test_old_bitfields_and_odd_numbers() -> None:
    types = (
        Void(), Int("int", 4, 32, True), Int("int", 4, 7, True, bit_offset=2),
        Struct("old", 4, (Member("a", 2, 0), Member("b", 2, 10), Member("", 1, 24, 8))),
        Enum64("e", 8, True, (("LOW", -(1 << 63)),)), Float("long double", 16), Int("odd", 3, 24),
    )  # fmt: skip
    btf = parse_btf(encode_btf(Btf(types)))
    old = codec(btf, 3)
    value = {"a": -5, "b": 63}
    assert old.decode(old.encode(value)) == value
    assert int.from_bytes(old.encode(value), "little") == (-5 & 127) << 2 | 63 << 12
    assert codec(btf, 4).decode(codec(btf, 4).encode("LOW")) == "LOW"
    assert codec(btf, 5).decode(bytes(16)) == bytes(16)
    assert codec(btf, 6).encode(0x010203) == b"\3\2\1"


def test_global_data_is_a_struct_of_its_variables() -> None:
    types = (
        Void(), Int("int", 4, 32, True), Var("count", 1, 1), Var("count", 1, 0), Var("", 1, 0), Typedef("t", 1),
        Var("last", 5, 1),
        Datasec(".bss", 24, tuple(SectionVar(i, o, 4) for i, o in ((2, 0), (3, 4), (4, 8), (6, 20)))),
    )  # fmt: skip
    section = codec(Btf(types), 7)
    value = {"count": 1, "count___2": 2, "last": -3}
    assert section.decode(section.encode(value)) == value
    assert section.encode(value)[20:] == b"\xfd\xff\xff\xff"
    outside = Btf((*types[:6], Var("last", 5, 1), Datasec(".bss", 22, (SectionVar(6, 20, 4),))))
    with pytest.raises(BtfError, match="lies outside"):
        codec(outside, 7)


@pytest.mark.parametrize(
    ("types", "code"),
    [
        ((Void(),), "B0109"),
        ((Void(), Fwd("f")), "B0109"),
        ((Void(), Struct("s", 2, (Member("a", 2, 0),)), Int("int", 4, 32)), "B0114"),
        ((Void(), Struct("s", 8, (Member("a", 2, 0), Member("a", 2, 32))), Int("int", 4, 32)), "B0115"),
        ((Void(), Struct("s", 8, (Member("p", 2, 0, 4),)), Ptr(1)), "B0114"),
        ((Void(), Array(2, 2, 1 << 31), Int("int", 4, 32)), "B0109"),
        ((Void(), Int("int", 0, 0)), "B0109"),
        ((Void(), Array(2, 2, 0xFFFFFFFF), Array(3, 3, 0xFFFFFFFF), Struct("empty", 0, ())), "B0109"),
        ((Void(), Struct("self", 8, (Member("a", 1, 0),))), "B0107"),
        ((Void(), Typedef("t", 9)), "B0105"),
    ],
)
def test_types_without_values_are_refused(types, code: str) -> None:
    with pytest.raises((BtfError, IndexError)) as caught:
        codec(Btf(types), min(1, len(types) - 1))
    if isinstance(caught.value, BtfError):
        assert caught.value.diagnostic.code == code


def test_exponential_types_of_no_size_are_refused() -> None:
    types = [Void(), Struct("leaf", 0, ())]
    types += [Struct("", 0, (Member("a", i, 0), Member("b", i, 0))) for i in range(1, 50)]
    with pytest.raises(BtfError):
        codec(Btf(types), 50)
    unions = [Void(), Int("int", 4, 32)]
    unions += [Union("", 4, (Member("a", i, 0), Member("b", i, 0))) for i in range(1, 50)]
    with pytest.raises(BtfError):
        codec(Btf(unions), 50)


def test_kernel_structs_survive_any_bytes(vmlinux: Btf) -> None:
    """Every 40th struct of the kernel: decode noise, encode, decode: the same value."""
    noise = bytes((i * 7 + i // 13) & 0xFF for i in range(1 << 17))
    checked = 0
    for type_id in range(1, len(vmlinux), 40):
        if isinstance(vmlinux[type_id], Struct | Union):
            each = codec(vmlinux, type_id)
            value = each.decode(noise[: each.size])
            assert each.decode(each.encode(value)) == value
            checked += 1
    assert checked > 100


def test_a_bool_of_one_bit_owns_one_bit() -> None:
    types = Btf(
        [
            Void(),
            Int("_Bool", 1, 8, boolean=True),
            Int("u8", 1, 8),
            Struct("s", 1, (Member("flag", 1, 0, 1), Member("rest", 2, 1, 7))),
        ]
    )
    assert codec(types, 3).mask() == b"\xff"
    only = Btf([Void(), Int("_Bool", 1, 8, boolean=True), Struct("s", 1, (Member("flag", 1, 0, 1),))])
    assert codec(only, 2).mask() == b"\x01"

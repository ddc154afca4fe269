"""Tables of functions (struct_ops): read from objects, joined, and the places of their programs."""

from __future__ import annotations

import pytest

from skep.abi.map_types import MapType
from skep.btf.types import Btf, FuncProto, Int, Member, Ptr, Struct, Void
from skep.errors import ElfError, LinkError, MapError, UnsupportedError
from skep.kernel.maps.tables import KernelTable, value_of
from skep.linker import default_programs, link, link_static
from skep.model.maps import Slot
from skep.model.objects import ObjectSpec
from skep.model.target import Target
from skep.objfile import read_object
from tests.unit.objfile.build import compile_c

TARGET = Target("linux", (6, 18, 0))
TYPE = """
struct ops { int number; void (*start)(void *ctx); int (*stop)(void *ctx); char name[8]; };
SEC("struct_ops/start") void start(void *ctx) { }
SEC("struct_ops/any") int stop(void *ctx) { return 1; }
"""
TABLE = 'SEC(".struct_ops.link") struct ops table = { .number = 7, .start = start, .stop = stop, .name = "abc" };\n'


def read(source: str, name: str = "a.o") -> ObjectSpec:
    return read_object(compile_c(TYPE + source), name)


def test_a_variable_is_a_map() -> None:
    spec = read(TABLE + 'SEC(".struct_ops") struct ops plain = { .stop = stop };\n')
    table, plain = spec.maps["table"], spec.maps["plain"]
    assert (table.type, table.flags, table.autocreate) == (MapType.STRUCT_OPS, 1 << 13, True)
    assert table.slots == (Slot(1, "start"), Slot(2, "stop"))
    assert table.contents is not None
    assert table.contents[:4] == (7).to_bytes(4, "little")
    assert table.contents[24:27] == b"abc"
    assert not table.is_data
    assert (plain.flags, plain.slots) == (0, (Slot(2, "stop"),))


def test_places_of_programs() -> None:
    spec = read(TABLE)
    assert link(spec, "start", TARGET).attach_to == "ops.start"
    assert link(spec, "stop", TARGET).attach_to == "ops.stop"


def test_a_table_twice() -> None:
    spec = read(TABLE + 'SEC(".struct_ops.link") struct ops again = { .stop = stop };\n')
    assert link(spec, "stop", TARGET).attach_to == "ops.stop"


def test_flavours_are_the_same_structure() -> None:
    spec = read(TABLE.replace("struct ops table", "struct ops___mine { void (*start)(void *); } table")
                .replace(".number = 7, ", "").replace(', .stop = stop, .name = "abc"', ""))  # fmt: skip
    assert link(spec, "start", TARGET).attach_to == "ops.start"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (TABLE.replace(".stop = stop, ", ""), "no table names program 'stop'"),
        (TABLE.replace(".start = start", ".start = (void *)stop"), "stands in for ops.start and for ops.stop"),
    ],
)
def test_programs_without_a_place(source: str, sentence: str) -> None:
    with pytest.raises(LinkError, match=sentence) as caught:
        link(read(source), "stop", TARGET)
    assert caught.value.diagnostic.code == "L0121"


@pytest.mark.parametrize(
    "table",
    [
        'SEC(".struct_ops.link") struct ops table = { .number = 1, .start = (void *)&table };\n',
        'int other; SEC(".struct_ops.link") struct ops table = { .start = (void *)&other };\n',
    ],
)
def test_members_that_are_no_programs(table: str) -> None:
    with pytest.raises(ElfError, match="cannot stand there"):
        read(table)


def test_on_request_only() -> None:
    spec = read(TABLE.replace(".struct_ops", "?.struct_ops"))
    assert not spec.maps["table"].autocreate
    assert default_programs(spec, TARGET) == []
    both = read(TABLE.replace(".struct_ops", "?.struct_ops")
                + 'SEC(".struct_ops") struct ops wanted = { .stop = stop };\n')  # fmt: skip
    assert default_programs(both, TARGET) == ["stop"]


def test_members_that_the_kernel_lacks_are_not_loaded() -> None:
    kernel = Btf((Void(), Int("int", 4, 32, True), Struct("ops", 4, (Member("stop", 1, 0),))))
    assert default_programs(read(TABLE), Target("linux", (6, 18, 0), btf=kernel)) == ["stop"]


def test_its_address_means_nothing() -> None:
    spec = read(TABLE + 'SEC("xdp") int f(void *c) { return (long) &table; }\n')
    assert spec.notes == ()
    with pytest.raises(UnsupportedError, match="means nothing in a program"):
        link(spec, "f", TARGET)


def test_static_linking() -> None:
    other = read_object(compile_c('int counter = 3;\nSEC("xdp") int f(void *c) { return counter; }\n'), "b.o")
    whole = link_static([other, read(TABLE)])
    table = whole.maps["table"]
    assert table.slots == (Slot(1, "start"), Slot(2, "stop"))
    assert table.btf is whole.btf
    assert table.btf is not None
    assert table.btf[table.value_type].name == "ops"
    assert link(whole, "stop", TARGET).attach_to == "ops.stop"


# ---- what the kernel is given ----


def kernel_table(*members: Member) -> KernelTable:
    """A kernel's structure: members of types 1 int, 2 long, 3 a function's address, 4 a plain pointer."""
    types = (Void(), Int("int", 4, 32, True), Int("long", 8, 64, True), Ptr(5), Ptr(1), FuncProto(1, ()))
    data = Struct("ops", 40, members)
    value = Struct("bpf_struct_ops_ops", 48, (Member("common", 2, 0), Member("data", 6, 64)))
    btf = Btf((*types, data, value))
    return KernelTable(btf, 7, data, 8)


def test_members_go_where_the_kernel_has_them() -> None:
    spec = read(TABLE.replace(', .name = "abc"', ""))
    table = kernel_table(
        Member("stop", 3, 0), Member("extra", 2, 64), Member("start", 3, 128), Member("number", 1, 192)
    )
    value = value_of(spec.maps["table"], table, {"start": 21, "stop": 22})
    words = [int.from_bytes(value[at : at + 8], "little") for at in range(0, 48, 8)]
    assert words == [0, 22, 0, 21, 7, 0]


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ((Member("stop", 3, 0),), "has no member 'number'"),
        ((Member("number", 2, 0),), "has 8 bytes in this kernel, not 4"),
        ((Member("number", 3, 0),), "is a ptr in this kernel, not a int"),
        ((Member("number", 1, 0), Member("start", 4, 64)), "a pointer to something else"),
        ((Member("number", 1, 0, 3),), "bitfield"),
    ],
)
def test_what_does_not_fit(members: tuple[Member, ...], sentence: str) -> None:
    spec = read(TABLE.replace(', .name = "abc"', ""))
    with pytest.raises(MapError, match=sentence) as caught:
        value_of(spec.maps["table"], kernel_table(*members), {})
    assert caught.value.diagnostic.code == "M0127"

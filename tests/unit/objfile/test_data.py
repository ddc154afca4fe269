"""Global data: sections as maps, variables in them, and data that no map can hold."""

from __future__ import annotations

import itertools

import pytest

from skep.abi.map_types import MapType
from skep.btf.types import Datasec
from skep.isa.instruction import MapValueRef
from skep.objfile import read_object
from tests.unit.objfile.build import compile_c

SOURCE = """
struct pair { __u16 a; __u32 b; };
volatile const __u64 limit = 0x1122334455667788;
volatile const char name[6] SEC(".rodata.config") = "hello";
struct pair pair = { 7, 9 };
__u32 zero_a;
__u64 zero_b[4];
static volatile __u32 hidden_counter;
SEC("xdp") int f(void *c) { static volatile int inside = 4; hidden_counter++;
    return limit + name[1] + pair.b + zero_a + zero_b[1] + inside; }
"""


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_sections_become_maps(target: str) -> None:
    spec = read_object(compile_c(SOURCE, target=target), "data.o")
    rodata = spec.maps[".rodata"]
    order = "little" if target == "bpfel" else "big"
    assert (rodata.type, rodata.key_size, rodata.max_entries, rodata.frozen) == (MapType.ARRAY, 4, 1, True)
    assert rodata.contents == (0x1122334455667788).to_bytes(8, order)
    assert rodata.flags == 1 << 7
    assert spec.maps[".rodata.config"].contents == b"hello\0"
    assert not spec.maps[".data"].frozen
    bss = spec.maps[".bss"]
    assert bss.contents == bytes(bss.value_size)
    assert bss.value_size >= 40


def test_variables_know_their_place_and_type() -> None:
    spec = read_object(compile_c(SOURCE), "data.o")
    assert set(spec.variables) == {"limit", "name", "pair", "zero_a", "zero_b", "hidden_counter", "f.inside"}
    pair = spec.variables["pair"]
    contents = spec.maps[".data"].contents
    assert contents is not None
    assert contents[pair.offset : pair.offset + pair.size] == bytes.fromhex("0700000009000000")
    assert pair.btf is not None
    assert pair.btf[pair.btf.strip(pair.type)].name == "pair"
    assert spec.variables["limit"].constant
    assert not pair.constant
    zeros = [spec.variables[name] for name in ("zero_a", "zero_b", "hidden_counter")]
    ranges = sorted((v.offset, v.offset + v.size) for v in zeros)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges)), "variables of .bss overlap"


def test_the_types_get_the_sizes_that_clang_left_out() -> None:
    spec = read_object(compile_c(SOURCE), "data.o")
    assert spec.btf is not None
    for name in (".rodata", ".data", ".bss"):
        type_id = spec.btf.find(name, Datasec)
        assert type_id is not None
        datasec = spec.btf[type_id]
        assert isinstance(datasec, Datasec)
        assert datasec.size == spec.maps[name].value_size
        assert spec.maps[name].value_type == type_id


def test_without_btf_variables_come_from_symbols() -> None:
    spec = read_object(compile_c(SOURCE, "-g0"), "data.o")
    assert spec.btf is None
    assert set(spec.variables) == {"limit", "name", "pair", "zero_a", "zero_b", "hidden_counter", "f.inside"}
    assert spec.variables["pair"].size == 8
    assert spec.variables["pair"].type == 0


def test_tentative_definitions_get_a_place_in_bss() -> None:
    source = 'int common_a; long common_b[2]; SEC("xdp") int f(void *c) { return common_a + common_b[1]; }'
    spec = read_object(compile_c(source, "-g0", "-fcommon"), "common.o")
    assert spec.maps[".bss"].value_size >= 20
    wide = spec.variables["common_b"]
    assert wide.offset % 8 == 0
    refs = [insn.ref for insn in spec.functions["f"].insns if insn.ref]
    assert MapValueRef(".bss", wide.offset + 8) in refs or MapValueRef(".bss", wide.offset) in refs


def test_addresses_in_data_are_noted_and_not_silently_lost() -> None:
    source = """
    static int one(void) { return 1; }
    int (*table[2])(void) = { 0, one };
    SEC("xdp") int f(void *c) { return table[1] != 0; }
    """
    spec = read_object(compile_c(source), "table.o")
    assert "'.text'" in spec.unsupported[".data"] or "one" in spec.unsupported[".data"]
    assert spec.unsupported[".data"] in spec.notes

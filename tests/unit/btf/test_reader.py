from __future__ import annotations

import struct
import tarfile
import time
from collections import Counter

import pytest
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from skep.btf.reader import parse_btf
from skep.btf.types import (
    Array,
    Btf,
    Const,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    SectionVar,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Void,
    Volatile,
    essential_name,
)
from skep.btf.writer import encode_btf
from skep.errors import BtfError

ALL_KINDS = (
    Void(),
    Int("int", 4, 32, signed=True),
    Int("_Bool", 1, 8, boolean=True),
    Ptr(4),
    Struct("node", 24, (Member("next", 3, 0), Member("low", 1, 64, 3), Member("array", 5, 96))),
    Array(1, 1, 2),
    Union("either", 4, (Member("i", 1, 0), Member("", 7, 0))),
    Enum("color", 4, True, (("RED", -1), ("GREEN", 5))),
    Enum64("wide", 8, False, (("BIG", 1 << 63), ("SMALL", 1))),
    Enum64("negative", 8, True, (("LOW", -(1 << 63)),)),
    Fwd("unknown"),
    Fwd("unknown_union", is_union=True),
    Typedef("int_t", 1),
    Volatile(12),
    Const(13),
    Restrict(3),
    FuncProto(1, (Param("a", 14), Param("", 0))),
    Func("main", 16, 1),
    Var("counter", 1, 1),
    Datasec(".bss", 4, (SectionVar(18, 0, 4),)),
    Float("double", 8),
    DeclTag("tag", 4, 1),
    DeclTag("whole", 17, -1, attribute=True),
    TypeTag("rcu", 4),
    Int("char", 1, 8, signed=True, char=True),
)


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def raw(types: bytes, strings: bytes = b"\0") -> bytes:
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def code_of(data: bytes) -> str:
    with pytest.raises(BtfError) as caught:
        parse_btf(data)
    return caught.value.diagnostic.code


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_every_kind_survives_writing_and_reading(byte_order: str) -> None:
    data = encode_btf(Btf(ALL_KINDS, byte_order=byte_order))
    read = parse_btf(data)
    assert tuple(read) == ALL_KINDS
    assert read.byte_order == byte_order
    assert data[:2] == (b"\x9f\xeb" if byte_order == "little" else b"\xeb\x9f")
    assert {type(each) for each in read} == set(BTF_KINDS)


BTF_KINDS = [Void, Int, Ptr, Array, Struct, Union, Enum, Fwd, Typedef, Volatile, Const, Restrict, Func, FuncProto, Var]
BTF_KINDS += [Datasec, Float, DeclTag, TypeTag, Enum64]


def test_split_btf_continues_ids_and_names_of_its_base() -> None:
    base = parse_btf(encode_btf(Btf(ALL_KINDS)))
    first = len(base)
    made = Btf((Ptr(4), Struct("node2", 8, (Member("next", first, 0),)), Typedef("int_t", 1)), base=base)
    split = parse_btf(encode_btf(made), base)
    assert list(split) == [*ALL_KINDS, *made.own]
    assert split.start_id == first
    assert b"next" not in encode_btf(made)  # the base has the name
    assert split.find_all("int_t") == [12, first + 2]
    assert split.find("node2", Struct) == first + 1
    assert base.find("node2") is None


def test_names_are_found_without_making_types() -> None:
    read = parse_btf(encode_btf(Btf(ALL_KINDS)))
    assert read.find("node") == 4
    assert read.find("node", Union) is None
    assert read.find_all("nothing") == []
    assert read.find("") is None


def test_flavors_are_found_by_their_essential_name() -> None:
    types = (Void(), Struct("task___old", 0, ()), Struct("task", 0, ()), Struct("task____x", 0, ()), Fwd("task___new"))
    read = parse_btf(encode_btf(Btf(types)))
    assert read.find_essential("task", Struct) == [1, 2]
    assert read.find_essential("task") == [1, 2, 4]
    assert [essential_name(n) for n in ("a___b", "a____b", "___b", "a___", "a___b___c")] == [
        "a", "a____b", "___b", "a___", "a___b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "B0101"),
        (b"\x9f", "B0101"),
        (b"\x9f\xeb\x01\x00", "B0101"),
        (raw(b"").replace(b"\x9f\xeb\x01", b"\x9f\xeb\x02"), "B0101"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0xFFFFFFFC, 0, 1) + b"\0", "B0101"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 0xFFFFFFFF, 0, 0, 0, 1) + b"\0", "B0101"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 2, 0, 0, 1) + b"\0", "B0101"),
        (raw(b"", b"\0abc"), "B0102"),
        (raw(b"", b"a\0"), "B0102"),
        (raw(b"", b""), "B0102"),
        (raw(words(0, 2 << 24)), "B0103"),
        (raw(words(0, 4 << 24 | 0xFFFF, 8)), "B0103"),
        (raw(words(0, 1 << 24, 4)), "B0103"),
        (raw(words(0, 20 << 24, 4)), "B0104"),
        (raw(words(0, 0, 4)), "B0104"),
        (raw(words(0, 2 << 24, 2)), "B0105"),
        (raw(words(0, 3 << 24, 0, 0xFFFFFFFF, 0, 1)), "B0105"),
        (raw(words(0, 4 << 24 | 1, 8, 0, 99, 0)), "B0105"),
        (raw(words(7, 2 << 24, 0)), "B0106"),
        (raw(words(0, 4 << 24 | 1, 8, 50, 0, 0)), "B0106"),
        (raw(words(0, 9 << 24, 1)), "B0107"),
        (raw(words(0, 2 << 24, 1)), "B0107"),
        (raw(words(0, 10 << 24, 2, 0, 9 << 24, 1)), "B0107"),
        (raw(words(0, 3 << 24, 0, 1, 1, 4)), "B0107"),
        (raw(words(0, 4 << 24 | 1, 8, 0, 1, 0)), "B0107"),
        (raw(words(0, 4 << 24 | 1, 8, 0, 2, 0) + words(0, 10 << 24, 1)), "B0107"),
        (raw(words(0, 13 << 24 | 1, 0, 0, 1)), "B0107"),
        (raw(words(0, 12 << 24, 0)), "B0110"),
        (raw(b"".join(words(0, 10 << 24, i + 2) for i in range(5000)) + words(0, 1 << 24, 4, 32)), "B0108"),
    ],
)
def test_hostile_bytes_are_refused_by_code(data: bytes, code: str) -> None:
    assert code_of(data) == code


def test_a_struct_may_point_to_itself() -> None:
    read = parse_btf(raw(words(0, 4 << 24 | 1, 8, 0, 2, 0) + words(0, 2 << 24, 1)))
    assert read[1] == Struct("", 8, (Member("", 2, 0),))


def test_names_that_are_not_utf8_are_tolerated() -> None:
    read = parse_btf(raw(words(1, 7 << 24, 0), b"\0\xff\xfe\0"))
    assert read[1].name == "\\xff\\xfe"
    assert tuple(parse_btf(encode_btf(read))) == tuple(read)


def test_strip_of_a_cycle_made_by_hand_ends() -> None:
    with pytest.raises(BtfError, match="without end"):
        Btf((Void(), Const(1))).strip(1)


def test_kernel_btf_is_read_quickly(vmlinux_bytes: bytes) -> None:
    start = time.process_time()
    btf = parse_btf(vmlinux_bytes)
    task = btf.find("task_struct", Struct)
    seconds = time.process_time() - start
    assert task is not None
    assert {"pid", "tgid", "comm"} <= {member.name for member in btf[task].members}
    assert len(btf) > 50_000
    assert seconds < 1.5


def test_every_blob_of_the_corpus_is_read(corpus) -> None:
    archive = corpus / "verifier/btf.tar.gz"
    if not archive.exists():
        pytest.skip(f"{archive} does not exist")
    kinds: Counter[type] = Counter()
    with tarfile.open(archive) as files:
        for entry in files:
            if entry.isfile():
                btf = parse_btf(files.extractfile(entry).read())
                kinds.update(type(each) for each in btf)
    assert kinds[Struct] > 1000
    assert kinds[Func] > 1000


def test_btf_of_real_objects_is_read(corpus) -> None:
    found = 0
    for path in sorted((corpus / "objects").rglob("*.o")):
        with path.open("rb") as file:
            try:
                section = ELFFile(file).get_section_by_name(".BTF")
            except (ELFError, UnicodeDecodeError):
                continue  # deliberately broken objects
            if section is None:
                continue
            btf = parse_btf(section.data())
        assert list(parse_btf(encode_btf(btf))) == list(btf)
        found += 1
    assert found > 50

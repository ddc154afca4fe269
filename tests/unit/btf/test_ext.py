from __future__ import annotations

import struct

import pytest

from skep.btf.core_relo import CoreKind
from skep.btf.ext import parse_btf_ext
from skep.btf.types import Btf, Func, FuncProto, Int, Void
from skep.errors import BtfError

SOURCE = """\
struct pair { int a, b; } __attribute__((preserve_access_index));
__attribute__((section("xdp"), used)) int prog(struct pair *p)
{
	return p->b;
}
"""
BTF = Btf((Void(), Int("int", 4, 32, True), FuncProto(1, ()), Func("f", 2, 1)))


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_tables_of_a_compiled_program(compiled, target: str) -> None:
    made = compiled(SOURCE, target)
    assert made.btf.byte_order == ("little" if target == "bpfel" else "big")
    [(offset, function)] = made.ext.functions["xdp"]
    assert (offset, made.btf[function].name) == (0, "prog")
    spans = [span for _, span in made.ext.lines["xdp"]]
    line = next(span for span in spans if span.line == 4)
    assert line.text == "\treturn p->b;"
    assert line.column in (9, 12)
    assert line.file.endswith("test.c")
    [(offset, relocation)] = made.ext.core["xdp"]
    assert relocation.kind is CoreKind.FIELD_BYTE_OFFSET
    assert relocation.access == "0:1"
    assert made.btf[relocation.type].name == "pair"


def ext(func_info: bytes, size: int | None = None, header: int = 24) -> bytes:
    size = len(func_info) if size is None else size
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, header, 0, size, size, 0) + func_info


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "B0111"),
        (b"\x9f\xeb\x01\x00\x18", "B0111"),
        (ext(b"", header=1000), "B0111"),
        (ext(words(8), size=4000), "B0111"),
        (ext(words(4, 0, 1)), "B0111"),
        (ext(words(8, 0)), "B0111"),
        (ext(words(8, 0, 0)), "B0111"),
        (ext(words(8, 0, 0xFFFFFFFF, 0, 3)), "B0111"),
        (ext(words(8, 0, 1, 0, 77)), "B0105"),
        (ext(words(8, 0, 1, 0, 1)), "B0110"),
        (ext(words(8, 0x1000, 1, 0, 3)), "B0106"),
    ],
)
def test_hostile_tables_are_refused_by_code(data: bytes, code: str) -> None:
    with pytest.raises(BtfError) as caught:
        parse_btf_ext(data, BTF)
    assert caught.value.diagnostic.code == code


def test_longer_records_than_known_are_read() -> None:
    read = parse_btf_ext(ext(words(12, 0, 2, 0, 3, 99, 8, 3, 99)), BTF)
    assert read.functions == {"": [(0, 3), (8, 3)]}

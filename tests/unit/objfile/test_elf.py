"""The container: hand-made files, sound and hostile, in both byte orders."""

from __future__ import annotations

import struct
import time

import pytest

from skep.errors import ElfError
from skep.objfile import read_object
from skep.objfile.elf import read_elf
from tests.unit.objfile.build import CODE, DATA, EXIT, Raw, RawElf

FUNC, OBJECT, SECTION = 2, 1, 3
GLOBAL = 1


def one_program(order: str = "<") -> RawElf:
    code = EXIT if order == "<" else struct.pack(">BBhi", 0x95, 0, 0, 0)
    return RawElf([Raw("xdp", code, flags=CODE)], [("entry", 0, 8, FUNC, GLOBAL, 1)], order=order)


@pytest.mark.parametrize(("order", "name"), [("<", "little"), (">", "big")])
def test_both_byte_orders(order: str, name: str) -> None:
    elf = read_elf(one_program(order).build(), "x.o")
    assert elf.byte_order == name
    assert [section.name for section in elf.sections[:2]] == ["", "xdp"]
    assert elf.symbols[1].name == "entry"
    assert elf.symbols_in(1)[0].size == 8


def test_relocations_are_read_with_their_symbols() -> None:
    raw = one_program()
    raw.relocations = {1: [(0, 1, 10)]}
    elf = read_elf(raw.build(), "x.o")
    (relocation,) = elf.relocations[1]
    assert (relocation.offset, relocation.type, relocation.symbol.name) == (0, 10, "entry")


def _patched(at: int, value: bytes) -> bytes:
    data = bytearray(one_program().build())
    data[at : at + len(value)] = value
    return bytes(data)


def _section_table(data: bytes) -> int:
    return int.from_bytes(data[40:48], "little")


HOSTILE = {
    "empty": (b"", "O0101"),
    "text": (b"int main;", "O0101"),
    "only the magic": (b"\x7fELF", "O0102"),
    "32-bit": (_patched(4, b"\x01"), "O0103"),
    "byte order 7": (_patched(5, b"\x07"), "O0103"),
    "x86-64": (_patched(18, b"\x3e\0"), "O0104"),
    "executable": (_patched(16, b"\x02\0"), "O0105"),
    "no section table": (_patched(40, bytes(8)), "O0106"),
    "65,279 sections": (_patched(60, b"\xff\xfe"), "O0107"),
    "65,535 sections": (_patched(60, b"\xff\xff"), "O0106"),
    "section table behind the end": (_patched(40, b"\xff" * 7 + b"\x7f"), "O0107"),
    "names in section 99": (_patched(62, b"\x63\0"), "O0108"),
}


@pytest.mark.parametrize(("data", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_headers(data: bytes, code: str) -> None:
    with pytest.raises(ElfError) as caught:
        read_object(data, "bad.o")
    assert caught.value.diagnostic.code == code
    assert "bad.o" in caught.value.diagnostic.what


def test_every_truncation_is_an_elf_error() -> None:
    data = one_program().build()
    for size in range(len(data)):
        with pytest.raises(ElfError):
            read_object(data[:size], "short.o")


def _with_section_field(index: int, field_offset: int, value: int) -> bytes:
    data = bytearray(one_program().build())
    at = _section_table(bytes(data)) + index * 64 + field_offset
    data[at : at + 8] = value.to_bytes(8, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("index", "field_offset", "value", "code"),
    [
        (1, 32, 1 << 60, "O0107"),  # sh_size of the code
        (1, 24, (1 << 64) - 4, "O0107"),  # sh_offset of the code
        (1, 32, 9, "O0154"),  # nine bytes of code
        (3, 32, 25, "O0112"),  # a symbol table of 25 bytes
    ],
)
def test_hostile_section_fields(index: int, field_offset: int, value: int, code: str) -> None:
    with pytest.raises(ElfError) as caught:
        read_object(_with_section_field(index, field_offset, value), "bad.o")
    assert caught.value.diagnostic.code == code


def test_huge_bss_costs_nothing() -> None:
    raw = one_program()
    raw.sections.append(Raw(".bss", type=8, flags=DATA, size=1 << 50))
    began = time.monotonic()
    with pytest.raises(ElfError) as caught:
        read_object(raw.build(), "bss.o")
    assert caught.value.diagnostic.code == "O0110"
    assert time.monotonic() - began < 1


def test_overlapping_sections_are_refused() -> None:
    raw = one_program()
    raw.sections += [Raw(f".rodata.{i}", flags=2) for i in range(200)]
    data = bytearray(raw.build())
    table = _section_table(bytes(data))
    for index in range(2, 202):  # every one of them claims the whole file
        at = table + index * 64 + 24
        data[at : at + 16] = struct.pack("<QQ", 0, len(data))
    with pytest.raises(ElfError) as caught:
        read_object(bytes(data), "overlap.o")
    assert caught.value.diagnostic.code == "O0109"


@pytest.mark.parametrize(
    ("symbol", "code"),
    [
        (("entry", 0, 16, FUNC, GLOBAL, 1), "O0114"),  # longer than its section
        (("entry", 1 << 60, 8, FUNC, GLOBAL, 1), "O0114"),
        (("entry", 0, 8, FUNC, GLOBAL, 77), "O0113"),  # in a section that is not there
        (("entry", 4, 4, FUNC, GLOBAL, 1), "O0154"),  # in the middle of an instruction
        (("n" * 5000, 0, 8, FUNC, GLOBAL, 1), "O0111"),
    ],
)
def test_hostile_symbols(symbol: tuple[str, int, int, int, int, int], code: str) -> None:
    raw = one_program()
    raw.symbols = [symbol]
    with pytest.raises(ElfError) as caught:
        read_object(raw.build(), "bad.o")
    assert caught.value.diagnostic.code == code


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([(8, 1, 1)], "O0116"),  # behind the end of the section
        ([(0, 9, 1)], "O0116"),  # a symbol that is not there
        ([(4, 1, 1)], "O0150"),  # inside an instruction
        ([(0, 1, 1)], "O0150"),  # an EXIT cannot be relocated
        ([(0, 1, 1), (0, 1, 1)], "O0150"),
    ],
)
def test_hostile_relocations(entries: list[tuple[int, int, int]], code: str) -> None:
    raw = one_program()
    raw.relocations = {1: entries}
    with pytest.raises(ElfError) as caught:
        read_object(raw.build(), "bad.o")
    assert caught.value.diagnostic.code == code


def test_overlapping_functions_are_refused() -> None:
    raw = RawElf(
        [Raw("xdp", EXIT * 4, flags=CODE)],
        [("first", 0, 24, FUNC, GLOBAL, 1), ("second", 8, 8, FUNC, GLOBAL, 1)],
    )
    with pytest.raises(ElfError, match="overlaps"):
        read_object(raw.build(), "bad.o")


def test_two_names_for_one_function_share_the_body() -> None:
    raw = RawElf(
        [Raw("xdp", EXIT * 2, flags=CODE)],
        [("first", 0, 16, FUNC, GLOBAL, 1), ("alias", 0, 16, FUNC, GLOBAL, 1)],
    )
    spec = read_object(raw.build(), "alias.o")
    assert set(spec.programs) == {"first", "alias"}
    assert spec.functions["first"].insns is spec.functions["alias"].insns


def test_one_global_name_twice_is_refused() -> None:
    raw = RawElf(
        [Raw("xdp", EXIT, flags=CODE), Raw("tc", EXIT, flags=CODE)],
        [("entry", 0, 8, FUNC, GLOBAL, 1), ("entry", 0, 8, FUNC, GLOBAL, 2)],
    )
    with pytest.raises(ElfError, match="'entry' is defined twice"):
        read_object(raw.build(), "twice.o")

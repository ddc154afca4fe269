"""The ELF container of a BPF object, read without trust: every offset, size and count is checked against the file.

pyelftools supplies the layouts of the headers (gABI 4.1, chapter 4); it is never asked to follow an offset that has not
been checked here, because on hostile input it may read without bound. The long tables (symbols, relocations) are
unpacked directly: that is ten times as fast.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any, Final

from elftools.common.exceptions import ELFError as PyElfError
from elftools.common.utils import struct_parse
from elftools.elf.structs import ELFStructs

from skep.diagnostics import Diagnostic
from skep.errors import ElfError

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 1, 2, 3, 4, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON, SHN_XINDEX = 0, 0xFF00, 0xFFF1, 0xFFF2, 0xFFFF
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE, STT_COMMON = range(6)
STB_LOCAL, STB_GLOBAL, STB_WEAK = range(3)
STV_DEFAULT, STV_INTERNAL, STV_HIDDEN, STV_PROTECTED = range(4)

_HEADER_SIZE: Final = 64
_SECTION_HEADER_SIZE: Final = 64
_SYMBOL_SIZE: Final = 24
_RELOCATION_SIZES: Final = {SHT_REL: 16, SHT_RELA: 24}
_MAX_SECTIONS: Final = 0xFF00  # extended numbering (SHN_XINDEX) is never needed by a BPF object
_MAX_NAME: Final = 4096
_MAX_NAME_BYTES: Final = 64 << 20  # all names together; names may overlap in the table, so its size is no bound
MAX_NOBITS: Final = 64 << 20  # all .bss sections together: they cost memory, but no bytes in the file
_MACHINES: Final = {"EM_BPF", "EM_NONE"}  # LLVM before 4.0 wrote EM_NONE
_BYTE_ORDERS: Final = {1: "little", 2: "big"}
_SYMBOL: Final = {"little": struct.Struct("<IBBHQQ"), "big": struct.Struct(">IBBHQQ")}
_RELOCATION: Final = {
    ("little", SHT_REL): struct.Struct("<QQ"),
    ("little", SHT_RELA): struct.Struct("<QQq"),
    ("big", SHT_REL): struct.Struct(">QQ"),
    ("big", SHT_RELA): struct.Struct(">QQq"),
}


def broken(code: str, what: str, *why: str, help: str | None = None) -> ElfError:
    """The error for an object file that is not what it claims to be."""
    return ElfError(Diagnostic(code, what, why=why, help=help))


@dataclass(frozen=True, slots=True)
class Section:
    """A section header; ``offset`` and ``size`` in bytes of the file (NOBITS sections have no bytes there)."""

    index: int
    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int

    @property
    def is_code(self) -> bool:
        """Holds instructions."""
        return self.type == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol: ``value`` is a byte offset in section number ``section`` (or one of the SHN_ constants)."""

    index: int
    name: str
    value: int
    size: int
    type: int
    binding: int
    visibility: int
    section: int

    @property
    def is_defined(self) -> bool:
        """Lies in a section of this file."""
        return 0 < self.section < SHN_LORESERVE


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place to patch: byte ``offset`` in the section; ``addend`` None means that it is written at the place (REL)."""

    offset: int
    type: int
    symbol: Symbol
    addend: int | None


@dataclass(frozen=True)
class ElfFile:
    """Sections, symbols and relocations of one file, all inside its bounds."""

    name: str
    data: bytes = field(repr=False)
    byte_order: str
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...] = field(repr=False)
    relocations: Mapping[int, tuple[Relocation, ...]] = field(repr=False)

    def find_section(self, name: str) -> Section | None:
        """The first section of this name, or None."""
        return next((section for section in self.sections if section.name == name), None)

    def contents(self, section: Section) -> bytes:
        """The section's bytes; zeros for NOBITS."""
        if section.type == SHT_NOBITS:
            return bytes(section.size)
        return self.data[section.offset : section.offset + section.size]

    @cached_property
    def _symbols_by_section(self) -> Mapping[int, tuple[Symbol, ...]]:
        table: dict[int, list[Symbol]] = {}
        for symbol in self.symbols:
            table.setdefault(symbol.section, []).append(symbol)
        return {index: tuple(sorted(group, key=lambda s: s.value)) for index, group in table.items()}

    def symbols_in(self, section: Section | int) -> tuple[Symbol, ...]:
        """Symbols defined in a section (or under an SHN_ constant), by rising value."""
        index = section if isinstance(section, int) else section.index
        return self._symbols_by_section.get(index, ())


def read_elf(data: bytes, name: str) -> ElfFile:
    """Read the container.

    Args:
        data: the whole file.
        name: what to call it in messages.

    Raises:
        ElfError: O0101 to O0119, when it is not a BPF object or a table lies outside the file.
    """
    try:
        return _Reader(data, name).read()
    except ElfError:
        raise
    except (
        PyElfError,
        ValueError,
        OverflowError,
        KeyError,
    ) as error:  # what construct and pyelftools raise on odd bytes
        raise broken("O0101", f"{name} is not a readable ELF file: {error}") from error


class _Reader:
    """One pass over one file."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.stream = BytesIO(data)
        self.name_bytes = 0
        self.byte_order = self._check_ident()
        self.structs = ELFStructs(little_endian=self.byte_order == "little", elfclass=64)
        self.structs.create_basic_structs()

    def read(self) -> ElfFile:
        header = self._read_header()
        sections = self._read_sections(header)
        self._check_extents(sections)
        symbols = self._read_symbols(sections)
        relocations = dict(self._read_relocations(sections, symbols))
        return ElfFile(self.name, self.data, self.byte_order, sections, symbols, relocations)

    def _check_ident(self) -> str:
        data, name = self.data, self.name
        if data[:4] != b"\x7fELF":
            hint = "give an object made by clang -target bpf, or C source" if data else "the file is empty"
            raise broken("O0101", f"{name} is not an ELF file", help=hint)
        if len(data) < _HEADER_SIZE:
            raise broken("O0102", f"{name} is truncated: {len(data)} bytes, the ELF header alone takes {_HEADER_SIZE}")
        if data[4] != 2:
            raise broken("O0103", f"{name} is not a 64-bit ELF file (class {data[4]})", "BPF objects are ELF64")
        order = _BYTE_ORDERS.get(data[5])
        if order is None:
            raise broken("O0103", f"{name} has an unknown byte order ({data[5]} in the ELF header)")
        return order

    def _read_header(self) -> Any:
        self.structs.create_advanced_structs()
        header = struct_parse(self.structs.Elf_Ehdr, self.stream, 0)
        machine = header["e_machine"]
        if machine not in _MACHINES:
            raise broken(
                "O0104",
                f"{self.name} is an object for {machine}, not for BPF",
                help="compile with clang --target=bpf",
            )
        if header["e_type"] != "ET_REL":
            raise broken(
                "O0105",
                f"{self.name} is {header['e_type']}, not a relocatable object (ET_REL)",
                help="BPF programs are loaded from what clang -c writes; they need no system linker",
            )
        return header

    def _read_sections(self, header: Any) -> tuple[Section, ...]:
        count, offset, entry = header["e_shnum"], header["e_shoff"], header["e_shentsize"]
        if count == 0 or offset == 0:
            raise broken("O0106", f"{self.name} has no section table", help="a stripped file cannot be loaded")
        if entry != _SECTION_HEADER_SIZE or count >= _MAX_SECTIONS:
            raise broken("O0106", f"{self.name}: the section table claims {count} entries of {entry} bytes")
        end = offset + count * entry
        if end > len(self.data):
            raise broken(
                "O0107",
                f"{self.name} is truncated: the section table ends at byte {end}, the file at {len(self.data)}",
            )
        raw = [struct_parse(self.structs.Elf_Shdr, self.stream, offset + i * entry) for i in range(count)]
        names = header["e_shstrndx"]
        if not 0 < names < count:
            raise broken("O0108", f"{self.name}: section {names}, which should hold the section names, does not exist")
        table = self._extent(raw[names]["sh_offset"], raw[names]["sh_size"], "the table of section names")
        types = [self._section_type(offset + i * entry) for i in range(count)]
        sections = []
        for index, record in enumerate(raw):
            section_name = self._string(table, record["sh_name"], f"section {index}") if index else ""
            sections.append(
                Section(
                    index=index,
                    name=section_name,
                    type=types[index],
                    flags=record["sh_flags"],
                    offset=record["sh_offset"],
                    size=record["sh_size"],
                    link=record["sh_link"],
                    info=record["sh_info"],
                    alignment=record["sh_addralign"],
                )
            )
        return tuple(sections)

    def _section_type(self, header_offset: int) -> int:
        # pyelftools turns known numbers into names and leaves others; the number itself is what we want.
        start = header_offset + 4
        return int.from_bytes(self.data[start : start + 4], "little" if self.byte_order == "little" else "big")

    def _check_extents(self, sections: tuple[Section, ...]) -> None:
        stored = zeros = 0
        for section in sections[1:]:
            if section.type == SHT_NOBITS:
                zeros += section.size
                continue
            if section.type == 0:
                continue
            self._extent(section.offset, section.size, f"section {section.index} ({section.name})")
            stored += section.size
        if stored > len(self.data):
            raise broken(
                "O0109",
                f"{self.name}: its sections claim {stored} bytes, the file has {len(self.data)}",
                "sections of an object file do not overlap",
            )
        if zeros > MAX_NOBITS:
            raise broken(
                "O0110",
                f"{self.name}: its .bss sections claim {zeros} bytes of zeros; skep reads at most {MAX_NOBITS}",
            )

    def _extent(self, offset: int, size: int, what: str) -> tuple[int, int]:
        if offset + size > len(self.data):
            raise broken(
                "O0107",
                f"{self.name} is truncated: {what} lies at bytes {offset} to {offset + size}, "
                f"the file ends at {len(self.data)}",
            )
        return offset, offset + size

    def _string(self, table: tuple[int, int], offset: int, what: str) -> str:
        start, end = table
        at = start + offset
        if at >= end:
            raise broken("O0111", f"{self.name}: the name of {what} lies outside its string table (offset {offset})")
        stop = self.data.find(b"\0", at, min(end, at + _MAX_NAME))
        if stop < 0:
            raise broken("O0111", f"{self.name}: the name of {what} does not end within {_MAX_NAME} bytes")
        self.name_bytes += stop - at
        if self.name_bytes > _MAX_NAME_BYTES:
            raise broken("O0111", f"{self.name}: its names take more than {_MAX_NAME_BYTES} bytes")
        return self.data[at:stop].decode("utf-8", "backslashreplace")

    def _read_symbols(self, sections: tuple[Section, ...]) -> tuple[Symbol, ...]:
        table = next((s for s in sections if s.type == SHT_SYMTAB), None)
        if table is None:
            return ()
        if table.size % _SYMBOL_SIZE:
            raise broken("O0112", f"{self.name}: the symbol table's size {table.size} is no multiple of {_SYMBOL_SIZE}")
        if not 0 < table.link < len(sections) or sections[table.link].type != SHT_STRTAB:
            raise broken(
                "O0112",
                f"{self.name}: the symbol table names section {table.link} as its strings, which is no string table",
            )
        strings = sections[table.link]
        extent = (strings.offset, strings.offset + strings.size)
        records = _SYMBOL[self.byte_order].iter_unpack(self.data[table.offset : table.offset + table.size])
        return tuple(self._symbol(index, record, extent, sections) for index, record in enumerate(records))

    def _symbol(
        self,
        index: int,
        record: tuple[int, int, int, int, int, int],
        strings: tuple[int, int],
        sections: tuple[Section, ...],
    ) -> Symbol:
        offset, info, other, section, value, size = record
        kind = info & 0xF
        if section < SHN_LORESERVE and section >= len(sections):
            raise broken("O0113", f"{self.name}: symbol {index} lies in section {section}, which does not exist")
        name = self._string(strings, offset, f"symbol {index}") if offset else ""
        if kind == STT_SECTION and 0 < section < len(sections):
            name = sections[section].name
        symbol = Symbol(
            index=index,
            name=name,
            value=value,
            size=size,
            type=kind,
            binding=info >> 4,
            visibility=other & 3,
            section=section,
        )
        if symbol.is_defined and kind in (STT_FUNC, STT_OBJECT):
            home = sections[section]
            if symbol.value + symbol.size > home.size:
                raise broken(
                    "O0114",
                    f"{self.name}: symbol '{name}' takes bytes {symbol.value} to {symbol.value + symbol.size} of "
                    f"section {home.name}, which has {home.size}",
                )
        return symbol

    def _read_relocations(
        self, sections: tuple[Section, ...], symbols: tuple[Symbol, ...]
    ) -> Iterator[tuple[int, tuple[Relocation, ...]]]:
        seen: set[int] = set()
        for section in sections:
            size = _RELOCATION_SIZES.get(section.type)
            if size is None:
                continue
            if not 0 < section.info < len(sections):
                raise broken(
                    "O0115", f"{self.name}: {section.name} patches section {section.info}, which does not exist"
                )
            target = sections[section.info]
            if target.name.startswith((".debug", ".eh_frame", ".BTF.ext")):
                continue
            if section.size % size:
                raise broken(
                    "O0115", f"{self.name}: the size of {section.name}, {section.size}, is no multiple of {size}"
                )
            if target.index in seen:
                raise broken("O0115", f"{self.name}: section {target.name} has two relocation tables")
            seen.add(target.index)
            yield target.index, tuple(self._relocations(section, target, symbols))

    def _relocations(self, section: Section, target: Section, symbols: tuple[Symbol, ...]) -> Iterator[Relocation]:
        layout = _RELOCATION[self.byte_order, section.type]
        stored = self.data[section.offset : section.offset + section.size]
        for index, (offset, info, *addend) in enumerate(layout.iter_unpack(stored)):
            number = info >> 32
            if number >= len(symbols):
                raise broken(
                    "O0116", f"{self.name}: relocation {index} of {target.name} names symbol {number} of {len(symbols)}"
                )
            if offset >= target.size:
                raise broken(
                    "O0116",
                    f"{self.name}: relocation {index} of {target.name} patches byte {offset}; "
                    f"the section has {target.size}",
                )
            yield Relocation(offset, info & 0xFFFFFFFF, symbols[number], addend[0] if addend else None)

"""An object's ``.BTF`` and ``.BTF.ext``, with the blanks that clang leaves for the loader filled in.

clang writes a DATASEC with size 0 and zero offsets for global variables (the relocations of ``.BTF`` tell where they
are), and marks hidden functions as global. libbpf mends both (btf_fixup_datasec, bpf_object__sanitize_btf); so do we,
so that every later station sees the types as the kernel wants them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from skep.btf.ext import BtfExt, parse_btf_ext
from skep.btf.reader import parse_btf
from skep.btf.types import Btf, BtfType, Datasec, Func, SectionVar
from skep.diagnostics import Diagnostic
from skep.errors import BtfError
from skep.objfile.elf import (
    STB_GLOBAL,
    STB_WEAK,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STV_HIDDEN,
    STV_INTERNAL,
    ElfFile,
    Section,
    Symbol,
)

LINKAGE_STATIC: Final = 0
LINKAGE_GLOBAL: Final = 1
LINKAGE_EXTERN: Final = 2


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """Types of an object; ``btf`` is None for objects without."""

    btf: Btf | None = None
    ext: BtfExt = field(default_factory=BtfExt)

    def datasec(self, name: str) -> Datasec | None:
        """The DATASEC of an ELF section, or None."""
        if self.btf is None:
            return None
        type_id = self.btf.find(name, Datasec)
        found = self.btf[type_id] if type_id is not None else None
        return found if isinstance(found, Datasec) else None


def is_hidden(symbol: Symbol) -> bool:
    """Not visible to other objects: static for the verifier."""
    return symbol.visibility in (STV_HIDDEN, STV_INTERNAL)


def read_types(elf: ElfFile) -> TypeInfo:
    """The type information of an object.

    Raises:
        BtfError: broken .BTF or .BTF.ext; the diagnostic names the file.
    """
    section = elf.find_section(".BTF")
    if section is None or section.size == 0:
        return TypeInfo()
    try:
        btf = parse_btf(_relocated(elf, section))
        ext_section = elf.find_section(".BTF.ext")
        ext = BtfExt()
        if ext_section is not None and ext_section.size:
            ext = parse_btf_ext(elf.contents(ext_section), btf)
    except BtfError as error:
        raise BtfError([_in_file(d, elf.name) for d in error.diagnostics]) from error
    return TypeInfo(_mended(elf, btf), ext)


def _in_file(diagnostic: Diagnostic, name: str) -> Diagnostic:
    return replace(diagnostic, what=f"{name}: {diagnostic.what}")


def _relocated(elf: ElfFile, section: Section) -> bytes:
    """``.BTF`` with the offsets of global variables written in: symbol value plus what stands at the place."""
    data = bytearray(elf.contents(section))
    order = elf.byte_order
    for relocation in elf.relocations.get(section.index, ()):
        at = relocation.offset
        if not relocation.symbol.is_defined or at + 4 > len(data):
            continue
        addend = relocation.addend
        if addend is None:
            addend = int.from_bytes(data[at : at + 4], "little" if order == "little" else "big")
        value = (relocation.symbol.value + addend) & 0xFFFFFFFF
        data[at : at + 4] = value.to_bytes(4, "little" if order == "little" else "big")
    return bytes(data)


def _mended(elf: ElfFile, btf: Btf) -> Btf:
    sizes = {section.name: section.size for section in elf.sections}
    values = {
        (elf.sections[symbol.section].name, symbol.name): symbol.value
        for symbol in elf.symbols
        if symbol.is_defined and symbol.type in (STT_OBJECT, STT_NOTYPE) and symbol.binding in (STB_GLOBAL, STB_WEAK)
    }
    hidden = frozenset(
        symbol.name
        for symbol in elf.symbols
        if symbol.type == STT_FUNC and symbol.binding in (STB_GLOBAL, STB_WEAK) and is_hidden(symbol)
    )

    def mend_datasec(found: Datasec) -> Datasec:
        size = sizes.get(found.name)
        if size is None:
            return found
        entries = tuple(_placed(btf, found.name, entry, values) for entry in found.entries)
        return Datasec(found.name, found.size or size, tuple(sorted(entries, key=lambda entry: entry.offset)))

    def mend_func(found: Func) -> Func:
        if found.linkage == LINKAGE_GLOBAL and found.name in hidden:
            return replace(found, linkage=LINKAGE_STATIC)
        return found

    changes: dict[int, BtfType] = {}
    for type_id, found in enumerate(btf):
        if isinstance(found, Datasec):
            changes[type_id] = mend_datasec(found)
        elif isinstance(found, Func) and hidden:
            changes[type_id] = mend_func(found)
    return with_changes(btf, changes)


def _placed(btf: Btf, section: str, entry: SectionVar, values: Mapping[tuple[str, str], int]) -> SectionVar:
    value = values.get((section, btf[entry.type].name)) if entry.type < len(btf) else None
    return entry if value is None else replace(entry, offset=value)


def with_changes(btf: Btf, changes: Mapping[int, BtfType]) -> Btf:
    """The same set with some types replaced; ids stay."""
    if all(btf[type_id] == changed for type_id, changed in changes.items()):
        return btf
    start = btf.start_id
    own = tuple(changes.get(start + index, found) for index, found in enumerate(btf.own))
    return Btf(own, btf.base, byte_order=btf.byte_order, strings=btf.strings)

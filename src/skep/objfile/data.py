"""Global data: sections that become one-value array maps, their variables, and externs of ``.kconfig``, ``.ksyms``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from skep.abi.map_types import MapType
from skep.btf.catalog import align_of, size_of
from skep.btf.types import Btf, BtfType, Datasec, Func, SectionVar, Var, Void
from skep.model.maps import MapSpec, VariableSpec
from skep.model.objects import ExternKind, ExternSpec
from skep.objfile.elf import (
    MAX_NOBITS,
    SHF_ALLOC,
    SHN_COMMON,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_PROGBITS,
    STB_WEAK,
    STT_NOTYPE,
    STT_OBJECT,
    ElfFile,
    Section,
    broken,
)
from skep.objfile.extern_types import without_externs
from skep.objfile.maps import SECTION as MAPS_SECTION
from skep.objfile.typeinfo import LINKAGE_EXTERN, TypeInfo, with_changes

KCONFIG: Final = ".kconfig"
KSYMS: Final = ".ksyms"
_F_RDONLY_PROG: Final = 1 << 7  # BPF_F_RDONLY_PROG: programs may only read
_KEY_SIZE: Final = 4
_BSS: Final = ".bss"
_PREFIXES: Final = (".rodata", ".data", _BSS)
ARENA: Final = ".addr_space.1"  # where clang puts variables of address space 1


@dataclass(frozen=True, slots=True)
class GlobalData:
    """Data maps by name, variables by name, and where tentative definitions were put (symbol number -> map, offset)."""

    maps: Mapping[str, MapSpec]
    variables: Mapping[str, VariableSpec]
    sections: Mapping[int, str]
    commons: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    unsupported: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Externs:
    """Externs by name, the map that holds the values of ``.kconfig``, the names of maps that are declared only, and the
    types with the layout of ``.kconfig`` written in and externs made acceptable.
    """

    externs: Mapping[str, ExternSpec]
    kconfig: MapSpec | None
    btf: Btf | None
    maps: frozenset[str] = frozenset()


def is_data_section(section: Section) -> bool:
    """Whether a section becomes a map: ``.rodata``, ``.data``, ``.bss`` and what starts with them and a dot; or the
    beginning of an arena.
    """
    if section.type not in (SHT_PROGBITS, SHT_NOBITS) or not section.flags & SHF_ALLOC or section.is_code:
        return False
    if section.name == ARENA:
        return True
    return any(section.name == prefix or section.name.startswith(f"{prefix}.") for prefix in _PREFIXES)


def read_data(elf: ElfFile, types: TypeInfo) -> GlobalData:
    """The global data of an object.

    Raises:
        ElfError: O0140 variables outside their section; O0141 two sections of one name.
    """
    maps: dict[str, MapSpec] = {}
    sections: dict[int, str] = {}
    variables: dict[str, VariableSpec] = {}
    unsupported: dict[str, str] = {}
    notes: list[str] = []
    for section in elf.sections:
        if not is_data_section(section) or section.size == 0:
            continue
        if section.name in maps:
            raise broken("O0141", f"{elf.name} has two sections {section.name}")
        sections[section.index] = section.name
        maps[section.name] = _data_map(types, section.name, elf.contents(section))
        pointers = elf.relocations.get(section.index)
        if pointers:
            unsupported[section.name] = (
                f"section {section.name} contains {len(pointers)} addresses (the first, at byte {pointers[0].offset}, "
                f"is that of '{pointers[0].symbol.name}'); a BPF object's data cannot hold addresses of other things"
            )
        hidden = {v.name for v in _variables(elf, types, section) if variables.setdefault(v.name, v) is not v}
        if hidden:
            shown = ", ".join(sorted(hidden)[:5])
            notes.append(f"variables of {section.name} hide behind others of the same name: {shown}")
    commons = _place_commons(elf, types, maps, variables)
    return GlobalData(maps, variables, sections, commons, unsupported, tuple(notes))


def _data_map(types: TypeInfo, name: str, contents: bytes) -> MapSpec:
    is_constant = name.startswith(".rodata")
    value_type = types.btf.find(name, Datasec) if types.btf is not None else None
    if name == ARENA:  # no map of its own: the linker puts it into the arena that the object declares
        return MapSpec(
            name, MapType.ARENA, value_size=len(contents), contents=contents, autocreate=False, btf=types.btf,
            value_type=value_type or 0,
        )  # fmt: skip
    return MapSpec(
        name=name,
        type=MapType.ARRAY,
        key_size=_KEY_SIZE,
        value_size=len(contents),
        max_entries=1,
        flags=_F_RDONLY_PROG if is_constant else 0,
        value_type=value_type or 0,
        btf=types.btf,
        contents=contents,
        frozen=is_constant,
    )


def _variables(elf: ElfFile, types: TypeInfo, section: Section) -> Iterator[VariableSpec]:
    constant = section.name.startswith(".rodata")
    datasec = types.datasec(section.name)
    known: set[str] = set()
    for entry in datasec.entries if datasec is not None and types.btf is not None else ():
        var = types.btf[entry.type] if types.btf is not None and entry.type < len(types.btf) else None
        if not isinstance(var, Var) or var.linkage == LINKAGE_EXTERN:
            continue
        if entry.offset + entry.size > section.size:
            raise broken(
                "O0140",
                f"{elf.name}: variable '{var.name}' takes bytes {entry.offset} to {entry.offset + entry.size} of "
                f"{section.name}, which has {section.size}",
            )
        known.add(var.name)
        yield VariableSpec(var.name, section.name, entry.offset, entry.size, var.type, types.btf, constant)
    for symbol in elf.symbols_in(section):
        is_variable = symbol.type == STT_OBJECT or (symbol.type == STT_NOTYPE and symbol.size)
        if not is_variable or not symbol.name or symbol.name.startswith(".L") or symbol.name in known:
            continue
        size = symbol.size
        if symbol.value + size <= section.size:
            yield VariableSpec(symbol.name, section.name, symbol.value, size, constant=constant)


def _place_commons(
    elf: ElfFile, types: TypeInfo, maps: dict[str, MapSpec], variables: dict[str, VariableSpec]
) -> dict[int, tuple[str, int]]:
    """Tentative definitions (``int x;`` under -fcommon) get zeros at the end of ``.bss``; value is the alignment."""
    commons: dict[int, tuple[str, int]] = {}
    symbols = [symbol for symbol in elf.symbols_in(SHN_COMMON) if symbol.name]
    if not symbols:
        return commons
    end = len(maps[_BSS].contents or b"") if _BSS in maps else 0
    for symbol in symbols:
        alignment = max(symbol.value, 1)
        start = -(-end // alignment) * alignment
        end = start + symbol.size
        if end > MAX_NOBITS:
            raise broken("O0110", f"{elf.name}: common symbol '{symbol.name}' claims {symbol.size} bytes")
        commons[symbol.index] = (_BSS, start)
        variables.setdefault(symbol.name, VariableSpec(symbol.name, _BSS, start, symbol.size))
    maps[_BSS] = _data_map(types, _BSS, bytes(end))
    return commons


def read_externs(elf: ElfFile, types: TypeInfo) -> Externs:
    """Everything that ``extern ... __kconfig`` and ``extern ... __ksym`` declare.

    Raises:
        ElfError: O0142 a ``.kconfig`` or ``.ksyms`` that does not list variables and functions.
    """
    if types.btf is None:
        return Externs({}, None, None)
    weak = {s.name for s in elf.symbols_in(SHN_UNDEF) if s.binding == STB_WEAK}
    externs: dict[str, ExternSpec] = {}
    for entry in _entries(types, KSYMS):
        found = types.btf[entry.type]
        if isinstance(found, Func):
            externs[found.name] = ExternSpec(found.name, ExternKind.KFUNC, found.name in weak, entry.type)
        elif isinstance(found, Var):
            externs[found.name] = ExternSpec(found.name, ExternKind.KSYM, found.name in weak, found.type)
        else:
            raise broken("O0142", f"{elf.name}: section .ksyms lists something that is neither variable nor function")
    kconfig, btf = _lay_out_kconfig(elf, types, weak, externs)
    declared = (types.btf[entry.type] for entry in _entries(types, MAPS_SECTION))
    maps = frozenset(var.name for var in declared if isinstance(var, Var) and var.linkage == LINKAGE_EXTERN)
    btf = without_externs(btf) if btf is not None else None
    return Externs(externs, kconfig.replace(btf=btf) if kconfig is not None else None, btf, maps)


def is_typeless(btf: Btf, type_id: int) -> bool:
    """Whether a ksym was declared ``extern void x`` (only its address is wanted)."""
    return isinstance(btf[btf.strip(type_id)], Void)


def _entries(types: TypeInfo, name: str) -> tuple[SectionVar, ...]:
    datasec = types.datasec(name)
    if datasec is None or types.btf is None:
        return ()
    return tuple(entry for entry in datasec.entries if entry.type < len(types.btf))


def _lay_out_kconfig(
    elf: ElfFile, types: TypeInfo, weak: set[str], externs: dict[str, ExternSpec]
) -> tuple[MapSpec | None, Btf | None]:
    """Give every ``.kconfig`` extern a place in one map; write the places into the types (clang leaves them zero)."""
    btf = types.btf
    entries = _entries(types, KCONFIG)
    type_id = btf.find(KCONFIG, Datasec) if btf is not None else None
    if btf is None or type_id is None or not entries:
        return None, btf
    changes: dict[int, BtfType] = {}
    placed: list[SectionVar] = []
    end = 0
    for entry in entries:
        var = btf[entry.type]
        if not isinstance(var, Var):
            raise broken("O0142", f"{elf.name}: section .kconfig lists something that is not a variable")
        alignment, size = align_of(btf, var.type), size_of(btf, var.type)
        start = -(-end // alignment) * alignment
        end = start + size
        if end > 1 << 20:
            raise broken("O0142", f"{elf.name}: extern '{var.name}' of .kconfig claims {size} bytes")
        placed.append(replace(entry, offset=start, size=size))
        externs[var.name] = ExternSpec(var.name, ExternKind.KCONFIG, var.name in weak, var.type, start, size)
        changes[entry.type] = replace(var, linkage=1)  # the kernel wants it defined: the loader defines it
    changes[type_id] = Datasec(KCONFIG, end, tuple(placed))
    btf = with_changes(btf, changes)
    spec = _data_map(TypeInfo(btf), KCONFIG, bytes(end))
    return replace(spec, flags=_F_RDONLY_PROG, frozen=True), btf

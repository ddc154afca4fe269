"""Bytes of an object file to an ObjectSpec: the order in which the parts are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skep.model.objects import ObjectSpec
from skep.objfile.data import GlobalData, is_data_section, read_data, read_externs
from skep.objfile.elf import (
    SHF_ALLOC,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_PROGBITS,
    STB_GLOBAL,
    STB_WEAK,
    ElfFile,
    read_elf,
)
from skep.objfile.layout import Layout
from skep.objfile.legacy_maps import is_legacy_section, read_legacy_maps
from skep.objfile.maps import SECTION as MAPS_SECTION
from skep.objfile.maps import fill_slots, read_maps
from skep.objfile.programs import find_functions, find_programs, place_names, read_functions
from skep.objfile.relocations import Resolver
from skep.objfile.struct_ops import read_tables
from skep.objfile.typeinfo import TypeInfo, read_types

_SUFFIXES: Final = (".bpf.o", ".bpf.c", ".o", ".c")
_METADATA: Final = frozenset(
    {"license", "version", ".BTF", ".BTF.ext", ".eh_frame", MAPS_SECTION, ".xdp_run_config", "xdp_metadata"}
)
_UNSUPPORTED: Final = {
    ".struct_ops": "the address of a table of functions ({name}) means nothing in a program",
    ".jumptables": "jump tables ({name}) are not supported yet; compile with -fno-jump-tables",
}


def read_object(data: bytes, name: str) -> ObjectSpec:
    """Read an object file made by clang's BPF target.

    Args:
        data: the whole file.
        name: how the user calls it, for messages and (without directory and suffix) for ObjectSpec.name.

    Raises:
        ElfError: O01xx, what is broken and where.
        BtfError: B01xx, broken type information.
        UnsupportedError: a map declaration that asks for something unknown.
    """
    elf = read_elf(bytes(data), name)
    types = read_types(elf)
    externs = read_externs(elf, types)
    types = TypeInfo(externs.btf, types.ext)
    places = find_functions(elf)
    names = place_names(places)
    declared = fill_slots(elf, types, read_maps(elf, types), names)
    legacy = read_legacy_maps(elf, types)
    data_maps = read_data(elf, types)
    layout = Layout(
        maps={**declared.places, **legacy.places},
        data_maps=data_maps.sections,
        functions=names,
        commons=data_maps.commons,
    )
    functions = read_functions(elf, types, places, Resolver(elf, layout, externs.externs, externs.maps))
    programs = find_programs(places, functions)
    maps = {**declared.specs, **legacy.specs, **data_maps.maps, **read_tables(elf, types, names)}
    if externs.kconfig is not None:
        maps[externs.kconfig.name] = externs.kconfig
    unsupported = {**_unsupported_sections(elf), **data_maps.unsupported}
    return ObjectSpec(
        name=_short_name(name),
        byte_order=elf.byte_order,
        license=_license(elf),
        maps=maps,
        programs=programs,
        functions=functions,
        variables=data_maps.variables,
        externs=externs.externs,
        btf=types.btf,
        kernel_version=_version(elf),
        notes=tuple(_notes(maps_notes=legacy.specs, data=data_maps, unsupported=unsupported)),
        exports=_exports(elf),
        unsupported=unsupported,
    )


def _exports(elf: ElfFile) -> dict[str, bool]:
    """Global and weak symbols that this object defines (hidden ones too: hidden means static after linking)."""
    return {
        symbol.name: symbol.binding == STB_WEAK
        for symbol in elf.symbols
        if symbol.binding in (STB_GLOBAL, STB_WEAK) and symbol.name and symbol.section != SHN_UNDEF
    }


def _short_name(name: str) -> str:
    short = name.replace("\\", "/").rsplit("/", 1)[-1]
    for suffix in _SUFFIXES:
        if short.endswith(suffix) and short != suffix:
            return short.removesuffix(suffix)
    return short


def _license(elf: ElfFile) -> str:
    section = elf.find_section("license")
    if section is None or section.type == SHT_NOBITS:
        return ""
    return elf.contents(section)[:128].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _version(elf: ElfFile) -> int:
    section = elf.find_section("version")
    if section is None or section.size != 4 or section.type == SHT_NOBITS:
        return 0
    return int.from_bytes(elf.contents(section), "little" if elf.byte_order == "little" else "big")


def _unsupported_sections(elf: ElfFile) -> dict[str, str]:
    """Sections whose contents a program could name, but that become no map: name -> what to say then."""
    found: dict[str, str] = {}
    for section in elf.sections:
        name = section.name
        if section.type not in (SHT_PROGBITS, SHT_NOBITS) or section.is_code or section.size == 0:
            continue
        if is_data_section(section) or name in _METADATA or is_legacy_section(name):
            continue
        plain = name.removeprefix("?")
        reason = next((text for prefix, text in _UNSUPPORTED.items() if plain.startswith(prefix)), None)
        if reason is not None:
            found[name] = reason.format(name=name)
        elif section.flags & SHF_ALLOC:
            found[name] = (
                f"section {name} is no place for variables that a program uses; "
                "put them into .data, .bss or .rodata (or a section whose name starts so: .data.name)"
            )
    return found


def _notes(maps_notes: Mapping[str, object], data: GlobalData, unsupported: Mapping[str, str]) -> list[str]:
    notes = []
    if maps_notes:
        count = len(maps_notes)
        notes.append(
            f"{count} map{'s' if count > 1 else ''} declared the legacy way (section maps); "
            "libbpf >= 1.0 refuses such objects"
        )
    notes.extend(data.notes)
    notes.extend(why for name, why in unsupported.items() if not name.removeprefix("?").startswith(".struct_ops"))
    return notes

"""Tables of functions for the kernel (struct_ops): variables of section ``.struct_ops`` and its relatives.

Each variable becomes a map (libbpf's init_struct_ops_maps): its type in C says which structure of the kernel it stands
for, its bytes give the members that are no functions, its relocations those that are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from skep.abi.map_types import MapType
from skep.btf.types import Btf, FuncProto, Member, Ptr, SectionVar, Struct, Var
from skep.model.maps import MapSpec, Slot
from skep.objfile.elf import SHT_NOBITS, ElfFile, Relocation, Section, broken
from skep.objfile.typeinfo import TypeInfo

F_LINK: Final = 1 << 13  # BPF_F_LINK: a link puts the table into force
_OPTIONAL: Final = "?"
_SECTIONS: Final[Mapping[str, int]] = {".struct_ops": 0, ".struct_ops.link": F_LINK}  # name -> map flags
_KEY_BYTES: Final = 4
_POINTER_BYTES: Final = 8


def is_table_section(section: Section) -> bool:
    """Whether a section holds tables; those of ``?.struct_ops`` are made on request only."""
    return section.name.removeprefix(_OPTIONAL) in _SECTIONS and section.type != SHT_NOBITS


def read_tables(elf: ElfFile, types: TypeInfo, functions: Mapping[tuple[int, int], str]) -> dict[str, MapSpec]:
    """All tables by name; ``slots`` say which function stands in for which member (by its number in the C structure).

    Raises:
        ElfError: O0160 a section without types, or a table that is no structure; O0161 a relocation that names no
            function, or lies in no member for one.
    """
    found: dict[str, MapSpec] = {}
    for section in elf.sections:
        if not is_table_section(section) or section.size == 0:
            continue
        for entry, var, struct in _variables(elf, types, section):
            if var.name in found:
                raise broken("O0160", f"{elf.name}: table '{var.name}' is defined twice")
            found[var.name] = _table(elf, types, section, entry, var, struct, functions)
    return found


def _variables(elf: ElfFile, types: TypeInfo, section: Section) -> Iterator[tuple[SectionVar, Var, Struct]]:
    datasec, btf = types.datasec(section.name), types.btf
    if datasec is None or btf is None:
        raise broken(
            "O0160",
            f"{elf.name}: section {section.name} has no type information, so its tables cannot be read",
            help="compile with -g, and do not strip .BTF from the object",
        )
    for entry in datasec.entries:
        var = btf[entry.type] if entry.type < len(btf) else None
        struct = btf[btf.strip(var.type)] if isinstance(var, Var) else None
        if not isinstance(var, Var) or not isinstance(struct, Struct) or not struct.name:
            raise broken("O0160", f"{elf.name}: section {section.name} holds something that is no named structure")
        if entry.offset + struct.size > section.size:
            raise broken("O0160", f"{elf.name}: table '{var.name}' leaves section {section.name}")
        yield entry, var, struct


def _table(
    elf: ElfFile,
    types: TypeInfo,
    section: Section,
    entry: SectionVar,
    var: Var,
    struct: Struct,
    functions: Mapping[tuple[int, int], str],
) -> MapSpec:
    assert types.btf is not None
    slots = []
    for relocation in elf.relocations.get(section.index, ()):
        if entry.offset <= relocation.offset < entry.offset + struct.size:
            index = _member_at(types.btf, struct, relocation.offset - entry.offset)
            name = _function(elf, section, relocation, functions)
            if index is None or name is None:
                raise broken(
                    "O0161",
                    f"{elf.name}: byte {relocation.offset - entry.offset} of table '{var.name}' refers to "
                    f"'{relocation.symbol.name}', which cannot stand there",
                    help="members that are functions take a program of the object: .init = (void *)my_init",
                )
            slots.append(Slot(index, name))
    return MapSpec(
        name=var.name,
        type=MapType.STRUCT_OPS,
        key_size=_KEY_BYTES,
        value_size=struct.size,
        max_entries=1,
        flags=_SECTIONS[section.name.removeprefix(_OPTIONAL)],
        value_type=types.btf.strip(var.type),
        btf=types.btf,
        slots=tuple(sorted(slots, key=lambda slot: slot.index)),
        contents=elf.contents(section)[entry.offset : entry.offset + struct.size],
        autocreate=not section.name.startswith(_OPTIONAL),
    )


def _member_at(btf: Btf, struct: Struct, offset: int) -> int | None:
    """The number of the member that begins there, if it is a pointer to a function."""
    for index, member in enumerate(struct.members):
        if member.bit_offset == offset * 8 and _is_function(btf, member):
            return index
    return None


def _is_function(btf: Btf, member: Member) -> bool:
    pointer = btf[btf.strip(member.type)]
    return isinstance(pointer, Ptr) and isinstance(btf[btf.strip(pointer.type)], FuncProto)


def _function(
    elf: ElfFile, section: Section, relocation: Relocation, functions: Mapping[tuple[int, int], str]
) -> str | None:
    symbol, addend = relocation.symbol, relocation.addend
    if addend is None:
        raw = elf.contents(section)[relocation.offset : relocation.offset + _POINTER_BYTES]
        addend = int.from_bytes(raw, "little" if elf.byte_order == "little" else "big")
    return functions.get((symbol.section, symbol.value + addend)) if symbol.is_defined else None

"""Maps of the time before BTF: arrays of numbers in section ``maps`` or ``maps/name``. libbpf >= 1.0 refuses them.

Three layouts share the first five words (type, key_size, value_size, max_entries, map_flags; struct bpf_map_def):
the kernel samples' adds ``inner_map_idx, numa_node``; iproute2's struct bpf_elf_map adds ``id, pinning`` and later
``inner_id, inner_idx``; others add things of their own. The size, and what the words say, tell them apart.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from skep.abi.map_types import MapType
from skep.btf.catalog import find_member, size_of
from skep.btf.types import Struct
from skep.model.maps import MapSpec, Pinning, Slot
from skep.objfile.elf import STT_FUNC, STT_NOTYPE, STT_OBJECT, ElfFile, Section, Symbol, broken
from skep.objfile.maps import MAPS_OF_MAPS, with_fixed_sizes
from skep.objfile.typeinfo import TypeInfo

_BASE_SIZE: Final = 20
_SAMPLES_SIZE: Final = 28
_IPROUTE2_SIZES: Final = (28, 36)
_F_NUMA_NODE: Final = 1 << 2
NOTE: Final = "map '{name}' is declared the legacy way (section {section}); libbpf >= 1.0 refuses such objects"


@dataclass(frozen=True, slots=True)
class _Definition:
    """One definition: its words, and where it stands."""

    symbol: Symbol
    section: Section
    words: tuple[int, ...]
    position: int  # among all legacy definitions, in file order: what inner_map_idx counts


@dataclass(frozen=True, slots=True)
class LegacyMaps:
    """Maps by name, their places, and iproute2's map ids (id -> name), which section names like ``2/7`` refer to."""

    specs: Mapping[str, MapSpec]
    places: Mapping[tuple[int, int], str]
    ids: Mapping[int, str]


def is_legacy_section(name: str) -> bool:
    """Whether a section holds legacy map definitions."""
    return name == "maps" or name.startswith("maps/")


def read_legacy_maps(elf: ElfFile, types: TypeInfo) -> LegacyMaps:
    """All legacy maps of an object.

    Raises:
        ElfError: O0130 the section does not divide into definitions; O0131 an unknown map type.
    """
    definitions = [d for section in elf.sections if is_legacy_section(section.name) for d in _definitions(elf, section)]
    for position, definition in enumerate(definitions):
        definitions[position] = replace(definition, position=position)
    specs: dict[str, MapSpec] = {}
    for definition in definitions:
        name = definition.symbol.name
        if name in specs:
            raise broken("O0130", f"{elf.name}: map '{name}' is defined twice")
        specs[name] = _spec(elf, types, definition)
    ids = {d.words[5]: d.symbol.name for d in definitions if _is_iproute2(d) and d.words[5]}
    specs = {d.symbol.name: _with_inner(specs, ids, definitions, d) for d in definitions}
    places = {(d.section.index, d.symbol.value): d.symbol.name for d in definitions}
    return LegacyMaps(_with_programs(elf, specs, ids), places, ids)


def _definitions(elf: ElfFile, section: Section) -> list[_Definition]:
    symbols: dict[int, Symbol] = {}
    for symbol in elf.symbols_in(section):
        if symbol.type in (STT_NOTYPE, STT_OBJECT) and symbol.name and not symbol.name.startswith((".L", "LBB")):
            symbols.setdefault(symbol.value, symbol)
    data = elf.contents(section)
    starts = sorted(symbols)
    ends = [min(end, len(data)) for end in (*starts[1:], len(data))]
    definitions = []
    for start, end in zip(starts, ends, strict=False):
        size = max(min(symbols[start].size or end - start, end - start), 0)
        if size < _BASE_SIZE or size % 4:
            raise broken(
                "O0130",
                f"{elf.name}: the definition of map '{symbols[start].name}' takes {size} bytes; at least {_BASE_SIZE}, "
                "in words of 4, are needed",
                f"section {section.name} has {len(data)} bytes and {len(starts)} symbols",
            )
        order = "<" if elf.byte_order == "little" else ">"
        words = struct.unpack_from(f"{order}{min(size // 4, 16)}I", data, start)
        definitions.append(_Definition(symbols[start], section, words, 0))
    return definitions


def _spec(elf: ElfFile, types: TypeInfo, definition: _Definition) -> MapSpec:
    number, key_size, value_size, max_entries, flags = definition.words[:5]
    name = definition.symbol.name
    try:
        map_type = MapType(number)
    except ValueError:
        raise broken("O0131", f"{elf.name}: map '{name}' has type {number}, which skep does not know") from None
    notes = [NOTE.format(name=name, section=definition.section.name)]
    spec = MapSpec(name, map_type, key_size, value_size, max_entries, flags, btf=types.btf)
    if _is_iproute2(definition):
        pin = definition.words[6]
        if pin:
            spec = replace(spec, pinning=Pinning.BY_NAME)
            notes.append(f"map '{name}' is pinned the way of iproute2 (pinning {pin}); skep pins it by name")
    elif flags & _F_NUMA_NODE and len(definition.words) * 4 >= _SAMPLES_SIZE:
        spec = replace(spec, numa_node=definition.words[6])
    elif len(definition.words) > 7 and any(definition.words[5:]):
        notes.append(
            f"map '{name}' has {len(definition.words) - 5} further words that skep does not know; they are ignored"
        )
    return replace(_with_types(types, with_fixed_sizes(spec)), notes=tuple(notes))


def _is_iproute2(definition: _Definition) -> bool:
    size = len(definition.words) * 4
    if size not in _IPROUTE2_SIZES:
        return False
    if size == _SAMPLES_SIZE:
        is_samples = definition.words[0] in MAPS_OF_MAPS or bool(definition.words[4] & _F_NUMA_NODE)
        return not is_samples and definition.words[6] <= 2
    return True


def _with_types(types: TypeInfo, spec: MapSpec) -> MapSpec:
    """Key and value types from ``struct ____btf_map_NAME`` (the macro BPF_ANNOTATE_KV_PAIR), when they fit."""
    if types.btf is None:
        return spec
    container = types.btf.find(f"____btf_map_{spec.name}", Struct)
    if container is None:
        return spec
    key, value = (find_member(types.btf, container, side) for side in ("key", "value"))
    if key is None or value is None:
        return spec
    if (size_of(types.btf, key.member.type), size_of(types.btf, value.member.type)) != (spec.key_size, spec.value_size):
        return spec
    return replace(spec, key_type=key.member.type, value_type=value.member.type)


def _with_inner(
    specs: Mapping[str, MapSpec], ids: Mapping[int, str], definitions: list[_Definition], definition: _Definition
) -> MapSpec:
    spec = specs[definition.symbol.name]
    if spec.type not in MAPS_OF_MAPS or len(definition.words) < 7:
        return spec
    template: str | None = None
    if len(definition.words) * 4 == _SAMPLES_SIZE:
        position = definition.words[5]
        if position < len(definitions):
            template = definitions[position].symbol.name
    else:
        # iproute2: the template is the map whose id is inner_id.
        template = ids.get(definition.words[7]) if len(definition.words) > 7 else None
    if template is None or template == spec.name or specs[template].type in MAPS_OF_MAPS:
        note = f"map '{spec.name}' is a map of maps, but its definition does not say what the inner maps are"
        return replace(spec, notes=(*spec.notes, note))
    return replace(spec, inner=specs[template])


def _with_programs(elf: ElfFile, specs: dict[str, MapSpec], ids: Mapping[int, str]) -> dict[str, MapSpec]:
    """iproute2's tail calls: the program of section ``ID/INDEX`` sits in slot INDEX of the prog_array with that id."""
    slots: dict[str, list[Slot]] = {}
    for section in elf.sections:
        place = tail_call_place(section.name) if section.is_code else None
        name = ids.get(place[0]) if place else None
        if place is None or name is None or specs[name].type is not MapType.PROG_ARRAY:
            continue
        functions = [s.name for s in elf.symbols_in(section) if s.type == STT_FUNC and s.value == 0]
        slots.setdefault(name, []).append(Slot(place[1], functions[0] if functions else section.name))
    return {name: replace(spec, slots=tuple(slots.get(name, spec.slots))) for name, spec in specs.items()}


def tail_call_place(section: str) -> tuple[int, int] | None:
    """(map id, slot) of a section named like ``2/7`` or ``1/0x1010``; None for other names."""
    head, slash, tail = section.partition("/")
    if not slash or not head.isascii() or not tail.isascii() or len(section) > 32:
        return None
    try:
        return int(head, 0), int(tail, 0)
    except ValueError:
        return None

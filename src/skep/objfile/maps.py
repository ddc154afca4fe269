"""Maps declared in C as variables of section ``.maps``: the type of the variable says everything (BTF-defined maps).

The conventions are libbpf's (parse_btf_map_def): ``__uint(name, n)`` is a pointer to an array of n ints, ``__ulong`` an
enum with one enumerator, ``__type(name, t)`` a pointer to t, ``__array(values, t)`` an array of pointers at the end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from skep.abi.map_types import MapType
from skep.btf.catalog import size_of
from skep.btf.types import Array, Btf, Enum, Enum64, FuncProto, Member, Ptr, Struct, Var
from skep.diagnostics import Diagnostic
from skep.errors import ElfError, UnsupportedError
from skep.model.maps import MapSpec, Pinning, Slot
from skep.objfile.elf import STT_FUNC, STT_SECTION, ElfFile, Relocation, Section, broken
from skep.objfile.typeinfo import TypeInfo

SECTION: Final = ".maps"
MAPS_OF_MAPS: Final = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
_POINTER_SIZE: Final = 8
_FD_SIZE: Final = 4  # maps of maps and prog_arrays hold 4-byte descriptors
_PINNING: Final = {0: Pinning.NONE, 1: Pinning.BY_NAME}


@dataclass(frozen=True, slots=True)
class DeclaredMaps:
    """Maps by name, and the places where they are defined."""

    specs: Mapping[str, MapSpec]
    places: Mapping[tuple[int, int], str]


def read_maps(elf: ElfFile, types: TypeInfo) -> DeclaredMaps:
    """All maps of section ``.maps``. Slots of ``values`` come back by name and are filled in by :func:`fill_slots`.

    Raises:
        ElfError: O0120 no BTF for the section; O0121 a declaration that says something impossible.
        UnsupportedError: O0122 a key of the declaration that skep does not know.
    """
    section = elf.find_section(SECTION)
    datasec = types.datasec(SECTION)
    if section is None and datasec is None:
        return DeclaredMaps({}, {})
    if types.btf is None or datasec is None:
        raise broken(
            "O0120",
            f"{elf.name}: section .maps has no type information, so its maps cannot be read",
            help="compile with -g, and do not strip .BTF from the object",
        )
    specs: dict[str, MapSpec] = {}
    places: dict[tuple[int, int], str] = {}
    for entry in datasec.entries:
        var = types.btf[entry.type] if entry.type < len(types.btf) else None
        if not isinstance(var, Var):
            raise broken("O0121", f"{elf.name}: section .maps contains something that is not a variable")
        if var.name in specs:
            raise broken("O0121", f"{elf.name}: map '{var.name}' is defined twice")
        if section is not None:
            places[section.index, entry.offset] = var.name
        specs[var.name] = _Declaration(elf, types.btf, var.name).read(var.type)
    return DeclaredMaps(specs, places)


class _Declaration:
    """Reads the members of one map's struct."""

    def __init__(self, elf: ElfFile, btf: Btf, name: str, *, is_inner: bool = False) -> None:
        self.elf = elf
        self.btf = btf
        self.name = name
        self.is_inner = is_inner
        self.fields: dict[str, Any] = {}

    def read(self, type_id: int) -> MapSpec:
        struct = self._get(type_id)
        if not isinstance(struct, Struct):
            raise self._error(f"is declared as {_kind(struct)}, not as a struct")
        for member in struct.members:
            reader = _MEMBERS.get(member.name)
            if reader is None:
                raise UnsupportedError(
                    Diagnostic(
                        "O0122",
                        f"{self.elf.name}: the declaration of map '{self.name}' has a key '{member.name}' "
                        "that skep does not know",
                        why=(f"known keys: {', '.join(_MEMBERS)}",),
                    )
                )
            reader(self, member)
        return self._finish()

    def _finish(self) -> MapSpec:
        fields = self.fields
        if "type" not in fields:
            raise self._error("has no type", help="add  __uint(type, BPF_MAP_TYPE_...);")
        if fields["type"] in MAPS_OF_MAPS and fields.get("inner") is None and self.is_inner:
            raise self._error("is a map of maps inside a map of maps; the kernel has only one level")
        return with_fixed_sizes(MapSpec(name=self.name, btf=self.btf, **fields))

    def _get(self, type_id: int) -> Any:
        return self.btf[self.btf.strip(type_id)]

    def _error(self, what: str, *, help: str | None = None) -> ElfError:
        return broken("O0121", f"{self.elf.name}: map '{self.name}' {what}", help=help)

    def _number(self, member: Member) -> int:
        found = self._get(member.type)
        if isinstance(found, Ptr):
            array = self._get(found.type)
            if isinstance(array, Array):
                return array.nelems
        if isinstance(found, Enum | Enum64) and found.values:
            return found.values[0][1] & 0xFFFFFFFFFFFFFFFF
        raise self._error(
            f"has a key '{member.name}' that is not written with __uint() or __ulong()",
            help=f"write  __uint({member.name}, ...);",
        )

    def _u32(self, member: Member) -> int:
        value = self._number(member)
        if value > 0xFFFFFFFF:
            raise self._error(f"has {member.name} {value}, which does not fit 32 bits")
        return value

    def read_type(self, member: Member) -> None:
        number = self._u32(member)
        try:
            self.fields["type"] = MapType(number)
        except ValueError:
            raise UnsupportedError(
                Diagnostic("O0123", f"{self.elf.name}: map '{self.name}' has type {number}, which skep does not know")
            ) from None

    def read_plain(self, member: Member) -> None:
        field = _PLAIN[member.name]
        value = self._number(member) if field == "map_extra" else self._u32(member)
        known = self.fields.get(field)
        if field in ("key_size", "value_size") and known is not None and known != value:
            raise self._error(f"has {field} {value}, but its {field.removesuffix('_size')} type takes {known} bytes")
        self.fields[field] = value

    def read_side(self, member: Member) -> None:
        """``key`` or ``value``: a pointer to the type."""
        pointer = self._get(member.type)
        if not isinstance(pointer, Ptr):
            raise self._error(f"has a '{member.name}' that is not written with __type()")
        size = size_of(self.btf, pointer.type)
        known = self.fields.get(f"{member.name}_size")
        if known is not None and known != size:
            raise self._error(f"has {member.name}_size {known}, but its {member.name} type takes {size} bytes")
        self.fields[f"{member.name}_size"] = size
        self.fields[f"{member.name}_type"] = pointer.type

    def read_pinning(self, member: Member) -> None:
        number = self._u32(member)
        if self.is_inner:
            raise self._error("is an inner map and cannot be pinned")
        if number not in _PINNING:
            raise self._error(f"has pinning {number}", help="write LIBBPF_PIN_NONE or LIBBPF_PIN_BY_NAME")
        self.fields["pinning"] = _PINNING[number]

    def read_values(self, member: Member) -> None:
        """``values``: an array of pointers to the inner map's struct, or to functions (programs)."""
        if self.is_inner:
            raise self._error("is a map of maps inside a map of maps; the kernel has only one level")
        array = self._get(member.type)
        pointer = self._get(array.type) if isinstance(array, Array) else None
        if not isinstance(pointer, Ptr):
            raise self._error("has 'values' that is not an array of pointers", help="write  __array(values, ...);")
        if self.fields.setdefault("value_size", _FD_SIZE) != _FD_SIZE:
            raise self._error(f"holds descriptors, but has value_size {self.fields['value_size']}; it must be 4")
        target = self._get(pointer.type)
        if isinstance(target, FuncProto):
            if self.fields.get("type") != MapType.PROG_ARRAY:
                raise self._error("has functions as 'values', but is no prog_array")
            self.fields.setdefault("key_size", _FD_SIZE)
            return
        if self.fields.get("type") not in MAPS_OF_MAPS:
            raise self._error("has maps as 'values', but is neither array_of_maps nor hash_of_maps")
        self.fields["inner"] = _Declaration(self.elf, self.btf, f"{self.name}.inner", is_inner=True).read(pointer.type)


# Sizes that the kernel leaves no choice about, and that C often omits or uses to state the type of records instead.
_FIXED_SIZES: Final = {
    MapType.ARRAY_OF_MAPS: (None, _FD_SIZE),
    MapType.HASH_OF_MAPS: (None, _FD_SIZE),
    MapType.PROG_ARRAY: (_FD_SIZE, _FD_SIZE),
    MapType.PERF_EVENT_ARRAY: (_FD_SIZE, _FD_SIZE),
    MapType.CGROUP_ARRAY: (_FD_SIZE, _FD_SIZE),
    MapType.RINGBUF: (0, 0),
    MapType.USER_RINGBUF: (0, 0),
}
_RECORD_MAPS: Final = frozenset({MapType.PERF_EVENT_ARRAY, MapType.RINGBUF, MapType.USER_RINGBUF})


def with_fixed_sizes(spec: MapSpec) -> MapSpec:
    """The map with the sizes that its type demands where the declaration says nothing, or speaks of records.

    ``__type(value, struct event)`` of a ringbuf or perf_event_array says what its records are: ``value_type`` stays.
    """
    if spec.type not in _FIXED_SIZES:
        return spec
    key_size, value_size = _FIXED_SIZES[spec.type]
    overrides = spec.type in _RECORD_MAPS
    if key_size is not None and (overrides or not spec.key_size):
        spec = spec.replace(key_size=key_size)
    return spec.replace(value_size=value_size) if overrides or not spec.value_size else spec


def _kind(found: object) -> str:
    return type(found).__name__.lower()


_PLAIN: Final = {
    "key_size": "key_size",
    "value_size": "value_size",
    "max_entries": "max_entries",
    "map_flags": "flags",
    "numa_node": "numa_node",
    "map_extra": "map_extra",
}
_MEMBERS: Final[dict[str, Callable[[_Declaration, Member], None]]] = {
    "type": _Declaration.read_type,
    "key": _Declaration.read_side,
    "value": _Declaration.read_side,
    **dict.fromkeys(_PLAIN, _Declaration.read_plain),
    "pinning": _Declaration.read_pinning,
    "values": _Declaration.read_values,
}


def fill_slots(
    elf: ElfFile, types: TypeInfo, maps: DeclaredMaps, functions: Mapping[tuple[int, int], str]
) -> DeclaredMaps:
    """The maps with the entries of their ``values``, which the relocations of section ``.maps`` name."""
    section = elf.find_section(SECTION)
    if section is None or not elf.relocations.get(section.index):
        return maps
    starts = sorted((offset, name) for (index, offset), name in maps.places.items() if index == section.index)
    slots: dict[str, list[Slot]] = {}
    for relocation in elf.relocations[section.index]:
        name, start = _owner(elf, starts, relocation)
        at = relocation.offset - start - _values_offset(elf, types, maps, name)
        if at < 0 or at % _POINTER_SIZE:
            raise broken(
                "O0124", f"{elf.name}: byte {relocation.offset} of .maps has a relocation, but no slot lies there"
            )
        slots.setdefault(name, []).append(
            Slot(at // _POINTER_SIZE, _slot_target(elf, section, maps, functions, relocation))
        )
    specs = {
        name: spec.replace(slots=tuple(sorted(slots[name], key=lambda slot: slot.index))) if name in slots else spec
        for name, spec in maps.specs.items()
    }
    return DeclaredMaps(specs, maps.places)


def _owner(elf: ElfFile, starts: list[tuple[int, str]], relocation: Relocation) -> tuple[str, int]:
    index = bisect_right(starts, (relocation.offset, "\U0010ffff")) - 1
    if index < 0:
        raise broken("O0124", f"{elf.name}: byte {relocation.offset} of .maps has a relocation, but no map lies there")
    start, name = starts[index]
    return name, start


def _values_offset(elf: ElfFile, types: TypeInfo, maps: DeclaredMaps, name: str) -> int:
    """Byte offset of ``values`` in the map's struct."""
    btf = types.btf
    var_id = btf.find(name, Var) if btf is not None else None
    if btf is not None and var_id is not None:
        var = btf[var_id]
        struct = btf[btf.strip(var.type)] if isinstance(var, Var) else None
        if isinstance(struct, Struct):
            for member in struct.members:
                if member.name == "values":
                    return member.bit_offset // 8
    raise broken("O0124", f"{elf.name}: map '{name}' has initial values, but no 'values' in its declaration")


def _slot_target(
    elf: ElfFile,
    section: Section,
    maps: DeclaredMaps,
    functions: Mapping[tuple[int, int], str],
    relocation: Relocation,
) -> str:
    symbol = relocation.symbol
    addend = relocation.addend
    if addend is None:
        raw = elf.contents(section)[relocation.offset : relocation.offset + _POINTER_SIZE]
        addend = int.from_bytes(raw, "little" if elf.byte_order == "little" else "big")
    if not symbol.is_defined:
        return symbol.name
    place = (symbol.section, symbol.value + addend)
    if symbol.type == STT_FUNC or (symbol.type == STT_SECTION and elf.sections[symbol.section].is_code):
        target = functions.get(place)
    else:
        target = maps.places.get(place)
    if target is None:
        raise broken(
            "O0124",
            f"{elf.name}: an initial value in .maps points to '{symbol.name}'+{addend}, neither a map nor a program",
        )
    return target

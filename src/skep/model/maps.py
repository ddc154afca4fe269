"""Blueprints of maps and global variables: what the object file says, nothing about a host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from skep.abi.map_types import MapType
from skep.btf.types import Btf


class Pinning(StrEnum):
    """Whether a map outlives its object under a path (libbpf's LIBBPF_PIN_*)."""

    NONE = "none"
    BY_NAME = "by_name"


@dataclass(frozen=True, slots=True)
class Slot:
    """One value that C wrote into ``values`` of a map: ``[index] = &target`` (a map, or a program of a prog_array).

    In a table of functions (struct_ops), ``index`` is the number of the member in the C structure.
    """

    index: int
    target: str


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map as declared.

    Attributes:
        name: its C name; for global data the section (``.rodata``, ``.bss``, ``.data.counters``).
        key_size, value_size: bytes of one key, one value (of one CPU for per-CPU maps).
        key_type, value_type: BTF ids in ``btf`` (0: not known; then keys and values are bytes).
        inner: blueprint of the maps inside an array_of_maps or hash_of_maps.
        slots: initial entries of a map of maps, a prog_array or a table of functions.
        contents: initial bytes of value 0: global data, variables of an arena, a table of functions as C has it. None
            for every other map.
        frozen: read-only for user space after loading, and known constants to the verifier (``.rodata``).
        autocreate: False for a map nobody wants (``?`` struct_ops).
        notes: what a user should know, e.g. that it came from a legacy ``maps`` section.
    """

    name: str
    type: MapType
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    key_type: int = 0
    value_type: int = 0
    btf: Btf | None = field(default=None, compare=False, repr=False)
    pinning: Pinning = Pinning.NONE
    numa_node: int | None = None
    map_extra: int = 0
    inner: MapSpec | None = None
    slots: tuple[Slot, ...] = ()
    contents: bytes | None = field(default=None, repr=False)
    frozen: bool = False
    autocreate: bool = True
    notes: tuple[str, ...] = ()

    @property
    def is_data(self) -> bool:
        """Global data: a section of the object, which linking joins with those of other objects."""
        return self.contents is not None and self.type is not MapType.STRUCT_OPS

    def replace(self, **changes: Any) -> MapSpec:
        """A copy with some fields changed, e.g. ``spec.replace(max_entries=1 << 20)``."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """A global variable: a named range of a data map.

    Attributes:
        map: name of the MapSpec whose contents it lies in.
        offset, size: bytes in that map's value.
        type: BTF id in ``btf`` (0: not known).
        constant: lies in ``.rodata``: may be set before loading, never after.
    """

    name: str
    map: str
    offset: int
    size: int
    type: int = 0
    btf: Btf | None = field(default=None, compare=False, repr=False)
    constant: bool = False

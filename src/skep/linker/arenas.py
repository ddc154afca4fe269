"""Variables that live in an arena (``int __arena x;``): clang puts them into a section of their own, which becomes the
beginning of the one arena that the object declares (libbpf's init_arena_map_data)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from skep.abi.limits import ARENA_PAGE
from skep.abi.map_types import MapType
from skep.linker.faults import link_error
from skep.model.maps import MapSpec
from skep.model.objects import ObjectSpec

SECTION: Final = ".addr_space.1"
_HELP: Final = (
    "declare:  struct { __uint(type, BPF_MAP_TYPE_ARENA); __uint(map_flags, BPF_F_MMAPABLE); "
    '__uint(max_entries, 100); } arena SEC(".maps");'
)


def place_variables(spec: ObjectSpec) -> ObjectSpec:
    """The object with its arena variables in the arena. Code still names the section: :func:`home_of` says the arena.

    An object without an arena, or with several, stays as it is: only a program that uses such a variable fails.

    Raises:
        LinkError: L0120 the arena is too small.
    """
    section, arenas = spec.maps.get(SECTION), _arenas(spec)
    if section is None or len(arenas) != 1:
        return spec
    arena = arenas[0]
    size, data = arena.max_entries * ARENA_PAGE, section.contents or b""
    if len(data) > size:
        what = f"the variables in the arena take {len(data)} bytes, and arena '{arena.name}' has {size}"
        raise link_error("L0120", what, help=f"max_entries counts pages: {-(-len(data) // ARENA_PAGE)} or more")
    maps = {name: found for name, found in spec.maps.items() if name != SECTION}
    maps[arena.name] = arena.replace(contents=data)
    variables = {
        name: replace(variable, map=arena.name) if variable.map == SECTION else variable
        for name, variable in spec.variables.items()
    }
    return replace(spec, maps=maps, variables=variables)


def home_of(spec: ObjectSpec, name: str) -> str:
    """The map that a reference means: the arena for the section of its variables, else the name itself.

    Raises:
        LinkError: L0120 there is no arena, or there are several.
    """
    if name != SECTION:
        return name
    arenas = _arenas(spec)
    if not arenas:
        raise link_error("L0120", "the object has variables in an arena (__arena), but declares no arena", help=_HELP)
    if len(arenas) > 1:
        names = " and ".join(f"'{found.name}'" for found in arenas)
        what = f"the object has variables in an arena (__arena), and several arenas to put them into: {names}"
        raise link_error("L0120", what, help="use one arena; a program can use only one, too")
    return arenas[0].name


def size_of_map(found: MapSpec) -> int:
    """Bytes whose addresses a program may take: the first value, or the whole arena."""
    return found.max_entries * ARENA_PAGE if found.type is MapType.ARENA else found.value_size


def _arenas(spec: ObjectSpec) -> list[MapSpec]:
    return [found for found in spec.maps.values() if found.type is MapType.ARENA and found.name != SECTION]

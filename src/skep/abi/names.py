"""The names that tools print and people type (``sched_cls``, ``lru_hash``, ``tcx_ingress``), both ways.

They are libbpf's (libbpf_bpf_prog_type_str and its siblings): the enumerator in lower case, with two old map types that
lost their DEPRECATED.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import TypeVar

from skep.abi.link_types import LinkType
from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType

E = TypeVar("E", bound=IntEnum)

_DEPRECATED = "_deprecated"


def name_of(member: ProgType | MapType | LinkType | AttachType) -> str:
    """The name of a program, map, link or attach type."""
    return member.name.lower().removesuffix(_DEPRECATED)


def _by_name(kind: type[E]) -> Mapping[str, E]:
    return MappingProxyType({member.name.lower().removesuffix(_DEPRECATED): member for member in kind})


PROG_TYPES: Mapping[str, ProgType] = _by_name(ProgType)
MAP_TYPES: Mapping[str, MapType] = _by_name(MapType)
LINK_TYPES: Mapping[str, LinkType] = _by_name(LinkType)
ATTACH_TYPES: Mapping[str, AttachType] = _by_name(AttachType)


def find_prog_type(name: str) -> ProgType | None:
    """``"xdp"`` -> ProgType.XDP; None if there is no such type."""
    return PROG_TYPES.get(name)


def find_map_type(name: str) -> MapType | None:
    """``"lru_hash"`` -> MapType.LRU_HASH; None if there is no such type."""
    return MAP_TYPES.get(name)


def find_link_type(name: str) -> LinkType | None:
    """``"tcx"`` -> LinkType.TCX; None if there is no such type."""
    return LINK_TYPES.get(name)


def find_attach_type(name: str) -> AttachType | None:
    """``"tcx_ingress"`` -> AttachType.TCX_INGRESS; None if there is no such type."""
    return ATTACH_TYPES.get(name)

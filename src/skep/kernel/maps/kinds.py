"""Which handle a kind of map gets: the powers of its type."""

from __future__ import annotations

from skep.abi.map_types import MapType
from skep.kernel.fd import Fd
from skep.kernel.maps.arena import ArenaMap
from skep.kernel.maps.handle import MMAPABLE, ArrayMap, BloomMap, KernelMap, PoppableMap
from skep.kernel.rings.maps import RECORD_MAPS
from skep.model.maps import MapSpec

_POPPABLE = frozenset(
    {
        MapType.QUEUE,
        MapType.STACK,
        MapType.HASH,
        MapType.PERCPU_HASH,
        MapType.LRU_HASH,
        MapType.LRU_PERCPU_HASH,
    }
)


def handle_for(spec: MapSpec, fd: Fd, *, is_new: bool = True) -> KernelMap:
    """The handle with the powers of a map's type; it owns the descriptor."""
    if spec.type is MapType.ARRAY and spec.flags & MMAPABLE:
        return ArrayMap(spec, fd, is_new=is_new)
    if spec.type is MapType.ARENA:
        return ArenaMap(spec, fd, is_new=is_new)
    if spec.type is MapType.BLOOM_FILTER:
        return BloomMap(spec, fd, is_new=is_new)
    known = RECORD_MAPS.get(spec.type)
    if known is not None:
        return known(spec, fd, is_new=is_new)
    return (PoppableMap if spec.type in _POPPABLE else KernelMap)(spec, fd, is_new=is_new)

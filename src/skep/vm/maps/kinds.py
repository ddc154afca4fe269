"""Which handle a map type has."""

from __future__ import annotations

from collections.abc import Mapping

from skep.abi.map_types import MapType
from skep.model.maps import MapSpec
from skep.vm.maps.handle import ArrayMap, BloomMap, PoppableMap, RingMap, VmMap
from skep.vm.maps.memory import Block
from skep.vm.maps.references import ReferenceMap
from skep.vm.maps.user_ring import UserRingMap

#: Types that are not here have the plain VmMap.
CLASSES: Mapping[MapType, type[VmMap]] = {
    MapType.ARRAY: ArrayMap,
    MapType.HASH: PoppableMap,
    MapType.LRU_HASH: PoppableMap,
    MapType.PERCPU_HASH: PoppableMap,
    MapType.LRU_PERCPU_HASH: PoppableMap,
    MapType.QUEUE: PoppableMap,
    MapType.STACK: PoppableMap,
    MapType.RINGBUF: RingMap,
    MapType.PERF_EVENT_ARRAY: RingMap,
    MapType.USER_RINGBUF: UserRingMap,
    MapType.BLOOM_FILTER: BloomMap,
    MapType.ARRAY_OF_MAPS: ReferenceMap,
    MapType.HASH_OF_MAPS: ReferenceMap,
    MapType.PROG_ARRAY: ReferenceMap,
}


def handle_for(spec: MapSpec, block: Block) -> VmMap:
    """The handle with the powers of the map's type."""
    return CLASSES.get(spec.type, VmMap)(spec, block)

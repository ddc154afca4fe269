"""Maps of the vm: shared memory with offsets instead of pointers (native/skep.h): other processes can open it."""

from skep.vm.maps.create import create_map, open_pinned
from skep.vm.maps.handle import VmMap

__all__ = ["VmMap", "create_map", "open_pinned"]

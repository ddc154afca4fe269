"""What programs print with bpf_printk(): one ring of this process, as the kernel has one trace_pipe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from skep.abi.map_types import MapType
from skep.model.maps import MapSpec
from skep.vm.maps.create import create_map
from skep.vm.maps.handle import VmMap

_TRACE_BYTES = 1 << 20


@lru_cache(maxsize=1)
def trace_ring() -> VmMap:
    """The ring. When it is full, new lines are lost and counted (``lost``)."""
    return create_map(MapSpec("trace", MapType.RINGBUF, max_entries=_TRACE_BYTES))


def trace_lines() -> Iterator[str]:
    """Take the lines that were printed since the last call, in order, as they were written (mostly with a newline)."""
    return (record.decode(errors="replace") for record in trace_ring().records())

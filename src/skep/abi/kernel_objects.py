"""Structures of the kernel that programs read through pointers: sockets and flow keys, field by field (Linux 6.18).

Sources: bpf_sock_is_valid_access, bpf_sock_common_is_valid_access, bpf_tcp_sock_is_valid_access,
bpf_xdp_sock_is_valid_access (net/core/filter.c), check_flow_keys_access (kernel/bpf/verifier.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive fields that are read alike.

    Attributes:
        start, end: bytes (end exclusive).
        width: bytes of a whole field.
        narrow: parts of a field may be read too, wherever they are aligned.
        at_start: parts of a field may be read too, but only its first bytes.
    """

    start: int
    end: int
    width: int = 4
    narrow: bool = False
    at_start: bool = False


@dataclass(frozen=True, slots=True)
class KernelObject:
    """One structure. Nothing of it may be written, but for flow keys.

    Attributes:
        size: bytes.
        parts: what may be read, by rows; None: any bytes in any size.
    """

    name: str
    size: int
    parts: tuple[Part, ...] | None = None
    writable: bool = False

    def may_access(self, offset: int, size: int, *, write: bool = False) -> bool:
        """Whether ``size`` bytes at ``offset`` may be read, or written."""
        if offset < 0 or offset + size > self.size or (write and not self.writable):
            return False
        if self.parts is None:
            return True
        if offset % size:
            return False
        return any(part.start <= offset < part.end and _fits(part, offset, size) for part in self.parts)


def _fits(part: Part, offset: int, size: int) -> bool:
    if size == part.width:
        return True
    is_first = (offset - part.start) % part.width == 0
    return size < part.width and (part.narrow or (part.at_start and is_first))


#: The addresses and state that every socket has; the ports: u32, and be16 with two bytes of padding behind it.
_COMMON = (
    Part(0, 4),  # bound_dev_if
    Part(4, 8, at_start=True),  # family
    Part(24, 44, narrow=True),  # src_ip4, src_ip6
    Part(44, 48, at_start=True),  # src_port
    Part(52, 72, narrow=True),  # dst_ip4, dst_ip6
    Part(72, 80, at_start=True),  # state, rx_queue_mapping
)
_PORT = (Part(48, 50, width=2, narrow=True), Part(48, 49))  # dst_port: be16, which old programs read as u32
_FULL = (Part(8, 16, at_start=True), Part(16, 24))  # type, protocol; mark, priority

SOCK = KernelObject("sock", 80, (*_COMMON, *_FULL, *_PORT))
SOCK_COMMON = KernelObject("sock_common", 80, (*_COMMON, *_PORT))
TCP_SOCK = KernelObject("tcp_sock", 112, (Part(0, 80), Part(80, 96, width=8), Part(96, 112)))
XDP_SOCK = KernelObject("xdp_sock", 4, (Part(0, 4),))
FLOW_KEYS = KernelObject("flow_keys", 56, None, writable=True)

KERNEL_OBJECTS: Mapping[str, KernelObject] = MappingProxyType(
    {known.name: known for known in (SOCK, SOCK_COMMON, TCP_SOCK, XDP_SOCK, FLOW_KEYS)}
)

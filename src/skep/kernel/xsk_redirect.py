"""The XDP program that hands a receive queue to an AF_XDP socket; the vm engine is given it, for its Xsk hook."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from typing import Final

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.isa.assembler import assemble
from skep.isa.codec import encode
from skep.kernel.bpf import links, maps, programs
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.bpf.maps import MapRequest
from skep.kernel.bpf.programs import LoadRequest

_FLAG_GENERIC: Final = 1 << 1  # XDP_FLAGS_SKB_MODE
_NAME: Final = b"skep_to_xsk"
# bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS): queues without a socket go on as always.
_BEFORE: Final = "r2 = *(u32 *)(r1 + 16)"
_AFTER: Final = "r3 = 2\ncall 51\nexit"
_MAP_INTO_R1: Final = struct.Struct("=BBhi8x")  # LD_IMM64 r1 with BPF_PSEUDO_MAP_FD as source


class Redirect:
    """The attached program; closing it detaches it, and the host has its packets again."""

    def __init__(self, owned: ExitStack) -> None:
        self._owned = owned

    def close(self) -> None:
        """Detach; a second call does nothing."""
        self._owned.close()


def redirect_queue(ifindex: int, queue: int, socket: int, generic: bool) -> Redirect:
    """Send all packets of a queue to an AF_XDP socket that is bound to it.

    Args:
        socket: its descriptor.
        generic: attach in generic mode.

    Raises:
        BpfCallError: the kernel said no: EPERM; EBUSY, the interface has an XDP program already.
    """
    with ExitStack() as undo:
        sockets = maps.create(MapRequest(int(MapType.XSKMAP), 4, 4, queue + 1, name=_NAME), "map of the AF_XDP socket")
        undo.callback(sockets.close)
        maps.update(sockets.number, struct.pack("=I", queue), struct.pack("=I", socket))
        load_map = _MAP_INTO_R1.pack(0x18, 0x11, 0, sockets.number)
        code = encode(assemble(_BEFORE)) + load_map + encode(assemble(_AFTER))
        program, _ = programs.load(LoadRequest(int(ProgType.XDP), code, name=_NAME))
        undo.callback(program.close)
        link = links.create(LinkRequest(program.number, AttachType.XDP, ifindex, _FLAG_GENERIC if generic else 0))
        undo.callback(link.close)
        return Redirect(undo.pop_all())

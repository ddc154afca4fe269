"""Packet sockets with a receive ring (packet(7), packet_mmap.rst of the kernel): copies of what passes by."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import socket
import struct

from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import UsageError
from skep.model.hooks import OpenThing, PacketSocket
from skep.vm.hooks.interfaces import Device, find_device, not_permitted
from skep.vm.hooks.live import LiveLink
from skep.vm.hooks.live_layout import DIRECTIONS, RING, Live
from skep.vm.hooks.ports import PACKET_VNET_HDR, SOL_PACKET, Devices, Port

ETH_P_ALL = 0x0003
ADD_MEMBERSHIP, RX_RING, STATISTICS, VERSION, FANOUT, IGNORE_OUTGOING = 1, 5, 6, 10, 18, 23  # PACKET_*
TPACKET_V3 = 2
MR_PROMISC = 1
FANOUT_UNIQUEID = 0x2000  # PACKET_FANOUT_FLAG_UNIQUEID (4.13)
FANOUTS = {"hash": 0, "balance": 1, "cpu": 2, "queue": 5}
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_ATTACH_BPF = 26, 27, 50

BLOCK = 256 << 10  # holds the largest packet, and is small enough to be retired often
MAX_THREADS = 64
MAX_RING = 1 << 30


class RingPort(Port):
    """A packet socket and its ring."""

    def __init__(self, opened: socket.socket, device: Device, hook: PacketSocket, vnet: bool) -> None:
        """The socket is closed with the port, and when this fails.

        Raises:
            OSError: the kernel refused an option or has no memory.
        """
        self._socket = opened
        blocks = max(2, hook.ring_bytes // BLOCK)
        opened.setsockopt(SOL_PACKET, VERSION, TPACKET_V3)
        if vnet:
            opened.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        if hook.direction == "in":
            with contextlib.suppress(OSError):  # before 4.20 the loop sorts them out
                opened.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
        request = struct.pack("7I", BLOCK, blocks, BLOCK, blocks, hook.timeout_ms, 0, 0)
        opened.setsockopt(SOL_PACKET, RX_RING, request)
        self._ring = mmap.mmap(opened.fileno(), BLOCK * blocks, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        start = ctypes.c_char.from_buffer(self._ring)
        direction = DIRECTIONS["in" if device.is_loopback and hook.direction == "both" else hook.direction]
        live = Live(
            kind=RING, direction=direction, ring=ctypes.addressof(start), block_size=BLOCK, n_blocks=blocks, vnet=vnet
        )
        del start  # it would keep the mapping
        super().__init__(device, opened.fileno(), live)
        self.settle_ms = 2 * hook.timeout_ms

    def lost(self) -> int:
        """The kernel's count, which starts anew with each question (PACKET_STATISTICS)."""
        _, drops, _ = struct.unpack("3I", self._socket.getsockopt(SOL_PACKET, STATISTICS, 12))
        return int(drops)

    def clear_error(self) -> None:
        """E.g. ENETDOWN: the interface went down; packets come again when it is up."""
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def close(self) -> None:
        """Close socket and ring; a second call does nothing."""
        self.fd = -1
        self._ring.close()
        self._socket.close()


def open_ports(hook: PacketSocket, device: Device, vnet: bool) -> list[RingPort]:
    """A ring per thread, all filled from now on.

    Args:
        vnet: packets are sent on: keep what the kernel knows about unfinished checksums and segments.

    Raises:
        EngineError: H0603 to H0605.
    """
    ports: list[RingPort] = []
    with contextlib.ExitStack() as undo:
        try:
            for _ in range(hook.threads):
                opened = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0))
                port = RingPort(opened, device, hook, vnet)
                undo.callback(port.close)
                ports.append(port)
            _start([port._socket for port in ports], device, hook)
        except OSError as error:
            needs = "a packet socket needs CAP_NET_RAW in the user namespace of the network namespace"
            raise not_permitted(f"packet socket on {device.name}", needs, error) from error
        undo.pop_all()
    return ports


def _start(sockets: list[socket.socket], device: Device, hook: PacketSocket) -> None:
    """Bind all, as one group; until the group is whole, a filter keeps every packet out: none comes twice."""
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)  # classic BPF: ret 0
    closed = struct.pack("HxxxxxxP", 1, ctypes.addressof(nothing))
    group = -1
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, closed)
        each.bind((device.name, ETH_P_ALL))
        if hook.promiscuous:
            request = struct.pack("iHH8x", device.ifindex, MR_PROMISC, 0)
            each.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, request)
        if len(sockets) > 1:
            kind = FANOUTS[hook.fanout] << 16
            if group < 0:
                each.setsockopt(SOL_PACKET, FANOUT, kind | FANOUT_UNIQUEID << 16)
                group = each.getsockopt(SOL_PACKET, FANOUT) & 0xFFFF
            else:
                each.setsockopt(SOL_PACKET, FANOUT, kind | group)
    chosen = None if hook.in_kernel is None else _descriptor(hook.in_kernel)
    for each in sockets:
        if chosen is not None:
            each.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, chosen)
        else:
            each.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def _descriptor(thing: OpenThing) -> int:
    """Of a program that the kernel holds.

    Raises:
        UsageError: H0615: the program runs in this process, the kernel does not know it.
    """
    found = getattr(thing, "handle", thing)
    if isinstance(found, int):
        return found
    fileno = getattr(found, "fileno", None)
    if fileno is None:
        what = "PacketSocket: in_kernel is no program of the kernel engine"
        raise UsageError(Diagnostic("H0615", what, help='load it with engine="kernel"'))
    return int(fileno())


def check_hook(hook: PacketSocket) -> None:
    """Is every option possible?

    Raises:
        UsageError: H0606.
    """
    problems = {
        f"threads must be 1 to {MAX_THREADS}": not 1 <= hook.threads <= MAX_THREADS,
        f"direction must be one of {', '.join(DIRECTIONS)}": hook.direction not in DIRECTIONS,
        f"fanout must be one of {', '.join(FANOUTS)}": hook.fanout not in FANOUTS,
        f"ring_bytes must be {2 * BLOCK} to {MAX_RING}": not 2 * BLOCK <= hook.ring_bytes <= MAX_RING,
        "timeout_ms must be 1 to 10000": not 1 <= hook.timeout_ms <= 10_000,
    }
    for what, is_wrong in problems.items():
        if is_wrong:
            raise UsageError(Diagnostic("H0606", f"PacketSocket: {what}"))


def attach_packet_socket(program: ProgramHandle, hook: PacketSocket) -> LiveLink:
    """Open the rings. Packets are kept there from now on, until the link runs.

    Raises:
        UsageError: H0601, H0606.
        UnsupportedError: H0201, H0602.
        EngineError: H0603 to H0605.
    """
    check_hook(hook)
    device = find_device(hook.interface)
    ports = open_ports(hook, device, vnet=hook.transmit)
    return LiveLink(program, hook, ports, Devices(), transmit=hook.transmit)

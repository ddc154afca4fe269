"""AF_XDP sockets (af_xdp.rst of the kernel), in copy mode: a queue's packets, taken away from the host."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol

from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import UnsupportedError, UsageError
from skep.model.hooks import PacketSocket, Xsk
from skep.vm.hooks.interfaces import Device, find_device, not_permitted
from skep.vm.hooks.live import LiveLink
from skep.vm.hooks.live_layout import XSK, Live
from skep.vm.hooks.live_layout import Xsk as XskState
from skep.vm.hooks.packet_socket import open_ports
from skep.vm.hooks.ports import Devices, Port

AF_XDP, SOL_XDP = 44, 283
MMAP_OFFSETS, RX_RING, UMEM_REG, FILL_RING, COMPLETION_RING, STATISTICS = 1, 2, 4, 5, 6, 7  # XDP_*
BIND_COPY = 1 << 1
_RX_AT, _FILL_AT = 0, 0x100000000  # XDP_PGOFF_RX_RING, XDP_UMEM_PGOFF_FILL_RING
_OFFSETS = struct.Struct("16Q")  # producer, consumer, desc, flags of rx, tx, fill, completion
_DESCRIPTOR = 16
_CHUNK = 4096
_BIND_TRIES, _BIND_PAUSE_S = 20, 0.05
_MIN_FRAMES, _MAX_FRAMES = 64, 1 << 20
_NEEDS = "an AF_XDP socket needs CAP_NET_RAW, and its XDP program CAP_BPF and CAP_NET_ADMIN of the whole system"


class Closable(Protocol):
    """What is attached."""

    def close(self) -> None:
        """Detach."""


#: Attaches the XDP program that sends a queue to a socket: (ifindex, queue, descriptor, generic mode).
Redirector = Callable[[int, int, int, bool], Closable]


class XskPort(Port):
    """An AF_XDP socket, its memory and rings, and the XDP program in front of it."""

    def __init__(self, device: Device, hook: Xsk, redirector: Redirector) -> None:
        """Packets arrive from now on.

        Raises:
            OSError: the kernel refused something.
        """
        with contextlib.ExitStack() as owned:
            opened = owned.enter_context(socket.socket(AF_XDP, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0))
            self._memory = mmap.mmap(-1, hook.frames * _CHUNK, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
            owned.callback(self._memory.close)
            umem = _address(self._memory)
            opened.setsockopt(SOL_XDP, UMEM_REG, struct.pack("QQII", umem, hook.frames * _CHUNK, _CHUNK, 0))
            for ring in (FILL_RING, COMPLETION_RING, RX_RING):
                opened.setsockopt(SOL_XDP, ring, hook.frames)
            offsets = _OFFSETS.unpack(opened.getsockopt(SOL_XDP, MMAP_OFFSETS, _OFFSETS.size))
            rx_producer, rx_consumer, rx_entries = offsets[0:3]
            fill_producer, _, fill_entries = offsets[8:11]
            rx = _map(owned, opened, rx_entries + hook.frames * _DESCRIPTOR, _RX_AT)
            fill = _map(owned, opened, fill_entries + hook.frames * 8, _FILL_AT)
            addresses = (ctypes.c_uint64 * hook.frames).from_address(fill + fill_entries)
            addresses[:] = list(range(0, hook.frames * _CHUNK, _CHUNK))
            ctypes.c_uint32.from_address(fill + fill_producer).value = hook.frames
            _bind(opened, device.ifindex, hook.queue)
            redirect = redirector(device.ifindex, hook.queue, opened.fileno(), hook.generic)
            owned.callback(redirect.close)
            state = XskState(
                rx_producer=rx + rx_producer, rx_consumer=rx + rx_consumer, fill_producer=fill + fill_producer,
                rx=rx + rx_entries, fill=fill + fill_entries, umem=umem, rx_mask=hook.frames - 1,
                fill_mask=hook.frames - 1, chunk=_CHUNK,
            )  # fmt: skip
            super().__init__(device, opened.fileno(), Live(kind=XSK, xsk=state))
            self._socket = opened
            self._counted = 0
            self._owned = owned.pop_all()

    def lost(self) -> int:
        """XDP_STATISTICS: no frame was free, or the ring was full. The kernel counts on; the difference is told."""
        dropped, _, _, full = struct.unpack_from("4Q", self._socket.getsockopt(SOL_XDP, STATISTICS, 48))
        before, self._counted = self._counted, int(dropped + full)
        return self._counted - before

    def close(self) -> None:
        """Detach the program, then close the socket; a second call does nothing."""
        self.fd = -1
        self._owned.close()


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))  # the object goes at once: it would keep the mapping


def _map(owned: contextlib.ExitStack, opened: socket.socket, size: int, at: int) -> int:
    """Map a ring; where it is."""
    ring = mmap.mmap(opened.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=at)
    owned.callback(ring.close)
    return _address(ring)


def _bind(opened: socket.socket, ifindex: int, queue: int) -> None:
    """bind() of a struct sockaddr_xdp, which Python's sockets do not know.

    The kernel takes a queue back some time after its socket was closed (xp_release_deferred()): busy is asked again.
    """
    address = struct.pack("=HHIII", AF_XDP, BIND_COPY, ifindex, queue, 0)
    bind = ctypes.CDLL(None, use_errno=True).bind
    for left in reversed(range(_BIND_TRIES)):
        if bind(opened.fileno(), address, len(address)) == 0:
            return
        number = ctypes.get_errno()
        if number != errno.EBUSY or not left:
            raise OSError(number, os.strerror(number))
        time.sleep(_BIND_PAUSE_S)


def attach_xsk(program: ProgramHandle, hook: Xsk, redirector: Redirector | None) -> LiveLink:
    """Take the queue.

    Raises:
        UsageError: H0601, H0611: numbers that cannot be.
        UnsupportedError: H0612: AF_XDP is not possible here, and why.
        EngineError: H0603 to H0605.
    """
    if not _MIN_FRAMES <= hook.frames <= _MAX_FRAMES or hook.frames & (hook.frames - 1):
        what = f"an Xsk cannot have {hook.frames} frames"
        raise UsageError(Diagnostic("H0611", what, help=f"a power of two from {_MIN_FRAMES} to {_MAX_FRAMES}"))
    if not 0 <= hook.queue < 1 << 16:
        raise UsageError(Diagnostic("H0611", f"there is no receive queue {hook.queue}"))
    if redirector is None:
        why = ("the engine was made without the way to attach an XDP program",)
        raise UnsupportedError(Diagnostic("H0612", "AF_XDP is not possible", why=why, help="use skep.load()'s engine"))
    device = find_device(hook.interface)
    peer = find_device(hook.peer) if hook.peer is not None else None
    if peer is not None and (peer.ifindex == device.ifindex or peer.link_type != device.link_type):
        raise UsageError(Diagnostic("H0610", f"{peer.name} cannot be the peer of {device.name}"))
    devices = Devices()
    with contextlib.ExitStack() as undo:
        undo.callback(devices.close)
        try:
            port = XskPort(device, hook, redirector)
        except OSError as error:
            raise _refused(device, hook, error) from error
        undo.callback(port.close)
        ports: list[Port] = [port]
        if peer is not None:
            port.forward_to(devices.outlet(peer.ifindex))
            back = open_ports(PacketSocket(peer.ifindex, promiscuous=True), peer, vnet=True)[0]
            undo.callback(back.close)
            back.forward_to(devices.outlet(device.ifindex))
            ports.append(back)
        link = LiveLink(program, hook, ports, devices, transmit=hook.transmit)
        undo.pop_all()
    return link


def _refused(device: Device, hook: Xsk, error: OSError) -> Exception:
    reasons = {
        "EAFNOSUPPORT": "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS, Linux 4.18)",
        "EBUSY": "the interface has an XDP program, or the queue an AF_XDP socket, already",
        "EOPNOTSUPP": "the driver cannot do it",
        "EINVAL": f"there is no receive queue {hook.queue}, or the driver cannot do it",
        "ENOPROTOOPT": "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)",
    }
    name = errno.errorcode.get(error.errno or 0, "")
    if name in reasons:
        advice = "PacketSocket sees copies without all this"
        if name in ("EOPNOTSUPP", "EINVAL") and not hook.generic:
            advice = "try generic=True; " + advice
        what = f"AF_XDP is not possible on {device.name}"
        return UnsupportedError(Diagnostic("H0612", what, why=(reasons[name],), help=advice, kernel=name))
    return not_permitted(f"AF_XDP socket on {device.name}", _NEEDS, error)

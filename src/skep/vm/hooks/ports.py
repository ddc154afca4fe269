"""A port: where live packets come from, and the devices that they are sent by."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator

from skep.vm.hooks.interfaces import Device
from skep.vm.hooks.live_layout import SEND_NOT, SEND_PACKET, SEND_TAP, SENDER_BATCH, Live, Sender

SOL_PACKET, PACKET_VNET_HDR = 263, 15
_BUFFER = SENDER_BATCH * 4096
_SEND_BUFFER = 4 << 20
_MAX_SENDERS = 64


class Outlet:
    """A queue of packets on their way out; its descriptor belongs to somebody else."""

    def __init__(self, kind: int, ifindex: int, fd: int) -> None:
        self._buffer = ctypes.create_string_buffer(_BUFFER)
        self.state = Sender(fd=fd, ifindex=ifindex, kind=kind, buffer=ctypes.addressof(self._buffer), capacity=_BUFFER)

    @property
    def address(self) -> int:
        """Of the native structure."""
        return ctypes.addressof(self.state)


class Devices:
    """Sockets to send by, one per interface, opened when the first packet wants out."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket | None] = {}

    def outlet(self, ifindex: int) -> Outlet:
        """A queue for an interface; where there is none, or it may not be opened, packets are counted as not sent."""
        if ifindex not in self._sockets:
            self._sockets[ifindex] = _open_sender(ifindex)
        opened = self._sockets[ifindex]
        if opened is None:
            return Outlet(SEND_NOT, ifindex, -1)
        return Outlet(SEND_PACKET, ifindex, opened.fileno())

    def close(self) -> None:
        """Close the sockets; a second call does nothing."""
        opened, self._sockets = self._sockets, {}
        for each in opened.values():
            if each is not None:
                each.close()


def tap_outlet(ifindex: int, fd: int) -> Outlet:
    """A queue that is written to a TAP device: its host receives the packets."""
    return Outlet(SEND_TAP, ifindex, fd)


def _open_sender(ifindex: int) -> socket.socket | None:
    try:
        name = socket.if_indextoname(ifindex)
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except OSError:
        return None
    try:
        opened.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)  # unfinished checksums and segments are left to the kernel
        opened.bind((name, 0))
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    except OSError:
        opened.close()
        return None
    return opened


class Port:
    """Packets of one ring or device, for one thread.

    Attributes:
        live: what the native loop works on; its place in the ring stays there between runs.
        fd: becomes readable when there are packets.
        settle_ms: how long packets may wait in the kernel before the descriptor becomes readable.
    """

    settle_ms = 0

    def __init__(self, device: Device, fd: int, live: Live) -> None:
        self.device = device
        self.fd = fd
        self.live = live
        self._outlets: list[Outlet] = []
        self._forward: Outlet | None = None
        self._table = (ctypes.c_void_p * _MAX_SENDERS)()
        live.senders = ctypes.addressof(self._table)
        live.link_type = device.link_type

    def forward_to(self, outlet: Outlet) -> None:
        """Send packets that pass there."""
        self._forward = outlet
        self.live.forward = outlet.address

    def add_outlet(self, outlet: Outlet) -> None:
        """A device that XDP_TX and redirects may name. Beyond 64, packets are counted as not sent."""
        if len(self._outlets) < _MAX_SENDERS:
            self._table[len(self._outlets)] = outlet.address
            self._outlets.append(outlet)
            self.live.n_senders = len(self._outlets)

    def reset(self) -> None:
        """Counters to 0."""
        self.live.packets = self.live.bytes = self.live.not_sent = 0
        for outlet in self._all():
            outlet.state.sent = outlet.state.failed = 0

    def sent(self) -> tuple[int, int]:
        """Packets that went out, and that could not."""
        good = sum(int(outlet.state.sent) for outlet in self._all())
        return good, int(self.live.not_sent) + sum(int(outlet.state.failed) for outlet in self._all())

    def _all(self) -> Iterator[Outlet]:
        yield from self._outlets
        if self._forward is not None:
            yield self._forward

    def lost(self) -> int:
        """Packets that did not fit, since the last call."""
        return 0

    def clear_error(self) -> None:
        """The descriptor has an error waiting: take it, so that poll() waits again."""

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

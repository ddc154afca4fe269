"""TAP devices (tuntap.rst of the kernel): what the host sends into one is read here, what is written it receives."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct

from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import UsageError
from skep.model.hooks import PacketSocket, Tap
from skep.vm.hooks.interfaces import NAME_BYTES, Device, find_device, not_permitted, set_up
from skep.vm.hooks.live import LiveLink
from skep.vm.hooks.live_layout import TAP, Live
from skep.vm.hooks.packet_socket import open_ports
from skep.vm.hooks.ports import Devices, Outlet, Port, tap_outlet

DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_FRAME = 128 << 10
_NEEDS = (
    "a TAP device needs CAP_NET_ADMIN in its network namespace's user namespace (or to be its owner), and access to"
)


class TapPort(Port):
    """A TAP device that is ours: made by us, or made persistent by somebody before."""

    def __init__(self, name: str) -> None:
        """Open or make it, and bring it up.

        Raises:
            UsageError: H0609: it cannot have that name.
            EngineError: H0603 to H0605.
        """
        if len(name.encode()) >= NAME_BYTES:
            what = f"an interface cannot be called '{name}'"
            raise UsageError(Diagnostic("H0609", what, help=f"at most {NAME_BYTES - 1} bytes"))
        fd = -1
        try:
            fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
            made = fcntl.ioctl(fd, TUNSETIFF, request)[:NAME_BYTES].rstrip(b"\0").decode()
            with contextlib.suppress(PermissionError):  # the owner of a persistent device need not be its network's
                set_up(made)
            device = find_device(made)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise not_permitted(f"TAP device {name or '(new)'}", f"{_NEEDS} {DEVICE}", error) from error
        self._frame = ctypes.create_string_buffer(_FRAME)
        live = Live(kind=TAP, fd=fd, frame=ctypes.addressof(self._frame), frame_size=_FRAME, vnet=1)
        super().__init__(device, fd, live)
        self._fd = fd

    def outlet(self) -> Outlet:
        """A queue into the device."""
        return tap_outlet(self.device.ifindex, self._fd)

    def clear_error(self) -> None:
        """Nothing to take: read() tells."""


def attach_tap(program: ProgramHandle, hook: Tap) -> LiveLink:
    """Open the device, and what its peer is; both directions run through the program.

    Raises:
        UsageError: H0601, H0609, H0610.
        EngineError: H0603 to H0605.
    """
    if isinstance(hook.peer, Tap) and hook.peer.peer is not None:
        raise UsageError(Diagnostic("H0610", "the peer of a Tap has a peer of its own", help="give only one of them"))
    devices = Devices()
    with contextlib.ExitStack() as undo:
        undo.callback(devices.close)
        near = TapPort(hook.interface)
        undo.callback(near.close)
        near.add_outlet(near.outlet())
        ports: list[Port] = [near]
        if isinstance(hook.peer, Tap):
            far = TapPort(hook.peer.interface)
            undo.callback(far.close)
            far.add_outlet(far.outlet())
            near.add_outlet(far.outlet())
            far.add_outlet(near.outlet())
            near.forward_to(far.outlet())
            far.forward_to(near.outlet())
            ports.append(far)
        elif hook.peer is not None:
            device = find_device(hook.peer)
            _check_peer(near.device, device)
            ring = open_ports(PacketSocket(hook.peer, promiscuous=True), device, vnet=True)[0]
            undo.callback(ring.close)
            ring.add_outlet(near.outlet())
            near.forward_to(devices.outlet(device.ifindex))
            ring.forward_to(near.outlet())
            ports.append(ring)
        link = LiveLink(program, hook, ports, devices, transmit=hook.transmit)
        undo.pop_all()
    return link


def _check_peer(near: Device, far: Device) -> None:
    if near.ifindex == far.ifindex or near.link_type != far.link_type:
        what = f"{far.name} cannot be the peer of {near.name}"
        raise UsageError(Diagnostic("H0610", what, help="give another interface, with Ethernet frames"))

"""What a network interface is: number, name, kind, state. netdevice(7)."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from dataclasses import dataclass

from skep.diagnostics import Diagnostic
from skep.errors import EngineError, SkepError, UnsupportedError, UsageError
from skep.model.hooks import Interface

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFMTU, SIOCGIFHWADDR = 0x8913, 0x8914, 0x8921, 0x8927
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
NAME_BYTES = 16  # IFNAMSIZ
LINK_ETHERNET, LINK_RAW_IP = 1, 101

#: ARPHRD_* of interfaces whose packets programs can read: what their packets start with, as a capture's link type.
_LINK_TYPES = {1: LINK_ETHERNET, 772: LINK_ETHERNET, 65534: LINK_RAW_IP, 768: LINK_RAW_IP, 776: LINK_RAW_IP}


@dataclass(frozen=True, slots=True)
class Device:
    """An interface of the namespace that this thread is in."""

    name: str
    ifindex: int
    link_type: int
    mtu: int
    is_up: bool
    is_loopback: bool


def find_device(interface: Interface) -> Device:
    """Look an interface up.

    Raises:
        UsageError: H0601: there is none.
        UnsupportedError: H0602: its packets start with a header that programs cannot read.
    """
    name, ifindex = _name_and_index(interface)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        kind = struct.unpack_from("<H", _ask(asking, SIOCGIFHWADDR, name), NAME_BYTES)[0]
        flags = struct.unpack_from("<H", _ask(asking, SIOCGIFFLAGS, name), NAME_BYTES)[0]
        mtu = struct.unpack_from("<i", _ask(asking, SIOCGIFMTU, name), NAME_BYTES)[0]
    if kind not in _LINK_TYPES:
        what = f"packets of {name} have link headers of kind {kind} (ARPHRD), which programs cannot read"
        raise UnsupportedError(Diagnostic("H0602", what, help="use an interface with Ethernet or plain IP packets"))
    return Device(name, ifindex, _LINK_TYPES[kind], mtu, bool(flags & IFF_UP), bool(flags & IFF_LOOPBACK))


def exists(ifindex: int) -> bool:
    """Whether there is still an interface with this number."""
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return False
    return True


def set_up(name: str) -> None:
    """Bring an interface up; OSError if that is not permitted."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = bytearray(_ask(asking, SIOCGIFFLAGS, name))
        flags = struct.unpack_from("<H", answer, NAME_BYTES)[0]
        if not flags & IFF_UP:
            struct.pack_into("<H", answer, NAME_BYTES, flags | IFF_UP)
            fcntl.ioctl(asking.fileno(), SIOCSIFFLAGS, bytes(answer))


def not_permitted(what: str, needs: str, error: OSError) -> SkepError:
    """An error of the kernel's about rights, memory or options, as one of ours: H0603 to H0605."""
    reason = errno.errorcode.get(error.errno or 0, str(error.errno))
    if error.errno in (errno.EPERM, errno.EACCES):
        advice = "become root, or root of a namespace: unshare -Urn"
        return EngineError(Diagnostic("H0603", f"{what}: not permitted", why=(needs,), help=advice, kernel=reason))
    if error.errno in (errno.ENOMEM, errno.ENOBUFS):
        return EngineError(Diagnostic("H0604", f"{what}: no memory", help="ask for less ring_bytes", kernel=reason))
    return EngineError(Diagnostic("H0605", f"{what}: {error.strerror}", kernel=reason))


def _name_and_index(interface: Interface) -> tuple[str, int]:
    try:
        if isinstance(interface, int):
            return socket.if_indextoname(interface), interface
        return interface, socket.if_nametoindex(interface)
    except (OSError, OverflowError, ValueError):
        known = ", ".join(name for _, name in socket.if_nameindex()) or "none"
        what = f"there is no interface {interface!r} in this network namespace"
        raise UsageError(Diagnostic("H0601", what, why=(f"interfaces: {known}",), help="ip link lists them")) from None


def _ask(asking: socket.socket, request: int, name: str) -> bytes:
    return fcntl.ioctl(asking.fileno(), request, struct.pack("16s24x", name.encode()))

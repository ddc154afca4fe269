"""Single sockets: filters and reuseport selection through setsockopt (man socket(7), net/core/filter.c)."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any, Final

from skep.kernel.links.handle import Attached, PlainAttachment, name_of_program
from skep.kernel.links.places import Attachable, descriptor
from skep.kernel.links.refusals import explained
from skep.model.hooks import SkReuseport, SocketFilter

_ODD: Final = platform.machine().startswith(("mips", "parisc", "sparc", "alpha"))  # option numbers of their own
SOL_SOCKET: Final = 1
SO_ATTACH_BPF, SO_DETACH_FILTER = 50, 27
SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF = 52, 68


def attach_socket_filter(program: Attachable, hook: SocketFilter) -> Attached:
    """Filter what one socket receives; it goes with the socket."""
    return _attach(program, hook, SO_ATTACH_BPF, SO_DETACH_FILTER)


def attach_sk_reuseport(program: Attachable, hook: SkReuseport) -> Attached:
    """Choose among the sockets of a group; it goes with the group."""
    return _attach(program, hook, SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF)


def _attach(program: Attachable, hook: SocketFilter | SkReuseport, put_option: int, remove_option: int) -> Attached:
    place: Any = hook.socket
    descriptor(place, "socket")

    def put(fd: int) -> None:
        _set(descriptor(place, "socket"), put_option, fd)

    def remove(_: int) -> None:
        # A socket object that is closed has no descriptor any more; its filter went with it.
        fileno = getattr(place, "fileno", None)
        number = place if isinstance(place, int) else fileno() if callable(fileno) else -1
        if number >= 0:
            _set(number, remove_option, 0)

    with explained(hook, name_of_program(program)):
        if _ODD:
            raise OSError(95, "the option numbers of this architecture are not known")
        put(program.fd.number)
    return PlainAttachment(program, hook, replace=lambda _, new: put(new), remove=remove)


def _set(number: int, option: int, value: int) -> None:
    argument = ctypes.c_int(value)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setsockopt(number, SOL_SOCKET, option, ctypes.byref(argument), ctypes.sizeof(argument)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))

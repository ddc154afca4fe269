"""Descriptors and numbers of the places that hooks name: live things, interfaces, namespaces, cgroups."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from skep.diagnostics import Diagnostic
from skep.errors import EngineError, UsageError
from skep.kernel.fd import Fd
from skep.model.hooks import Interface, Netns
from skep.model.programs import LinkedProgram

CLONE_NEWNET: Final = 0x40000000
_OWN_NETNS: Final = "/proc/thread-self/ns/net"


class Attachable(Protocol):
    """What attaching needs of a program of the kernel engine."""

    @property
    def fd(self) -> Fd:
        """The loaded program."""

    @property
    def linked(self) -> LinkedProgram:
        """What it was loaded from."""


def descriptor(thing: Any, what: str) -> int:
    """The descriptor of a live map, program, link, socket, file or of a number that is one.

    Raises:
        UsageError: H0301, it has none, or it is closed.
    """
    if isinstance(thing, int):
        return thing
    inner = getattr(thing, "handle", thing)
    fd = getattr(inner, "fd", inner)
    if isinstance(fd, int):
        return fd
    fileno = getattr(fd, "fileno", None)
    number = fileno() if callable(fileno) else -1
    if not isinstance(number, int) or number < 0:
        raise UsageError(
            Diagnostic(
                "H0301",
                f"{type(thing).__name__} is not an open {what} of the kernel",
                help='give a live thing of engine="kernel", or the number of a descriptor',
            )
        )
    return number


def ifindex(interface: Interface) -> int:
    """The number of an interface of the current network namespace.

    Raises:
        EngineError: H0302, there is none of this name.
    """
    if isinstance(interface, int):
        return interface
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex()) or "none"
        raise EngineError(
            Diagnostic(
                "H0302",
                f"there is no interface '{interface}'",
                why=(f"interfaces of this network namespace: {names}",),
                help="`ip link` lists them; for another namespace give netns=",
            )
        ) from None


@contextmanager
def opened_netns(netns: Netns | None) -> Iterator[int]:
    """A descriptor of a network namespace (None: the current one).

    Raises:
        EngineError: H0303, it cannot be opened.
    """
    if isinstance(netns, int):
        yield netns
        return
    path = os.fspath(netns) if netns is not None else _OWN_NETNS
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(
            Diagnostic(
                "H0303",
                f"cannot open the network namespace '{path}': {error.strerror}",
                help="give a path such as /run/netns/NAME or /proc/PID/ns/net",
            )
        ) from None
    try:
        yield number
    finally:
        os.close(number)


@contextmanager
def inside(netns: Netns | None) -> Iterator[None]:
    """Do something in another network namespace; this thread comes back afterwards.

    Raises:
        EngineError: H0303, no such namespace; H0304, it may not be entered.
    """
    if netns is None:
        yield
        return
    with opened_netns(netns) as there, opened_netns(None) as here:
        _enter(there)
        try:
            yield
        finally:
            _enter(here)


def open_folder(path: str | Path | int, what: str) -> Fd:
    """An owned descriptor of a folder (a cgroup).

    Raises:
        EngineError: H0305, there is none.
    """
    try:
        if isinstance(path, int):
            return Fd(os.dup(path), what)
        return Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), what)
    except OSError as error:
        raise EngineError(
            Diagnostic("H0305", f"cannot open {what} '{path}': {error.strerror}", help="give the path of its folder")
        ) from None


def cgroup_mount() -> Path | None:
    """Where cgroup v2 is mounted; None: nowhere."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return None
    fields = (line.split() for line in lines)
    return next((Path(words[1]) for words in fields if len(words) > 2 and words[2] == "cgroup2"), None)


def _enter(netns: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(netns, CLONE_NEWNET) < 0:
        number = ctypes.get_errno()
        raise EngineError(
            Diagnostic(
                "H0304",
                f"cannot enter the network namespace: {os.strerror(number)}",
                help="this needs CAP_SYS_ADMIN" if number == errno.EPERM else None,
            )
        )

"""Network namespaces for tests: each lives as long as the thread that runs the test, and takes its interfaces with it.

unshare(CLONE_NEWNET) moves only the calling thread, and the threads and processes that it starts. Nothing of the
machine's own network is seen or touched, and nothing is left, however the test ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3


def new_namespace() -> None:
    """Move this thread into a network namespace of its own, without IPv6 noise."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        pytest.skip(f"unshare(CLONE_NEWNET): {os.strerror(ctypes.get_errno())} (needs root)")
    disable_ipv6()


def disable_ipv6() -> None:
    """No neighbour discovery on the interfaces that this namespace will have: only packets of the test."""
    for scope in ("default", "all"):
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")


def in_namespace(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run a test in a thread with a network namespace of its own."""

    @functools.wraps(test)
    def wrapper(*words: Any, **named: Any) -> None:
        outcome: list[BaseException] = []

        def body() -> None:
            try:
                new_namespace()
                test(*words, **named)
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if outcome:
            raise outcome[0]

    return wrapper


def ip(*words: str) -> None:
    """iproute2's ip, in this thread's namespace."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def make_veth(one: str = "va", other: str = "vb", *, up: bool = True) -> None:
    """A pair of connected Ethernet devices."""
    if shutil.which("ip") is None:
        pytest.skip("no ip command here (iproute2)")
    words = ["ip", "link", "add", one, "type", "veth", "peer", "name", other]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode and "Unknown device type" in made.stderr:
        pytest.skip("this kernel has no veth devices (CONFIG_VETH)")
    made.check_returncode()
    if up:
        ip("link", "set", one, "up")
        ip("link", "set", other, "up")


def wire(interface: str) -> socket.socket:
    """A raw socket on an interface, to put packets in and take them out; 2 s timeout."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    opened.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
    opened.bind((interface, ETH_P_ALL))
    opened.settimeout(2)
    return opened


def frame(number: int, size: int = 60, kind: bytes = b"\x88\xb5") -> bytes:
    """An Ethernet frame of the local experimental type with a number in it."""
    return (b"\xff" * 6 + b"\x02\0\0\0\0\x01" + kind + number.to_bytes(4, "big")).ljust(size, b"\0")


def number_of(packet: bytes) -> int:
    """The number in a frame of :func:`frame`."""
    return int.from_bytes(packet[14:18], "big")


def received(opened: socket.socket, wanted: int) -> list[bytes]:
    """So many packets, or as many as come within the timeout."""
    found = []
    with contextlib.suppress(TimeoutError):
        while len(found) < wanted:
            found.append(opened.recv(1 << 17))
    return found

"""A flood of packets into a veth pair, in a network namespace of the bench's own, from one thread on one core.

veth hands packets over on the sender's core, so what a program costs there is what the flood becomes slower.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from rich.console import Console

CLONE_NEWNET = 0x40000000
BATCH = 64
_MESSAGE = 64  # bytes of struct mmsghdr


class Flood:
    """Frames that are sent over and over by sendmmsg(2), as fast as one thread can."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        """``frames``: at least one; they are sent in their order."""
        frames = list(frames) * -(-BATCH // len(frames)) if len(frames) < BATCH else list(frames)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._data = [ctypes.create_string_buffer(frame, len(frame)) for frame in frames]
        self._pieces = (ctypes.c_uint64 * (2 * len(frames)))()
        self._messages = (ctypes.c_uint64 * (_MESSAGE // 8 * len(frames)))()
        for number, data in enumerate(self._data):
            self._pieces[2 * number], self._pieces[2 * number + 1] = ctypes.addressof(data), len(data)
            at = _MESSAGE // 8 * number  # struct msghdr: name, namelen, iov, iovlen, ...
            self._messages[at + 2], self._messages[at + 3] = ctypes.addressof(self._pieces) + 16 * number, 1

    def send(self, interface: str, count: int = 1 << 62, seconds: float = 1e9) -> int:
        """Send until so many are sent or so much time is over; how many went out."""
        end, sent, next_frame, frames = time.perf_counter() + seconds, 0, 0, len(self._data)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
            opened.bind((interface, 0))
            while sent < count and time.perf_counter() < end:
                batch = min(BATCH, count - sent, frames - next_frame)
                at = ctypes.addressof(self._messages) + _MESSAGE * next_frame
                done = self._libc.sendmmsg(opened.fileno(), ctypes.c_void_p(at), batch, 0)
                if done < 0:
                    raise OSError(ctypes.get_errno(), "sendmmsg")
                sent += done
                next_frame = (next_frame + done) % frames
        return sent

    def ns_per_packet(self, interface: str, seconds: float, rounds: int = 3) -> float:
        """Of the sender's core, all that the packets meet there included; the best of some rounds."""
        found = []
        for _ in range(rounds):
            started = time.perf_counter()
            sent = self.send(interface, seconds=seconds)
            found.append((time.perf_counter() - started) / sent * 1e9)
        return min(found)


def in_namespace(console: Console, measure: Callable[[], None]) -> None:
    """Run ``measure`` in a thread with a network namespace of its own, with a veth pair va, vb. Needs root."""
    failed: list[BaseException] = []

    def body() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            console.print(f"left out: unshare(CLONE_NEWNET): {os.strerror(ctypes.get_errno())}: needs root")
            return
        try:
            for words in ("link add va type veth peer name vb", "link set va up", "link set vb up"):
                subprocess.run(["ip", *words.split()], check=True)
            measure()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]

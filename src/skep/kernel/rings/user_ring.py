"""The user ring buffer (6.1): records from user space to programs, which take them with bpf_user_ringbuf_drain()."""

from __future__ import annotations

import errno
import mmap
import os
import select
import struct
import threading
import time
from typing import Final

from skep.kernel.rings.fence import fence
from skep.kernel.rings.ringbuf import HEADER

_HEADER: Final = struct.Struct("=II")


class UserRing:
    """The writer of a user ring buffer map; threads may share it.

    Args:
        fd: the map's descriptor (not owned).
        size: its max_entries: bytes of data, a power of two.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._size = size
        page = mmap.PAGESIZE
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ)
        try:
            self._producer_map = mmap.mmap(
                fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=page
            )
        except OSError:
            self._consumer_map.close()
            raise
        self._consumer = memoryview(self._consumer_map)[:8].cast("Q")
        whole = memoryview(self._producer_map)
        self._producer = whole[:8].cast("Q")
        self._data = whole[page:]
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def submit(self, record: bytes, timeout: float | None = 0) -> bool:
        """Leave a record for programs.

        Args:
            timeout: seconds to wait for room (None: for ever). The kernel wakes a waiter when a program drains.

        Returns:
            False: there was no room.

        Raises:
            OSError: E2BIG, it never fits.
        """
        total = (len(record) + HEADER + 7) & ~7
        if total > self._size:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._put(record, total):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._poll.poll(None if left is None else max(1, left * 1000))
        return True

    def _put(self, record: bytes, total: int) -> bool:
        with self._lock:
            position = self._producer[0]
            taken = position - self._consumer[0]
            fence()
            if self._size - taken < total:
                return False
            at = position & (self._size - 1)
            self._data[at + HEADER : at + HEADER + len(record)] = record
            _HEADER.pack_into(self._data, at, len(record), 0)
            fence()
            self._producer[0] = position + total
            return True

    def close(self) -> None:
        """Unmap it; a second call does nothing."""
        if self._consumer_map.closed:
            return
        for view in (self._consumer, self._producer, self._data):
            view.release()
        self._consumer_map.close()
        self._producer_map.close()

"""The ring buffer (5.8, kernel/bpf/ringbuf.c): one for all CPUs, in the order in which programs reserved.

Memory: one page with the consumer's position (ours to write), one with the producer's, then the data twice in a row, so
that a record is never split. A record is a header (length with two flags, page offset), then its bytes, padded to 8.
"""

from __future__ import annotations

import mmap
import select
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from skep.engine import FixedRecords
from skep.kernel.rings.fence import fence

BUSY, DISCARD, LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
HEADER: Final = 8
_HEADER: Final = struct.Struct("=I")
_FIRST_WINDOW: Final = 256  # records whose headers are compared at once; four times as many while all are alike
_BUSY_PAUSE_S: Final = 0.0005


class RingBuffer:
    """The reader of a ring buffer map. Only one can take records; threads of this process may share it.

    Args:
        fd: the map's descriptor (not owned).
        size: its max_entries: bytes of data, a power of two.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._mask = size - 1
        page = mmap.PAGESIZE
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        try:
            self._producer_map = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except OSError:
            self._consumer_map.close()
            raise
        self._consumer = memoryview(self._consumer_map)[:8].cast("Q")
        whole = memoryview(self._producer_map)
        self._producer = whole[:8].cast("Q")
        self._data = whole[page:]
        self._words = self._data.cast("I")
        self._position = self._consumer[0]
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def fileno(self) -> int:
        """Readable when there are records."""
        return self._fd

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are not taken yet, headers included."""
        return int(self._producer[0] - self._position)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a record is ready, at most ``timeout`` seconds (None: for ever)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._is_ready():
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            if self._poll.poll(None if left is None else max(left * 1000, 1)) and not self._is_ready():
                time.sleep(_BUSY_PAUSE_S)  # a program is still writing the first record

    def _is_ready(self) -> bool:
        position = self._position
        if self._producer[0] == position:
            return False
        fence()
        return not self._words[(position & self._mask) // 4] & BUSY

    def drain(self) -> list[bytes]:
        """Take all records that are ready, as they are at the time of the call."""
        places: list[tuple[int, int]] = []
        with self._lock:
            data, words, mask = self._data, self._words, self._mask
            position, end = self._position, self._producer[0]
            fence()
            while position < end:
                at = position & mask
                header = words[at >> 2]
                if header & BUSY:
                    break
                length = header & LENGTH
                if not header & DISCARD:
                    places.append((at + HEADER, at + HEADER + length))
                position += (length + HEADER + 7) & ~7
            fence()  # every header was read before any of the bytes
            found = [bytes(data[start:stop]) for start, stop in places]
            self._advance(position)
        return found

    def drain_fixed(self, size: int) -> FixedRecords:
        """Take all records that are ready; those of ``size`` bytes as one block, without a look at each."""
        stride = (size + HEADER + 7) & ~7
        blocks: list[bytes] = []
        others: list[bytes] = []
        count = 0
        with self._lock:
            position, end = self._position, self._producer[0]
            fence()
            while position < end:
                run = position  # records that are alike are copied at once, when the first different one is met
                window = _FIRST_WINDOW
                while wanted := min((end - position) // stride, window):
                    alike = self._count_alike(position & self._mask, stride, size, wanted)
                    position += alike * stride
                    if alike < wanted:
                        break
                    window *= 4
                if position > run:
                    fence()
                    at = run & self._mask
                    blocks.append(bytes(self._data[at : at + position - run]))
                    count += (position - run) // stride
                    continue
                at = position & self._mask
                header = self._words[at // 4]
                length = header & LENGTH
                if header & BUSY:
                    break
                if length == size and not header & DISCARD:
                    continue  # it became ready in the meantime
                if not header & DISCARD:
                    fence()
                    others.append(bytes(self._data[at + HEADER : at + HEADER + length]))
                position += (length + HEADER + 7) & ~7
            self._advance(position)
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        return FixedRecords(data, count, stride, HEADER, tuple(others))

    @contextmanager
    def borrow_fixed(self, size: int) -> Iterator[FixedRecords]:
        """The records of ``size`` bytes that are ready, in place, without a copy; given back at the end of the block.

        Ends at the first record of another size (drain_fixed() takes those). The memory must not be used afterwards:
        programs write new records into it.
        """
        stride = (size + HEADER + 7) & ~7
        with self._lock:
            position, end = self._position, self._producer[0]
            fence()
            at = position & self._mask
            count = self._count_alike(at, stride, size, (end - position) // stride)
            fence()
            yield FixedRecords(self._data[at : at + count * stride], count, stride, HEADER)
            self._advance(position + count * stride)

    def _count_alike(self, at: int, stride: int, size: int, wanted: int) -> int:
        """How many records from here are finished and of this size."""
        if not wanted:
            return 0
        start, stop, step = at // 4, at // 4 + (wanted - 1) * (stride // 4) + 1, stride // 4
        numpy = sys.modules.get("numpy")  # compares faster, where the reader wants arrays anyway
        if numpy is not None:
            alike = numpy.frombuffer(self._words, numpy.uint32)[start:stop:step] == size
            first_other = int(alike.argmin())
            return wanted if alike[first_other] else first_other
        headers = self._words[start:stop:step].tobytes()
        expected = _HEADER.pack(size)
        if headers == expected * wanted:
            return wanted
        low, high = 0, wanted  # the first that differs, by halving
        while low < high:
            middle = (low + high + 1) // 2
            if headers[4 * low : 4 * middle] == expected * (middle - low):
                low = middle
            else:
                high = middle - 1
        return low

    def _advance(self, position: int) -> None:
        """Give the space back to programs; nothing of it is read any more."""
        if position != self._position:
            fence()
            self._consumer[0] = self._position = position

    def close(self) -> None:
        """Unmap it; a second call does nothing. Arrays over borrowed records keep the memory until they go."""
        if self._consumer_map.closed:
            return
        self._consumer.release()
        self._consumer_map.close()
        try:
            for view in (self._producer, self._words, self._data):
                view.release()
            self._producer_map.close()
        except BufferError:
            pass  # somebody holds a view

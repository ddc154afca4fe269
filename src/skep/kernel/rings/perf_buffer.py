"""The perf buffer (4.4): one ring for each CPU, made of perf events (include/uapi/linux/perf_event.h)."""

from __future__ import annotations

import fcntl
import mmap
import select
import struct
import threading
from collections.abc import Iterator
from typing import Final

from skep.engine import FixedRecords
from skep.kernel.bpf import maps
from skep.kernel.fd import Fd
from skep.kernel.links.perf import IOC_ENABLE, TYPE_SOFTWARE, Event, open_event
from skep.kernel.links.perf_event import online_cpus
from skep.kernel.rings.fence import fence

_BPF_OUTPUT: Final = 10  # PERF_COUNT_SW_BPF_OUTPUT
_SAMPLE_RAW: Final = 1 << 10  # PERF_SAMPLE_RAW
RECORD_LOST, RECORD_SAMPLE = 2, 9
_HEADER: Final = struct.Struct("=IHH")  # type, misc, size
_RAW_AT: Final = 12  # header, then the size of the raw bytes
_HEAD_AT, _TAIL_AT = 1024, 1032  # data_head and data_tail in struct perf_event_mmap_page
DEFAULT_PAGES: Final = 64


class CpuRing:
    """The ring of one CPU."""

    def __init__(self, cpu: int, pages: int, wakeup_events: int) -> None:
        self.cpu = cpu
        self.lost = 0
        self.event: Fd = open_event(
            Event(TYPE_SOFTWARE, _BPF_OUTPUT, sample_type=_SAMPLE_RAW, period=1, wakeup_events=wakeup_events, cpu=cpu)
        )
        try:
            self._size = pages * mmap.PAGESIZE
            self._map = mmap.mmap(self.event.number, self._size + mmap.PAGESIZE)
            fcntl.ioctl(self.event.number, IOC_ENABLE, 0)
        except OSError:
            self.event.close()
            raise
        whole = memoryview(self._map)
        self._head = whole[_HEAD_AT : _HEAD_AT + 8].cast("Q")
        self._tail = whole[_TAIL_AT : _TAIL_AT + 8].cast("Q")
        self._data = whole[mmap.PAGESIZE :]

    def take(self) -> bytes:
        """Everything that is there, in one piece; the space is given back."""
        head, tail = self._head[0], self._tail[0]
        if head == tail:
            return b""
        fence()
        start, end = tail % self._size, head % self._size
        data = self._data
        taken = bytes(data[start:end]) if start < end else b"".join((data[start:], data[:end]))
        fence()
        self._tail[0] = head
        return taken

    def records(self, taken: bytes) -> Iterator[bytes]:
        """The samples of what was taken; lost ones are counted."""
        at = 0
        while at + _HEADER.size <= len(taken):
            kind, _, size = _HEADER.unpack_from(taken, at)
            if size < _HEADER.size:
                return
            if kind == RECORD_SAMPLE:
                (length,) = struct.unpack_from("=I", taken, at + 8)
                yield taken[at + _RAW_AT : at + _RAW_AT + length]
            elif kind == RECORD_LOST:
                self.lost += struct.unpack_from("=Q", taken, at + 16)[0]
            at += size

    def close(self) -> None:
        """Unmap and close it."""
        for view in (self._head, self._tail, self._data):
            view.release()
        self._map.close()
        self.event.close()


class PerfBuffer:
    """The reader of a perf event array. Records of one CPU are in order, those of several are not.

    Sizes: the kernel pads a record so that 4 + its size is a multiple of 8; the padding is part of what is read.

    Args:
        fd: the map's descriptor; its slots are filled with our events.
        pages: of each CPU's ring, a power of two.
        wakeup_events: wake who waits after so many records.
    """

    def __init__(self, fd: int, slots: int, pages: int = DEFAULT_PAGES, wakeup_events: int = 1) -> None:
        self._rings: list[CpuRing] = []
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        try:
            for cpu in online_cpus():
                if cpu >= slots:
                    continue
                ring = CpuRing(cpu, pages, wakeup_events)
                self._rings.append(ring)
                self._epoll.register(ring.event.number, select.EPOLLIN)
                maps.update(fd, struct.pack("=I", cpu), struct.pack("=I", ring.event.number))
        except OSError:
            self.close()
            raise

    @property
    def lost(self) -> int:
        """Records that did not fit, as far as they were read of."""
        return sum(ring.lost for ring in self._rings)

    def fileno(self) -> int:
        """Readable when there are records."""
        return self._epoll.fileno()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for records, at most ``timeout`` seconds (None: for ever)."""
        return bool(self._epoll.poll(timeout))

    def drain(self) -> list[bytes]:
        """Take all records, CPU by CPU."""
        with self._lock:
            return [record for ring in self._rings for record in ring.records(ring.take())]

    def drain_fixed(self, size: int) -> FixedRecords:
        """Take all records; those of ``size`` bytes (and padding) as one block."""
        padded = ((size + 4 + 7) & ~7) - 4
        stride = _RAW_AT + padded
        sample = _HEADER.pack(RECORD_SAMPLE, 0, stride)
        blocks: list[bytes] = []
        others: list[bytes] = []
        with self._lock:
            for ring in self._rings:
                taken = ring.take()
                count = len(taken) // stride
                if count * stride == len(taken) and _all_alike(taken, sample, stride):
                    blocks.append(taken)
                    continue
                for record in ring.records(taken):
                    if len(record) == padded:
                        blocks.append(bytes(_RAW_AT) + record)
                    else:
                        others.append(record)
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        return FixedRecords(data, len(data) // stride, stride, _RAW_AT, tuple(others))

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        rings, self._rings = self._rings, []
        for ring in rings:
            ring.close()
        self._epoll.close()


def _all_alike(taken: bytes, header: bytes, stride: int) -> bool:
    """Whether every record starts with this header: types at 0, sizes at 6, compared in C."""
    shorts = memoryview(taken).cast("H")
    step = stride // 2
    return all(
        shorts[field::step].tobytes() == header[2 * field : 2 * field + 2] * (len(taken) // stride)
        for field in (0, 1, 3)
    )

"""Handles of the maps that carry records (skep.engine.RecordSource, RecordSink)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from skep.abi.map_types import MapType
from skep.diagnostics import Diagnostic
from skep.engine import FixedRecords
from skep.errors import MapError
from skep.kernel.maps.handle import KernelMap
from skep.kernel.rings.perf_buffer import DEFAULT_PAGES, PerfBuffer
from skep.kernel.rings.ringbuf import RingBuffer
from skep.kernel.rings.user_ring import UserRing


class RecordKernelMap(KernelMap):
    """A map that gives records. Its memory is mapped when it is first read, or by open()."""

    _reader: RingBuffer | PerfBuffer | None = None

    def reader(self) -> RingBuffer | PerfBuffer:
        """The reader, made now if there is none.

        Raises:
            MapError: M0301, it cannot be mapped.
        """
        if self._reader is None:
            try:
                self._reader = self._open()
            except OSError as error:
                raise _unmappable(self.spec.name, error) from None
        return self._reader

    def _open(self) -> RingBuffer | PerfBuffer:
        return RingBuffer(self.fd.number, self.spec.max_entries)

    @property
    def lost(self) -> int:
        """Records that did not fit. Ring buffers do not tell: the program sees it when it reserves."""
        return 0

    def fileno(self) -> int:
        """Readable when records are ready."""
        return self.reader().fileno()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for records, at most ``timeout`` seconds (None: for ever)."""
        return self.reader().wait(timeout)

    def drain(self) -> list[bytes]:
        """Take all records that are ready."""
        return self.reader().drain()

    def drain_fixed(self, size: int) -> FixedRecords:
        """Take all records that are ready; those of one size as one block."""
        return self.reader().drain_fixed(size)

    def records(self) -> Iterator[bytes]:
        """Take all records that are ready."""
        return iter(self.drain())

    def close(self) -> None:
        """Unmap it and give the descriptor back."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        super().close()


class PerfArrayMap(RecordKernelMap):
    """A perf event array: programs write into a ring for each CPU, once open() or a first read has made them."""

    def open(self, pages: int = DEFAULT_PAGES, wakeup_events: int = 1) -> None:
        """Make the rings now. ``pages``: of each, a power of two; ``wakeup_events``: records until a waiter wakes."""
        if self._reader is None:
            try:
                self._reader = PerfBuffer(self.fd.number, self._slots(), pages, wakeup_events)
            except OSError as error:
                raise _unmappable(self.spec.name, error) from None

    def _open(self) -> RingBuffer | PerfBuffer:
        return PerfBuffer(self.fd.number, self._slots())

    def _slots(self) -> int:
        return int(self.info().max_entries)

    @property
    def lost(self) -> int:
        """Records that did not fit, as far as they were read of."""
        return self._reader.lost if isinstance(self._reader, PerfBuffer) else 0


class UserRingMap(KernelMap):
    """A user ring buffer: we write, programs read."""

    _writer: UserRing | None = None

    def submit(self, record: bytes, timeout: float | None = 0) -> bool:
        """Leave a record for programs; False if there is no room within ``timeout`` seconds (None: for ever).

        Raises:
            MapError: M0301, it cannot be mapped; M0302, the record is longer than the whole ring.
        """
        try:
            if self._writer is None:
                self._writer = UserRing(self.fd.number, self.spec.max_entries)
        except OSError as error:
            raise _unmappable(self.spec.name, error) from None
        try:
            return self._writer.submit(record, timeout)
        except OSError as error:
            what = f"a record of {len(record)} bytes never fits into map '{self.spec.name}'"
            raise MapError(Diagnostic("M0302", what, help="make max_entries larger"), error.errno or 0) from None

    def close(self) -> None:
        """Unmap it and give the descriptor back."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        super().close()


def _unmappable(name: str, error: OSError) -> MapError:
    what = f"the records of map '{name}' cannot be read: {error.strerror}"
    help = "as root, or with CAP_PERFMON and memory that may be locked (ulimit -l)"
    return MapError(Diagnostic("M0301", what, help=help), error.errno or 0)


RECORD_MAPS: Final[Mapping[MapType, type[KernelMap]]] = {
    MapType.RINGBUF: RecordKernelMap,
    MapType.PERF_EVENT_ARRAY: PerfArrayMap,
    MapType.USER_RINGBUF: UserRingMap,
}

"""Capture files as bytes: opening, decompressing, feeding the native reader, its errors. Never more than a few MiB."""

from __future__ import annotations

import ctypes
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from skep.diagnostics import Diagnostic
from skep.errors import CaptureError, SkepError, UnsupportedError, UsageError
from skep.vm.hooks.layout import Capture, Interface, Record
from skep.vm.runtime import runtime

CHUNK = 2 << 20  # larger than CAPTURE_MAX_BLOCK in native/capture.c, so that every record fits
STEP = 256 << 10  # read at a time: packets are still in the cache when the program sees them
MAX_INTERFACES = 4096
_GZIP_MAGIC = b"\x1f\x8b"
_LIST = 1024

#: enum capture_error of native/capture.c: code, what, help. {value}: what was found.
_ERRORS: dict[int, tuple[str, str, str]] = {
    1: ("H0102", "it is not a capture: it starts with {value:#010x}", "give a pcap or pcapng file"),
    2: ("H0103", "it ends in the middle of a record", "the capture was cut: write it again, or repair it with editcap"),
    3: ("H0104", "a packet of {value} bytes is longer than a packet can be", "the file is damaged: capture it again"),
    4: ("H0105", "a block has the impossible length {value}", "the file is damaged: capture it again"),
    5: ("H0106", "a packet names interface {value}, which was not described", "the file is damaged: capture it again"),
    6: ("H0107", "its section header has version or byte order {value:#x}", "convert it: editcap -F pcap in out"),
    7: ("H0108", "a packet of {value} bytes is longer than its block", "the file is damaged: capture it again"),
    8: ("H0109", "a section describes more than {value} interfaces", "split it with editcap"),
    9: (
        "H0110",
        "its packets have different link types",
        "a pcap holds one: split it with editcap, or leave out --out",
    ),
    10: ("H0111", "its link type is {value}", "programs see Ethernet (1) or IP packets (101, 228, 229): convert it"),
    11: ("H0112", "an interface counts time in units {value:#x}", "convert it with editcap"),
}
_BAD_LINK = 10


class CaptureFile:
    """A capture, plain or gzip, in the native reader's buffer, piece by piece."""

    def __init__(self, path: str | Path) -> None:
        """Open it.

        Raises:
            UsageError: H0101: it cannot be opened.
        """
        self.path = Path(path)
        self._file = _open(self.path)
        self._buffer = ctypes.create_string_buffer(CHUNK)
        self._view = memoryview(self._buffer).cast("B")
        self._interfaces = (Interface * MAX_INTERFACES)()
        self.state = Capture(
            buffer=ctypes.addressof(self._buffer),
            interfaces=ctypes.addressof(self._interfaces),
            max_interfaces=MAX_INTERFACES,
        )
        info = os.fstat(self._file.fileno())
        self.total = info.st_size if stat.S_ISREG(info.st_mode) else 0
        self.done = 0  # bytes of the file that were read
        self._gzip: zlib._Decompress | None = None
        self._started = False
        self._at_end = False

    def __enter__(self) -> CaptureFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def refill(self) -> bool:
        """Read more behind what the reader has not used. False: there was nothing more and nothing has changed."""
        state = self.state
        if self._at_end and state.at_end:
            return False
        left = state.length - state.position
        if left and state.position:
            ctypes.memmove(state.buffer, state.buffer + state.position, left)
        state.file_offset += state.position
        state.position, state.length = 0, left
        try:
            self._fill()
        except OSError as error:
            what = f"{self.path} cannot be read: {error.strerror}"
            raise CaptureError(Diagnostic("H0113", what, help="check the disk")) from error
        state.at_end = self._at_end
        return True

    def _fill(self) -> None:
        state = self.state
        if not self._started:
            self._started = True
            head = self._file.read(len(_GZIP_MAGIC))
            self.done += len(head)
            if head == _GZIP_MAGIC:
                self._gzip = zlib.decompressobj(wbits=31)
                self._pending = head
            else:
                self._view[: len(head)] = head
                state.length += len(head)
        end = min(state.length + STEP, CHUNK)
        while state.length < end and not self._at_end:
            n = self._read_gzip() if self._gzip is not None else self._file.readinto(self._view[state.length : end])  # type: ignore[attr-defined]
            if self._gzip is None:
                self.done += n
                self._at_end = n == 0
            state.length += n

    def _read_gzip(self) -> int:
        """Decompress some bytes into the buffer; memory stays bounded whatever the file says."""
        assert self._gzip is not None
        if self._gzip.eof:  # another member may follow
            rest = self._gzip.unused_data or self._file.read(1 << 16)
            self.done += 0 if self._gzip.unused_data else len(rest)
            if not rest.startswith(_GZIP_MAGIC):
                self._at_end = True
                return 0
            self._gzip, self._pending = zlib.decompressobj(wbits=31), rest
        if not self._pending:
            self._pending = self._file.read(1 << 16)
            self.done += len(self._pending)
            if not self._pending:
                raise self._broken_gzip("it ends in the middle")
        try:
            out = self._gzip.decompress(self._pending, CHUNK - self.state.length)
        except zlib.error as error:
            raise self._broken_gzip(str(error)) from error
        self._pending = self._gzip.unconsumed_tail
        self._view[self.state.length : self.state.length + len(out)] = out
        return len(out)

    def _broken_gzip(self, why: str) -> CaptureError:
        what = f"{self.path}: the gzip data is damaged after byte {self.done}"
        return CaptureError(Diagnostic("H0114", what, why=(why,), help="compress the capture again"))

    def error(self) -> SkepError:
        """What the native reader found wrong."""
        state = self.state
        code, what, advice = _ERRORS[state.error]
        where = f"at byte {state.error_offset}" + (" of the uncompressed file" if self._gzip is not None else "")
        number = state.packets if state.error in (9, _BAD_LINK) else state.packets + 1
        why = f"packet {number}, {where}"
        text = f"{self.path}: {what.format(value=state.error_value)}"
        kind = UnsupportedError if state.error == _BAD_LINK else CaptureError
        return kind(Diagnostic(code, text, why=(why,), help=advice))


def _open(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a directory")
        return open(path, "rb", buffering=0)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        what = f"the capture {path} cannot be opened: {reason}"
        raise UsageError(Diagnostic("H0101", what, help="check the name of the file")) from error


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of a capture. ``original`` is its length on the wire, ``data`` what was kept of it."""

    time_ns: int
    data: bytes
    original: int
    link_type: int
    interface: int


def read_packets(path: str | Path) -> Iterator[Packet]:
    """The packets of a capture, for looking at them; programs run in the native loop instead (hooks.pcap).

    Raises:
        UsageError: it cannot be opened.
        CaptureError: it is broken; packets before the broken place were given.
    """
    records = (Record * _LIST)()
    fill = runtime().functions["skep_capture_list"]
    with CaptureFile(path) as capture:
        while True:
            n = fill(ctypes.addressof(capture.state), ctypes.addressof(records), _LIST)
            for record in records[:n]:
                data = ctypes.string_at(record.data, record.captured) if record.captured else b""
                yield Packet(record.time_ns, data, record.original, record.link_type, record.interface)
            if capture.state.error:
                raise capture.error()
            if n < _LIST and not capture.refill():
                return

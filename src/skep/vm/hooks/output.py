"""Where packets that pass are written: nowhere, a pcap file that appears whole or not at all, or a PacketWriter."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.model.hooks import PacketWriter
from skep.vm.hooks.layout import Capture, Output

Out = str | Path | PacketWriter | None

_MAX_PACKET, _SKB_MAX = 262144, 65536
_ROOM = _MAX_PACKET + 2 * _SKB_MAX  # OUTPUT_ROOM in native/loops.c: with less left, the loop wants the buffer emptied
_BUFFER = 1 << 20
_ETHERNET = 1


class Sink:
    """Takes what native loops put into their output buffers: nowhere.

    Attributes:
        size: bytes that a buffer must have; 0: none is wanted.
        blocks, snaplen: as in struct skep_output.
    """

    size = 0
    blocks = 0
    snaplen = 0

    def prepare(self, output: Output) -> None:
        """Make the buffer empty, with as much room as there may be before the next take()."""

    def take(self, output: Output, state: Capture) -> None:
        """Write what is in the buffer, and make it empty."""

    def finish(self, state: Capture) -> None:
        """These were the last packets."""


def _content(output: Output) -> memoryview:
    return memoryview((ctypes.c_char * output.length).from_address(output.buffer)).cast("B")


class PcapFile(Sink):
    """A classic pcap, little-endian; its header tells link type and clock of the first packet."""

    size = _BUFFER

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._headed = False

    def take(self, output: Output, state: Capture) -> None:
        """Write packets, and the header before the first."""
        if output.length:
            self._head(state)
            self._put(_content(output))
        self.prepare(output)

    def prepare(self, output: Output) -> None:
        output.length, output.capacity = 0, _BUFFER

    def finish(self, state: Capture) -> None:
        """A file without packets has a header, too."""
        self._head(state)

    def _head(self, state: Capture) -> None:
        if self._headed:
            return
        self._headed = True
        magic = 0xA1B23C4D if state.nanoseconds else 0xA1B2C3D4
        link_type = state.link_type if state.packets or state.format == 1 else _ETHERNET
        self._put(struct.pack("<IHHiIII", magic, 2, 4, 0, 0, _MAX_PACKET, link_type))

    def _put(self, left: memoryview | bytes) -> None:
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            raise _not_writable(self._path, error) from error


class BlockWriter(Sink):
    """Blocks of a pcapng for a PacketWriter, which decides when a file is full."""

    size = _BUFFER
    blocks = 1

    def __init__(self, writer: PacketWriter) -> None:
        self._writer = writer
        self.snaplen = writer.snaplen

    def prepare(self, output: Output) -> None:
        """The loop stops as soon as less than _ROOM is left: after as many bytes as the writer has room for."""
        output.length = 0
        output.capacity = min(_BUFFER, _ROOM + max(self._writer.room(), 0))

    def take(self, output: Output, state: Capture) -> None:
        if output.length:
            self._writer.write(_content(output), int(state.link_type))
        self.prepare(output)


def check_output(out: Out) -> None:
    """Before anything starts: can it be written?

    Raises:
        UsageError: H0202.
    """
    if not isinstance(out, str | Path):
        return
    directory = Path(out).absolute().parent
    if not directory.is_dir() or Path(out).is_dir():
        what = f"the output {out} cannot be written: {directory} is not a directory"
        if directory.is_dir():
            what = f"the output {out} is a directory"
        raise UsageError(Diagnostic("H0202", what, help="name a file in a directory that exists"))


def _not_writable(path: Path, error: OSError) -> UsageError:
    what = f"the output {path} cannot be written: {error.strerror}"
    return UsageError(Diagnostic("H0202", what, help="check the disk and the directory's permissions"))


@contextlib.contextmanager
def opened_output(out: Out) -> Iterator[Sink]:
    """A sink; a file appears under its name when the with block ends well, and leaves nothing behind otherwise.

    What is there and is not a regular file (a device, a pipe) is written to directly.
    """
    if out is None:
        yield Sink()
    elif isinstance(out, str | Path):
        with _pcap_file(Path(out)) as sink:
            yield sink
    else:
        yield BlockWriter(out)


@contextlib.contextmanager
def _pcap_file(path: Path) -> Iterator[Sink]:
    try:
        special = not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        special = False
    target = path if special else path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | (0 if special else os.O_CREAT | os.O_EXCL)
    try:
        fd = os.open(target, flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _not_writable(path, error) from error
    try:
        try:
            yield PcapFile(fd, path)
        finally:
            os.close(fd)
        if not special:
            try:
                os.replace(target, path)
            except OSError as error:
                raise _not_writable(path, error) from error
    except BaseException:
        if not special:
            with contextlib.suppress(OSError):
                os.unlink(target)
        raise

"""A capture's files: each is whole or not there; a new one when the old one is full or old enough."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import skep
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.tools.capture.pcapng import Counts, interface_block, section_block, statistics_block

STDOUT = "-"
_ETHERNET = 1
_MAX_ROOM = 1 << 40


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a new file begins; 0: never.

    Attributes:
        bytes: as soon as a file has so many; the packet that reaches them is its last.
        seconds: with the first packet that comes so long after the file's begin.
        keep: how many files are left; older ones are removed. 0: all.
    """

    bytes: int = 0
    seconds: float = 0
    keep: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether there may be more than one file."""
        return bool(self.bytes or self.seconds)


class CaptureFiles:
    """A PacketWriter that makes pcapng files. With rotation, ``name.pcapng`` becomes ``name-00001.pcapng`` and so on.

    Leaving its with block without an exception finishes the last file. With one, the file that was being written is
    removed; files that were finished before stay.

    Attributes:
        files: the finished ones, oldest first.
        counts: asked when a file ends; (packets seen, lost, passed) so far.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        snaplen: int = 0,
        rotation: Rotation | None = None,
        interface: str = "",
        expression: str = "",
        link_type: int = _ETHERNET,
    ) -> None:
        """Args:
            path: the file, or ``-``: standard output.
            snaplen: bytes of each packet to keep; 0: all.
            interface, expression: written into the file.
            link_type: of a file without packets.

        Raises:
            UsageError: U0601: rotation that cannot be; U0602: no such folder.
        """
        self.snaplen = snaplen
        self.files: list[Path] = []
        self.counts: Callable[[], tuple[int, int, int]] = lambda: (0, 0, 0)
        self._rotation = rotation or Rotation()
        self._to_stdout = str(path) == STDOUT
        self._path = Path(path)
        self._interface, self._expression = interface, expression
        self._link_type = link_type
        self._fd = -1
        self._temporary: Path | None = None
        self._final = self._path
        self._number = 0
        self._size = 0
        self._started_ns = 0
        self._check()

    def _check(self) -> None:
        rotation = self._rotation
        if min(rotation.bytes, rotation.seconds, rotation.keep, self.snaplen) < 0:
            raise UsageError(Diagnostic("U0601", "sizes, times and numbers of files cannot be negative"))
        if rotation.keep and not rotation.is_wanted:
            raise UsageError(Diagnostic("U0601", "there is only one file to keep", help="say when it rotates"))
        if self._to_stdout:
            if rotation.is_wanted:
                raise UsageError(Diagnostic("U0601", "standard output cannot be rotated", help="write to a file"))
            return
        folder = self._path.absolute().parent
        if not folder.is_dir() or self._path.is_dir():
            what = f"the capture {self._path} cannot be written there"
            raise UsageError(Diagnostic("U0602", what, help="name a file in a directory that exists"))

    # ---- skep.hooks.PacketWriter ----

    def room(self) -> int:
        """Bytes until this file is full."""
        if not self._rotation.bytes:
            return _MAX_ROOM
        return max(self._rotation.bytes - self._size, 0) if self._fd >= 0 else self._rotation.bytes

    def write(self, blocks: memoryview, link_type: int) -> None:
        """Write whole blocks, into a new file if it is time for one."""
        self._link_type = link_type
        if self._fd >= 0 and self._is_due():
            self._finish()
        if self._fd < 0:
            self._open()
        self._put(blocks)
        if self._rotation.bytes and self._size >= self._rotation.bytes:
            self._finish()

    # ---- the files ----

    def _is_due(self) -> bool:
        return bool(self._rotation.seconds) and time.time_ns() - self._started_ns >= self._rotation.seconds * 1e9

    def _open(self) -> None:
        self._size = 0
        self._started_ns = time.time_ns()
        if self._to_stdout:
            self._fd = os.dup(sys.stdout.fileno())
        else:
            self._number += 1
            path = self._path
            self._final = (
                path.with_name(f"{path.stem}-{self._number:05}{path.suffix}") if self._rotation.is_wanted else path
            )
            self._temporary = path.with_name(f".{self._final.name}.{os.getpid()}.{secrets.token_hex(4)}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                self._fd = os.open(self._temporary, flags, 0o666)
            except OSError as error:
                self._temporary = None
                raise self._not_writable(error) from error
        self._put(section_block(f"skep {skep.__version__}", f"{platform.system()} {platform.release()}"))
        self._put(interface_block(self._link_type, self.snaplen, self._interface, self._expression))

    def _put(self, data: memoryview | bytes) -> None:
        self._size += len(data)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._not_writable(error) from error

    def _finish(self) -> None:
        """Statistics, and the file gets its name."""
        seen, lost, passed = self.counts()
        self._put(statistics_block(Counts(self._started_ns, time.time_ns(), seen, lost, passed)))
        os.close(self._fd)
        self._fd = -1
        if self._temporary is None:
            return
        try:
            os.replace(self._temporary, self._final)
        except OSError as error:
            raise self._not_writable(error) from error
        self._temporary = None
        self.files.append(self._final)
        while self._rotation.keep and len(self.files) > self._rotation.keep:
            with contextlib.suppress(OSError):
                os.unlink(self.files[0])
            del self.files[0]

    def _not_writable(self, error: OSError) -> UsageError:
        what = f"the capture {self._final} cannot be written: {error.strerror}"
        return UsageError(Diagnostic("U0602", what, help="check the disk and the directory's permissions"))

    def close(self) -> None:
        """Finish the last file; there is one even if there were no packets."""
        if self._fd < 0 and self._number == 0:
            self._open()
        if self._fd >= 0:
            self._finish()

    def abandon(self) -> None:
        """Remove the file that is being written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None

    def __enter__(self) -> CaptureFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.abandon()

"""Memory of maps: shared mappings of a file, anonymous (memfd) or named, that other processes can map, too.

A block of memory is unmapped when nothing refers to it any more, never before: programs, memoryviews and tables of
inner maps hold on to it. So closing a map cannot leave a pointer to nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import tempfile
import weakref
from typing import Protocol


class Block(Protocol):
    """Bytes of memory at an address."""

    address: int
    size: int

    def view(self, start: int, size: int) -> memoryview:
        """Some of it, in place; it keeps the block alive."""


class MappedFile:
    """A whole file, mapped shared."""

    def __init__(self, fd: int, size: int) -> None:
        self._map = mmap.mmap(fd, size)
        self.size = size
        self._anchor = ctypes.c_char.from_buffer(self._map)  # keeps the mapping in place
        self.address = ctypes.addressof(self._anchor)

    def view(self, start: int, size: int) -> memoryview:
        """Some of the memory, in place."""
        return memoryview(self._map)[start : start + size]


class MappedRing:
    """A file whose tail is mapped a second time behind itself, so that what wraps around is contiguous."""

    def __init__(self, fd: int, size: int, tail: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
        libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self.size = size + tail
        none, fixed, anonymous = 0, 0x10, mmap.MAP_ANONYMOUS
        base = libc.mmap(None, self.size, none, mmap.MAP_PRIVATE | anonymous, -1, 0)
        if base in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.address = int(base)
        self._release = weakref.finalize(self, libc.munmap, self.address, self.size)
        writable = mmap.PROT_READ | mmap.PROT_WRITE
        for at, length, offset in ((self.address, size, 0), (self.address + size, tail, size - tail)):
            if libc.mmap(at, length, writable, mmap.MAP_SHARED | fixed, fd, offset) != at:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def view(self, start: int, size: int) -> memoryview:
        """A copy: rings are read through records()."""
        return memoryview(ctypes.string_at(self.address + start, size))


def anonymous_file(name: str, size: int) -> int:
    """A file descriptor of ``size`` zero bytes without a name in the file system.

    Raises:
        OSError: no memory, or no file descriptors.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(f"skep:{name}"[:200], os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="skep")
        with contextlib.suppress(OSError):
            os.unlink(path)
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def map_file(fd: int, size: int, ring: int = 0) -> Block:
    """Map a file of ``size`` bytes; the last ``ring`` bytes twice."""
    return MappedRing(fd, size, ring) if ring else MappedFile(fd, size)


def available_bytes() -> int:
    """Physical memory of this machine: a map that is larger cannot work."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 40

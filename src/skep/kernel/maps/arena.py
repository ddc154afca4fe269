"""Arenas: up to 4 GiB that programs and this process share, with pointers that both can follow (Linux 6.9)."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref
from functools import cache
from typing import Final

from skep.diagnostics import Diagnostic
from skep.errors import MapError
from skep.kernel.fd import Fd
from skep.kernel.maps.handle import KernelMap
from skep.model.maps import MapSpec

SEGV_ON_FAULT: Final = 1 << 17  # BPF_F_SEGV_ON_FAULT: pages come only from programs; other addresses kill the reader
_MAP_FIXED_NOREPLACE: Final = 0x100000
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


class ArenaMap(KernelMap):
    """An arena. It is mapped when it is made: where it lies is part of what programs are translated to.

    Attributes:
        address: where it lies in this process. Pointers that programs leave in it are addresses here, too.
    """

    def __init__(self, spec: MapSpec, fd: Fd, *, is_new: bool = True) -> None:
        super().__init__(spec, fd, is_new=is_new)
        self.size = spec.max_entries * mmap.PAGESIZE
        self.address = self._map()
        block = (ctypes.c_ubyte * self.size).from_address(self.address)
        # Views keep the block, and the block keeps the pages: nobody can look into memory that is gone.
        weakref.finalize(block, _libc().munmap, self.address, self.size)
        self._view: memoryview | None = memoryview(block).cast("B")

    def memory(self) -> memoryview:
        """All of it, in place. Reading a page that nobody has used yet makes it, with zeros.

        Raises:
            MapError: M0125 the arena was made with BPF_F_SEGV_ON_FAULT, where that would end this process.
        """
        _ = self.fd.number
        assert self._view is not None
        if self._spec.flags & SEGV_ON_FAULT:
            raise self._would_end("look into it", "declare it without BPF_F_SEGV_ON_FAULT, or read pages with read()")
        return self._view

    def fill(self, contents: bytes) -> None:
        """Put global variables at the beginning. That makes their pages: programs are not given them again.

        Raises:
            MapError: M0125 the arena was made with BPF_F_SEGV_ON_FAULT: only programs make its pages.
        """
        assert self._view is not None
        if contents and self._spec.flags & SEGV_ON_FAULT:
            raise self._would_end("set its variables", "declare it without BPF_F_SEGV_ON_FAULT, or keep them elsewhere")
        self._view[: len(contents)] = contents

    def read(self, offset: int, size: int) -> bytes | None:
        """Bytes from ``offset``; None where a page is not there (without making it).

        Raises:
            MapError: M0202 outside the arena.
        """
        _ = self.fd.number
        if not 0 <= offset <= offset + size <= self.size:
            what = f"bytes {offset} to {offset + size} are not in arena '{self._spec.name}' ({self.size} bytes)"
            raise MapError(Diagnostic("M0202", what, help="offsets start at 0"), errno.ERANGE)
        buffer = ctypes.create_string_buffer(max(size, 1))
        ours, theirs = _IoVector(ctypes.addressof(buffer), size), _IoVector(self.address + offset, size)
        done = _libc().process_vm_readv(os.getpid(), ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
        return buffer.raw[:size] if done == size else None

    def close(self) -> None:
        """As for every map; views that somebody still holds keep the memory until they go."""
        self._view = None
        super().close()

    def _would_end(self, what: str, advice: str) -> MapError:
        text = f"this process cannot {what}: arena '{self._spec.name}' has BPF_F_SEGV_ON_FAULT"
        why = ("touching a page that no program has made would end the process",)
        return MapError(Diagnostic("M0125", text, why=why, help=advice), errno.EFAULT)

    def _map(self) -> int:
        wanted = self._spec.map_extra
        flags = mmap.MAP_SHARED | (_MAP_FIXED_NOREPLACE if wanted else 0)
        access = mmap.PROT_READ | mmap.PROT_WRITE
        found = _libc().mmap(wanted or None, self.size, access, flags, self.fd.number, 0)
        if found != _MAP_FAILED:
            return int(found)
        number = ctypes.get_errno()
        what = f"arena '{self._spec.name}' cannot be mapped into this process: {os.strerror(number)}"
        why = (f"its map_extra asks for address {wanted:#x}",) if wanted else ()
        help = "leave map_extra out: then the kernel finds a place" if wanted else "an arena has 4 GiB at most"
        raise MapError(Diagnostic("M0124", what, why=why, help=help, kernel=errno.errorcode.get(number)), number)


class _IoVector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    )  # fmt: skip
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.process_vm_readv.restype = ctypes.c_ssize_t
    libc.process_vm_readv.argtypes = (
        ctypes.c_int, ctypes.POINTER(_IoVector), ctypes.c_ulong, ctypes.POINTER(_IoVector), ctypes.c_ulong,
        ctypes.c_ulong,
    )  # fmt: skip
    return libc

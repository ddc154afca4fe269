"""The memory a program may touch, as ranges of real addresses. Everything else is a Fault."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from skep.errors import InternalError


class Fault(InternalError):
    """A program did what a proved program never does."""


@dataclass(slots=True)
class Range:
    """Bytes start..end (end exclusive) of this process that the program may read, and write if ``writable``."""

    start: int
    end: int
    writable: bool
    name: str


class Memory:
    """A set of ranges. Named ones can be replaced (the packet moves) and removed (a ring record is submitted)."""

    def __init__(self) -> None:
        self._ranges: list[Range] = []

    def allow(self, start: int, size: int, name: str, *, writable: bool = True) -> None:
        """Allow a range; one that is there already is not added twice."""
        for known in self._ranges:
            if known.start == start and known.end == start + size and known.name == name:
                return
        self._ranges.append(Range(start, start + size, writable, name))

    def forget(self, name: str, start: int | None = None) -> None:
        """Remove the ranges of this name (only the one that starts there, if given)."""
        self._ranges = [r for r in self._ranges if r.name != name or (start is not None and r.start != start)]

    def check(self, address: int, size: int, *, write: bool, why: str) -> None:
        """Fault unless all of address..address+size lies in one range that allows this use."""
        for known in reversed(self._ranges):
            if known.start <= address and address + size <= known.end:
                if write and not known.writable:
                    raise Fault(f"{why}: write to read-only {known.name}")
                return
        raise Fault(
            f"{why}: {'write' if write else 'read'} of {size} bytes at {address:#x}, outside {self._near(address)}"
        )

    def read(self, address: int, size: int, why: str) -> int:
        """An unsigned number of the machine's byte order."""
        self.check(address, size, write=False, why=why)
        return int(_CELLS[size].from_address(address).value)

    def write(self, address: int, size: int, value: int, why: str) -> None:
        """Store the low ``size`` bytes of a number."""
        self.check(address, size, write=True, why=why)
        _CELLS[size].from_address(address).value = value & ((1 << 8 * size) - 1)

    def _near(self, address: int) -> str:
        """What lies closest, for the message."""
        if not self._ranges:
            return "any memory"
        closest = min(self._ranges, key=lambda r: min(abs(address - r.start), abs(address - r.end)))
        return f"{closest.name} ({closest.start:#x}..{closest.end:#x})"


_CELLS: dict[int, type[ctypes._SimpleCData[int]]] = {
    1: ctypes.c_uint8,
    2: ctypes.c_uint16,
    4: ctypes.c_uint32,
    8: ctypes.c_uint64,
}

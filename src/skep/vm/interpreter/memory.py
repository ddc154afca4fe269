"""The memory a program may touch, as ranges of real addresses. Everything else is a Fault."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from skep.diagnostics import Span
from skep.errors import InternalError


class Fault(InternalError):
    """A program did what a proved program never does.

    Attributes:
        what: the deed.
        program, slot, span: where; None where no instruction is to blame.
        registers: r0..r10 before the instruction.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.program = ""
        self.slot: int | None = None
        self.span: Span | None = None
        self.registers: tuple[int, ...] = ()

    def locate(self, program: str, slot: int, span: Span | None, registers: list[int]) -> None:
        """Say where it happened; the innermost place counts."""
        if self.slot is None:
            self.program, self.slot, self.span, self.registers = program, slot, span, tuple(registers)

    def __str__(self) -> str:
        if self.slot is None:
            return self.what
        line = f" ({self.span.file}:{self.span.line})" if self.span is not None else ""
        state = " ".join(f"r{number}={value:#x}" for number, value in enumerate(self.registers))
        return f"'{self.program}', slot {self.slot}{line}: {self.what}; {state}"


@dataclass(slots=True)
class Range:
    """Bytes start..end (end exclusive) of this process that the program may read, and write if ``writable``."""

    start: int
    end: int
    writable: bool
    name: str
    readable: bool = True


class Memory:
    """A set of ranges. Named ones can be replaced (the packet moves) and removed (a ring record is submitted)."""

    def __init__(self) -> None:
        self._ranges: list[Range] = []
        self._last: Range | None = None

    def allow(self, start: int, size: int, name: str, *, writable: bool = True, readable: bool = True) -> None:
        """Allow a range; one that is there already is not added twice."""
        for known in self._ranges:
            if known.start == start and known.end == start + size and known.name == name:
                return
        self._ranges.append(Range(start, start + size, writable, name, readable))

    def forget(self, name: str, start: int | None = None) -> None:
        """Remove the ranges of this name (only the one that starts there, if given)."""
        self._ranges = [r for r in self._ranges if r.name != name or (start is not None and r.start != start)]
        self._last = None

    def find(self, address: int, size: int = 1) -> Range | None:
        """The newest range that holds all of address..address+size."""
        last = self._last
        if last is not None and last.start <= address and address + size <= last.end:
            return last
        for known in reversed(self._ranges):
            if known.start <= address and address + size <= known.end:
                self._last = known
                return known
        return None

    def starts(self, name: str, address: int) -> bool:
        """Whether a range of this name starts at an address."""
        return any(known.start == address and known.name == name for known in self._ranges)

    def starts_of(self, *prefixes: str) -> list[int]:
        """Where the ranges start whose names begin with one of these."""
        return [known.start for known in self._ranges if known.name.startswith(prefixes)]

    def check(self, address: int, size: int, *, write: bool, why: str = "") -> None:
        """Fault unless all of address..address+size lies in one range that allows this use."""
        found = self.find(address, size)
        said = f"{why}: " if why else ""
        verb = "write" if write else "read"
        if found is None:
            raise Fault(f"{said}{verb} of {size} bytes at {address:#x}, outside {self._near(address)}")
        if not (found.writable if write else found.readable):
            raise Fault(f"{said}{verb} of {found.name}, which is {'read' if write else 'write'}-only")

    def read(self, address: int, size: int) -> int:
        """An unsigned number of the machine's byte order."""
        self.check(address, size, write=False)
        return int(_CELLS[size].from_address(address).value)

    def write(self, address: int, size: int, value: int) -> None:
        """Store the low ``size`` bytes of a number."""
        self.check(address, size, write=True)
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

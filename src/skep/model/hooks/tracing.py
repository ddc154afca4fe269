"""Attach points of the kernel at its events: tracepoints, probes, samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tracepoint:
    """A tracepoint by category and name, with its record as context (4.7; link and cookie 5.15)."""

    category: str
    name: str
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class RawTracepoint:
    """A tracepoint with its raw arguments (4.17; cookie 6.10)."""

    name: str
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class TpBtf:
    """A tracepoint with typed arguments (5.5). Which one was settled when the program was loaded."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Kprobe:
    """An instruction of a kernel function (4.1; through perf events 4.17). ``function`` may be 0x... : an address."""

    function: str
    offset: int = 0
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Kretprobe:
    """The return of a kernel function."""

    function: str
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class KprobeMulti:
    """Many kernel functions by one link (5.18).

    Attributes:
        functions: names, or patterns with ``*`` and ``?``.
        returning: at their return instead of their entry.
    """

    functions: tuple[str, ...]
    returning: bool = False
    cookies: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ksyscall:
    """The kernel's function behind a system call, whatever this architecture calls it: ``Ksyscall("openat")``."""

    name: str
    returning: bool = False
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Uprobe:
    """An instruction of a program or shared library (4.1; through perf events 4.17).

    Attributes:
        path: the file; a bare name is looked for as the shell and the dynamic linker would.
        symbol: a function of it; "": ``offset`` counts from the start of the file.
        offset: bytes from the symbol.
        pid: only this process; None: all.
    """

    path: str | Path
    symbol: str = ""
    offset: int = 0
    pid: int | None = None
    cookie: int = 0
    semaphore: int = 0  # file offset of a counter that the kernel raises while attached (ref_ctr_offset, 4.20)


@dataclass(frozen=True, slots=True)
class Uretprobe:
    """The return of a function of a program or shared library; as :class:`Uprobe`."""

    path: str | Path
    symbol: str = ""
    offset: int = 0
    pid: int | None = None
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class UprobeMulti:
    """Many functions of one file by one link (6.6).

    Attributes:
        symbols: names, or patterns with ``*`` and ``?``.
        offsets: places in the file, instead of symbols.
        returning: at their return.
    """

    path: str | Path
    symbols: tuple[str, ...] = ()
    offsets: tuple[int, ...] = ()
    returning: bool = False
    pid: int | None = None
    cookies: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Usdt:
    """A static probe that the authors of a program put there (DTRACE_PROBE, STAP_PROBE, sys/sdt.h)."""

    path: str | Path
    provider: str
    name: str
    pid: int | None = None
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class PerfEvent:
    """Samples of a perf event (4.9): the program runs every ``period`` events or ``frequency`` times a second.

    Attributes:
        event: ``cpu-clock``, ``task-clock``, ``page-faults``, ``context-switches``, ``cpu-migrations``, ``cycles``,
            ``instructions``, ``cache-references``, ``cache-misses``, ``branches``, ``branch-misses``.
        pid: only this process; None: all, on ``cpus`` (None: on every online one).
    """

    event: str = "cpu-clock"
    frequency: int = 0
    period: int = 0
    pid: int | None = None
    cpus: tuple[int, ...] | None = None
    cookie: int = 0

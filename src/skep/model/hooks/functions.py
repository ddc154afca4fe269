"""Attach points of the kernel that replace or surround its functions: trampolines, LSM, iterators, struct_ops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skep.model.hooks.things import OpenThing


@dataclass(frozen=True, slots=True)
class Fentry:
    """The entry of a kernel function or BPF program (5.5). Which one was settled when the program was loaded."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Fexit:
    """The return of a kernel function or BPF program, with its arguments (5.5)."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class FmodRet:
    """A kernel function whose result may be replaced (5.7)."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Freplace:
    """A function of another loaded program, replaced by this one (5.6).

    Attributes:
        program, function: another target than the one the program was loaded for (5.10); None: that one.
    """

    program: OpenThing | None = None
    function: str = ""


@dataclass(frozen=True, slots=True)
class Lsm:
    """A security hook for the whole system (5.7)."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Iter:
    """An iterator: the program runs for each task, map element, cgroup, ... when the link is read (5.8).

    Attributes:
        map: for ``bpf_map_elem`` and ``bpf_sk_storage_map``: whose elements.
        pid, tid: for ``task*``: only this process, or this thread (6.1).
        cgroup: for ``cgroup``: the folder to start at (6.1); ``order`` one of ``self``, ``descendants_pre``,
            ``descendants_post``, ``ancestors_up``.
    """

    map: OpenThing | None = None
    pid: int | None = None
    tid: int | None = None
    cgroup: str | Path | int | None = None
    order: str = "descendants_pre"


@dataclass(frozen=True, slots=True)
class StructOps:
    """A table of functions that the kernel calls, such as a congestion control (5.6; link 6.4): a struct_ops map."""

    map: OpenThing

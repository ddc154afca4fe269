"""Programs and libraries: uprobes through perf events (4.17; kernel/trace/trace_uprobe.c)."""

from __future__ import annotations

import errno
from pathlib import Path

from skep.kernel.fd import Fd
from skep.kernel.links.executables import Executable, find_file
from skep.kernel.links.handle import Attached
from skep.kernel.links.perf import Event, attach_event, open_event, source_bit, source_type
from skep.kernel.links.places import Attachable
from skep.model.hooks import Uprobe, Uretprobe, Usdt


def attach_uprobe(program: Attachable, hook: Uprobe) -> Attached:
    """Attach to an instruction of a file."""
    path, offset = locate(hook.path, hook.symbol, hook.offset)
    return attach_at(program, hook, path, offset, pid=hook.pid, cookie=hook.cookie, semaphore=hook.semaphore)


def attach_uretprobe(program: Attachable, hook: Uretprobe) -> Attached:
    """Attach to the return of a function of a file."""
    path, offset = locate(hook.path, hook.symbol, hook.offset)
    return attach_at(program, hook, path, offset, pid=hook.pid, cookie=hook.cookie, returning=True)


def locate(path: str | Path, symbol: str, offset: int) -> tuple[Path, int]:
    """The file, and the place in it, that a path, symbol and offset mean."""
    if not symbol:
        return find_file(path), offset
    executable = Executable(path)
    return executable.path, executable.offset_of_symbol(symbol) + offset


def attach_at(
    program: Attachable,
    hook: Uprobe | Uretprobe | Usdt,
    path: Path,
    offset: int,
    *,
    pid: int | None = None,
    cookie: int = 0,
    semaphore: int = 0,
    returning: bool = False,
) -> Attached:
    """Attach to a place in a file; ``semaphore``: file offset of a counter to raise while attached."""

    def make() -> Fd:
        kind = source_type("uprobe")
        if kind is None:
            raise OSError(errno.EOPNOTSUPP, "no uprobes")
        config = 1 << source_bit("uprobe", "retprobe") if returning else 0
        if semaphore:
            config |= semaphore << source_bit("uprobe", "ref_ctr_offset")
        cpu = 0 if pid is None else -1
        event = Event(kind, config, str(path), offset, pid=-1 if pid is None else pid, cpu=cpu)
        return open_event(event)

    return attach_event(program, hook, make, cookie)

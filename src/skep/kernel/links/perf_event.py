"""Sampled perf events: one link for each CPU (man perf_event_open(2))."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.kernel.fd import Fd
from skep.kernel.links.handle import Attached, LinkGroup, name_of_program
from skep.kernel.links.perf import TYPE_HARDWARE, TYPE_SOFTWARE, Event, attach_event, open_event
from skep.kernel.links.places import Attachable
from skep.kernel.links.refusals import explained
from skep.model.hooks import PerfEvent

EVENTS: Final = {
    "cycles": (TYPE_HARDWARE, 0),
    "instructions": (TYPE_HARDWARE, 1),
    "cache-references": (TYPE_HARDWARE, 2),
    "cache-misses": (TYPE_HARDWARE, 3),
    "branches": (TYPE_HARDWARE, 4),
    "branch-misses": (TYPE_HARDWARE, 5),
    "cpu-clock": (TYPE_SOFTWARE, 0),
    "task-clock": (TYPE_SOFTWARE, 1),
    "page-faults": (TYPE_SOFTWARE, 2),
    "context-switches": (TYPE_SOFTWARE, 3),
    "cpu-migrations": (TYPE_SOFTWARE, 4),
}
_ONLINE: Final = Path("/sys/devices/system/cpu/online")


def attach_perf_event(program: Attachable, hook: PerfEvent) -> Attached:
    """Attach to every CPU's event, or to one process's."""
    if hook.event not in EVENTS:
        raise UsageError(
            Diagnostic("H0325", f"there is no perf event '{hook.event}'", help=f"events: {', '.join(EVENTS)}")
        )
    if bool(hook.frequency) == bool(hook.period):
        raise UsageError(
            Diagnostic(
                "H0326",
                "a sampled event needs either a frequency or a period",
                help="e.g. PerfEvent(frequency=99) for 99 samples a second",
            )
        )
    cpus = hook.cpus if hook.cpus is not None else ((-1,) if hook.pid is not None else online_cpus())
    members: list[Attached] = []
    try:
        for cpu in cpus:
            members.append(attach_event(program, hook, lambda cpu=cpu: _open(hook, cpu, program), hook.cookie))  # type: ignore[misc]
    except BaseException:
        for member in members:
            member.close()
        raise
    return LinkGroup(members, hook)


def online_cpus() -> tuple[int, ...]:
    """Numbers of the CPUs that run."""
    try:
        text = _ONLINE.read_text().strip()
    except OSError:
        return tuple(range(os.cpu_count() or 1))
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _open(hook: PerfEvent, cpu: int, program: Attachable) -> Fd:
    kind, config = EVENTS[hook.event]
    pid = hook.pid if hook.pid is not None else -1
    event = Event(kind, config, period=hook.period, frequency=hook.frequency, pid=pid, cpu=cpu)
    try:
        return open_event(event)
    except OSError as error:
        if error.errno == errno.ENOENT:
            # The machine's CPU (or its hypervisor) does not count this.
            with explained(hook, name_of_program(program)):
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)) from None
        raise

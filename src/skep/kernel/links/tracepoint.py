"""Tracepoints with their record as context: a perf event of the tracepoint's id (kernel/trace/trace_event_perf.c)."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from skep.diagnostics import Diagnostic
from skep.errors import EngineError
from skep.kernel.links.handle import Attached
from skep.kernel.links.mounts import tracefs
from skep.kernel.links.perf import TYPE_TRACEPOINT, Event, attach_event, open_event
from skep.kernel.links.places import Attachable
from skep.model.hooks import Tracepoint


def attach_tracepoint(program: Attachable, hook: Tracepoint) -> Attached:
    """Attach by category and name, on all CPUs and for all processes: let the program choose."""
    event = Event(TYPE_TRACEPOINT, find_id(hook.category, hook.name))
    return attach_event(program, hook, lambda: open_event(event), hook.cookie)


def find_id(category: str, name: str) -> int:
    """The number of a tracepoint, as tracefs tells it.

    Raises:
        EngineError: H0327, there is none of this name.
    """
    events = tracefs() / "events"
    try:
        return int((events / category / name / "id").read_text())
    except (OSError, ValueError):
        pass
    known = [f"{folder.name}/{event.name}" for folder in _folders(events) for event in _folders(folder)]
    close = get_close_matches(f"{category}/{name}", known, n=3)
    raise EngineError(
        Diagnostic(
            "H0327",
            f"this kernel has no tracepoint {category}/{name}",
            help=f"did you mean {' or '.join(close)}?"
            if close
            else f"they are listed in {events.parent}/available_events",
        )
    ) from None


def _folders(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if entry.is_dir()]
    except OSError:
        return []

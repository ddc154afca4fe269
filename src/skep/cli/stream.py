"""Events of attached programs as they come: a table on a terminal, JSON lines for machines."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

import click

from skep.cli.output import error_console, json_value
from skep.collection import Object
from skep.collection.events import Events, find_event_type
from skep.collection.map import RecordMap
from skep.diagnostics import Diagnostic
from skep.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
_TURN_S = 0.1
_LOST_EVERY_S = 1.0
_LEAST_WIDTH, _MOST_WIDTH = 6, 24


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to print, how long: ``type_name`` of records (None: found), ``count`` 0: any, ``seconds`` 0: for ever."""

    type_name: str | None = None
    count: int = 0
    seconds: float = 0


def stream_options(function: F) -> F:
    """The options ``--event``, ``--count`` and ``--seconds``."""
    for option in (
        click.option("--seconds", "--duration", type=float, default=0, help="Stop after so long [default: at Ctrl-C]."),
        click.option("--count", type=int, default=0, help="Stop after so many events or packets."),
        click.option("--event", "type_name", metavar="STRUCT", help="Type of the events that programs send."),
    ):
        function = option(function)
    return function


def print_events(live: Object, wanted: Wanted, *, as_json: bool) -> int:
    """Print what programs send until Ctrl-C or SIGTERM, or as long as is wanted.

    Returns:
        How many events there were.
    """
    streams = {name: _open(live, name, made, wanted.type_name) for name, made in _record_maps(live).items()}
    writer = _json_line if as_json else _Table(sys.stdout).row
    printed, lost_before, looked = 0, 0, time.monotonic()
    deadline = time.monotonic() + wanted.seconds if wanted.seconds else None
    with _until_interrupted() as is_running:
        while is_running() and (deadline is None or time.monotonic() < deadline):
            got = 0
            for name, events in streams.items():
                for event in events.poll(_TURN_S / max(len(streams), 1)):
                    writer(name if len(streams) > 1 else "", event)
                    got += 1
                    printed += 1
                    if wanted.count and printed >= wanted.count:
                        sys.stdout.flush()
                        return printed
            if not streams:
                time.sleep(_TURN_S)
            if got:
                sys.stdout.flush()
            if time.monotonic() - looked > _LOST_EVERY_S:
                looked = time.monotonic()
                lost_before = _tell_lost(streams, lost_before)
    _tell_lost(streams, lost_before)
    return printed


def _record_maps(live: Object) -> Mapping[str, RecordMap]:
    return {name: made for name, made in live.maps.items() if isinstance(made, RecordMap)}


def _open(live: Object, name: str, made: RecordMap, type_name: str | None) -> Events:
    return made.stream(type_name or find_event_type(made.spec.btf, name), lost=_counter(live, name))


def _counter(live: Object, name: str) -> Callable[[], int] | None:
    """A variable in which programs count what did not fit: ``lost`` or ``dropped``, perhaps with the map's name."""
    for candidate in (f"{name}_lost", f"lost_{name}", "lost", f"{name}_dropped", "dropped"):
        if candidate in live.variables:
            variable = live.variables[candidate]
            if isinstance(variable.value, int):
                return lambda: int(variable.value)
    return None


def _tell_lost(streams: Mapping[str, Events], before: int) -> int:
    now = sum(events.lost for events in streams.values())
    if now > before:
        error_console().print(f"lost {now - before} events: there was no room for them", style="bold yellow")
    return now


def check_type(live: Object, type_name: str | None) -> None:
    """Refuse ``--event NAME`` where there is nothing to read."""
    if type_name is not None and not _record_maps(live):
        raise UsageError(Diagnostic("U0311", "the object has no ring buffer or perf event array to read events from"))


def _json_line(source: str, event: Any) -> None:
    value = json_value(event)
    line = value if isinstance(value, dict) else {"data": value}
    sys.stdout.write(json.dumps({"map": source} | line if source else line) + "\n")


class _Table:
    """Rows under a header, with widths from the first event: later ones come as they are."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._header: tuple[str, ...] = ()
        self._widths: list[int] = []

    def row(self, source: str, event: Any) -> None:
        """Write one event."""
        value = json_value(event)
        fields = value if isinstance(value, dict) else {"data": value}
        if source:
            fields = {"map": source} | fields
        names = tuple(fields)
        texts = [_text(item) for item in fields.values()]
        if names != self._header:
            self._header = names
            self._widths = [
                min(max(len(name), len(text), _LEAST_WIDTH), _MOST_WIDTH)
                for name, text in zip(names, texts, strict=True)
            ]
            self._write([name.upper() for name in names])
        self._write(texts)

    def _write(self, texts: list[str]) -> None:
        cells = [text.ljust(width) for text, width in zip(texts, self._widths, strict=True)]
        self._out.write("  ".join(cells).rstrip() + "\n")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}={_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    # What comes from other people's processes must not steer the terminal.
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value))


@contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end the loop instead of the process, so that programs are detached in order."""
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        if asked:  # the second time at once
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: not asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

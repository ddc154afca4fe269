"""A pytest plugin that writes each result down as it comes, so that what ran before a panic is known.

`pytest -p scripts.kernels.results` with ``SKEP_RESULTS`` naming a file of JSON lines:
``{"event": "start", "id": ...}`` and ``{"event": "end", "id", "outcome", "reason", "seconds", "feature"}``.
Tests that have an end in the file already are left out: the run goes on where an earlier guest died.

A test names its feature (a row of the table) with ``record_property("feature", "kprobe")``; otherwise its place does.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.kernels.since import too_old

_REASON_CHARACTERS: Final = 400


class Recorder:
    """Writes the file; one line at a time reaches the disk (of the host, where this is a guest)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends: dict[str, dict[str, Any]] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        done = {event["id"] for event in read_events(self._path) if event["event"] == "end"}
        left = [item for item in items if item.nodeid not in done]
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = left
        for item in left:
            if why := too_old(item.nodeid, _running()):
                item.add_marker(pytest.mark.skip(reason=why))
        self._write({"event": "collected", "count": len(left), "release": os.uname().release})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(_end(report.nodeid, "failed", "cannot be collected: " + _reason(report), 0.0, None))
        elif report.skipped:
            self._write(_end(report.nodeid, "skipped", _reason(report), 0.0, None))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write({"event": "start", "id": nodeid})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        feature = next((str(value) for name, value in report.user_properties if name == "feature"), None)
        end = self._ends.setdefault(report.nodeid, _end(report.nodeid, "passed", "", 0.0, feature))
        end["seconds"] = round(end["seconds"] + report.duration, 2)
        end["feature"] = feature or end["feature"]
        if report.failed:
            end["outcome"], end["reason"] = "failed", _reason(report)
        elif report.skipped and end["outcome"] == "passed":
            expected = hasattr(report, "wasxfail")
            end["outcome"] = "passed" if expected else "skipped"
            end["reason"] = f"fails as expected: {report.wasxfail}" if expected else _reason(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if end := self._ends.pop(nodeid, None):
            self._write(end)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._write({"event": "finish", "status": int(exitstatus)})

    def _write(self, event: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(event) + "\n")
            file.flush()
            os.fsync(file.fileno())


def build_with(path: Path) -> None:
    """Let ``skep.compile`` make vmlinux.h from a file's types instead of the running kernel's.

    So objects are built on one kernel and run on another, as CO-RE is meant to be used; and in an emulated guest, where
    clang over a whole vmlinux.h takes a minute, they come from the cache that the live kernel's run has filled.
    """
    from skep import api

    names = vars(api)
    compile_c, types = names["compile_c"], path.read_bytes()

    def compile_with(*words: Any, **named: Any) -> bytes:
        if named.get("btf") is api.host_btf:
            named["btf"] = types
        elf: bytes = compile_c(*words, **named)
        return elf

    names["compile_c"] = compile_with


def pytest_configure(config: pytest.Config) -> None:
    if path := os.environ.get("SKEP_BUILT_WITH"):
        build_with(Path(path))
    if path := os.environ.get("SKEP_RESULTS"):
        config.pluginmanager.register(Recorder(Path(path)), "skep-results")


def _running() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(itertools.takewhile(str.isdigit, minor)) or 0)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a results file; a last line cut off by a crash is left out."""
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def unfinished(path: Path) -> str | None:
    """The test that was running when the file ends."""
    running: str | None = None
    for event in read_events(path):
        if event["event"] == "start":
            running = event["id"]
        elif event["event"] in ("end", "finish"):
            running = None
    return running


def is_finished(path: Path) -> bool:
    """Whether the last session in the file came to its end."""
    last = None
    for event in read_events(path):
        last = event
    return last is not None and last["event"] == "finish"


def append_end(path: Path, node: str, outcome: str, reason: str) -> None:
    """Write a result for a test that could not do so itself."""
    with path.open("a") as file:
        # A line of its own, whatever a dying guest left half written.
        file.write("\n" + json.dumps(_end(node, outcome, reason, 0.0, None)) + "\n")


def _end(node: str, outcome: str, reason: str, seconds: float, feature: str | None) -> dict[str, Any]:
    return {
        "event": "end",
        "id": node,
        "outcome": outcome,
        "reason": reason,
        "seconds": seconds,
        "feature": feature,
    }


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    """One line: what pytest's short summary would say."""
    text: str
    if isinstance(report.longrepr, tuple):
        text = str(report.longrepr[2]).removeprefix("Skipped: ")
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = str(crash.message if crash is not None else report.longrepr)
    lines = text.strip().splitlines() or [""]
    # A fixture that is not there, a syntax error: what pytest marks with E.
    marked = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (marked or lines)[0][:_REASON_CHARACTERS]

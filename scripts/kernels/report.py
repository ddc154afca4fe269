"""The feature x kernel table of docs/parity.md, from the results of several kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.kernels.results import read_events

BEGIN: Final = "<!-- kernels:begin (written by make test-kernels) -->"
END: Final = "<!-- kernels:end -->"
#: Where a test is -> the table's section; the longest that fits counts.
SECTIONS: Final[Mapping[str, str]] = {
    "tests/kernels/test_offers": "Offered by the kernel",
    "tests/kernels": "skep's bpf(2)",
    "tests/engines": "Both engines alike",
    "tests/differential/links": "Links",
    "tests/differential/kernel": "Kernel engine",
    "tests/unit/kernel": "Kernel engine, part by part",
    "tests/differential/random": "Random programs and conformance cases",
    "tests/differential/abi": "Tables agree with the kernel",
    "tests/differential/vm": "vm agrees with the kernel",
    "tests/differential/verifier": "Verifier agrees with the kernel",
    "tests/differential": "Agreement with the kernel",
    "tests": "Other tests that ask the kernel",
}
#: Files whose rows are the parameters of their tests.
_BY_PARAMETER: Final = ("tests/kernels/test_offers",)
_NODE: Final = re.compile(r"(?P<file>[^:]+?)(?:\.py)?(?:::(?P<test>[^\[]+)(?:\[(?P<parameter>.*)\])?)?$", re.DOTALL)
_MOST_REASONS: Final = 2
_MOST_REASON_CHARACTERS: Final = 160


@dataclass(frozen=True, slots=True)
class Result:
    """What one test said; ``outcome``: passed, failed, skipped."""

    node: str
    outcome: str
    reason: str
    feature: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A kernel's results: ``title`` heads the column, ``release`` is what uname -r said there."""

    title: str
    release: str
    results: tuple[Result, ...]


def read_column(title: str, path: Path) -> Column:
    """A results file; of several results for one test the worst counts."""
    release = ""
    worst: dict[str, Result] = {}
    order = ("passed", "skipped", "failed")
    for event in read_events(path):
        if event["event"] == "collected":
            release = event["release"]
        elif event["event"] == "end":
            result = Result(event["id"], event["outcome"], event["reason"], event["feature"])
            known = worst.get(result.node)
            if known is None or order.index(result.outcome) > order.index(known.outcome):
                worst[result.node] = result
    return Column(title, release, tuple(worst.values()))


def row_of(result: Result) -> tuple[str, str]:
    """(section, feature) of a test: what it names itself, else its place."""
    found = _NODE.match(result.node)
    assert found is not None  # the pattern's file part takes anything
    file = found["file"]
    place = max(
        (key for key in SECTIONS if file == key or file.startswith((key + "/", key + "_"))), key=len, default=""
    )
    section = SECTIONS.get(place, SECTIONS["tests"])
    if result.feature:
        return section, result.feature
    if file in _BY_PARAMETER and found["parameter"]:
        return section, found["parameter"]
    folder, _, name = file.rpartition("/")
    feature = name.removeprefix("test_").replace("_", " ")
    return section, feature if place not in ("", "tests") else f"{folder.rpartition('/')[2]}: {feature}"


def cell(results: Sequence[Result]) -> str:
    """pass, fail or skip of one feature on one kernel, with numbers where it is not one answer, and reasons."""
    if not results:
        return "not run"
    counts = {name: [r for r in results if r.outcome == name] for name in ("failed", "passed", "skipped")}
    total = len(results)
    if counts["failed"]:
        return f"**fail** {len(counts['failed'])} of {total}: {_reasons(counts['failed'])}"
    if not counts["passed"]:
        return f"skip: {_reasons(counts['skipped'])}"
    passed = "pass" if total == 1 else f"pass ({len(counts['passed'])})"
    return passed + (f", skip ({len(counts['skipped'])}): {_reasons(counts['skipped'])}" if counts["skipped"] else "")


def table(columns: Sequence[Column]) -> str:
    """Markdown: a table for each section, a row for each feature, a column for each kernel."""
    rows: dict[str, dict[str, list[list[Result]]]] = {section: {} for section in SECTIONS.values()}
    for number, column in enumerate(columns):
        for result in column.results:
            section, feature = row_of(result)
            cells = rows[section].setdefault(feature, [[] for _ in columns])
            cells[number].append(result)
    heads = " | ".join(_head(column) for column in columns)
    parts = []
    for section, features in rows.items():
        if not features:
            continue
        lines = [f"### {section}", "", f"| feature | {heads} |", "| --- |" + " --- |" * len(columns)]
        for feature, cells in sorted(features.items()):
            lines.append(f"| {_escape(feature)} | {' | '.join(_escape(cell(results)) for results in cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def totals(column: Column) -> str:
    """One line: how many passed, failed, were skipped."""
    count = {name: sum(r.outcome == name for r in column.results) for name in ("passed", "failed", "skipped")}
    return f"{_head(column)}: {count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"


def failures(column: Column) -> list[str]:
    """One line for each failed test."""
    return [f"{column.title}: {r.node}: {r.reason}" for r in column.results if r.outcome == "failed"]


def put_between_markers(document: str, text: str) -> str:
    """The document with the part between the markers replaced.

    Raises:
        ValueError: it has not both markers, in order.
    """
    before, found, rest = document.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found and found_end):
        raise ValueError(f"no {BEGIN} ... {END} in the document")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _head(column: Column) -> str:
    return f"{column.title} ({column.release})" if column.release else column.title


def _reasons(results: Iterable[Result]) -> str:
    """The different reasons, the most frequent first."""
    counts: dict[str, int] = {}
    for result in results:
        short = " ".join(result.reason.split())
        short = short if len(short) <= _MOST_REASON_CHARACTERS else short[: _MOST_REASON_CHARACTERS - 3] + "..."
        counts[short] = counts.get(short, 0) + 1
    ranked = sorted(counts, key=lambda reason: (-counts[reason], reason))
    shown = "; ".join(ranked[:_MOST_REASONS])
    more = len(ranked) - _MOST_REASONS
    return shown + (f"; {more} more" if more > 0 else "")


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")

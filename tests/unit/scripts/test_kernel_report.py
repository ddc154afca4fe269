"""The feature x kernel table: rows, cells, order, markers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.kernels.report import (
    BEGIN,
    END,
    Column,
    Result,
    cell,
    failures,
    put_between_markers,
    read_column,
    row_of,
    table,
    totals,
)


def passed(node: str, **changes: str) -> Result:
    return Result(node, "passed", "", **changes)


@pytest.mark.parametrize(
    ("node", "row"),
    [
        ("tests/kernels/test_offers.py::test_offers[kprobe.multi]", ("Offered by the kernel", "kprobe.multi")),
        ("tests/kernels/test_bpf.py::test_map_elements", ("skep's bpf(2)", "bpf")),
        ("tests/differential/links/test_sk_lookup.py::test_update[a/b]", ("Links", "sk lookup")),
        ("tests/differential/links/test_tcx.py::test_order[::1]", ("Links", "tcx")),
        ("tests/differential/test_isa_kernel.py::test_x", ("Agreement with the kernel", "isa kernel")),
        ("tests/unit/btf/test_kernel.py::test_x", ("Other tests that ask the kernel", "btf: kernel")),
        ("tests/unit/kernel/test_engine.py::test_x", ("Kernel engine, part by part", "engine")),
        ("tests/differential/links", ("Links", "links")),
    ],
)
def test_place_of_a_test_says_its_row(node: str, row: tuple[str, str]) -> None:
    assert row_of(passed(node)) == row


def test_a_test_may_name_its_feature() -> None:
    assert row_of(passed("tests/differential/links/test_cgroup.py::test_x", feature="cgroup/connect4")) == (
        "Links",
        "cgroup/connect4",
    )


@pytest.mark.parametrize(
    ("outcomes", "text"),
    [
        ([], "not run"),
        ([("passed", "")], "pass"),
        ([("passed", ""), ("passed", "")], "pass (2)"),
        ([("skipped", "since Linux 6.6")], "skip: since Linux 6.6"),
        ([("passed", ""), ("skipped", "no cgroup2")], "pass (1), skip (1): no cgroup2"),
        ([("failed", "boom"), ("passed", ""), ("skipped", "x")], "**fail** 1 of 3: boom"),
        ([("skipped", r) for r in ("a", "b", "b", "c")], "skip: b; a; 1 more"),
        ([("skipped", "two\n  lines")], "skip: two lines"),
    ],
)
def test_cell(outcomes: list[tuple[str, str]], text: str) -> None:
    assert cell([Result(f"t::{number}", *outcome) for number, outcome in enumerate(outcomes)]) == text


def test_a_long_reason_is_cut() -> None:
    assert len(cell([Result("t", "skipped", "x" * 1000)])) < 200


def test_table_has_a_column_for_each_kernel() -> None:
    old = Column("6.1", "6.1.0-1", (passed("tests/engines/test_a.py::x"),))
    new = Column(
        "6.12", "", (passed("tests/engines/test_a.py::x"), Result("tests/engines/test_b.py::x", "failed", "a|b"))
    )
    assert table([old, new]).splitlines() == [
        "### Both engines alike",
        "",
        "| feature | 6.1 (6.1.0-1) | 6.12 |",
        "| --- | --- | --- |",
        "| a | pass | pass |",
        r"| b | not run | **fail** 1 of 1: a\|b |",
    ]
    assert totals(new) == "6.12: 1 passed, 1 failed, 0 skipped"
    assert failures(new) == ["6.12: tests/engines/test_b.py::x: a|b"]


def test_the_worst_result_of_a_test_counts_and_cut_lines_do_not(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    events: list[dict[str, object]] = [{"event": "collected", "count": 1, "release": "6.1.0"}]
    events += [
        {"event": "end", "id": "tests/x.py::a", "outcome": outcome, "reason": outcome, "seconds": 1, "feature": None}
        for outcome in ("passed", "failed", "skipped")
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "end", "id')
    assert read_column("6.1", path) == Column("6.1", "6.1.0", (Result("tests/x.py::a", "failed", "failed"),))


def test_only_what_is_between_the_markers_changes() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put_between_markers(document, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(ValueError, match="kernels:begin"):
        put_between_markers(f"{BEGIN} only", "new")


def test_the_document_has_the_markers() -> None:
    document = Path(__file__).parents[3] / "docs" / "parity.md"
    assert "new" in put_between_markers(document.read_text(), "new")

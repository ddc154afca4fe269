"""The results plugin: what is on disk while tests run, after a crash, and when the run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.kernels import results
from scripts.kernels.since import too_old

ROOT = Path(__file__).parents[3]
TESTS = """
import os, pytest
def test_passes(record_property):
    record_property("feature", "one")
def test_fails():
    assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_skips(): pass
@pytest.mark.xfail(reason="known")
def test_expected():
    raise ValueError
def test_dies():
    if os.environ.get("DIE"):
        os._exit(9)
def test_after(): pass
@pytest.fixture
def late():
    yield
    raise OSError("in the teardown")
def test_teardown(late): pass
"""


def run(folder: Path, **environment: str) -> Path:
    (folder / "test_it.py").write_text(TESTS)
    path = folder / "results.jsonl"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "scripts.kernels.results", "-p", "no:cacheprovider", "-q", "test_it.py"],
        cwd=folder,
        env=os.environ | {"SKEP_RESULTS": str(path), "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return path


def ends(path: Path) -> dict[str, dict[str, Any]]:
    events = [event for event in results.read_events(path) if event["event"] == "end"]
    assert len({event["id"] for event in events}) == len(events)
    return {event["id"].partition("::")[2]: event for event in events}


def test_every_outcome_is_written(tmp_path: Path) -> None:
    path = run(tmp_path)
    found = ends(path)
    assert {name: event["outcome"] for name, event in found.items()} == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_skips": "skipped",
        "test_expected": "passed",
        "test_dies": "passed",
        "test_after": "passed",
        "test_teardown": "failed",
    }
    assert found["test_passes"]["feature"] == "one"
    assert found["test_fails"]["reason"].startswith("assert 1 == 2")
    assert found["test_skips"]["reason"] == "not today"
    assert found["test_expected"]["reason"] == "fails as expected: known"
    assert "in the teardown" in found["test_teardown"]["reason"]
    assert results.is_finished(path)
    assert results.unfinished(path) is None


def test_a_run_that_died_goes_on_behind_the_test_that_killed_it(tmp_path: Path) -> None:
    path = run(tmp_path, DIE="1")
    assert results.unfinished(path) == "test_it.py::test_dies"
    assert not results.is_finished(path)
    assert "test_after" not in ends(path)
    results.append_end(path, "test_it.py::test_dies", "failed", "the guest died")
    run(tmp_path, DIE="1")
    found = ends(path)
    assert found["test_dies"]["reason"] == "the guest died"
    assert found["test_after"]["outcome"] == "passed"
    assert results.is_finished(path)


def test_files_that_cannot_be_imported_are_failures(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("")
    path = tmp_path / "results.jsonl"
    (tmp_path / "test_broken.py").write_text("import no_such_module")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "scripts.kernels.results",
            "-p",
            "no:cacheprovider",
            "-q",
            "test_broken.py",
        ],
        cwd=tmp_path,
        env=os.environ | {"SKEP_RESULTS": str(path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    (event,) = [event for event in results.read_events(path) if event["event"] == "end"]
    assert event["outcome"] == "failed"
    assert "no_such_module" in event["reason"]


@pytest.mark.parametrize(
    ("node", "running", "why"),
    [
        ("tests/differential/test_isa_kernel.py::test_the_kernel_prints_what_we_print[movsx8_64]", (6, 1), "6.6"),
        ("tests/differential/test_isa_kernel.py::test_the_kernel_prints_what_we_print[movsx8_64]", (6, 12), ""),
        ("tests/differential/test_isa_kernel.py::test_the_kernel_prints_what_we_print[add64_imm]", (6, 1), ""),
        ("tests/differential/test_isa_kernel.py::test_the_kernel_prints_what_we_print[load_acquire8]", (6, 12), "6.15"),
        ("tests/differential/abi/test_map_facts.py::test_x", (6, 12), "6.18"),
        ("tests/differential/abi/test_map_facts.py::test_x", (6, 18), ""),
        ("tests/engines/test_objects.py::test_x", (5, 4), ""),
    ],
)
def test_what_an_older_kernel_cannot_pass(node: str, running: tuple[int, int], why: str) -> None:
    assert too_old(node, running).endswith(why)
    assert bool(too_old(node, running)) == bool(why)

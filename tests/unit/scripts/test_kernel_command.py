"""What `python -m scripts.kernels` answers: skipped, passed, failed, died; the document only when asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.kernels import __main__ as command
from scripts.kernels import packages, report, results, suite
from scripts.kernels.packages import UnavailableError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, a document of our own, no signal handler left behind."""
    monkeypatch.setenv("SKEP_KERNELS", str(tmp_path))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    document = tmp_path / "parity.md"
    document.write_text(f"{report.BEGIN}\n{report.END}\n")
    monkeypatch.setattr(command, "DOCUMENT", document)
    return tmp_path


def pretend(monkeypatch: pytest.MonkeyPatch, outcomes: Sequence[str], trouble: str = "") -> None:
    """The live run gives these outcomes."""

    def run_here(files: Sequence[str], work: Path, limit_seconds: float) -> suite.Run:
        assert files == ["tests/kernels/test_bpf.py"]
        assert 0 < limit_seconds <= 120
        work.mkdir(parents=True)
        for number, outcome in enumerate(outcomes):
            results.append_end(work / "results.jsonl", f"tests/kernels/test_bpf.py::test_{number}", outcome, "because")
        return suite.Run("live", work / "results.jsonl", trouble)

    monkeypatch.setattr(suite, "find_files", lambda folders: ["tests/kernels/test_bpf.py"])
    monkeypatch.setattr(suite, "run_here", run_here)


@pytest.mark.parametrize(("words", "code"), [(["6.12"], 2), (["live", "6.12", "--may-skip"], 0)])
def test_kernels_that_cannot_be_fetched(
    words: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(cache: Path) -> None:
        raise UnavailableError("apt-get update: no network")

    monkeypatch.setattr(packages, "ensure_programs", refuse)
    assert command.main(words) == code
    assert capsys.readouterr().out.startswith("SKIPPED: the kernels ")


@pytest.mark.parametrize(
    ("outcomes", "trouble", "code"),
    [
        (["passed", "skipped"], "", 0),
        (["passed", "failed"], "", 1),
        (["passed"], "Kernel panic - not syncing", 1),
        (["skipped"], "", 1),
        ([], "", 1),
    ],
)
def test_exit_code(
    outcomes: list[str], trouble: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, outcomes, trouble)
    assert command.main(["live", "--minutes", "2"]) == code
    printed = capsys.readouterr().out
    assert trouble in printed
    assert f"live: {outcomes.count('passed')} passed, {outcomes.count('failed')} failed" in printed


def test_the_document_is_written_when_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ["passed"])
    command.main(["live", "--minutes", "2"])
    assert "pass" not in (folder / "parity.md").read_text()
    command.main(["live", "--report", "--write"])
    assert "| bpf | pass |" in (folder / "parity.md").read_text()

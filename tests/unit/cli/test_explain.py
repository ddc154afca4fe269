"""``skep verify --explain`` and ``--log``: text and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skep.cli.main import main
from skep.errors import CompileError
from skep.frontend import compile_c

SOURCE = Path(__file__).parents[1] / "verifier" / "explain" / "good.bpf.c"


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str]:
    try:
        compile_c(SOURCE)
    except CompileError as error:
        pytest.skip(error.diagnostic.what)
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(SOURCE), *words])
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ask(capsys, "--explain")
    assert code == 0
    assert "line 24: v->packets++;" in said
    assert "not NULL, checked at line 22; bytes 0 to 7 of 24" in said
    code, said = ask(capsys, "--explain", "--json")
    (row,) = json.loads(said)
    assert {line["line"] for line in row["lines"]} >= {16, 18, 20, 24}


def test_log(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ask(capsys, "--log")
    assert code == 0
    assert said.startswith("func#0 @0\n")
    assert "processed 42 insns" in said
    _, said = ask(capsys, "--log", "--json")
    assert json.loads(said)[0]["log"].startswith("func#0 @0\n")


def test_only_our_own_verifier_explains(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ask(capsys, "--log", "--engine", "kernel")
    assert code == 2
    assert "U0351" in said

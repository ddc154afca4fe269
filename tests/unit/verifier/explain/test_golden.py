"""What skep says about wrong C programs, word for word (golden.txt): from the source through every station to the text.

After a change of words: SKEP_UPDATE_GOLDEN=1 pytest tests/unit/verifier/explain/test_golden.py, then read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from skep.diagnostics import SourceFile, render
from skep.errors import CompileError
from skep.frontend import compile_c
from skep.linker import link
from skep.model.programs import Outcome
from skep.model.target import Target
from skep.objfile import read_object
from skep.verifier.verify import judge

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.txt"
NAMES = re.findall(r"^int (\w+)\(", (HERE / "bad.bpf.c").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """By program: the diagnostics of its rejection."""
    try:
        data = compile_c(SourceFile("bad.bpf.c", (HERE / "bad.bpf.c").read_text()))
    except CompileError as error:
        if error.diagnostic.code == "C0001":
            pytest.skip(error.diagnostic.what)
        raise
    spec = read_object(data, "bad.bpf.o")
    found = {}
    for name in spec.programs:
        verdict = judge(link(spec, name, Target("vm", (6, 18, 0))))
        assert verdict.outcome is Outcome.REJECTED, name
        found[name] = "\n".join(render(d) for d in verdict.diagnostics).replace("./bad.bpf.c", "bad.bpf.c")
    if os.environ.get("SKEP_UPDATE_GOLDEN"):
        GOLDEN.write_text("\n".join(f"== {name}\n{found[name]}\n" for name in NAMES))
    return found


def golden() -> dict[str, str]:
    parts = re.split(r"^== (\w+)\n", GOLDEN.read_text(), flags=re.MULTILINE)[1:]
    return {name: text.strip("\n") for name, text in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("name", NAMES)
def test_words(said: dict[str, str], name: str) -> None:
    assert said[name] == golden()[name]


def test_nothing_left_over(said: dict[str, str]) -> None:
    assert set(said) == set(golden()) == set(NAMES)

"""C programs at the border of single rules (programs/): our verdicts, and sentences, are the running kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skep.diagnostics import SourceFile
from skep.errors import CompileError
from skep.frontend import compile_c
from skep.linker import link
from skep.model.programs import LinkedProgram, Outcome
from skep.objfile import read_object
from skep.verifier import judge
from tests.differential.verifier.kernel_judge import ask
from tests.differential.verifier.rows import target

pytestmark = pytest.mark.kernel

PROGRAMS = Path(__file__).parent / "programs"
TYPES = Path("/sys/kernel/btf/vmlinux")
_NUMBERED = "map_uid="  # numbers in these sentences count ids that nobody else sees


def programs(path: Path) -> list[LinkedProgram]:
    """All programs of a file, linked for the running kernel."""
    try:
        data = compile_c(SourceFile(path.name, path.read_text()), btf=TYPES.read_bytes())
    except CompileError as error:
        if error.diagnostic.code == "C0001":
            pytest.skip(error.diagnostic.what)
        raise
    spec = read_object(data, path.name)
    return [link(spec, name, target()) for name in spec.programs]


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.bpf.c")), ids=lambda path: path.name)
def test_verdicts_are_the_kernels(path: Path) -> None:
    if os.uname().release < "6.18" or not TYPES.exists():
        pytest.skip("the rules are those of Linux 6.18, with BTF")
    linked = programs(path)
    answers = ask(linked)
    if all(answer.accepted is None for answer in answers):
        pytest.skip(f"programs are not loaded here: {answers[0].sentence}")
    wrong = []
    for program, answer in zip(linked, answers, strict=True):
        verdict = judge(program)
        said = (verdict.diagnostics[0].kernel or verdict.diagnostics[0].what) if verdict.diagnostics else ""
        alike = said.endswith(answer.sentence) or (_NUMBERED in said and _NUMBERED in answer.sentence)
        if (verdict.outcome is Outcome.ACCEPTED) is not answer.accepted or not alike:
            wrong.append(f"{program.name}: kernel {answer.accepted} {answer.sentence!r}, ours {said!r}")
    assert not wrong, "\n".join(wrong)

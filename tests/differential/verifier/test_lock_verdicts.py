"""Verdicts on programs with locks, timers and work, and the sentence of each rejection, are the running kernel's.

The programs of these C files, one per rule. Loaded in a child process, never run.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

import skep
from skep.linker import link
from skep.model.programs import LinkedProgram, Outcome
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict, is_available
from skep.verifier import judge
from tests.differential.verifier.rows import target
from tests.differential.verifier.test_dynptr_verdicts import _load

pytestmark = pytest.mark.kernel

SOURCES = ("locks.bpf.c", "lock_mixes.bpf.c", "lock_places.bpf.c", "later.bpf.c")
_NUMBERED = ("map_uid=", "expected id=")  # numbers in these sentences count ids that nobody else sees


@functools.cache
def _spec(source: str) -> skep.ObjectSpec:
    return skep.compile(Path(__file__).parent / "c" / source)


@functools.cache
def _linked(source: str, name: str) -> LinkedProgram:
    return link(_spec(source), name, target())


def ask_source(source: str, name: str) -> Answer:
    """What the kernel says of a program of a C file."""
    return _load(_linked(source, name))


@pytest.mark.parametrize("source", SOURCES)
def test_programs_of_every_rule(source: str) -> None:
    if os.uname().release < "6.18" or target().btf is None:
        pytest.skip("the rules are those of Linux 6.18, with BTF")
    if not is_available():
        pytest.skip("bpf(2) is refused here")
    wrong, accepted = [], 0
    with KernelJudge() as kernel:
        for name in _spec(source).programs:
            theirs = kernel.ask_with(ask_source, source, name)
            assert theirs.verdict in (Verdict.ACCEPT, Verdict.REJECT), f"{name}: {theirs}"
            accepts = theirs.verdict is Verdict.ACCEPT
            accepted += accepts
            ours = judge(_linked(source, name))
            said = str(ours.diagnostics[0].kernel) if ours.diagnostics else ""
            alike = said.endswith(theirs.reason) or any(words in said and words in theirs.reason for words in _NUMBERED)
            if (ours.outcome is Outcome.ACCEPTED) is not accepts or not alike:
                wrong.append(f"{name}: kernel [{theirs.reason}] ours [{said or ours.outcome}]")
    assert not wrong, "\n".join(wrong)
    assert accepted > 10

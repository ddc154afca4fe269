"""Verdicts on programs with dynptrs, and the sentence of each rejection, are the running kernel's.

The programs of c/dynptrs.bpf.c, one per rule, and random ones (SKEP_SEED and SKEP_PROGRAMS choose others, and more).
Loaded in a child process, never run.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import skep
from skep.errors import RejectedError, SkepError
from skep.kernel.engine import KernelEngine
from skep.linker import link
from skep.model.programs import LinkedProgram, Outcome
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict, is_available
from skep.verifier import judge
from tests.differential.verifier.dynptr_programs import program

pytestmark = pytest.mark.kernel

SOURCE = Path(__file__).parent / "c" / "dynptrs.bpf.c"
SEED = int(os.environ.get("SKEP_SEED", "1"))
COUNT = int(os.environ.get("SKEP_PROGRAMS", "300"))

# Where the kernel says two sentences, or shows a range, ours is another one.
OTHER_WORDS = ("value is outside of the allowed memory range", "var_off", "verifier bug", "Caller passes invalid args")

_ALIAS = "a writable slice may be the buffer on the stack; the kernel does not see that stores change it"
# Accepted by Linux 6.18 and rejected here: what they do is not safe (docs/parity.md).
STRICTER = {
    "slice_after_submit": "the kernel does not tie what bpf_dynptr_slice() gives of a ring buffer to the record",
    "sub_relclone_use": "the kernel forgets clones of the frame that releases, not of its callers",
    "alias_of_a_pointer": _ALIAS,
    "alias_in_a_helper": _ALIAS,
    "alias_of_a_dynptr": _ALIAS,
    "alias_of_a_frame_that_ended": _ALIAS,
}


@functools.cache
def _engine() -> KernelEngine:
    return KernelEngine()


@functools.cache
def _linked(name: str) -> LinkedProgram:
    return link(_spec(), name, _engine().target)


@functools.cache
def _spec() -> skep.ObjectSpec:
    return skep.compile(SOURCE)


def ask_source(name: str) -> Answer:
    """What the kernel says of a program of the C file."""
    return _load(_linked(name))


def ask_random(seed: int) -> Answer:
    """What the kernel says of a random program."""
    return _load(program(_engine().target, seed))


def _load(linked: LinkedProgram) -> Answer:
    with ExitStack() as stack:
        maps = {}
        try:
            for name, spec in linked.maps.items():
                maps[name] = _engine().create_map(spec)
                stack.callback(maps[name].close)
            _engine().load_linked(linked, maps).close()
        except RejectedError as error:
            return Answer(Verdict.REJECT, 0, error.log[-2000:])
        except SkepError as error:
            return Answer(Verdict.REFUSED, log=str(error))
    return Answer(Verdict.ACCEPT)


def differs(linked: LinkedProgram, theirs: Answer) -> str | None:
    """What we say, if it is not what the kernel says."""
    ours = judge(linked)
    said = str(ours.diagnostics[0].kernel) if ours.diagnostics else ""
    if (ours.outcome is Outcome.ACCEPTED) != (theirs.verdict is Verdict.ACCEPT):
        return f"{linked.name}: kernel [{theirs.reason or theirs.verdict}] ours [{said or ours.outcome}]"
    if said != theirs.reason and not any(words in theirs.reason for words in OTHER_WORDS):
        return f"{linked.name}: kernel [{theirs.reason}] ours [{said}]"
    return None


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelJudge]:
    if os.uname().release < "6.18" or _engine().target.btf is None:
        pytest.skip("the rules are those of Linux 6.18, with BTF")
    if not is_available():
        pytest.skip("bpf(2) is refused here")
    with KernelJudge() as judge:
        yield judge


def test_programs_of_every_rule(kernel: KernelJudge) -> None:
    wrong, accepted = [], 0
    for name in _spec().programs:
        answer = kernel.ask_with(ask_source, name)
        assert answer.verdict in (Verdict.ACCEPT, Verdict.REJECT), f"{name}: {answer}"
        accepted += answer.verdict is Verdict.ACCEPT
        if name in STRICTER:
            assert answer.verdict is Verdict.ACCEPT, f"the kernel rejects {name} now: no difference any more"
            assert judge(_linked(name)).outcome is Outcome.REJECTED
            continue
        wrong.append(differs(_linked(name), answer))
    assert [line for line in wrong if line] == []
    assert accepted > 50


def test_random_programs(kernel: KernelJudge) -> None:
    wrong, accepted = [], 0
    for seed in range(SEED, SEED + COUNT):
        answer = kernel.ask_with(ask_random, seed)
        assert answer.verdict in (Verdict.ACCEPT, Verdict.REJECT), f"seed {seed}: {answer}"
        accepted += answer.verdict is Verdict.ACCEPT
        line = differs(program(_engine().target, seed), answer)
        if line is not None:
            wrong.append(line)
    assert wrong == []
    assert accepted > COUNT // 10

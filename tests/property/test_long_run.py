"""The long run of ``make fuzz``, shortened: some hundred programs, on the interpreter and as machine code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skep import jit
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.testing.differential import Difference
from skep.testing.fuzz import choose
from skep.testing.generate import mutate, nudge
from skep.testing.long_run import worker
from skep.testing.long_run.batch import Batch, Candidate
from skep.testing.long_run.rig import Rig
from skep.testing.long_run.sources import Given, Plan
from skep.testing.long_run.tally import Tally
from skep.testing.long_run.worker import Job, supervise
from skep.testing.samples import link_sample
from skep.verifier import judge

SEED = 77_000


def _given() -> tuple[Given, ...]:
    samples = (choose(seed, None) for seed in range(30))
    return tuple(Given(str(s.seed), s.prog_type, s.insns, s.maps) for s in samples if judge(link_sample(s)).facts)


def _run(count: int, *, optimised: bool, first: int = SEED) -> tuple[Tally, list[str]]:
    found: list[str] = []
    batch = Batch(Rig(), None, lambda c, kind, text: found.append(f"{c.key}: {kind.value}: {text}"), lambda key: None)
    programs = Plan(_given(), kernel_every=0).candidates(first)
    batch.run([next(programs) for _ in range(count)], optimised=optimised)
    return batch.tally, found


@pytest.mark.parametrize("optimised", [False, True])
def test_programs_do_the_same_everywhere(optimised: bool) -> None:
    tally, found = _run(120, optimised=optimised, first=SEED + 1000 * optimised)
    assert not found
    assert tally.generated == 120
    assert tally.generated // 4 <= tally.accepted <= tally.generated * 3 // 4
    assert tally.interpreted >= tally.accepted * 9 // 10
    assert tally.native == tally.interpreted
    assert tally.steps_checked > 1000
    assert tally.bounds > 1000
    assert tally.steps_followed > 100
    assert len(tally.opcodes) > 60


def test_native_code_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(parts: Any) -> jit.Bundle:
        made = _BUNDLE(parts)
        return jit.Bundle(made.text.replace("xor i64", "or i64"), made.declared, made.entries, made.maps)

    monkeypatch.setattr(jit, "bundle", wrong)
    _, found = _run(24, optimised=False)
    assert any(Difference.JIT.value in text for text in found)


_BUNDLE: Callable[..., jit.Bundle] = jit.bundle


def test_a_process_that_dies_is_noticed_and_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "work", _die)
    job = Job(Plan(kernel_every=0), 0, 1, 5, worker.time.time() + 60, 10, tmp_path, False)
    monkeypatch.setattr(worker, "_after", lambda job: Job(**_fields(job, deadline=0)))
    total = supervise([job])
    assert total.died == 1
    assert total.bugs == 1
    (saved,) = tmp_path.glob("died-0-*.txt")
    assert "--seed 7 --only" in saved.read_text()


def _fields(job: Job, **changes: Any) -> dict[str, Any]:
    return {name: getattr(job, name) for name in Job.__slots__} | changes


def _die(job: Job) -> None:
    job.current.write_text("--seed 7 --only\n")
    os._exit(3 if job.deadline else 0)


def test_a_job_counts_what_it_tried(tmp_path: Path) -> None:
    job = Job(Plan(kernel_every=0), 0, 1, SEED, worker.time.time() + 60, 8, tmp_path, False)
    worker.work(job)
    tally = Tally.from_json(job.counts.read_text())
    assert tally.generated == 8
    assert not list(tmp_path.glob("raised*"))
    assert Tally.from_json(tally.to_json()).to_json() == tally.to_json()


def test_keys_make_the_same_program_again() -> None:
    plan = Plan(_given())
    for candidate in (next(plan.candidates(SEED)) for _ in range(3)):
        assert candidate.key == f"--seed {SEED} --only"
    assert plan.make(SEED, 1).sample == plan.make(SEED, 1).sample
    assert plan.make_given(SEED).sample == plan.make_given(SEED).sample


def test_nudged_programs_differ_in_one_number() -> None:
    insns = choose(SEED, None).insns
    for seed in range(20):
        changed = nudge(insns, seed)
        different = [(a, b) for a, b in zip(insns, changed, strict=True) if a != b]
        assert len(different) == 1
        assert different[0][0].opcode == different[0][1].opcode
    assert mutate(insns, 1) != insns
    assert nudge((Instruction(op.JMP | op.EXIT),), 1) == (Instruction(op.JMP | op.EXIT),)


def test_candidates_are_unlike() -> None:
    programs = Plan(_given()).candidates(SEED)
    made: list[Candidate] = [next(programs) for _ in range(40)]
    assert {candidate.origin for candidate in made} == {"generated", "mutant", "corpus"}
    assert len({candidate.sample.insns for candidate in made}) > 35
    assert sum(candidate.follow for candidate in made) == 4
    assert sum(candidate.ask_kernel for candidate in made) == 1

"""Loops, pruning and limits. What is pruned away must really be covered: these programs go wrong on one path only."""

from __future__ import annotations

import pytest

from skep.abi.prog_types import ProgType
from skep.model.programs import Outcome
from skep.verifier import Options
from tests.unit.verifier.core.linked import check, said

PAD = "r5 = 0\n" * 10  # enough instructions that a state is saved
BRANCHES = "r8 = *(u32 *)(r10 -4)\nif r8 > 1 goto +0\nif r8 > 2 goto +0\nif r8 > 3 goto +0\n"


def test_bounded_loops_end() -> None:
    verdict = check("r1 = 0\nagain:\nr1 += 1\nif r1 < 100 goto again\nr0 = 0\nexit")
    assert verdict.outcome is Outcome.ACCEPTED
    assert 200 <= verdict.processed_insns <= 204


@pytest.mark.parametrize(
    "text",
    [
        "again:\nr1 = 0\nif r1 == 0 goto again\nr0 = 0\nexit",
        "r6 = 1\nagain:\nr0 = *(u32 *)(r10 -8)\nif r0 != 7 goto again\nr0 = 0\nexit",
    ],
)
def test_endless_loops_are_found(text: str) -> None:
    assert "infinite loop detected" in said(check(text))


def test_the_budget_ends() -> None:
    text = "r1 = 0\nagain:\nr1 += 1\nif r1 < 100000 goto again\nr0 = 0\nexit"
    verdict = check(text, Options(max_insns=5000))
    assert verdict.outcome is Outcome.REJECTED
    assert "BPF program is too large. Processed 5001 insn" in said(verdict)


@pytest.mark.parametrize(("bad", "outcome"), [(8, Outcome.ACCEPTED), (9, Outcome.REJECTED), (64, Outcome.REJECTED)])
def test_numbers_that_proofs_rely_on_are_compared(bad: int, outcome: Outcome) -> None:
    """r6 is 8 on one path and ``bad`` on the other; both meet before it is used as an offset from the stack's end."""
    text = f"""
    r7 = *(u32 *)(r1 +12)
    r6 = {bad}
    if r7 > 5 goto +1
    r6 = 8
    {PAD}{BRANCHES}
    r2 = r10
    r2 += -16
    r2 += r6
    *(u8 *)(r2 +7) = 1
    r0 = 0
    exit
    """
    verdict = check(text)
    assert verdict.outcome is outcome, said(verdict)


def test_numbers_on_the_stack_are_compared() -> None:
    """As above, but the number takes a way through a spill and a narrow fill."""
    for bad, outcome in ((8, Outcome.ACCEPTED), (9, Outcome.REJECTED)):
        text = f"""
        r7 = *(u32 *)(r1 +12)
        r6 = {bad}
        if r7 > 5 goto +1
        r6 = 8
        *(u64 *)(r10 -24) = r6
        r6 = 0
        {PAD}{BRANCHES}
        r6 = *(u32 *)(r10 -24)
        r2 = r10
        r2 += -16
        r2 += r6
        *(u8 *)(r2 +7) = 1
        r0 = 0
        exit
        """
        verdict = check(text)
        assert verdict.outcome is outcome, said(verdict)


def test_numbers_behind_arithmetic_are_compared() -> None:
    """The relied-on number is computed from two others, of which one differs."""
    for bad, outcome in ((4, Outcome.ACCEPTED), (5, Outcome.REJECTED)):
        text = f"""
        r7 = *(u32 *)(r1 +12)
        r6 = {bad}
        if r7 > 5 goto +1
        r6 = 4
        {PAD}{BRANCHES}
        r3 = 4
        r3 += r6
        r2 = r10
        r2 += -16
        r2 += r3
        *(u8 *)(r2 +7) = 1
        r0 = 0
        exit
        """
        assert check(text).outcome is outcome


def test_numbers_behind_a_branch_are_compared() -> None:
    """A comparison with one outcome relies on its operands: the other path would take the other side."""
    text = f"""
    r7 = *(u32 *)(r1 +12)
    r6 = 1
    if r7 > 5 goto +1
    r6 = 0
    {PAD}{BRANCHES}
    if r6 == 0 goto +1
    r0 = r9
    r0 = 0
    exit
    """
    assert "R9 !read_ok" in said(check(text))


def test_links_between_numbers_are_compared() -> None:
    """On one path r7 is a copy of r6, so that a bound on r6 holds for r7; on the other it is not."""
    text = f"""
    r6 = *(u32 *)(r1 +12)
    r7 = *(u32 *)(r1 +16)
    r8 = *(u32 *)(r1 +12)
    if r8 > 5 goto +1
    {{link}}
    {PAD}{BRANCHES}
    if r6 > 8 goto +4
    r2 = r10
    r2 += -16
    r2 += r7
    *(u8 *)(r2 +7) = 1
    r0 = 0
    exit
    """
    assert check(text.format(link="r7 = r6")).outcome is Outcome.REJECTED
    always = text.format(link="r7 = r6").replace("if r8 > 5 goto +1", "r8 = 0")
    assert check(always).outcome is Outcome.ACCEPTED


def test_pointers_are_told_apart() -> None:
    """A register that is a pointer on one path and a number on the other."""
    text = f"""
    r7 = *(u32 *)(r1 +12)
    r6 = r1
    if r7 > 5 goto +1
    r6 = {{other}}
    {PAD}{BRANCHES}
    r0 = *(u32 *)(r6 +12)
    r0 = 0
    exit
    """
    assert check(text.format(other="r1")).outcome is Outcome.ACCEPTED
    assert "R6 invalid mem access 'scalar'" in said(check(text.format(other="7")))


def test_dead_values_do_not_multiply_paths() -> None:
    """Twenty branches that leave a number behind which nobody reads: linear, not 2**20."""
    body = "".join(
        f"r2 = *(u32 *)(r10 -{4 * n})\nr3 = {n}\nif r2 > 7 goto +1\nr3 = {n + 100}\n*(u64 *)(r10 -128) = r3\n"
        for n in range(1, 21)
    )
    verdict = check(body + "r0 = 0\nexit", Options(max_insns=20_000))
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.processed_insns < 2_000


def test_numbers_nobody_relies_on_do_not_multiply_paths() -> None:
    """The same, with a sum that is live to the end but only returned."""
    body = "r6 = 0\n" + "".join(
        f"r2 = *(u32 *)(r10 -{4 * n})\nif r2 > 7 goto +1\nr6 += {1 << n}\n" + "r3 = 0\n" * 6 for n in range(1, 21)
    )
    verdict = check(body + "r0 = r6\nexit", Options(max_insns=20_000), prog_type=ProgType.SOCKET_FILTER)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.processed_insns < 3_000


def test_may_goto_converges() -> None:
    text = "r6 = 0\nagain:\nmay_goto +2\nr6 += 1\ngoto again\nr0 = 0\nexit"
    verdict = check(text)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.processed_insns < 200

"""Helpers, references, callbacks, subprograms, tail calls."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.abi.prog_types import ProgType
from skep.errors import RejectedError, UnsupportedError
from skep.isa.instruction import MapRef
from skep.model.programs import Outcome
from skep.model.target import Target
from skep.verifier import verify
from tests.unit.verifier.core.linked import check, link, said

END = "\nr0 = 0\nexit"
RESERVE = "r1 = 0 ll\nr2 = 8\nr3 = 0\ncall 131\n"
EVENTS = {0: MapRef("events")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("call 9999" + END, "invalid func unknown#9999"),
        ("call 4" + END, "R1 type=ctx expected=fp"),
        ("r1 = r10\nr1 += -8\nr2 = 16\nr3 = 0\ncall 113" + END, "stack"),
        ("r1 = r10\nr1 += -8\nr2 = -1\nr3 = 0\ncall 113" + END, "R2 min value is negative"),
        ("r2 = *(u64 *)(r10 -8)\nr1 = r10\nr1 += -8\nr3 = 0\ncall 113" + END, "R2 "),
        ("call 44" + END, "cannot use helper bpf_xdp_adjust_head#44"),
    ],
)
def test_bad_calls(text: str, sentence: str) -> None:
    verdict = check(text, prog_type=ProgType.KPROBE)
    assert verdict.outcome is Outcome.REJECTED
    assert sentence in said(verdict)


def test_refused_helpers_give_the_engines_reason() -> None:
    target = Target("vm", (6, 18, 0), refused_helpers={5: "there is no clock here"})
    verdict = check("call 5" + END, target=target)
    assert verdict.outcome is Outcome.REJECTED
    assert "there is no clock here" in str(verdict.diagnostics[0])


def test_calls_lose_r1_to_r5() -> None:
    assert "R1 !read_ok" in said(check("call 5\nr0 = r1\nexit"))


def test_variable_sizes_are_allowed_up_to_the_memory() -> None:
    text = """
    r2 = *(u64 *)(r1 +112)
    r2 &= {mask}
    r3 = r10
    r1 = r10
    r1 += -16
    call 113
    r0 = 0
    exit
    """
    for mask, outcome in ((15, Outcome.ACCEPTED), (31, Outcome.REJECTED)):
        assert check(text.format(mask=mask), prog_type=ProgType.KPROBE).outcome is outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("if r0 == 0 goto +3\nr1 = r0\nr2 = 0\ncall 132", Outcome.ACCEPTED),
        ("if r0 == 0 goto +4\n*(u64 *)(r0 +0) = 1\nr1 = r0\nr2 = 0\ncall 133", Outcome.ACCEPTED),
        ("if r0 == 0 goto +0", Outcome.REJECTED),  # leaked
        ("r1 = r0\nr2 = 0\ncall 132", Outcome.REJECTED),  # may be NULL
        ("if r0 == 0 goto +4\nr1 = r0\nr1 += 1\nr2 = 0\ncall 132", Outcome.REJECTED),  # moved
        ("if r0 == 0 goto +5\n*(u64 *)(r0 +8) = 1\nr1 = r0\nr2 = 0\ncall 132\nr0 = 0", Outcome.REJECTED),  # too far
        (
            "if r0 == 0 goto +7\nr6 = r0\nr1 = r0\nr2 = 0\ncall 132\nr1 = r6\nr2 = 0\ncall 132",
            Outcome.REJECTED,
        ),  # twice
        (
            "if r0 == 0 goto +5\nr6 = r0\nr1 = r0\nr2 = 0\ncall 132\nr2 = *(u64 *)(r6 +0)",
            Outcome.REJECTED,
        ),  # used after
    ],
)
def test_ringbuf_records_are_released_exactly_once(text: str, outcome: Outcome) -> None:
    verdict = check(RESERVE + text + END, refs=EVENTS)
    assert verdict.outcome is outcome, said(verdict)


def test_subprograms_use_the_callers_stack() -> None:
    text = """
    r1 = r10
    r1 += -8
    call pc+2
    r0 = *(u64 *)(r10 -8)
    exit
    *(u64 *)(r1 +0) = 7
    r0 = 0
    exit
    """
    verdict = check(text)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts is not None
    assert not verdict.facts.reads_uninit_stack
    assert verdict.facts.stack_depth == {0: 8, 5: 0}


def test_subprograms_do_not_return_their_stack() -> None:
    text = "call pc+1\nexit\nr0 = r10\nexit"
    assert "cannot return stack pointer to the caller" in said(check(text))


def test_subprograms_do_not_keep_their_stack_in_the_callers() -> None:
    text = "r1 = r10\nr1 += -8\ncall pc+2\nr0 = 0\nexit\n*(u64 *)(r1 +0) = r10\nr0 = 0\nexit"
    assert "cannot spill pointers to stack" in said(check(text))


def test_stacks_of_a_chain_fit_together() -> None:
    text = "*(u64 *)(r10 -{a}) = 1\ncall pc+2\nr0 = 0\nexit\n*(u64 *)(r10 -{b}) = 1\nr0 = 0\nexit"
    assert check(text.format(a=256, b=256)).outcome is Outcome.ACCEPTED
    assert "combined stack size of 2 calls is 528" in said(check(text.format(a=264, b=256)))


LOOP = """
r1 = {count}
r2 = 0 ll
r3 = r10
r3 += -8
r4 = 0
*(u64 *)(r10 -8) = 0
call 181
{after}
r0 = 0
exit
r3 = *(u64 *)(r2 +0)
r3 += 1
*(u64 *)(r2 +0) = r3
r0 = {result}
exit
"""


def _callback(text: str) -> str:
    """Replace the LD_IMM64 of 0 by the address of the last function."""
    body = text.split("exit\n", 1)[0]
    lines = [line for line in body.splitlines() if line.strip()]
    before = next(i for i, line in enumerate(lines) if line == "r2 = 0 ll")
    after = len(lines) - before  # instructions from the LD_IMM64 on, its two slots counted once, and the exit
    return text.replace("r2 = 0 ll", f"r2 = subprog[+{after + 1}]")


@pytest.mark.parametrize(
    ("count", "after", "result", "outcome"),
    [
        (10, "", 0, Outcome.ACCEPTED),
        (1000000, "", 1, Outcome.ACCEPTED),  # converges: nothing relies on the counter
        (10, "", 2, Outcome.REJECTED),  # callbacks return 0 or 1
        (1000000, "r1 = *(u64 *)(r10 -8)\nr1 += r10\nr0 = *(u8 *)(r1 -16)", 0, Outcome.REJECTED),
    ],
)
def test_bpf_loop(count: int, after: str, result: int, outcome: Outcome) -> None:
    verdict = check(_callback(LOOP.format(count=count, after=after, result=result)))
    assert verdict.outcome is outcome, said(verdict)
    assert verdict.processed_insns < 10_000


def test_verify_raises_by_kind() -> None:
    with pytest.raises(RejectedError) as rejected:
        verify(link("r0 = r2\nexit"))
    assert rejected.value.diagnostic.code.startswith("V")
    big = link("r0 = 0\nexit")
    with pytest.raises(UnsupportedError):
        verify(replace(big, target=replace(big.target, byte_order="big")))
    assert verify(link("r0 = 0\nexit")).processed_insns == 2


def test_poisoned_code_must_be_dead() -> None:
    dead = "r1 = 5\nif r1 > 7 goto +2\nr0 = 0\nexit\nr0 = 1\nexit"
    assert check(dead, poisoned={4: "no such field"}).outcome is Outcome.ACCEPTED
    assert check(dead, poisoned={2: "no such field"}).outcome is Outcome.REJECTED

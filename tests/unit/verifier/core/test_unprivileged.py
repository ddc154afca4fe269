"""Without CAP_PERFMON: the sentence of each rule, and what is allowed all the same (as Linux 6.18 says it)."""

from __future__ import annotations

import pytest

from skep.abi.prog_types import ProgType
from skep.isa.instruction import MapRef
from skep.model.programs import Outcome, Verdict
from skep.model.target import Target
from skep.verifier import judge
from tests.unit.verifier.core.linked import link

SECRET = Target("linux", (6, 18, 0), privileged=False)
#: r9 the context, r8 a value of 48 bytes, r7 an unknown number.
START = """
r9 = r1
*(u64 *)(r10 -8) = 0
r2 = r10
r2 += -8
r1 = 0 ll
call 1
if r0 == 0x0 goto +{rest}
r8 = r0
r7 = *(u32 *)(r9 +16)
"""
END = "r0 = 0\nexit\n"
_ROOT = "access prohibited for !root"
_PROHIBITED = "pointer arithmetic with it prohibited for !root"


def check(text: str, *, privileged: bool = False) -> Verdict:
    start = START.format(rest=2 + len(text.strip().splitlines()))
    target = SECRET if not privileged else Target("linux", (6, 18, 0))
    return judge(link(start + text + END, refs={4: MapRef("numbers")}, target=target))


REJECTED = {
    "map": ("*(u64 *)(r8 +0) = r9\n", "R9 leaks addr into map"),
    "atomic": ("lock *(u64 *)(r8 +0) += r9\n", "R9 leaks addr into mem"),
    "torn": ("*(u64 *)(r10 -16) = r9\n*(u32 *)(r10 -16) = 1\n", "attempt to corrupt spilled pointer on stack"),
    "fetched": ("*(u64 *)(r10 -16) = r9\nr1 = 1\nlock *(u64 *)(r10 -16) += r1\n", "leaking pointer from stack off -16"),
    "unwritten": ("r1 = *(u64 *)(r10 -16)\n", "invalid read from stack off -16+0 size 8"),
    "compared": ("if r8 == r9 goto +0\n", "R9 pointer comparison prohibited"),
    "stack place": (
        "r7 &= 7\nr1 = r10\nr1 += -16\nr1 += r7\n",
        f"R1 variable stack {_ROOT}, var_off=(0x0; 0x7) off=-16",
    ),
    "stack end": (
        "r1 = r10\nr1 += -8\nr1 += 8\n",
        "R1 stack pointer arithmetic goes out of range, prohibited for !root; off=0",
    ),
    "value end": ("r8 += 48\n", "R8 pointer arithmetic of map value goes out of range, prohibited for !root"),
    "packet": (
        "r1 = *(u32 *)(r9 +0)\nr7 &= 1\nr1 += r7\n",
        f"R1 has pointer with unsupported alu operation, {_PROHIBITED}",
    ),
    "both signs": (
        "r7 &= 15\nr7 += -8\nr8 += 8\nr8 += r7\n",
        f"R7 has unknown scalar with mixed signed bounds, {_PROHIBITED}",
    ),
    "printing": ("call 6\n", "program of this type cannot use helper bpf_trace_printk#6"),
    "two windows": (
        "r1 = 3\nif r7 == 0x1 goto +1\nr1 = 5\nr8 += r1\n",
        f"R8 tried to add from different maps, paths or scalars, {_PROHIBITED}",
    ),
}


@pytest.mark.parametrize(("text", "said"), REJECTED.values(), ids=REJECTED.keys())
def test_rejected(text: str, said: str) -> None:
    verdict = check(text)
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.diagnostics[0].kernel == said


@pytest.mark.parametrize("name", ["map", "atomic", "torn", "compared", "stack place", "two windows"])
def test_with_the_capability(name: str) -> None:
    assert check(REJECTED[name][0], privileged=True).outcome is Outcome.ACCEPTED


ACCEPTED = {
    "masked index": "r7 &= 31\nr8 += r7\nr1 = *(u8 *)(r8 +0)\n",
    "spilled whole": "*(u64 *)(r10 -16) = r9\n*(u64 *)(r10 -16) = 1\n",
    "null": "if r8 == 0x0 goto +0\n",
    "mended by a barrier": "r1 = 1\nif r1 == 0x1 goto +1\nr1 = *(u64 *)(r1 +0)\n",  # an error in dead code
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(text: str) -> None:
    verdict = check(text)
    assert verdict.diagnostics == ()
    assert verdict.outcome is Outcome.ACCEPTED


def test_what_only_runs_ahead_is_not_reachable() -> None:
    facts = check(ACCEPTED["mended by a barrier"]).facts
    assert facts is not None
    dead = 12  # the load that the jump passes over
    assert dead + 1 in facts.reachable
    assert dead not in facts.reachable


def test_program_type() -> None:
    verdict = judge(link(END, ProgType.KPROBE, target=SECRET))
    assert [found.code for found in verdict.diagnostics] == ["V1105"]

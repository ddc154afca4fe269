"""Comparisons with data_end: what the other side of the branch knows, and strict alignment (kernel: mark_pkt_end,
is_pkt_ptr_branch_taken, check_pkt_ptr_alignment).
"""

from __future__ import annotations

import pytest

from skep.abi.prog_types import ProgType
from skep.model.programs import Outcome
from skep.verifier import Options
from tests.unit.verifier.core.linked import check, said

DATA = "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr4 = r2\nr4 += 14\n"
END = "r0 = 0\nexit"
BAD = "r0 = *(u8 *)(r5 +0)\n"  # r5 was never set


BEYOND = "if r4 > r3 goto +2\nr0 = 0\nexit\n"
AT_OR_BEYOND = "if r4 >= r3 goto +2\nr0 = 0\nexit\n"


@pytest.mark.parametrize(
    ("first", "second", "decided"),
    [
        (BEYOND, "if r4 > r3 goto +1\n", True),
        (BEYOND, "if r3 < r4 goto +1\n", True),
        (BEYOND, "if r4 >= r3 goto +1\n", True),
        (BEYOND, "if r3 <= r4 goto +1\n", True),
        (AT_OR_BEYOND, "if r4 >= r3 goto +1\n", True),
        (AT_OR_BEYOND, "if r4 > r3 goto +1\n", False),  # it may be just at the end
        (BEYOND, "r4 += 4\nif r4 > r3 goto +1\n", True),
        (BEYOND, "r4 += -4\nif r4 > r3 goto +1\n", False),
        ("if r3 < r4 goto +2\nr0 = 0\nexit\n", "if r4 > r3 goto +1\n", True),
    ],
)
def test_a_second_comparison(first: str, second: str, decided: bool) -> None:
    """The second one jumps over the bad access, wherever the first one decides it."""
    verdict = check(DATA + first + second + BAD + END, prog_type=ProgType.XDP)
    assert (verdict.outcome is Outcome.ACCEPTED) is decided, said(verdict)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("r0 = *(u32 *)(r2 +0)\n", "misaligned packet access off 2+0+0+0 size 4"),
        ("r0 = *(u32 *)(r2 +2)\n", ""),
        ("r0 = *(u16 *)(r2 +12)\n", ""),
        ("r0 = *(u8 *)(r2 +1)\n", ""),
        ("r0 = *(u16 *)(r1 +1)\n", "misaligned context access off 0+0+1 size 2"),
    ],
)
def test_strict_alignment(text: str, sentence: str) -> None:
    program = DATA + "if r4 > r3 goto +1\n" + text + END
    assert said(check(program, Options(strict_alignment=True), prog_type=ProgType.XDP)) == sentence
    if "packet" in sentence:
        assert check(program, prog_type=ProgType.XDP).outcome is Outcome.ACCEPTED

"""A pointer that is a number now: the call that ended it is named, if there is one."""

from __future__ import annotations

import pytest

from skep.abi.prog_types import ProgType
from skep.isa.instruction import MapRef
from skep.verifier import judge
from tests.unit.verifier.core.linked import link

PACKET = """
r6 = r1
r7 = *(u32 *)(r1 +76)
r8 = *(u32 *)(r1 +80)
r2 = r7
r2 += 14
if r2 > r8 goto +5
{then}
r0 = *(u8 *)(r7 +0)
r0 = 0
exit
"""
RESERVE = """
r1 = 0 ll
r2 = 8
r3 = 0
call 131
if r0 == 0 goto +4
r6 = r0
r1 = r0
r2 = 0
call 132
{then}
r0 = 0
exit
"""


def said(text: str) -> tuple[str, str]:
    linked = link(text, prog_type=ProgType.SCHED_CLS, refs={0: MapRef("events")} if "call 131" in text else {})
    found = judge(linked).diagnostics[0]
    return found.code, found.what


@pytest.mark.parametrize(
    ("call", "function"),
    [("r1 = r6\nr2 = 0\ncall 39", "bpf_skb_pull_data"), ("r1 = r6\nr2 = 60\nr3 = 0\ncall 38", "bpf_skb_change_tail")],
)
def test_packets_that_may_have_moved(call: str, function: str) -> None:
    text = PACKET.format(then=call).replace("goto +5", f"goto +{2 + len(call.splitlines())}")
    code, what = said(text)
    assert code == "V0330"
    assert what.startswith(f"r7 is no pointer any more: {function}() at instruction ")
    assert what.endswith("may move or change packet data")


def test_what_was_given_back() -> None:
    text = RESERVE.format(then="*(u8 *)(r6 +0) = 1").replace("goto +4", "goto +5")
    code, what = said(text)
    assert code == "V0330"
    assert "bpf_ringbuf_submit() at instruction 9 gave it back" in what


def test_other_numbers_are_what_they_were() -> None:
    assert said("r0 = 5\nr0 = *(u8 *)(r0 +0)\nexit")[0] == "V0302"
    assert said("r6 = r1\ncall 7\nr7 = r0\nr1 = r6\nr2 = 0\ncall 39\nr0 = *(u8 *)(r7 +0)\nexit")[0] == "V0302"

"""Kptrs, allocated objects, lists and trees from C: our verdicts are the running kernel's."""

from __future__ import annotations

import os

import pytest

from skep.testing.kernel_judge import Verdict
from tests.differential.verifier.allocated import TYPES, Compared, compare

pytestmark = pytest.mark.kernel

# Linux 6.18 accepts these, and should not: skep does not.
UNSAFE_IN_LINUX = {
    "tree_first_member_unchecked": "the tree takes NULL where the node is the first member, and follows it",
    "counted_after_rcu_acquired": "the object may be gone when the RCU section has ended",
}


@pytest.fixture(scope="module")
def answers() -> list[Compared]:
    if os.uname().release < "6.18" or not TYPES.exists():
        pytest.skip("the rules are those of Linux 6.18, with BTF")
    found = list(compare())
    if all(each.theirs is Verdict.REFUSED for each in found):
        pytest.skip("this process may not load programs")
    return found


def test_verdicts(answers: list[Compared]) -> None:
    differ = {each.name: (each.our_sentence, each.their_sentence) for each in answers if not each.agrees}
    assert differ.keys() == UNSAFE_IN_LINUX.keys(), differ


def test_both_verdicts_occur(answers: list[Compared]) -> None:
    counts = [sum(each.theirs is verdict for each in answers) for verdict in (Verdict.ACCEPT, Verdict.REJECT)]
    assert min(counts) > 60, counts


def test_what_linux_accepts_and_skep_refuses_is_refused_for_its_reason(answers: list[Compared]) -> None:
    said = {each.name: each.our_sentence for each in answers}
    assert "bpf_rbtree_remove can only take" in said["tree_first_member_unchecked"]
    assert "neither owning or non-owning" in said["counted_after_rcu_acquired"]

"""Registers, arithmetic and comparisons: what is allowed with numbers and pointers."""

from __future__ import annotations

import pytest

from skep.abi.prog_types import AttachType, ProgType
from skep.isa.instruction import MapRef, MapValueRef
from skep.model.programs import Outcome
from skep.model.target import Target
from skep.verifier import MemoryEntry, Options
from tests.unit.verifier.core.linked import check, said

END = "\nr0 = 0\nexit"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("r0 = r2\nexit", "R2 !read_ok"),
        ("exit", "R0 !read_ok"),
        ("r2 = r1\nr2 *= 4" + END, "R2 pointer arithmetic with *= operator prohibited"),
        ("r2 = r1\nr2 &= 4" + END, "R2 bitwise operator &= on pointer prohibited"),
        ("r2 = r10\nw2 += 4" + END, "R2 32-bit pointer arithmetic prohibited"),
        ("r2 = r10\nr2 += r1" + END, "R2 pointer += pointer prohibited"),
        ("r2 = r10\nr2 -= 8" + END, "R2 subtraction from stack pointer prohibited"),
        ("r2 = 8\nr2 -= r1" + END, "R2 tried to subtract pointer from scalar"),
        ("r2 = r10\nr2 += 536870912" + END, "math between fp pointer and 536870912 is not allowed"),
        ("r2 = *(u32 *)(r1 +4)\nr2 += 1" + END, "R2 pointer arithmetic on pkt_end prohibited"),
        ("r0 /= 0\nexit", "div by zero"),
        ("r0 = 1\nr0 <<= 64\nexit", "invalid shift 64"),
        ("r10 = 0" + END, "frame pointer is read only"),
        ("r2 = *(u64 *)(r10 -8)\nr10 = r2" + END, "frame pointer is read only"),
    ],
)
def test_bad_arithmetic_is_named_with_the_kernel_sentence(text: str, sentence: str) -> None:
    verdict = check(text)
    assert verdict.outcome is Outcome.REJECTED
    assert sentence in said(verdict)


@pytest.mark.parametrize(
    "text",
    [
        "r2 = r10\nr2 += -8" + END,
        "r2 = r1\nr3 = r1\nr2 -= r3\nr0 = 0\nexit",
        "r2 = r10\nw3 = w2" + END,  # a partial copy leaks, which root may
        "r2 = r10\nif r2 > r1 goto +0" + END,
    ],
)
def test_what_root_may_do_with_pointers(text: str) -> None:
    assert check(text).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("r2 = r10\nw3 = w2" + END, "R2 partial copy of pointer"),
        ("r2 = r10\nif r2 > r1 goto +0" + END, "R1 pointer comparison prohibited"),
        ("r0 = r10\nexit", "R0 leaks addr as return value"),
        ("r0 = *(u64 *)(r10 -8)\nexit", "invalid read from stack"),
    ],
)
def test_what_others_may_not(text: str, sentence: str) -> None:
    target = Target("vm", (6, 18, 0), privileged=False)
    assert sentence in said(check(text, target=target))


def test_unknown_amount_cannot_move_a_pointer_out_of_sight() -> None:
    text = "r2 = *(u64 *)(r10 -8)\nr3 = r10\nr3 += r2" + END
    assert "unbounded min value" in said(check(text))


def test_linked_registers_learn_together() -> None:
    """r2 is a copy of r7, and r8 = r7 + 4: a bound on r7 bounds both."""
    text = """
    r7 = *(u64 *)(r10 -8)
    r2 = r7
    r8 = r7
    r8 += 4
    if r7 > 8 goto +{far}
    r1 = 0 ll
    r1 += {which}
    *(u8 *)(r1 +{displacement}) = 1
    r0 = 0
    exit
    """
    for which, displacement, outcome in (
        ("r2", 39, Outcome.ACCEPTED),
        ("r2", 40, Outcome.REJECTED),
        ("r8", 35, Outcome.ACCEPTED),
        ("r8", 36, Outcome.REJECTED),
    ):
        code = text.format(far=4, which=which, displacement=displacement)
        verdict = check(code, refs={5: MapValueRef("one", 0)}, maps=_ONE)
        assert verdict.outcome is outcome, (which, displacement, said(verdict))


def test_branches_of_impossible_comparisons_are_dead() -> None:
    text = "r1 = 5\nif r1 > 7 goto bad\nr0 = 0\nexit\nbad:\nr0 = r9\nexit"
    verdict = check(text)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts is not None
    assert verdict.facts.reachable == {0, 1, 2, 3}


def test_32_bit_bounds_limit_the_low_half() -> None:
    text = """
    r2 = *(u64 *)(r10 -8)
    w2 = w2
    if w2 > 47 goto +4
    r1 = 0 ll
    r1 += r2
    *(u8 *)(r1 +0) = 1
    r0 = 0
    exit
    """
    assert check(text, refs={3: MapValueRef("one", 0)}, maps=_ONE).outcome is Outcome.ACCEPTED
    unbounded = text.replace("w2 = w2", "r2 = r2")
    assert check(unbounded, refs={3: MapValueRef("one", 0)}, maps=_ONE).outcome is Outcome.REJECTED


def test_map_pointers_have_no_memory_of_ours() -> None:
    verdict = check("r1 = 0 ll\nr0 = *(u32 *)(r1 +0)\nexit", refs={0: MapRef("hits")})
    assert verdict.outcome is Outcome.UNSUPPORTED


@pytest.mark.parametrize(("value", "outcome"), [(0, Outcome.ACCEPTED), (1, Outcome.ACCEPTED), (2, Outcome.REJECTED)])
def test_return_range_of_cgroup_programs(value: int, outcome: Outcome) -> None:
    verdict = check(f"r0 = {value}\nexit", prog_type=ProgType.CGROUP_SKB, attach_type=AttachType.CGROUP_INET_INGRESS)
    assert verdict.outcome is outcome


def test_conformance_entry_has_memory_and_its_size() -> None:
    options = Options(entry=MemoryEntry(4))
    assert check("r0 = *(u32 *)(r1 +0)\nexit", options).outcome is Outcome.ACCEPTED
    assert check("r0 = *(u64 *)(r1 +0)\nexit", options).outcome is Outcome.REJECTED
    assert check("r1 += r2\nr0 = *(u8 *)(r1 -1)\nexit", options).outcome is Outcome.ACCEPTED


def test_masked_shifts_only_where_asked() -> None:
    text = "r0 = 1\nr0 <<= 65\nexit"
    assert check(text, Options(entry=MemoryEntry(0), masked_shifts=True)).outcome is Outcome.ACCEPTED
    assert check(text).outcome is Outcome.REJECTED


def _one() -> dict[str, object]:
    from skep.abi.map_types import MapType
    from skep.model.maps import MapSpec

    return {"one": MapSpec("one", MapType.ARRAY, key_size=4, value_size=48, max_entries=1)}


_ONE = _one()

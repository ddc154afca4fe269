"""Memory: stack, context, packet, map values."""

from __future__ import annotations

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa.instruction import MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import Outcome, Region
from tests.unit.verifier.core.linked import MAPS, check, said

END = "\nr0 = 0\nexit"
LOOKUP = """
*(u64 *)(r10 -8) = 0
r2 = r10
r2 += -8
r1 = 0 ll
call 1
"""  # r0: a value of hits, or NULL; LD_IMM64 is at slot 3
HITS = {3: MapRef("hits")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("*(u64 *)(r10 +0) = 1" + END, "invalid write to stack R10 off=0 size=8"),
        ("*(u64 *)(r10 -520) = 1" + END, "invalid write to stack R10 off=-520 size=8"),
        ("*(u64 *)(r10 -12) = 1" + END, "misaligned stack access"),
        ("*(u32 *)(r10 -8) = r1" + END, "invalid size of register spill"),
        ("*(u64 *)(r10 -8) = r1\nr2 = *(u32 *)(r10 -8)" + END, "invalid size of register fill"),
        ("r2 = *(u64 *)(r1 +0)" + END, "invalid bpf_context access off=0 size=8"),
        ("r2 = *(u32 *)(r1 +24)" + END, "invalid bpf_context access off=24 size=4"),
        ("*(u32 *)(r1 +0) = r10" + END, "invalid bpf_context access"),
        ("r1 += 4\nr2 = *(u32 *)(r1 +0)" + END, "dereference of modified ctx ptr R1 off=4 disallowed"),
        ("r2 = 4096\nr3 = *(u8 *)(r2 +0)" + END, "R2 invalid mem access 'scalar'"),
        ("lock *(u64 *)(r1 +0) += r10" + END, "BPF_ATOMIC stores into R1 ctx is not allowed"),
    ],
)
def test_bad_accesses(text: str, sentence: str) -> None:
    verdict = check(text)
    assert verdict.outcome is Outcome.REJECTED
    assert sentence in said(verdict)


def test_spilled_pointers_come_back() -> None:
    text = "*(u64 *)(r10 -8) = r1\nr3 = *(u64 *)(r10 -8)\nr2 = *(u32 *)(r3 +12)" + END
    verdict = check(text)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts is not None
    assert 1 in verdict.facts.pointer_results
    assert verdict.facts.stack_depth == {0: 8}


def test_a_partly_overwritten_pointer_is_a_number() -> None:
    text = "*(u64 *)(r10 -8) = r1\n*(u8 *)(r10 -3) = 0\nr3 = *(u64 *)(r10 -8)\nr2 = *(u32 *)(r3 +12)" + END
    assert "R3 invalid mem access 'scalar'" in said(check(text))


def test_uninitialised_stack_is_noted() -> None:
    verdict = check("r2 = *(u64 *)(r10 -8)" + END)
    assert verdict.facts is not None
    assert verdict.facts.reads_uninit_stack
    written = check("*(u64 *)(r10 -8) = 3\nr2 = *(u64 *)(r10 -8)" + END)
    assert written.facts is not None
    assert not written.facts.reads_uninit_stack


def test_a_store_somewhere_destroys_spills_it_may_hit() -> None:
    text = """
    *(u64 *)(r10 -8) = r1
    *(u64 *)(r10 -16) = 0
    r2 = *(u32 *)(r1 +12)
    r2 &= 8
    r3 = r10
    r3 += -16
    r3 += r2
    *(u64 *)(r3 +0) = 1
    r1 = *(u64 *)(r10 -8)
    r0 = *(u32 *)(r1 +12)
    exit
    """
    assert "R1 invalid mem access 'scalar'" in said(check(text))


PACKET = """
r2 = *(u32 *)(r1 +4)
r1 = *(u32 *)(r1 +0)
r3 = r1
r3 += 14
{compare}
r0 = *(u8 *)(r1 +{offset})
out:
r0 = 1
exit
"""


@pytest.mark.parametrize(
    ("compare", "readable"),
    [
        ("if r3 > r2 goto out", 14),
        ("if r3 >= r2 goto out", 15),
        ("if r2 < r3 goto out", 14),
        ("if r2 <= r3 goto out", 15),
        ("if r3 <= r2 goto +1\ngoto out", 14),
        ("if r2 >= r3 goto +1\ngoto out", 14),
        ("if r3 < r2 goto +1\ngoto out", 15),
        ("if r2 > r3 goto +1\ngoto out", 15),
        ("if r3 == r2 goto out", 0),
        ("if w3 > w2 goto out", 0),
    ],
)
def test_packet_bytes_are_readable_up_to_what_was_compared(compare: str, readable: int) -> None:
    for offset in (readable - 1, readable):
        verdict = check(PACKET.format(compare=compare, offset=offset))
        expected = Outcome.ACCEPTED if 0 <= offset < readable else Outcome.REJECTED
        assert verdict.outcome is expected, (compare, offset, said(verdict))


def test_packet_access_by_variable_offset_needs_its_own_comparison() -> None:
    text = """
    r6 = *(u32 *)(r1 +4)
    r7 = *(u32 *)(r1 +0)
    r2 = *(u32 *)(r1 +12)
    r2 &= 255
    r7 += r2
    r3 = r7
    r3 += 8
    if r3 > r6 goto +1
    r0 = *(u64 *)(r7 +{offset})
    r0 = 0
    exit
    """
    assert check(text.format(offset=0)).outcome is Outcome.ACCEPTED
    assert check(text.format(offset=1)).outcome is Outcome.REJECTED


def test_packet_writes_depend_on_the_program_type() -> None:
    text = """
    r2 = *(u32 *)(r1 +80)
    r1 = *(u32 *)(r1 +76)
    r3 = r1
    r3 += 4
    if r3 > r2 goto +1
    *(u32 *)(r1 +0) = 7
    r0 = 0
    exit
    """
    allowed = check(text, prog_type=ProgType.SCHED_CLS)
    assert allowed.facts is not None
    assert allowed.facts.writes_packet
    assert allowed.facts.accesses[5].region is Region.PACKET
    assert "cannot write into packet" in said(check(text, prog_type=ProgType.CGROUP_SKB))


def test_resizing_helpers_invalidate_packet_pointers() -> None:
    text = """
    r6 = r1
    r8 = *(u32 *)(r6 +4)
    r7 = *(u32 *)(r6 +0)
    r3 = r7
    r3 += 1
    if r3 > r8 goto +4
    r1 = r6
    r2 = 0
    {call}
    r0 = *(u8 *)(r7 +0)
    r0 = 0
    exit
    """
    assert "R7 invalid mem access 'scalar'" in said(check(text.format(call="call 44")))
    assert check(text.format(call="r2 = 1")).outcome is Outcome.ACCEPTED


def test_map_values_are_checked_for_null_and_bounds() -> None:
    assert "map_value_or_null" in said(check(LOOKUP + "r1 = *(u64 *)(r0 +0)" + END, refs=HITS))
    checked = LOOKUP + "if r0 == 0 goto +1\nr1 = *(u64 *)(r0 +{offset})" + END
    verdict = check(checked.format(offset=8), refs=HITS)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts is not None
    access = verdict.facts.accesses[7]
    assert (access.region, access.map, access.offset) == (Region.MAP_VALUE, "hits", 8)
    assert verdict.facts.calls[5].map == "hits"
    assert "invalid access to map value" in said(check(checked.format(offset=9), refs=HITS))


def test_the_null_check_counts_for_all_copies() -> None:
    text = LOOKUP + "*(u64 *)(r10 -16) = r0\nif r0 == 0 goto +2\nr6 = *(u64 *)(r10 -16)\nr1 = *(u64 *)(r6 +0)" + END
    assert check(text, refs=HITS).outcome is Outcome.ACCEPTED


def test_two_lookups_are_two_pointers() -> None:
    text = LOOKUP + "r7 = r0" + LOOKUP + "if r7 == 0 goto +1\nr1 = *(u64 *)(r0 +0)" + END
    assert "map_value_or_null" in said(check(text, refs={3: MapRef("hits"), 10: MapRef("hits")}))


def test_frozen_data_is_known() -> None:
    text = "r1 = 0 ll\nr2 = *(u32 *)(r1 +0)\nif r2 == 5 goto +1\nr0 = r9\nr0 = 0\nexit"
    assert check(text, refs={0: MapValueRef(".rodata", 0)}).outcome is Outcome.ACCEPTED
    thawed = {".rodata": MAPS[".rodata"].replace(frozen=False)}
    assert "R9 !read_ok" in said(check(text, refs={0: MapValueRef(".rodata", 0)}, maps=thawed))


def test_read_only_maps_are_not_written() -> None:
    text = "r1 = 0 ll\n*(u32 *)(r1 +0) = 1" + END
    assert "write into map forbidden" in said(check(text, refs={0: MapValueRef(".rodata", 0)}))


def test_inner_maps_have_the_template() -> None:
    inner = MapSpec("inner", MapType.HASH, key_size=8, value_size=4, max_entries=1)
    outer = MapSpec("outer", MapType.HASH_OF_MAPS, key_size=8, value_size=4, max_entries=1, inner=inner)
    text = (
        LOOKUP
        + """
    if r0 == 0 goto out
    r1 = r0
    r2 = r10
    r2 += -8
    call 1
    if r0 == 0 goto out
    r1 = *(u32 *)(r0 +{offset})
    out:
    r0 = 0
    exit
    """
    )
    verdict = check(text.format(offset=0), refs={3: MapRef("outer")}, maps={"outer": outer})
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts is not None
    assert verdict.facts.calls[10].map is None
    assert verdict.facts.calls[10].map_spec is inner
    assert check(text.format(offset=4), refs={3: MapRef("outer")}, maps={"outer": outer}).outcome is Outcome.REJECTED


def test_one_instruction_cannot_mean_context_and_something_else() -> None:
    text = """
    r2 = *(u32 *)(r1 +12)
    *(u64 *)(r10 -8) = 0
    if r2 > 3 goto +2
    r1 = r10
    r1 += -8
    r0 = *(u32 *)(r1 +0)
    exit
    """
    assert "same insn cannot be used with different pointers" in said(
        check(text.replace("r1 +0", "r1 +0"), prog_type=ProgType.SCHED_CLS)
    )

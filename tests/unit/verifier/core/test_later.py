"""Timers: their argument, their map, and the callback that runs later on its own (kernel: push_async_cb)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.btf import types as t
from skep.isa.instruction import MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import Outcome
from tests.unit.verifier.core.linked import check, said

_BTF = t.Btf(
    (
        t.Void(),
        t.Int("int", 4, 32),
        t.Struct("bpf_timer", 16, ()),
        t.Struct("job", 24, (t.Member("runs", 1, 0), t.Member("timer", 2, 64))),
    )
)
JOBS = MapSpec("jobs", MapType.HASH, key_size=4, value_size=24, max_entries=8, value_type=3, btf=_BTF)
OUTER = MapSpec("outer", MapType.HASH_OF_MAPS, key_size=4, value_size=4, max_entries=8, inner=JOBS)
MAPS = {"jobs": JOBS, "others": replace(JOBS, name="others"), "outer": OUTER}
Refs = dict[int, MapRef | MapValueRef]

KEY = "*(u32 *)(r10 -4) = 0\n"
LOOKUP = "r1 = 0 ll\nr2 = r10\nr2 += -4\ncall 1\nif r0 != 0 goto +2\nr0 = 0\nexit\n"  # 8 slots
FOUND = KEY + LOOKUP + "r6 = r0\n"  # 10 slots
TIMER = "r1 = r6\nr1 += 8\n"
SET = TIMER + "r2 = subprog[+4]\ncall 170\n"
END = "r0 = 0\nexit\n"


def judged(text: str, refs: Refs | None = None, **more: object) -> str:
    verdict = check(text, maps=MAPS, refs=refs or {1: MapRef("jobs")}, **more)
    assert verdict.outcome is not Outcome.UNSUPPORTED, verdict.diagnostics
    return said(verdict)


@pytest.mark.parametrize(
    ("callback", "sentence"),
    [
        (END, ""),
        ("r0 = *(u32 *)(r3 +0)\nr0 = 0\nexit", ""),
        ("r0 = *(u32 *)(r2 +0)\nr0 = 0\nexit", ""),
        ("r1 = r3\nr1 += 8\ncall 172\n" + END, ""),
        ("r0 = 1\nexit", "At async callback return the register R0 has smin=1 smax=1 should have been in [0, 0]"),
        ("r0 = r3\nexit", "At async callback return the register R0 is not a known value (map_value)"),
        ("r0 = r6\nexit", "R6 !read_ok"),  # nothing of the program that set it
        ("r0 = r4\nexit", "R4 !read_ok"),
        ("r0 = *(u64 *)(r3 +8)\nexit", "bpf_timer cannot be accessed directly by load/store"),
        ("*(u32 *)(r2 +0) = 1\n" + END, "write to change key R2 not allowed"),
        ("exit", "R0 !read_ok"),
    ],
)
def test_what_a_callback_gets_and_gives(callback: str, sentence: str) -> None:
    assert judged(FOUND + SET + END + callback) == sentence


def test_a_callback_that_sets_itself() -> None:
    again = "r1 = r3\nr1 += 8\nr2 = subprog[-3]\ncall 170\n"
    assert judged(FOUND + SET + END + again + END) == ""


def test_it_cannot_sleep_whatever_the_program_may() -> None:
    callback = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall 148\n" + END  # bpf_copy_from_user()
    verdict = judged(FOUND + SET + END + callback, prog_type=ProgType.SYSCALL, sleepable=True)
    assert verdict == "helper call might sleep in a non-sleepable prog"


def test_its_stack_is_its_own() -> None:
    deep = "*(u64 *)(r10 -400) = 0\n"
    assert judged(deep + FOUND + SET + END + deep + END, {2: MapRef("jobs")}) == ""
    called = deep + FOUND + TIMER + "r2 = subprog[+6]\ncall 170\n" + "r1 = r6\ncall local +2\n" + END + deep + END
    assert judged(called, {2: MapRef("jobs")}) == "combined stack size of 2 calls is 800. Too large"


@pytest.mark.parametrize(("map_name", "sentence"), [("jobs", ""), ("others", "doesn't match map pointer in R2")])
def test_a_timer_belongs_to_its_map(map_name: str, sentence: str) -> None:
    text = FOUND + TIMER + "r2 = 0 ll\nr3 = 1\ncall 169\n" + END
    assert sentence in judged(text, {1: MapRef("jobs"), 12: MapRef(map_name)})


def test_maps_in_maps_are_told_apart_by_lookup() -> None:
    inner = KEY + LOOKUP + "r7 = r0\n" + LOOKUP + "r8 = r0\n"
    value = "r1 = r7\nr2 = r10\nr2 += -4\ncall 1\nif r0 != 0 goto +2\nr0 = 0\nexit\nr6 = r0\n"
    init = TIMER + "r2 = {}\nr3 = 1\ncall 169\n" + END
    refs: Refs = {1: MapRef("outer"), 10: MapRef("outer")}
    assert judged(inner + value + init.format("r7"), refs) == ""
    assert "doesn't match map pointer in R2" in judged(inner + value + init.format("r8"), refs)


def test_not_in_programs_that_interrupt_anything() -> None:
    assert judged(FOUND + END, prog_type=ProgType.KPROBE) == "tracing progs cannot use bpf_timer yet"

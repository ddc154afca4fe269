"""Spin locks: which argument is one, in which order, what may be done while one is held (kernel: process_spin_lock)."""

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
        t.Struct("bpf_spin_lock", 4, (t.Member("val", 1, 0),)),
        t.Struct("job", 12, (t.Member("runs", 1, 0), t.Member("lock", 2, 32), t.Member("state", 1, 64))),
    )
)
JOBS = MapSpec("jobs", MapType.HASH, key_size=4, value_size=12, max_entries=8, value_type=3, btf=_BTF)
GLOBAL = replace(JOBS, name="global", type=MapType.ARRAY, max_entries=1)
MAPS = {"jobs": JOBS, "global": GLOBAL}

KEY = "*(u32 *)(r10 -4) = 0\n"
LOOKUP = "r1 = 0 ll\nr2 = r10\nr2 += -4\ncall 1\nif r0 != 0 goto +2\nr0 = 0\nexit\n"  # 8 slots
FOUND = KEY + LOOKUP + "r6 = r0\n"  # 10 slots
LOCK, UNLOCK = "r1 = r6\nr1 += 4\ncall 93\n", "r1 = r6\nr1 += 4\ncall 94\n"
END = "r0 = 0\nexit"
REFS = {1: MapRef("jobs")}


def judged(text: str, refs: dict[int, MapRef | MapValueRef] | None = None, **more: object) -> str:
    verdict = check(text, maps=MAPS, refs=refs or REFS, **more)
    assert verdict.outcome is not Outcome.UNSUPPORTED, verdict.diagnostics
    return said(verdict)


def test_taken_and_released() -> None:
    assert judged(FOUND + LOCK + "*(u32 *)(r6 +0) = 1\n" + UNLOCK + END) == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (FOUND + LOCK + END, "BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region"),
        (FOUND + UNLOCK + END, "bpf_spin_unlock without taking a lock"),
        (FOUND + LOCK + UNLOCK + UNLOCK + END, "bpf_spin_unlock without taking a lock"),
        (FOUND + LOCK + LOCK + END, "function calls are not allowed while holding a lock"),
        (FOUND + LOCK + "call 5\n" + UNLOCK + END, "function calls are not allowed while holding a lock"),
        (FOUND + "r1 = r6\ncall 93\n" + END, "off 0 doesn't point to 'struct bpf_spin_lock' that is at 4"),
        (FOUND + "r1 = r10\nr1 += -8\ncall 93\n" + END, "R1 type=fp expected=map_value, ptr_"),
        (FOUND + "r0 = *(u8 *)(r6 +7)\n" + END, "bpf_spin_lock cannot be accessed directly by load/store"),
        (FOUND + "*(u64 *)(r6 +0) = 0\n" + END, "bpf_spin_lock cannot be accessed directly by load/store"),
        (
            FOUND + "call 7\nr0 &= 4\nr1 = r6\nr1 += r0\ncall 93\n" + END,
            "R1 doesn't have constant offset. bpf_spin_lock has to be at the constant offset",
        ),
    ],
)
def test_what_the_kernel_says(text: str, sentence: str) -> None:
    assert judged(text) == sentence


def test_each_lookup_has_a_lock_of_its_own() -> None:
    again = LOOKUP + "r7 = r0\n"
    refs: dict[int, MapRef | MapValueRef] = {1: MapRef("jobs"), 10: MapRef("jobs")}
    assert judged(FOUND + again + LOCK + UNLOCK + END, refs) == ""
    other = "r1 = r7\nr1 += 4\ncall 94\n"
    assert judged(FOUND + again + LOCK + other + END, refs) == "bpf_spin_unlock of different lock"


def test_a_copy_of_the_pointer_is_the_same_lock() -> None:
    copied = FOUND.replace("if r0 != 0", "r8 = r0\nif r0 != 0")
    assert judged(copied + LOCK + "r1 = r8\nr1 += 4\ncall 94\n" + END) == ""


def test_the_one_value_of_global_data_is_one_lock() -> None:
    text = "r1 = 0 ll\ncall 93\nr1 = 0 ll\ncall 94\n" + END
    refs: dict[int, MapRef | MapValueRef] = {0: MapValueRef("global", 4), 3: MapValueRef("global", 4)}
    assert judged(text, refs) == ""


def test_one_branch_forgets_to_release() -> None:
    text = FOUND + "call 7\nr7 = r0\n" + LOCK + "if r7 == 0 goto +3\n" + UNLOCK + END
    assert "cannot be used inside bpf_spin_lock-ed region" in judged(text)


def test_taken_on_one_path_only() -> None:
    """The state with the lock is not covered by the state without."""
    text = FOUND + "call 7\nif r0 == 0 goto +3\n" + LOCK + END
    assert "cannot be used inside bpf_spin_lock-ed region" in judged(text)


def test_a_static_function_may_release() -> None:
    text = FOUND + LOCK + "r1 = r6\ncall local +2\n" + END + "\nr1 += 4\ncall 94\nr0 = 0\nexit"
    assert judged(text) == ""


@pytest.mark.parametrize("prog_type", [ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.PERF_EVENT])
def test_not_in_programs_that_interrupt_anything(prog_type: ProgType) -> None:
    assert judged(FOUND + END, prog_type=prog_type) == "tracing progs cannot use bpf_spin_lock yet"


def test_not_in_socket_filters() -> None:
    assert judged(FOUND + END, prog_type=ProgType.SOCKET_FILTER) == "socket filter progs cannot use bpf_spin_lock yet"


def test_a_map_without_types_has_no_lock() -> None:
    plain = replace(JOBS, btf=None, value_type=0)
    verdict = check(FOUND + LOCK + END, maps={"jobs": plain}, refs=REFS)
    assert said(verdict) == "map 'jobs' has to have BTF in order to use bpf_spin_lock"
    assert verdict.diagnostics[0].code == "V1201"

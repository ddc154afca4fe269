"""Arenas: casts, arithmetic, accesses, and what the program as a whole must be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa.instruction import MapRef, MapValueRef
from skep.linker import link as link_object
from skep.model.maps import MapSpec
from skep.model.programs import Outcome, Region, Verdict
from skep.model.target import Target
from skep.objfile import read_object
from skep.verifier import judge
from tests.unit.objfile.build import compile_c
from tests.unit.verifier.core.linked import link, said

ARENA = MapSpec("arena", MapType.ARENA, max_entries=4, flags=1 << 10)
OTHER = replace(ARENA, name="other")
MAPS = {"arena": ARENA, "other": OTHER}
NAMED = "r1 = 0 ll\n"  # the map, so that the program has an arena
POINTER = NAMED + "r1 = 64\nr1 = addr_space_cast(r1, 0, 1)\n"
END = "\nr0 = 0\nexit"


def check(text: str, target: Target | None = None, refs: dict[int, MapRef | MapValueRef] | None = None) -> Verdict:
    """Judge; the LD_IMM64 at slot 0 is the arena unless ``refs`` say otherwise."""
    linked = link(text, ProgType.SYSCALL, MAPS, refs if refs is not None else {0: MapRef("arena")}, sleepable=True)
    return judge(replace(linked, target=target) if target is not None else linked)


@pytest.mark.parametrize(
    "text",
    [
        "r2 = *(u64 *)(r1 +0)",
        "r2 = *(u8 *)(r1 -20000)",
        "*(u64 *)(r1 +3) = 5",
        "*(u64 *)(r1 +0) = r10",
        "r2 = 1\nlock *(u64 *)(r1 +4) += r2",
        "r2 = 1\nlock *(u32 *)(r1 +2) += r2",
        "r1 *= 77\nr2 = *(u32 *)(r1 +0)",
        "w1 -= 5\nr2 = *(u32 *)(r1 +0)",
        "r2 = 8\nr2 += r1\nr3 = *(u64 *)(r2 +0)",
        "r2 = r1\nr2 += r1\nr3 = *(u64 *)(r2 +0)",
        "r1 += r10\nr3 = *(u64 *)(r1 +0)",
        "r2 = r10\nr2 += r1\nr3 = *(u64 *)(r2 +0)",
        "*(u64 *)(r10 -8) = r1\nr2 = *(u64 *)(r10 -8)\nr3 = *(u64 *)(r2 +0)",
        "r2 = addr_space_cast(r10, 0, 1)\nr3 = *(u64 *)(r2 +0)",
        "if r1 == 0 goto +0\nr3 = *(u64 *)(r1 +0)",
        "r2 = *(s32 *)(r1 +0)",
    ],
)
def test_anything_goes(text: str) -> None:
    verdict = check(POINTER + text + END)
    assert verdict.outcome is Outcome.ACCEPTED, said(verdict)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("r2 = addr_space_cast(r1, 1, 0)\nr3 = *(u64 *)(r2 +0)", "R2 invalid mem access 'scalar'"),
        ("w2 = w1\nr3 = *(u64 *)(r2 +0)", "R2 invalid mem access 'scalar'"),
        ("r1 = -r1\nr3 = *(u64 *)(r1 +0)", "R1 invalid mem access 'scalar'"),
        ("r2 = *(u64 *)(r1 +0)\nr3 = *(u64 *)(r2 +0)", "R2 invalid mem access 'scalar'"),
        ("r2 = addr_space_cast(r1, 0, 2)", "addr_space_cast insn can only convert between address space 1 and 0"),
        ("r2 = addr_space_cast(r7, 0, 1)", "R7 !read_ok"),
        ("r2 = 1\nr2 = atomic64_fetch_or((u64 *)(r1 +0), r2)", "BPF_ATOMIC stores into R1 arena is not allowed"),
        ("r2 = 8\nr3 = 0\ncall 113", "R1 type=arena expected=fp"),
    ],
)
def test_refused(text: str, sentence: str) -> None:
    verdict = check(POINTER + text + END)
    assert verdict.outcome is Outcome.REJECTED
    assert said(verdict).startswith(sentence)


def test_cast_needs_an_arena() -> None:
    verdict = check("r1 = 0\nr1 = addr_space_cast(r1, 0, 1)" + END, refs={})
    assert said(verdict) == "addr_space_cast insn can only be used in a program that has an associated arena"
    assert verdict.diagnostics[0].code == "V1001"


def test_one_arena() -> None:
    verdict = check(NAMED + "r2 = 0 ll" + END, refs={0: MapRef("arena"), 2: MapRef("other")})
    assert said(verdict) == "Only one arena per program"


def test_privileged_only() -> None:
    verdict = check(NAMED + END, Target("linux", (6, 18, 0), privileged=False))
    assert said(verdict) == "CAP_BPF and CAP_PERFMON are required to use arena"


def test_signed_loads_came_later() -> None:
    text = POINTER + "r2 = *(s32 *)(r1 +0)" + END
    verdict = check(text, Target("linux 6.12", (6, 12, 0)))
    assert said(verdict) == "sign extending loads from arena are not supported yet"
    assert verdict.diagnostics[0].code == "V1002"


@pytest.mark.parametrize(
    ("offset", "sentence"),
    [
        (0, None),
        (4 * 4096, None),
        (4 * 4096 + 1, "invalid access to map value pointer, value_size=0 off=16385"),
        (1 << 29, "direct value offset of 536870912 is not allowed"),
    ],
)
def test_address_in_an_arena(offset: int, sentence: str | None) -> None:
    """It is a number: a pointer only after a cast."""
    verdict = check(NAMED + "r1 = addr_space_cast(r1, 0, 1)\nr0 = *(u64 *)(r1 +0)" + END,
                    refs={0: MapValueRef("arena", offset)})  # fmt: skip
    assert (said(verdict) if sentence else None) == sentence
    plain = check(NAMED + "r0 = *(u64 *)(r1 +0)" + END, refs={0: MapValueRef("arena", 8)})
    assert said(plain) == "R1 invalid mem access 'scalar'"


def test_one_instruction_one_kind_of_memory() -> None:
    """Loads must not mix an arena with other memory; atomics may (kernel: save_aux_ptr_type)."""
    text = NAMED + "*(u64 *)(r10 -8) = 0\ncall 7\nr6 = r10\nif r0 == 0 goto +2\nr6 = 0\n"
    text += "r6 = addr_space_cast(r6, 0, 1)\n"
    assert said(check(text + "r2 = *(u64 *)(r6 -8)" + END)) == "same insn cannot be used with different pointers"
    assert check(text + "r2 = 1\nlock *(u64 *)(r6 -8) += r2" + END).outcome is Outcome.ACCEPTED


TAGGED = """
#define __arena __attribute__((address_space(1)))
#define __arg_arena __attribute__((btf_decl_tag("arg:arena")))
struct { __uint(type, 33); __uint(map_flags, 1024); __uint(max_entries, 4); } arena SEC(".maps");
struct item { int x; };
__noinline int first(struct item __arena *p TAG) { return p->x; }
SEC("syscall") int f(void *ctx) {
    struct item __arena *p = (void __arena *)64; void *volatile which = &arena; p->x = 1; return CALL; }
"""


@pytest.mark.parametrize(
    ("tag", "call", "sentence"),
    [
        ("__arg_arena", "first(p)", None),
        ("__arg_arena", "first((void __arena *)(long)p->x)", None),
        ("__arg_arena", "first((void __arena *)(long)ctx)", "Caller passes invalid args into func#1 ('first')"),
        ("", "first(p)", "Caller passes invalid args into func#1 ('first')"),
        (
            '__arg_arena __attribute__((btf_decl_tag("arg:nonnull")))',
            "first(p)",
            "arg#0 arena cannot be combined with any other tags (function first())",
        ),
    ],
)  # fmt: skip
def test_arguments_of_global_functions(tag: str, call: str, sentence: str | None) -> None:
    """Anything that can be an address in an arena, or a number (kernel: btf_check_func_arg_match)."""
    source = TAGGED.replace("TAG)", f"{tag})").replace("CALL", call)
    linked = link_object(read_object(compile_c(source), "a.o"), "f", Target("linux", (6, 18, 0)))
    verdict = judge(replace(linked, sleepable=True))
    assert (said(verdict) if verdict.diagnostics else None) == sentence


def test_facts() -> None:
    verdict = check(POINTER + "r2 = *(u64 *)(r1 +0)" + END)
    assert verdict.facts is not None
    assert [access.region for access in verdict.facts.accesses.values()] == [Region.ARENA]


def test_an_atomic_that_overwrites_its_pointer() -> None:
    """The kernel looks at the register again after the fetch, in arenas and everywhere else."""
    verdict = check(POINTER + "r1 = atomic64_xchg((u64 *)(r1 +0), r1)" + END)
    assert said(verdict) == "misaligned access off (0x0; 0xffffffffffffffff)+0+0 size 8"
    verdict = check(NAMED + "*(u64 *)(r10 -8) = 0\nr2 = r10\nr2 = atomic64_xchg((u64 *)(r2 -8), r2)" + END)
    assert verdict.outcome is Outcome.REJECTED

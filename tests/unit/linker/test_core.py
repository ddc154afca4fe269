"""CO-RE in instructions: the object was compiled against one kernel's types and is linked for another's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.btf.core_relo import CoreKind, CoreRelocation
from skep.errors import LinkError
from skep.isa.instruction import Instruction, slots
from skep.isa.opcodes import LD_IMM64, SIZE_BYTES, SIZE_MASK
from skep.linker import link
from skep.linker.core import POISON
from skep.model.objects import ObjectSpec
from skep.model.target import Target
from skep.objfile import read_object
from tests.unit.objfile.build import compile_c

LOCAL = """
struct task { int pid; int tgid; __u32 grew; int sgrew; long gone; unsigned bits : 3; } __core;
enum state { RUNNING = 1, DEAD = 2 };
enum big { HUGE = 0x123456789abcULL };
struct nothing { int x; } __core;
#define field(kind, expr) __builtin_preserve_field_info(expr, kind)
SEC("raw_tp/a") int moved(struct task *t) { return t->tgid; }
SEC("raw_tp/a") int stored(struct task *t) { t->pid = 5; t->tgid = t->pid + (long) t; return 0; }
SEC("raw_tp/a") int grew(struct task *t) { return t->grew; }
SEC("raw_tp/a") int sgrew(struct task *t) { return (long) t->sgrew >> 1; }
SEC("raw_tp/a") int gone(struct task *t) { return t->gone; }
SEC("raw_tp/a") int exists(struct task *t) { return field(2, t->gone) * 10 + field(2, t->pid); }
SEC("raw_tp/a") int size(struct task *t) { return field(1, t->grew); }
SEC("raw_tp/a") int values(struct task *t) { return __builtin_preserve_enum_value(*(enum state *) DEAD, 1); }
SEC("raw_tp/a") long huge(struct task *t) { return __builtin_preserve_enum_value(*(enum big *) HUGE, 1); }
SEC("raw_tp/a") int type_size(struct task *t) { return __builtin_preserve_type_info(*(struct task *) 0, 1); }
SEC("raw_tp/a") int type_exists(struct task *t) { return __builtin_preserve_type_info(*(struct nothing *) 0, 0); }
SEC("raw_tp/a") int local_id(struct task *t) { return __builtin_btf_type_id(*(struct nothing *) 0, 0); }
"""
KERNEL = """
struct task { long padding[4]; int tgid; int pid; __u64 grew; long sgrew; unsigned other : 9; unsigned bits : 3; };
enum state { RUNNING = 1, STOPPED = 2, DEAD = 77 };
enum big { HUGE = 0xfedcba987654ULL };
struct task *use(struct task *t, enum state s, enum big b) { return t + s + b; }
"""


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    return read_object(compile_c(LOCAL), "core.bpf.o")


@pytest.fixture(scope="module")
def linux() -> Target:
    return Target("linux 9.9", (9, 9, 0), btf=read_object(compile_c(KERNEL), "kernel.o").btf)


def patched(spec: ObjectSpec, linux: Target, program: str) -> list[Instruction]:
    """The instructions of a program that had a relocation, after linking."""
    linked = link(spec, program, linux)
    table = slots(linked.insns)
    return [insn for slot in sorted(spec.programs[program].function.core_relocations) if (insn := table[slot])]


def test_loads_get_the_offset_of_the_target(spec: ObjectSpec, linux: Target) -> None:
    assert [insn.off for insn in patched(spec, linux, "moved")] == [32]


def test_stores_get_the_offset_of_the_target(spec: ObjectSpec, linux: Target) -> None:
    assert {insn.off for insn in patched(spec, linux, "stored")} == {32, 36}


def test_an_unsigned_load_grows_with_its_field(spec: ObjectSpec, linux: Target) -> None:
    (insn,) = patched(spec, linux, "grew")
    assert insn.off == 40
    assert SIZE_BYTES[insn.opcode & SIZE_MASK] == 8


def test_a_signed_field_of_another_size_is_poisoned(spec: ObjectSpec, linux: Target) -> None:
    linked = link(spec, "sgrew", linux)
    assert ["bytes" in reason for reason in linked.core_poisoned.values()] == [True]


def test_a_missing_field_is_poisoned(spec: ObjectSpec, linux: Target) -> None:
    linked = link(spec, "gone", linux)
    ((slot, reason),) = linked.core_poisoned.items()
    assert slots(linked.insns)[slot] == Instruction(0x85, imm=POISON)
    assert "gone" in reason


@pytest.mark.parametrize(
    ("program", "values"),
    [("exists", {0, 1}), ("size", {8}), ("values", {77}), ("type_exists", {0}), ("type_size", {64})],
)
def test_immediates(spec: ObjectSpec, linux: Target, program: str, values: set[int]) -> None:
    assert {insn.imm for insn in patched(spec, linux, program)} == values


def test_wide_immediates(spec: ObjectSpec, linux: Target) -> None:
    (insn,) = patched(spec, linux, "huge")
    assert (insn.opcode, insn.imm) == (LD_IMM64, 0xFEDCBA987654)


def test_type_ids_of_the_object_need_no_target(spec: ObjectSpec) -> None:
    assert spec.btf is not None
    (insn,) = patched(spec, Target("vm", (6, 18, 0)), "local_id")
    assert spec.btf[insn.imm].name == "nothing"


def test_other_relocations_without_target_types_are_an_error_with_the_way_out(spec: ObjectSpec) -> None:
    with pytest.raises(LinkError) as caught:
        link(spec, "moved", Target("vm", (6, 18, 0)))
    diagnostic = caught.value.diagnostic
    assert (diagnostic.code, diagnostic.program) == ("B0301", "moved")
    assert diagnostic.span is not None
    assert diagnostic.help


def test_linking_for_the_object_s_own_types_changes_nothing(spec: ObjectSpec) -> None:
    target = Target("same", (6, 18, 0), btf=spec.btf)
    for name in ("moved", "stored", "grew", "sgrew", "gone", "values", "huge"):
        assert link(spec, name, target).insns == spec.programs[name].function.insns


@pytest.mark.parametrize(
    ("insn", "fault"),
    [
        (Instruction(0x95), "neither arithmetic nor a memory access"),
        (Instruction(0x61, dst=0, src=1, off=3), "has offset 3"),
        (Instruction(0xBF, dst=0, src=1), "has no immediate"),
        (Instruction(0xB7, dst=0, imm=3), "holds 3"),
        (Instruction(LD_IMM64, dst=0, src=1, imm=4), "no plain 64-bit load"),
    ],
)
def test_relocations_that_do_not_fit_their_instruction(
    spec: ObjectSpec, linux: Target, insn: Instruction, fault: str
) -> None:
    program = spec.programs["moved"]
    (relocation,) = program.function.core_relocations.values()
    assert relocation == CoreRelocation(CoreKind.FIELD_BYTE_OFFSET, relocation.type, "0:1")
    function = replace(program.function, insns=(insn,), core_relocations={0: relocation})
    broken = replace(spec, programs={"moved": replace(program, function=function)})
    with pytest.raises(LinkError, match=fault) as caught:
        link(broken, "moved", linux)
    assert caught.value.diagnostic.code == "L0110"

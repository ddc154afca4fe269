"""Functions, programs and the relocations of their code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skep.abi.prog_types import AttachType, ProgType
from skep.errors import ElfError
from skep.isa.instruction import FuncRef, KfuncRef, KsymRef, MapRef, MapValueRef
from skep.isa.opcodes import CALL_KFUNC, CALL_LOCAL, LD_IMM64, PSEUDO_FUNC, PSEUDO_MAP_VALUE
from skep.model.objects import ExternKind
from skep.model.programs import FunctionSpec
from skep.objfile import read_object
from tests.unit.objfile.build import CODE, EXIT, PRELUDE, Raw, RawElf, compile_c

SOURCE = """
struct { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
extern int LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_BPF __kconfig __weak;
extern const void init_task __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;
static volatile __u32 first, second = 5;
volatile const __u32 limit = 3;
static __noinline int local_sub(int x) { return x * first; }
__noinline int global_sub(int x) { return x + limit + local_sub(x); }
__hidden __noinline int hidden_sub(int x) { return x - second; }
static int callback(__u32 i, void *ctx) { first++; return 0; }
SEC("xdp") int pass(void *ctx) { return global_sub(1) + hidden_sub(2); }
SEC("xdp") int drop(void *ctx) { __u32 k = 0; bpf_loop(4, callback, 0, 0);
    return bpf_map_lookup_elem(&counts, &k) != 0; }
SEC("?tracepoint/syscalls/sys_enter_openat") int traced(void *ctx) {
    bpf_rcu_read_lock(); return LINUX_KERNEL_VERSION + CONFIG_BPF + (long) &init_task; }
SEC("nobody/knows") int odd(void *ctx) { return 0; }
SEC("fentry.s/do_unlinkat") int sleepy(void *ctx) { return 0; }
SEC("xdp.frags") int fragile(void *ctx) { return 0; }
"""


def refs(function: FunctionSpec) -> list[object]:
    return [insn.ref for insn in function.insns if insn.ref is not None]


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_programs_come_from_section_names(target: str) -> None:
    spec = read_object(compile_c(SOURCE, target=target), "p.o")
    assert set(spec.programs) == {"pass", "drop", "traced", "odd", "sleepy", "fragile"}
    assert spec.license == "GPL"
    traced = spec.programs["traced"]
    assert (traced.section, traced.prog_type, traced.attach_to) == (
        "tracepoint/syscalls/sys_enter_openat",
        ProgType.TRACEPOINT,
        "syscalls/sys_enter_openat",
    )
    assert not traced.autoload
    assert spec.programs["pass"].autoload
    odd = spec.programs["odd"]
    assert odd.prog_type is ProgType.UNSPEC
    assert "nobody/knows" in odd.notes[0]
    assert spec.programs["sleepy"].sleepable
    assert spec.programs["sleepy"].attach_type is AttachType.TRACE_FENTRY
    assert spec.programs["fragile"].frags


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_calls_and_addresses_become_names(target: str) -> None:
    spec = read_object(compile_c(SOURCE, target=target), "p.o")
    functions = spec.functions
    assert refs(functions["pass"]) == [FuncRef("global_sub"), FuncRef("hidden_sub")]
    assert FuncRef("local_sub") in refs(functions["global_sub"])
    assert MapRef("counts") in refs(functions["drop"])
    (address,) = [insn for insn in functions["drop"].insns if insn.ref == FuncRef("callback")]
    assert (address.opcode, address.src) == (LD_IMM64, PSEUDO_FUNC)
    calls = {insn.ref: insn.src for insn in functions["traced"].insns if isinstance(insn.ref, KfuncRef)}
    assert calls == {KfuncRef("bpf_rcu_read_lock"): CALL_KFUNC}
    assert KsymRef("init_task") in refs(functions["traced"])
    assert all(insn.src == CALL_LOCAL for insn in functions["pass"].insns if insn.ref)


def test_linkage_decides_what_is_global() -> None:
    functions = read_object(compile_c(SOURCE), "p.o").functions
    found = {name: functions[name].is_global for name in ("global_sub", "local_sub", "hidden_sub", "callback")}
    assert found == {"global_sub": True, "local_sub": False, "hidden_sub": False, "callback": False}


def test_static_variables_are_ranges_of_their_section() -> None:
    spec = read_object(compile_c(SOURCE), "p.o")
    second = spec.variables["second"]
    (load,) = [insn for insn in spec.functions["hidden_sub"].insns if isinstance(insn.ref, MapValueRef)]
    assert load.ref == MapValueRef(".data", second.offset)
    assert load.src == PSEUDO_MAP_VALUE


def test_debug_information_is_per_function() -> None:
    spec = read_object(compile_c(SOURCE), "p.o")
    drop = spec.functions["drop"]
    assert spec.btf is not None
    assert spec.btf[drop.btf_id].name == "drop"
    assert min(drop.lines) == 0
    assert "int drop(" in (PRELUDE + SOURCE).splitlines()[drop.lines[0].line - 1]
    assert max(drop.lines) < sum(insn.width for insn in drop.insns)


def test_externs() -> None:
    spec = read_object(compile_c(SOURCE), "p.o")
    kinds = {name: (extern.kind, extern.is_weak) for name, extern in spec.externs.items()}
    assert kinds == {
        "LINUX_KERNEL_VERSION": (ExternKind.KCONFIG, False),
        "CONFIG_BPF": (ExternKind.KCONFIG, True),
        "init_task": (ExternKind.KSYM, True),
        "bpf_rcu_read_lock": (ExternKind.KFUNC, False),
    }
    assert spec.maps[".kconfig"].value_size == 5
    assert spec.maps[".kconfig"].frozen


def test_core_relocations_count_slots_from_the_function() -> None:
    source = """
    struct task { int pid; int tgid; } __core;
    static __noinline int other(struct task *t) { return t->tgid; }
    SEC("raw_tp/x") int first(struct task *t) { return other(t) + 1; }
    SEC("raw_tp/x") int second(struct task *t) { return t->tgid; }
    """
    spec = read_object(compile_c(source), "core.o")
    (slot,) = spec.functions["second"].core_relocations
    assert spec.functions["second"].insns[slot].off == 4
    assert spec.functions["second"].core_relocations[slot].access == "0:1"
    assert len(spec.functions["other"].core_relocations) == 1


def test_undefined_functions_stay_names() -> None:
    data = compile_c('int far(int); SEC("xdp") int f(void *c) { return far(3); }')
    assert refs(read_object(data, "u.o").functions["f"]) == [FuncRef("far")]


def test_object_of_subprograms_only_offers_them_on_request() -> None:
    spec = read_object(compile_c("int f(void *c) { return 1; }"), "lib.o")
    assert spec.programs["f"].prog_type is ProgType.UNSPEC
    assert not spec.programs["f"].autoload


def test_section_without_function_symbols_is_one_program() -> None:
    raw = RawElf([Raw("xdp", EXIT * 3, flags=CODE)], [("old_entry", 0, 0, 0, 1, 1)])
    spec = read_object(raw.build(), "old.o")
    assert len(spec.programs["xdp"].function.insns) == 3
    assert spec.programs["xdp"].prog_type is ProgType.XDP


def test_every_section_name_of_libbpf(corpus: Path) -> None:
    """One object with a program in each of the 116 kinds of sections of SECTIONS.md, those with extras written out."""
    text = (corpus.parent / "SECTIONS.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| ([A-Z0-9_]+) \| (?:BPF_)?([A-Z0-9_]+|-) \| ([^\n]*)$", text, re.MULTILINE)
    assert len(rows) == 116
    raw = RawElf()
    for number, (name, *_) in enumerate(rows, 1):
        raw.sections.append(Raw(name.replace("+", "/some/thing"), EXIT, flags=CODE))
        raw.symbols.append((f"p{number}", 0, 8, 2, 1, number))
    spec = read_object(raw.build(), "all.o")
    for number, (name, prog_type, attach_type, flags) in enumerate(rows, 1):
        program = spec.programs[f"p{number}"]
        assert program.prog_type.name == prog_type, name
        found = program.attach_type.name if program.attach_type is not None else "-"
        assert found == attach_type, name
        assert program.attach_to == ("some/thing" if name.endswith("+") else ""), name
        assert program.sleepable == ("SLEEPABLE" in flags), name
        assert program.frags == ("XDP_FRAGS" in flags), name


def test_static_functions_of_a_section_without_global_ones_are_programs() -> None:
    raw = RawElf([Raw("xdp", EXIT * 2, flags=CODE)], [("only", 0, 16, 2, 0, 1)])
    assert set(read_object(raw.build(), "falco.o").programs) == {"only"}


def test_call_into_the_middle_of_a_function_is_refused() -> None:
    call = bytes([0x85, 0x10, 0, 0]) + (0).to_bytes(4, "little")
    raw = RawElf([Raw("xdp", call + EXIT * 2, flags=CODE)], [("entry", 0, 24, 2, 1, 1)])
    with pytest.raises(ElfError, match="where no function starts"):
        read_object(raw.build(), "middle.o")

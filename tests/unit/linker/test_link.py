"""Linking: flat code, calls as distances, maps and externs for a Target, clear errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.abi.prog_types import ProgType
from skep.errors import LinkError, SkepError, UnsupportedError, UsageError
from skep.isa.codec import decode, encode
from skep.isa.instruction import FuncRef, Instruction, KfuncRef, KsymRef, MapRef, MapValueRef, slots
from skep.isa.opcodes import LD_IMM64, PSEUDO_BTF_ID, PSEUDO_FUNC
from skep.linker import link, link_all, set_type
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram
from skep.model.target import Target
from skep.objfile import read_object
from tests.unit.objfile.build import compile_c

KERNEL = """
struct task { int pid; };
struct task init_task = { 1 };
void bpf_rcu_read_lock(void) { }
long bpf_task_acquire(struct task *t) { return t->pid + (long) &init_task; }
"""
VM = Target("vm", (6, 18, 44))


def build(source: str, *flags: str, target: str = "bpfel") -> ObjectSpec:
    return read_object(compile_c(source, *flags, target=target), "test.bpf.o")


@pytest.fixture(scope="module")
def linux() -> Target:
    """A place whose kernel is the C text above."""
    return Target(
        "linux 5.15",
        (5, 15, 300),
        btf=build(KERNEL).btf,
        kconfig={
            "CONFIG_BPF": "y",
            "CONFIG_NET_SCH": "m",
            "CONFIG_HZ": "250",
            "CONFIG_BIG": "0x123456789",
            "CONFIG_NAME": '"skep-kernel"',
            "CONFIG_ARCH_HAS_SYSCALL_WRAPPER": "y",
        },
        kallsyms={"jiffies": 0xFFFFFFFF81234567},
    )


CALLS = """
static volatile __u32 count;
__noinline int leaf(int x) { return x * 3 + count; }
static __noinline int middle(int x) { return leaf(x) + leaf(x + 1); }
static int step(__u32 i, void *ctx) { count += middle(i); return 0; }
__noinline int unused(int x) { return x - count; }
SEC("xdp") int main_a(void *ctx) { bpf_loop(4, step, 0, 0); return middle(2); }
SEC("xdp") int main_b(void *ctx) { return leaf(1); }
"""


def test_flat_code_holds_the_entry_and_what_it_reaches_in_order_of_use() -> None:
    linked = link(build(CALLS), "main_a", VM)
    names = [sub.name for sub in linked.subprograms]
    assert names == ["main_a", "step", "middle", "leaf"]
    assert linked.subprograms[0].start == 0
    for before, after in zip(linked.subprograms, linked.subprograms[1:], strict=False):
        assert before.end == after.start
    assert linked.subprograms[-1].end == len(slots(linked.insns))
    assert [sub.is_global for sub in linked.subprograms] == [True, False, False, True]
    assert all(sub.btf_id for sub in linked.subprograms)
    assert [s.name for s in link(build(CALLS), "main_b", VM).subprograms] == ["main_b", "leaf"]


def test_calls_and_callbacks_are_distances_to_the_start_of_a_subprogram() -> None:
    linked = link(build(CALLS), "main_a", VM)
    starts = {sub.name: sub.start for sub in linked.subprograms}
    seen = set()
    for slot, insn in enumerate(slots(linked.insns)):
        if insn is None or not isinstance(insn.ref, FuncRef):
            continue
        low = insn.imm & 0xFFFFFFFF
        distance = low - (1 << 32) if low >> 31 else low
        assert slot + 1 + distance == starts[insn.ref.name]
        if insn.opcode == LD_IMM64:
            assert insn.src == PSEUDO_FUNC
            assert insn.imm >> 32 == 0
        seen.add((insn.opcode == LD_IMM64, insn.ref.name))
    assert seen == {(True, "step"), (False, "middle"), (False, "leaf")}


def test_flat_code_survives_the_codec() -> None:
    linked = link(build(CALLS), "main_a", VM)
    assert decode(encode(linked.insns)) == tuple(replace(insn, ref=None) for insn in linked.insns)


def test_recursion_ends() -> None:
    source = """
    static volatile int n;
    __noinline int odd(int x);
    __noinline int even(int x) { return n ? odd(x - n) : 1; }
    __noinline int odd(int x) { return n ? even(x - n) : 0; }
    SEC("xdp") int entry(void *c) { return even(4); }
    """
    assert len(link(build(source), "entry", VM).subprograms) == 3


def test_lines_are_merged_by_slot_and_say_only_what_changes() -> None:
    linked = link(build(CALLS), "main_a", VM)
    leaf = linked.subprograms[-1]
    texts = {slot: span.line for slot, span in linked.lines.items()}
    assert leaf.start in texts
    own = [line for slot, line in sorted(texts.items()) if slot < linked.subprograms[0].end]
    assert own[0] == texts[0]
    assert max(texts) < leaf.end


def test_only_maps_that_the_code_names() -> None:
    source = """
    struct map { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); };
    struct map used SEC(".maps"); struct map other SEC(".maps");
    static volatile int data = 4;
    static __noinline void *sub(__u32 *k) { return bpf_map_lookup_elem(&used, k); }
    SEC("xdp") int entry(void *c) { __u32 k = 0; return sub(&k) != 0; }
    SEC("xdp") int plain(void *c) { return data; }
    """
    spec = build(source)
    linked = link_all(spec, VM)
    assert {name: set(found.maps) for name, found in linked.items()} == {"entry": {"used"}, "plain": {".data"}}
    assert MapRef("used") in [insn.ref for insn in linked["entry"].insns]


def test_link_all_leaves_out_what_is_marked() -> None:
    spec = build('SEC("?xdp") int off(void *c) { return 1; } SEC("xdp") int on(void *c) { return 2; }')
    assert set(link_all(spec, VM)) == {"on"}
    assert set(link_all(spec, VM, ["off"])) == {"off"}


EXTERNS = """
enum libbpf_tristate { TRI_NO, TRI_YES, TRI_MODULE };
extern int LINUX_KERNEL_VERSION __kconfig;
extern bool LINUX_HAS_BPF_COOKIE __kconfig;
extern bool LINUX_HAS_SYSCALL_WRAPPER __kconfig;
extern bool CONFIG_BPF __kconfig;
extern enum libbpf_tristate CONFIG_NET_SCH __kconfig;
extern char CONFIG_CHAR __kconfig __weak;
extern __u32 CONFIG_HZ __kconfig;
extern __u64 CONFIG_BIG __kconfig;
extern char CONFIG_NAME[8] __kconfig;
extern int CONFIG_NOT_THERE __kconfig __weak;
extern int CONFIG_STRONG __kconfig;
SEC("xdp") int entry(void *c) { return LINUX_KERNEL_VERSION + LINUX_HAS_BPF_COOKIE + LINUX_HAS_SYSCALL_WRAPPER
    + CONFIG_BPF + CONFIG_NET_SCH + CONFIG_HZ + CONFIG_BIG + CONFIG_NAME[1] + CONFIG_NOT_THERE + CONFIG_CHAR; }
SEC("xdp") int strong(void *c) { return CONFIG_STRONG; }
"""


@pytest.mark.parametrize("flavor", ["bpfel", "bpfeb"])
def test_kconfig_values(linux: Target, flavor: str) -> None:
    order = "little" if flavor == "bpfel" else "big"
    spec = build(EXTERNS, target=flavor)
    linked = link(spec, "entry", replace(linux, byte_order=order))
    contents = linked.maps[".kconfig"].contents
    assert contents is not None

    def value(name: str) -> bytes:
        extern = spec.externs[name]
        return contents[extern.offset : extern.offset + extern.size]

    numbers = {name: int.from_bytes(value(name), order) for name in spec.externs if name != "CONFIG_NAME"}
    assert numbers == {
        "LINUX_KERNEL_VERSION": (5 << 16) + (15 << 8) + 255,
        "LINUX_HAS_BPF_COOKIE": 1,
        "LINUX_HAS_SYSCALL_WRAPPER": 1,
        "CONFIG_BPF": 1,
        "CONFIG_NET_SCH": 2,
        "CONFIG_CHAR": 0,
        "CONFIG_HZ": 250,
        "CONFIG_BIG": 0x123456789,
        "CONFIG_NOT_THERE": 0,
        "CONFIG_STRONG": 0,
    }
    assert value("CONFIG_NAME") == b"skep-ke\0"


def test_a_missing_strong_kconfig_matters_only_to_who_reads_it(linux: Target) -> None:
    with pytest.raises(LinkError) as caught:
        link(build(EXTERNS), "strong", linux)
    assert caught.value.diagnostic.code == "L0109"
    assert "CONFIG_STRONG" in caught.value.diagnostic.what
    assert "__weak" in (caught.value.diagnostic.help or "")


@pytest.mark.parametrize(
    ("declaration", "value"),
    [
        ("bool", "m"),
        ("bool", "7"),
        ("int", "y"),
        ("int", "words"),
        ("unsigned char", "300"),
        ("char", "-200"),
        ("int", '"text"'),
    ],
)
def test_kconfig_values_of_the_wrong_kind(declaration: str, value: str) -> None:
    spec = build(f'extern {declaration} CONFIG_X __kconfig; SEC("xdp") int f(void *c) {{ return CONFIG_X; }}')
    with pytest.raises(LinkError, match="CONFIG_X"):
        link(spec, "f", replace(VM, kconfig={"CONFIG_X": value}))


KSYMS = """
struct task;
extern const struct task init_task __ksym;
extern const void jiffies __ksym;
extern const void no_such_symbol __ksym __weak;
extern const int no_such_variable __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;
extern void no_such_function(void) __ksym __weak;
extern long bpf_task_acquire___old(const void *t, int flags) __ksym __weak;
SEC("xdp") int typed(void *c) { return (long) &init_task; }
SEC("xdp") int typeless(void *c) { return (long) &jiffies; }
SEC("xdp") int weak(void *c) { return (long) &no_such_symbol + (long) &no_such_variable; }
SEC("xdp") int kfunc(void *c) { bpf_rcu_read_lock(); return 0; }
SEC("xdp") int weak_kfunc(void *c) { if (no_such_function) no_such_function(); return 0; }
SEC("xdp") int flavored(void *c) { return bpf_task_acquire___old(c, 0); }
"""


def refs(linked: LinkedProgram) -> list[Instruction]:
    return [insn for insn in linked.insns if insn.ref is not None or insn.opcode == LD_IMM64]


def test_kernel_symbols(linux: Target) -> None:
    linked = link_all(build(KSYMS), linux)
    (typed,) = refs(linked["typed"])
    assert (typed.ref, typed.src) == (KsymRef("init_task"), PSEUDO_BTF_ID)
    (typeless,) = refs(linked["typeless"])
    assert (typeless.ref, typeless.src, typeless.imm) == (None, 0, 0xFFFFFFFF81234567)
    assert [(insn.ref, insn.src, insn.imm) for insn in refs(linked["weak"])] == [(None, 0, 0)] * 2
    (kfunc,) = refs(linked["kfunc"])
    assert kfunc.ref == KfuncRef("bpf_rcu_read_lock")
    (flavored,) = refs(linked["flavored"])
    assert flavored.ref == KfuncRef("bpf_task_acquire")


def test_a_missing_weak_kfunc_is_zero_and_its_call_must_be_dead(linux: Target) -> None:
    linked = link(build(KSYMS), "weak_kfunc", linux)
    (address,) = refs(linked)
    assert (address.src, address.imm) == (0, 0)
    ((slot, reason),) = linked.core_poisoned.items()
    insn = slots(linked.insns)[slot]
    assert insn is not None
    assert 2_002_000_000 <= insn.imm < 2_002_001_000
    assert "no_such_function" in reason


@pytest.mark.parametrize("name", ["typed", "typeless", "kfunc"])
def test_missing_strong_symbols(name: str) -> None:
    with pytest.raises(LinkError) as caught:
        link(build(KSYMS), name, VM)
    diagnostic = caught.value.diagnostic
    assert (diagnostic.code, diagnostic.program) == ("L0105", name)
    assert diagnostic.span is not None


@pytest.mark.parametrize(
    ("source", "error", "code", "text"),
    [
        ('int far(int); SEC("xdp") int f(void *c) { return far(3); }', LinkError, "L0101", "far"),
        ('int m(int) __asm__("memset"); SEC("xdp") int f(void *c) { return m(3); }', LinkError, "L0101", "memset"),
        ('extern int elsewhere; SEC("xdp") int f(void *c) { return elsewhere; }', LinkError, "L0106", "elsewhere"),
        (
            'int one(void) { return 1; } int (*t[2])(void) = {0, one}; SEC("xdp") int f(int *c) { return t[*c] != 0; }',
            UnsupportedError,
            "L0107",
            "addresses",
        ),
        ('int odd SEC("mydata") = 3; SEC("xdp") int f(void *c) { return odd++; }', UnsupportedError, "L0107", "mydata"),
        ('SEC("what") int f(void *c) { return 1; }', UsageError, "U0102", "what"),
        ('SEC("xdp") int g(void *c) { return 1; }', UsageError, "U0101", "'f'"),
    ],
)
def test_errors_name_the_thing_and_the_way_out(source: str, error: type[SkepError], code: str, text: str) -> None:
    with pytest.raises(error) as caught:
        link(build(source), "f", VM)
    assert caught.value.diagnostic.code == code
    assert text in caught.value.diagnostic.what
    assert caught.value.diagnostic.help or error is UnsupportedError


def test_errors_point_into_the_source() -> None:
    with pytest.raises(LinkError) as caught:
        link(build('int far(int);\nSEC("xdp") int f(void *c) {\n return far(3); }'), "f", VM)
    span = caught.value.diagnostic.span
    assert span is not None
    assert span.line > 2


def test_byte_orders_must_agree() -> None:
    spec = build('SEC("xdp") int f(void *c) { return 1; }', target="bpfeb")
    with pytest.raises(LinkError) as caught:
        link(spec, "f", VM)
    assert caught.value.diagnostic.code == "L0102"
    assert link(spec, "f", replace(VM, byte_order="big")).insns


def test_the_user_may_give_the_type() -> None:
    spec = set_type(build('SEC("what") int f(void *c) { return 1; }'), "f", ProgType.XDP)
    assert link(spec, "f", VM).prog_type is ProgType.XDP


def test_maps_by_number_are_refused() -> None:
    spec = build('SEC("xdp") int f(void *c) { return 1; }')
    program = spec.programs["f"]
    insns = (Instruction(LD_IMM64, dst=1, src=1, imm=5), *program.function.insns)
    function = replace(program.function, insns=insns)
    spec = replace(spec, programs={"f": replace(program, function=function)})
    with pytest.raises(LinkError) as caught:
        link(spec, "f", VM)
    assert caught.value.diagnostic.code == "L0103"


def test_addresses_outside_global_data_are_refused() -> None:
    spec = build('static volatile int x = 1; SEC("xdp") int f(void *c) { return x; }')
    program = spec.programs["f"]
    insns = tuple(
        replace(insn, ref=MapValueRef(".data", 400)) if isinstance(insn.ref, MapValueRef) else insn
        for insn in program.function.insns
    )
    spec = replace(spec, programs={"f": replace(program, function=replace(program.function, insns=insns))})
    with pytest.raises(LinkError, match=r"byte 400 of \.data"):
        link(spec, "f", VM)


def test_a_map_that_is_not_created_poisons_its_uses() -> None:
    source = """
    struct { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } m SEC(".maps");
    SEC("xdp") int f(void *c) { __u32 k = 0; return bpf_map_lookup_elem(&m, &k) != 0; }
    """
    spec = build(source)
    before = link(spec, "f", VM)
    after = link(replace(spec, maps={"m": spec.maps["m"].replace(autocreate=False)}), "f", VM)
    assert len(after.core_poisoned) == 2
    assert len(slots(after.insns)) == len(slots(before.insns))
    assert after.maps == {}

"""Several objects into one: what one declares, another defines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.btf.catalog import c_name
from skep.btf.types import Datasec, Func, Var
from skep.btf.writer import encode_btf
from skep.errors import LinkError
from skep.isa.instruction import MapValueRef
from skep.linker import link, link_static, set_variables
from skep.model.maps import Slot
from skep.model.objects import ObjectSpec
from skep.model.target import Target
from skep.objfile import read_object
from tests.unit.objfile.build import compile_c

VM = Target("vm", (6, 18, 44), kconfig={"CONFIG_HZ": "100", "CONFIG_BPF": "y"})

MAIN = """
struct pair { __u32 a, b; };
extern int shared_counter;
extern struct { __uint(type, 1); __uint(max_entries, 9); __type(key, __u32); __type(value, struct pair); }
    pairs SEC(".maps");
extern bool CONFIG_BPF __kconfig;
extern int CONFIG_HZ __kconfig;
static volatile int local_value = 11;
static __noinline int helper(int x) { return x + local_value; }
int far(struct pair *p);
__weak __noinline int choose(int x) { return x * 100; }
SEC("xdp") int entry(void *c) { struct pair p = { 1, 2 }; __u32 k = 0;
    return far(&p) + helper(1) + choose(3) + shared_counter + CONFIG_HZ + CONFIG_BPF
        + (bpf_map_lookup_elem(&pairs, &k) != 0); }
"""
LIBRARY = """
struct pair { __u32 a, b; };
int before = 3;
int shared_counter = 42;
struct { __uint(type, 1); __uint(max_entries, 9); __type(key, __u32); __type(value, struct pair); } pairs SEC(".maps");
extern int CONFIG_HZ __kconfig;
static volatile int local_value = 22;
static __noinline int helper(int x) { return x - local_value; }
__noinline int far(struct pair *p) { return p->a + helper(2) + CONFIG_HZ; }
__noinline int choose(int x) { return x * 7; }
"""

KERNEL = "struct task { long a; int tgid; }; int f(struct task *t) { return t->tgid; }"


def build(source: str, name: str, target: str = "bpfel") -> ObjectSpec:
    return read_object(compile_c(source, target=target), name)


@pytest.fixture(scope="module", params=["main first", "library first"])
def joined(request: pytest.FixtureRequest) -> ObjectSpec:
    parts = [build(MAIN, "main.o"), build(LIBRARY, "library.o")]
    return link_static(parts if request.param == "main first" else parts[::-1], "all")


def test_declarations_find_their_definitions(joined: ObjectSpec) -> None:
    linked = link(joined, "entry", VM)
    assert {sub.name.split(".")[0] for sub in linked.subprograms} == {"entry", "far", "helper", "choose"}
    assert set(linked.maps) == {".data", ".kconfig", "pairs"}
    counter = joined.variables["shared_counter"]
    assert MapValueRef(".data", counter.offset) in [insn.ref for insn in linked.insns]


def test_static_functions_stay_private(joined: ObjectSpec) -> None:
    linked = link(joined, "entry", VM)
    helpers = [sub for sub in linked.subprograms if sub.name.startswith("helper")]
    assert len(helpers) == 2
    starts = {value.offset: name for name, value in joined.variables.items() if name.startswith("local_value")}
    assert len(starts) == 2
    contents = joined.maps[".data"].contents
    assert contents is not None
    assert {contents[offset] for offset in starts} == {11, 22}


def test_the_strong_definition_wins(joined: ObjectSpec) -> None:
    factors = [insn.imm for insn in joined.functions["choose"].insns if insn.opcode in (0x24, 0x27)]
    assert factors == [7]


def test_types_follow_their_things(joined: ObjectSpec) -> None:
    btf = joined.btf
    assert btf is not None
    for name in ("entry", "far", "choose"):
        assert btf[joined.functions[name].btf_id].name == name
    pairs = joined.maps["pairs"]
    assert c_name(btf, pairs.value_type) == "struct pair"
    type_id = btf.find(".data", Datasec)
    assert type_id is not None
    datasec = btf[type_id]
    assert isinstance(datasec, Datasec)
    assert datasec.size == joined.maps[".data"].value_size
    places = {btf[entry.type].name: entry.offset for entry in datasec.entries if btf[entry.type].name != "local_value"}
    assert places == {name: joined.variables[name].offset for name in ("before", "shared_counter")}
    assert all(
        btf[entry.type].linkage != 2
        for t in btf
        if isinstance(t, Datasec)
        for entry in t.entries
        if isinstance(btf[entry.type], Var | Func)
    )
    assert encode_btf(btf)


def test_kconfig_is_laid_out_once(joined: ObjectSpec) -> None:
    linked = link(joined, "entry", VM)
    contents = linked.maps[".kconfig"].contents
    assert contents is not None
    hz, bpf = joined.externs["CONFIG_HZ"], joined.externs["CONFIG_BPF"]
    assert contents[hz.offset : hz.offset + 4] == (100).to_bytes(4, "little")
    assert contents[bpf.offset] == 1
    offsets = {
        insn.ref.offset for insn in linked.insns if isinstance(insn.ref, MapValueRef) and insn.ref.name == ".kconfig"
    }
    assert offsets == {hz.offset, bpf.offset}


def test_variables_can_be_set_afterwards(joined: ObjectSpec) -> None:
    changed = set_variables(joined, {"shared_counter": -5})
    place = joined.variables["shared_counter"].offset
    contents = changed.maps[".data"].contents
    assert contents is not None
    assert contents[place : place + 4] == (-5).to_bytes(4, "little", signed=True)


def test_core_relocations_keep_their_local_types() -> None:
    source = """
    struct filler { int x; } __core;
    struct task { int pid; int tgid; } __core;
    SEC("raw_tp/x") int NAME(struct task *t) { return t->tgid; }
    """
    parts = [build(source.replace("NAME", name), f"{name}.o") for name in ("one", "two")]
    joined = link_static(parts)
    assert joined.btf is not None
    target = Target(
        "kernel",
        (6, 18, 0),
        btf=build(KERNEL, "k.o").btf,
    )
    for name in ("one", "two"):
        (relocation,) = joined.functions[name].core_relocations.values()
        assert joined.btf[relocation.type].name == "task"
        assert 8 in [insn.off for insn in link(joined, name, target).insns]


def test_weak_variables_give_way() -> None:
    one = build('__weak volatile int x = 1; int y = 5; SEC("xdp") int f(void *c) { return x + y; }', "one.o")
    two = build("int z = 9; volatile int x = 2;", "two.o")
    joined = link_static([one, two])
    place = joined.variables["x"].offset
    contents = joined.maps[".data"].contents
    assert contents is not None
    assert contents[place] == 2
    assert MapValueRef(".data", place) in [insn.ref for insn in link(joined, "f", VM).insns]


def test_slots_follow_renamed_programs() -> None:
    source = """
    struct inner { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); };
    static struct inner leaf SEC(".maps");
    struct { __uint(type, 12); __uint(max_entries, 4); __type(key, __u32); __array(values, struct inner); }
        NAME SEC(".maps") = { .values = { [2] = (void *) &leaf } };
    """
    joined = link_static([build(source.replace("NAME", name), f"{name}.o") for name in ("one", "two")])
    assert {joined.maps[name].slots for name in ("one", "two")} == {(Slot(2, "leaf"),), (Slot(2, "leaf.1"),)}
    assert {"leaf", "leaf.1"} <= set(joined.maps)


@pytest.mark.parametrize(
    ("one", "two", "code"),
    [
        ("int twice(int x) { return x; }", "int twice(int x) { return x + 1; }", "L0131"),
        ("int x = 1;", "int x = 2;", "L0131"),
        (
            'extern int CONFIG_A __kconfig; SEC("xdp") int f(void *c) { return CONFIG_A; }',
            'extern long CONFIG_A __kconfig; SEC("xdp") int g(void *c) { return CONFIG_A; }',
            "L0132",
        ),
    ],
)
def test_what_does_not_go_together(one: str, two: str, code: str) -> None:
    with pytest.raises(LinkError) as caught:
        link_static([build(one, "one.o"), build(two, "two.o")])
    assert caught.value.diagnostic.code == code


def test_licenses_and_byte_orders_must_agree() -> None:
    one = build('SEC("xdp") int f(void *c) { return 1; }', "one.o")
    other = build('SEC("xdp") int g(void *c) { return 1; }', "other.o", target="bpfeb")
    with pytest.raises(LinkError, match="byte orders"):
        link_static([one, other])
    with pytest.raises(LinkError, match="licenses"):
        link_static([one, replace(build("int far(void) { return 1; }", "far.o"), license="MIT")])
    assert link_static([one, build("int far(void) { return 1; }", "far.o")]).license == "GPL"


def test_one_object_is_itself_and_none_is_an_error() -> None:
    one = build('SEC("xdp") int f(void *c) { return 1; }', "one.o")
    assert link_static([one], "new") == replace(one, name="new")
    with pytest.raises(LinkError, match="no objects"):
        link_static([])

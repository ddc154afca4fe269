from __future__ import annotations

import io

import pytest
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from skep.btf.catalog import member
from skep.btf.core_relo import CoreKind, CoreRelocation, CoreResult, resolve
from skep.btf.ext import parse_btf_ext
from skep.btf.reader import parse_btf
from skep.btf.types import Array, Btf, Enum, FuncProto, Fwd, Int, Member, Param, Ptr, Struct, Typedef, Union, Void
from skep.errors import BtfError, LinkError

HEAD = """
typedef unsigned int u32; typedef unsigned long long u64;
#define RELO(NAME, EXPR) __attribute__((section(#NAME), used)) u64 do_##NAME(void *arg) { return (u64)(EXPR); }
#define INFO(FIELD, KIND) __builtin_preserve_field_info(FIELD, KIND)
#define S ((struct s *)arg)
"""
LOCAL = (
    HEAD
    + """
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
struct inner { int deep; };
struct s {
	u32 moved; int gone; char grown; struct inner inner; u32 array[4]; void *pointer; u32 narrow; u32 renamed_type;
	union { u32 in_union; u64 other; }; int bits : 5; u32 ubits : 9; u64 wide : 33; u32 tail[]; };
struct s___flavor { u32 moved; };
struct absent { int x; };
enum e { ONE = 1, TWO = 2, LOST = 3 };
enum e___v2 { ONE___v2 = 1 };
typedef int known_t;
typedef int (*callback_t)(int, void *);
#pragma clang attribute pop
RELO(moved, INFO(S->moved, 0))
RELO(gone, INFO(S->gone, 0))
RELO(grown, INFO(S->grown, 0))
RELO(deep, INFO(S->inner.deep, 0))
RELO(element, INFO(S->array[3], 0))
RELO(pointer, INFO(S->pointer, 0))
RELO(narrow, INFO(S->narrow, 0))
RELO(renamed, INFO(S->renamed_type, 0))
RELO(in_union, INFO(S->in_union, 0))
RELO(tail, INFO(S->tail[7], 0))
RELO(flavor, INFO(((struct s___flavor *)arg)->moved, 0))
RELO(second, INFO(S[2].moved, 0))
RELO(size_grown, INFO(S->grown, 1))
RELO(size_array, INFO(S->array, 1))
RELO(size_gone, INFO(S->gone, 1))
RELO(has_moved, INFO(S->moved, 2))
RELO(has_gone, INFO(S->gone, 2))
RELO(has_absent, INFO(((struct absent *)arg)->x, 2))
RELO(signed_grown, INFO(S->grown, 3))
RELO(signed_moved, INFO(S->moved, 3))
RELO(signed_bits, INFO(S->bits, 3))
RELO(bits_offset, INFO(S->bits, 0))
RELO(bits_size, INFO(S->bits, 1))
RELO(bits_left, INFO(S->bits, 4))
RELO(bits_right, INFO(S->bits, 5))
RELO(ubits_offset, INFO(S->ubits, 0))
RELO(ubits_size, INFO(S->ubits, 1))
RELO(ubits_left, INFO(S->ubits, 4))
RELO(ubits_right, INFO(S->ubits, 5))
RELO(wide_offset, INFO(S->wide, 0))
RELO(wide_size, INFO(S->wide, 1))
RELO(wide_left, INFO(S->wide, 4))
RELO(wide_right, INFO(S->wide, 5))
RELO(moved_left, INFO(S->moved, 4))
RELO(moved_right, INFO(S->moved, 5))
RELO(id_local, __builtin_btf_type_id(*(struct s *)0, 0))
RELO(id_target, __builtin_btf_type_id(*(struct s *)0, 1))
RELO(id_absent, __builtin_btf_type_id(*(struct absent *)0, 1))
RELO(type_exists, __builtin_preserve_type_info(*(struct s *)0, 0))
RELO(type_absent, __builtin_preserve_type_info(*(struct absent *)0, 0))
RELO(type_size, __builtin_preserve_type_info(*(struct s *)0, 1))
RELO(absent_size, __builtin_preserve_type_info(*(struct absent *)0, 1))
RELO(typedef_exists, __builtin_preserve_type_info(*(known_t *)0, 0))
RELO(callback_exists, __builtin_preserve_type_info(*(callback_t *)0, 0))
RELO(matches, __builtin_preserve_type_info(*(struct inner *)0, 2))
RELO(no_match, __builtin_preserve_type_info(*(struct s *)0, 2))
RELO(two_exists, __builtin_preserve_enum_value(*(enum e *)TWO, 0))
RELO(two, __builtin_preserve_enum_value(*(enum e *)TWO, 1))
RELO(lost_exists, __builtin_preserve_enum_value(*(enum e *)LOST, 0))
RELO(lost, __builtin_preserve_enum_value(*(enum e *)LOST, 1))
RELO(flavored_value, __builtin_preserve_enum_value(*(enum e___v2 *)ONE___v2, 1))
"""
)
TARGET = """
typedef unsigned int u32; typedef unsigned long long u64; typedef long long s64; typedef int known_t;
typedef int (*callback_t)(int, void *);
struct other { int x; };
struct inner { u64 before; int deep; };
enum e { ONE = 100, TWO = -200 };
struct s {
	u64 first; s64 grown; struct { u32 pad; union { u64 hidden; u32 moved; }; };
	struct inner inner; u32 array[8]; struct other *pointer; unsigned short narrow; struct other *renamed_type;
	u64 other; u32 in_union; u32 : 3; int bits : 6; u32 ubits : 12; u64 wide : 40; u32 tail[];
};
struct s s = { .bits = -11, .ubits = 0xabc, .wide = 0x123456789aULL };
enum e *use_e; known_t k; callback_t callback;
"""


@pytest.fixture(scope="module", params=["bpfel", "bpfeb"])
def answers(request, compiled):
    """A function from the name of a RELO to its answer against TARGET."""
    local, target = compiled(LOCAL, request.param), compiled(TARGET, request.param)

    def answer(name: str) -> CoreResult:
        [(_, relocation)] = local.ext.core[name]
        return resolve(local.btf, relocation, target.btf)

    answer.local, answer.target = local, target
    return answer


def offset_of(answers, path: str) -> int:
    btf = answers.target.btf
    at, offset = btf.find("s", Struct), 0
    for name in path.split("."):
        place = member(btf, at, name)
        offset, at = offset + place.offset, place.member.type
    return offset


@pytest.mark.parametrize(
    ("name", "path", "extra"),
    [
        ("moved", "moved", 0), ("deep", "inner.deep", 0), ("element", "array", 12), ("pointer", "pointer", 0),
        ("in_union", "in_union", 0), ("tail", "tail", 28), ("flavor", "moved", 0),
    ],
)  # fmt: skip
def test_offsets_are_those_of_the_target(answers, name: str, path: str, extra: int) -> None:
    result = answers(name)
    assert result.value == offset_of(answers, path) + extra
    assert result.exists
    assert result.load_size is None
    assert result.load_is_safe
    assert result.local_value is not None


def test_elements_of_the_root_count_in_the_targets_size(answers) -> None:
    btf = answers.target.btf
    assert answers("second").value == 2 * btf[btf.find("s", Struct)].size + offset_of(answers, "moved")


def test_loads_change_size_only_without_signs(answers) -> None:
    narrow, grown = answers("narrow"), answers("grown")
    assert (narrow.load_size, narrow.load_is_safe) == (2, True)
    assert (grown.load_size, grown.load_is_safe) == (8, False)
    assert grown.value == offset_of(answers, "grown")
    assert "s.grown" in grown.reason


def test_what_is_not_there_poisons_or_is_zero(answers) -> None:
    for name in ("gone", "size_gone", "renamed", "lost"):
        result = answers(name)
        assert (result.value, result.exists) == (None, False), name
        assert result.reason
    for name in ("has_gone", "has_absent", "id_absent", "type_absent", "absent_size", "lost_exists", "no_match"):
        result = answers(name)
        assert (result.value, result.exists) == (0, False), name


def test_numbers_of_things_that_are_there(answers) -> None:
    btf = answers.target.btf
    expected = {
        "size_grown": 8, "size_array": 32, "has_moved": 1, "signed_grown": 1, "signed_moved": 0, "signed_bits": 1,
        "moved_left": 32, "moved_right": 32, "id_target": btf.find("s", Struct), "type_exists": 1,
        "type_size": btf[btf.find("s", Struct)].size, "typedef_exists": 1, "callback_exists": 1, "matches": 1,
        "two_exists": 1, "two": -200, "flavored_value": 100,
    }  # fmt: skip
    if btf.byte_order == "big":
        expected["moved_left"] = 32
    assert {name: answers(name).value for name in expected} == expected
    assert answers("id_local").value == answers.local.btf.find("s", Struct)
    assert answers("two").local_value == 2


@pytest.mark.parametrize(("field", "value"), [("bits", -11), ("ubits", 0xABC), ("wide", 0x123456789A)])
def test_bitfields_read_through_their_relocations(answers, field: str, value: int) -> None:
    """BPF_CORE_READ_BITFIELD by hand, on bytes that clang initialised."""
    offset, size, left, right = (answers(f"{field}_{what}").value for what in ("offset", "size", "left", "right"))
    data = answers.target.sections[".data"]
    loaded = int.from_bytes(data[offset : offset + size], answers.target.btf.byte_order)
    shifted = loaded << left & (1 << 64) - 1
    if field == "bits" and shifted >> 63:
        shifted -= 1 << 64
    assert shifted >> right == value
    assert answers(f"{field}_offset").local_value is None


INT = Int("int", 4, 32, True)


def field(access: str = "0:0", type_id: int = 2) -> CoreRelocation:
    return CoreRelocation(CoreKind.FIELD_BYTE_OFFSET, type_id, access)


LOCAL_SET = Btf(
    (Void(), INT, Struct("s", 4, (Member("a", 1, 0),)), Array(1, 1, 2), Struct("", 4, (Member("a", 1, 0),)))
)


def test_candidates_that_disagree_are_an_error() -> None:
    flavors = (Void(), INT, Struct("s", 8, (Member("a", 1, 32),)), Struct("s___b", 4, (Member("a", 1, 0),)))
    with pytest.raises(LinkError) as caught:
        resolve(LOCAL_SET, field(), Btf(flavors))
    assert caught.value.diagnostic.code == "B0302"
    alike = (*flavors[:3], Struct("s___b", 8, (Member("a", 1, 32),)), Struct("s___c", 8, ()))
    assert resolve(LOCAL_SET, field(), Btf(alike)).value == 4


def test_modules_are_searched_when_the_kernel_has_no_such_name() -> None:
    kernel = Btf((Void(), INT))
    module = Btf((Struct("s", 12, (Member("a", 1, 64),)),), base=kernel)
    result = resolve(LOCAL_SET, field(), kernel, {"other": Btf((), base=kernel), "mod": module})
    assert (result.value, result.module, result.target_type) == (8, "mod", 2)
    full = Btf((Void(), INT, Struct("s", 4, ())))
    assert resolve(LOCAL_SET, field(), full, {"mod": Btf(module.own, base=full)}).value is None


@pytest.mark.parametrize("access", ["", ":", "0:", "0:1", "0:0:0", "x", "-1", "0:-1", "0:4294967296", "9" * 5000, "٣"])
def test_broken_accessors(access: str) -> None:
    with pytest.raises(BtfError) as caught:
        resolve(LOCAL_SET, field(access), LOCAL_SET)
    assert caught.value.diagnostic.code == "B0303"


def test_what_cannot_be_answered_says_so() -> None:
    with pytest.raises(LinkError) as caught:
        resolve(LOCAL_SET, field(), None)
    assert caught.value.diagnostic.code == "B0301"
    with pytest.raises(LinkError) as caught:
        resolve(LOCAL_SET, field(type_id=4), LOCAL_SET)
    assert caught.value.diagnostic.code == "B0306"
    with pytest.raises(BtfError):
        resolve(LOCAL_SET, field(type_id=77), LOCAL_SET)
    assert resolve(LOCAL_SET, CoreRelocation(CoreKind.TYPE_ID_LOCAL, 2, "0"), None).value == 2


def matching(local: tuple, target: tuple, kind: CoreKind = CoreKind.TYPE_MATCHES) -> int | None:
    """Type 2 of both sets: void, int, then these."""
    sets = [Btf((Void(), INT, *types)) for types in (local, target)]
    return resolve(sets[0], CoreRelocation(kind, 2, "0"), sets[1]).value


@pytest.mark.parametrize(
    ("local", "target", "matches", "compatible"),
    [
        ((Struct("s", 4, (Member("a", 1, 0),)),), (Struct("s", 8, (Member("b", 1, 0), Member("a", 1, 32))),), 1, 1),
        ((Struct("s", 4, (Member("a", 1, 0),)),), (Struct("s", 4, (Member("b", 1, 0),)),), 0, 1),
        ((Struct("s", 4, (Member("a", 1, 0),)),), (Union("s", 4, (Member("a", 1, 0),)),), 0, 0),
        (
            (Struct("s", 8, (Member("p", 3, 0),)), Ptr(4), Fwd("t")),
            (Struct("s", 8, (Member("p", 3, 0),)), Ptr(4), Struct("t", 4, ())), 1, 1,
        ),
        (
            (Struct("s", 8, (Member("p", 3, 0),)), Ptr(4), Fwd("t")),
            (Struct("s", 8, (Member("p", 3, 0),)), Ptr(4), Union("t", 4, ())), 0, 1,
        ),
        ((Enum("s", 4, False, (("A", 1),)),), (Enum("s", 4, False, (("B", 1), ("A___x", 2))),), 1, 1),
        ((Enum("s", 4, False, (("A", 1),)),), (Enum("s", 4, False, (("B", 1),)),), 0, 1),
        (
            (Typedef("s", 3), FuncProto(1, (Param("", 1),))),
            (Typedef("s", 3), FuncProto(1, (Param("", 1),))), 1, 1,
        ),
        ((Typedef("s", 3), FuncProto(1, (Param("", 1),))), (Typedef("s", 3), FuncProto(1, ())), 0, 0),
        ((Typedef("s", 3), Ptr(1)), (Typedef("s", 3), Array(1, 1, 1)), 0, 0),
        ((Typedef("s", 3), Array(1, 1, 1)), (Typedef("s", 3), Array(1, 1, 2)), 0, 1),
        ((Typedef("s", 1),), (Typedef("s", 3), Int("int", 8, 64, True)), 0, 1),
    ],
)  # fmt: skip
def test_types_match_by_members_and_are_compatible_by_kind(local, target, matches: int, compatible: int) -> None:
    assert matching(local, target) == matches
    assert matching(local, target, CoreKind.TYPE_EXISTS) == compatible


def test_programs_against_the_running_kernel(compiled, vmlinux: Btf) -> None:
    source = (
        HEAD
        + """
    #pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
    struct mm_struct { unsigned long start_code; };
    struct task_struct { int pid; char comm[16]; struct mm_struct *mm; int not_there; };
    enum bpf_func_id___x { BPF_FUNC_map_lookup_elem };
    #pragma clang attribute pop
    #define T ((struct task_struct *)arg)
    RELO(pid, INFO(T->pid, 0))
RELO(comm, INFO(T->comm, 0))
RELO(start, INFO(T->mm->start_code, 0))
    RELO(nothing, INFO(T->not_there, 2))
RELO(size, __builtin_preserve_type_info(*(struct task_struct *)0, 1))
    RELO(value, __builtin_preserve_enum_value(*(enum bpf_func_id___x *)BPF_FUNC_map_lookup_elem, 1))
    """
    )
    made = compiled(source)
    task, mm = (vmlinux.find(name, Struct) for name in ("task_struct", "mm_struct"))
    answer = {
        section: resolve(made.btf, relocations[-1][1], vmlinux).value for section, relocations in made.ext.core.items()
    }
    assert answer == {
        "pid": member(vmlinux, task, "pid").offset,
        "comm": member(vmlinux, task, "comm").offset,
        "start": member(vmlinux, mm, "start_code").offset,
        "nothing": 0,
        "size": vmlinux[task].size,
        "value": 1,
    }


def test_relocations_of_real_objects_have_answers(corpus, vmlinux: Btf) -> None:
    answered = 0
    for path in sorted((corpus / "objects").rglob("*.o")):
        try:
            elf = ELFFile(io.BytesIO(path.read_bytes()))
            names = {section.name: section for section in elf.iter_sections()}
        except (ELFError, UnicodeDecodeError):
            continue
        if ".BTF" not in names or ".BTF.ext" not in names:
            continue
        btf = parse_btf(names[".BTF"].data())
        for relocations in parse_btf_ext(names[".BTF.ext"].data(), btf).core.values():
            for _, relocation in relocations:
                result = resolve(btf, relocation, vmlinux)
                assert result.value is not None or result.reason
                answered += 1
    if not answered:
        pytest.skip("no object of the corpus has CO-RE relocations")

"""The C text is judged by clang: it compiles without a warning, and what comes out has the layout that went in."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest

from skep.btf.c_dump import dump_c
from skep.btf.c_names import c_name, keyword
from skep.btf.compat import Matcher
from skep.btf.types import (
    Array,
    Btf,
    Const,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    Union,
    Void,
)
from skep.errors import BtfError

TAGGED = (Struct, Union, Enum, Enum64, Fwd)
INT = Int("int", 4, 32, True)


def unique_composites(btf: Btf) -> list[int]:
    """Structs and unions whose tag nobody else has."""
    return [
        i
        for i in range(btf.start_id or 1, len(btf))
        if isinstance(btf[i], Struct | Union) and btf[i].name and len(btf.find_all(btf[i].name, *TAGGED)) == 1
    ]


def users(btf: Btf, ids: Iterable[int]) -> str:
    """C that makes clang write the types into the BTF of the object."""
    return "\n".join(f"{keyword(btf[i])} {btf[i].name} *use_{i};" for i in ids)


def sizes(btf: Btf, ids: Iterable[int]) -> str:
    """C that compiles only when these types have their sizes."""
    return "\n".join(f'_Static_assert(sizeof({keyword(btf[i])} {btf[i].name}) == {btf[i].size}, "");' for i in ids)


def assert_same_after_compiling(compiled, btf: Btf, header: str, ids: list[int], *flags: str) -> None:
    made = compiled(header + sizes(btf, ids) + users(btf, ids), "bpfel", flags)
    assert made.stderr == ""
    matcher = Matcher(btf, made.btf)
    for type_id in ids:
        found = made.btf.find(btf[type_id].name, type(btf[type_id]))
        assert found is not None, btf[type_id].name
        assert matcher.have_same_layout(type_id, found) or is_padded(btf, made.btf, type_id, found), header_of(
            btf, type_id
        )


def is_padded(btf: Btf, made: Btf, type_id: int, found: int) -> bool:
    """Long gaps become arrays with a name: then every other member must still be where it was."""
    mine, theirs = btf[type_id], made[found]
    named = [(m.name, m.bit_offset, m.bitfield_size) for m in theirs.members if not m.name.startswith("__skep_pad")]
    return mine.size == theirs.size and [(m.name, m.bit_offset, m.bitfield_size) for m in mine.members] == named


def header_of(btf: Btf, type_id: int) -> str:
    return dump_c(btf, [type_id])[:3000]


def test_vmlinux_h(compiled, vmlinux: Btf) -> None:
    start = time.process_time()
    header = dump_c(vmlinux)
    assert time.process_time() - start < 10
    assert "#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)" in header
    ids = unique_composites(vmlinux)
    assert len(ids) > 5000
    assert compiled(header + sizes(vmlinux, ids) + "int something;").stderr == ""
    some = ids[::40]  # LLVM takes 20 s to write the BTF of all
    assert_same_after_compiling(compiled, vmlinux, header, some, "-Wall")


def test_some_structs_of_the_kernel_with_all_they_need(compiled, vmlinux: Btf) -> None:
    ids = [vmlinux.find(name, Struct) for name in ("task_struct", "sk_buff", "xdp_md")]
    header = dump_c(vmlinux, ids)
    assert header.count("\n") < dump_c(vmlinux, [vmlinux.find("ethhdr", Struct)]).count("\n") + 40_000
    assert_same_after_compiling(compiled, vmlinux, header, ids, "-std=gnu23")
    function = dump_c(vmlinux, [vmlinux.find("vfs_read", Func)])
    assert "struct file" in function
    assert "} __attribute__" not in dump_c(vmlinux, [vmlinux.find("list_head", Struct)])


LAYOUTS = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
struct packed { u8 a; u32 b; u64 c; } __attribute__((packed));
struct packed_aligned { u8 a; u32 b; } __attribute__((packed, aligned(4)));
struct in_packed { struct packed p; struct packed_aligned q[3]; u8 last; };
struct cacheline { u32 a; u32 b __attribute__((aligned(64))); u8 c; } __attribute__((aligned(128)));
struct holds_cacheline { u8 a; struct cacheline line; u8 b; };
struct bits { u32 a : 3; u32 : 5; u32 b : 20; u64 c : 40; u8 d : 4; u8 e : 4; int : 0; u16 f : 9; _Bool g : 1; };
struct packed_bits { u8 a; u32 b : 30; u32 c : 10; u64 d : 63; u8 e; } __attribute__((packed));
struct bits_at_end { u32 a; u8 b : 1; };
struct mixed_bits { u8 x; u32 a : 4; u32 b : 28; u16 y; u64 z : 5; };
struct flexible { u32 n; u8 tail[]; };
struct flexible_wide { u64 a; u32 n; u8 tail[]; };
struct zero_middle { u32 n; u8 none[0]; u32 m; };
struct empty {};
struct holds_empty { struct empty e; u32 a; struct empty f; };
union sizes { u8 a[5]; u32 b; } ;
union packed_union { u8 a[5]; u32 b; } __attribute__((packed));
union padded_union { u8 a; } __attribute__((aligned(32)));
struct anonymous { u8 k; union { u32 a; struct { u16 b, c; }; u64 d; }; struct { u8 e; } named[2]; union {} nothing; };
struct big { __int128 a; u8 b; unsigned __int128 c; };
struct doubles { u8 a; double b; float c; };
enum small { S1 = 1 } __attribute__((packed));
enum wide { W1 = 1ULL << 40 };
enum wide_signed { WS1 = -1, WS2 = 1LL << 40 };
enum lowest { LOWEST = -2147483647 - 1 };
struct enums { enum small s; enum wide w; enum { INLINE_ONE } i; enum wide_signed ws; enum lowest l; };
struct node { struct node *next; struct later *later; int (*call)(struct node *, struct unknown *, ...); };
struct later { struct node by_value; struct later *array[3]; int (*table[2])(const char *const, void **); };
typedef int (*handler)(struct later *, const struct node *restrict);
typedef struct { handler h; volatile const int *const p; } pair_t;
typedef int matrix[2][3];
struct uses { pair_t pair; matrix m; const matrix *pm; int (*rows)[4]; handler *handlers; int (*(*deep)(int))[2]; };
struct page { u8 a; u8 far[16] __attribute__((aligned(4096))); };
struct two_uses { enum { SHARED_ONE } *a, b; };
"""


def test_layouts(compiled) -> None:
    names = [line.split()[1] for line in LAYOUTS.splitlines() if line.startswith(("struct", "union"))]
    keywords = {line.split()[1]: line.split()[0] for line in LAYOUTS.splitlines() if line}
    source = LAYOUTS + "\n".join(f"{keywords[name]} {name} *use_{name};" for name in names)
    btf = compiled(source).btf
    ids = [btf.find(name, Struct, Union) for name in names]
    assert None not in ids
    assert_same_after_compiling(compiled, btf, dump_c(btf), ids)
    one = btf.find("uses", Struct)
    assert_same_after_compiling(compiled, btf, dump_c(btf, [one]), [one])


def make(*types) -> Btf:
    return Btf((Void(), INT, *types))


def test_names_that_c_cannot_have(compiled) -> None:
    btf = make(
        Struct("same", 4, (Member("a", 1, 0),)),
        Struct("same", 8, (Member("a", 1, 0), Member("b", 1, 32))),
        Union("same", 4, (Member("int", 1, 0),)),
        Enum("first", 4, False, (("VALUE", 1),)),
        Enum("second", 4, False, (("VALUE", 2),)),
        Typedef("same_t", 2),
        Typedef("same_t", 3),
        Typedef("VALUE", 1),
        Typedef("__builtin_va_list", 1),
        Struct("core::option::Option<u8>", 8, (Member("*ptr", 1, 0), Member("*ptr", 1, 32))),
        Int("u8", 1, 8),
        Int("long unsigned int", 4, 32),
        Int("i24", 3, 24, True),
        Float("long double", 16),
        Struct("odd", 48, (Member("a", 12, 0), Member("b", 13, 32), Member("c", 14, 64), Member("d", 15, 128))),
        Typedef("bool", 18),
        Int("_Bool", 1, 8, boolean=True),
        Enum("", 4, False, (("false", 0), ("true", 1))),
        Typedef("u8", 1),
    )
    header = dump_c(btf)
    for expected in (
        "struct same___2 {",
        "union same___3 {",
        "VALUE___2 = 2",
        "same_t___2;",
        "VALUE___3;",
        "_core__option",
    ):
        assert expected in header
    for standard in ("-std=gnu11", "-std=gnu23"):
        source = header + 'struct same___2 s; struct odd o; _Static_assert(sizeof(struct odd) == 48, "");'
        assert compiled(source, "bpfel", (standard,)).stderr == ""


@pytest.mark.parametrize(
    ("types", "code"),
    [
        ((Struct("s", 8, (Member("a", 1, 0), Member("b", 1, 16))),), "B0114"),
        ((Struct("s", 2, (Member("a", 1, 0),)),), "B0114"),
        ((Union("s", 4, (Member("a", 1, 8),)),), "B0114"),
        ((Union("s", 2, (Member("a", 1, 0),)),), "B0114"),
        ((Struct("s", 4, (Member("a", 0, 0),)),), "B0109"),
        ((Struct("s", 4, (Member("a", 2, 0),)),), "B0107"),
        ((Struct("s", 8, (Member("a", 3, 0),)), Typedef("t", 2), Typedef("u", 4)), "B0107"),
    ],
)
def test_what_c_cannot_write_is_refused(types, code: str) -> None:
    with pytest.raises(BtfError) as caught:
        dump_c(make(*types))
    assert caught.value.diagnostic.code == code


def test_declarations() -> None:
    btf = make(
        Ptr(3), Const(1), Const(2), Array(4, 1, 3), FuncProto(1, (Param("a", 4), Param("", 0))), Ptr(6), Array(7, 1, 2),
        Restrict(2), Func("f", 6, 1), FuncProto(0, ()), Ptr(11), Array(1, 1, 0), Ptr(13),
    )  # fmt: skip
    texts = {i: c_name(btf, i, "x") for i in (2, 4, 5, 7, 8, 9, 12, 13, 14)}
    assert texts == {
        2: "const int *x",
        4: "const int *const x",
        5: "const int *const x[3]",
        7: "int (*x)(const int *const a, ...)",
        8: "int (*x[2])(const int *const a, ...)",
        9: "const int *restrict x",
        12: "void (*x)(void)",
        13: "int x[]",
        14: "int (*x)[]",
    }
    assert c_name(btf, 10) == "int f(const int *const a, ...)"
    assert c_name(btf, 4) == "const int *const"


def test_exponential_types_are_refused_quickly() -> None:
    protos = [Void(), INT, *(FuncProto(i, (Param("", i), Param("", i))) for i in range(1, 60))]
    with pytest.raises(BtfError):
        c_name(Btf(protos), 60)
    structs = [Void(), Struct("", 0, ())]
    structs += [Struct("", 0, (Member("", i, 0), Member("", i, 0))) for i in range(1, 60)]
    structs.append(Typedef("t", 60))
    with pytest.raises(BtfError):
        dump_c(Btf(structs))

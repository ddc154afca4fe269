from __future__ import annotations

import pytest

from skep.btf.catalog import (
    align_of,
    enum_value,
    enumerator_name,
    find_enumerator,
    find_member,
    function_proto,
    is_signed,
    member,
    places,
    pointee,
    size_of,
)
from skep.btf.types import (
    Array,
    Btf,
    Const,
    Enum,
    Float,
    Func,
    FuncProto,
    Int,
    Member,
    Ptr,
    Struct,
    Typedef,
    Union,
    Var,
    Void,
    Volatile,
)
from skep.errors import BtfError

BTF = Btf(
    (
        Void(), Int("int", 4, 32, True), Ptr(1), Array(2, 1, 3), Typedef("t", 3), Const(4),
        Struct("s", 24, (Member("a", 1, 0), Member("", 7, 64), Member("z", 2, 128))),
        Union("", 8, (Member("b", 2, 0), Member("", 8, 0))),
        Struct("", 8, (Member("c", 1, 0), Member("d", 1, 32))),
        Enum("e", 4, False, (("ONE", 1), ("UNO", 1))), FuncProto(1, ()), Func("f", 10, 1), Ptr(10), Typedef("fn", 12),
        Struct("packed", 5, (Member("a", 1, 0), Member("b", 15, 32))), Int("char", 1, 8), Var("v", 5, 1), Volatile(9),
        Array(1, 1, 0xFFFFFFFF), Array(18, 1, 0xFFFFFFFF), Float("double", 8),
        Struct("nested", 16, (Member("s", 14, 0), Member("t", 20, 64))),
    )
)  # fmt: skip


def test_sizes_and_alignments() -> None:
    assert [size_of(BTF, i) for i in (1, 2, 3, 5, 6, 9, 16, 17)] == [4, 8, 24, 24, 24, 4, 24, 4]
    assert [align_of(BTF, i) for i in (1, 2, 3, 5, 6, 9, 14, 15, 21)] == [4, 8, 8, 8, 8, 4, 1, 1, 8]


@pytest.mark.parametrize("type_id", [0, 10, 18, 19, 99, -1])
def test_what_has_no_size(type_id: int) -> None:
    with pytest.raises(BtfError):
        size_of(BTF, type_id)


def test_members_of_anonymous_structs_are_found() -> None:
    assert [(p.member.name, p.offset, p.path) for p in places(BTF, 6)] == [
        ("a", 0, (0,)),
        ("b", 8, (1, 0)),
        ("c", 8, (1, 1, 0)),
        ("d", 12, (1, 1, 1)),
        ("z", 16, (2,)),
    ]
    assert all(member(BTF, 6, p.member.name) == p for p in places(BTF, 6))
    assert find_member(BTF, 6, "nothing") is None
    assert find_member(BTF, 1, "a") is None
    with pytest.raises(BtfError, match="'struct s' has no member 'nothing'"):
        member(BTF, 6, "nothing")


def test_enums_pointers_and_prototypes() -> None:
    assert enum_value(BTF, 17, "UNO") == 1
    assert enum_value(BTF, 17, "TWO") is None
    assert find_enumerator(BTF, "ONE") == 1
    assert enumerator_name(BTF[9], 1) == "ONE"
    assert pointee(BTF, 13) == 10
    assert pointee(BTF, 1) is None
    assert function_proto(BTF, 13) == function_proto(BTF, 11) == FuncProto(1, ())
    assert function_proto(BTF, 2) is None
    assert [is_signed(BTF, i) for i in (1, 2, 9)] == [True, False, False]


def test_exponential_structs_end() -> None:
    types = [Void(), Struct("", 0, ())]
    types += [Struct("", 0, (Member("", i, 0), Member("", i, 0))) for i in range(1, 60)]
    btf = Btf(types)
    assert find_member(btf, 60, "x") is None
    assert align_of(btf, 60) == 1
    with pytest.raises(BtfError):
        places(btf, 60)

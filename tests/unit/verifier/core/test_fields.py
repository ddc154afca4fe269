"""Special fields: which the kernel finds in a type, and which types it refuses (kernel: btf_parse_fields)."""

from __future__ import annotations

import pytest

from skep.abi.map_types import MapType
from skep.btf import types as t
from skep.model.maps import MapSpec
from skep.verifier.state.fields import IN_OBJECTS, Record, Special, map_record, object_record, parse_record

INT, LOCK, TIMER, HEAD, NODE, ROOT = 1, 2, 3, 4, 5, 6
_BASE: tuple[t.BtfType, ...] = (
    t.Void(),
    t.Int("int", 4, 32),
    t.Struct("bpf_spin_lock", 4, (t.Member("val", INT, 0),)),
    t.Struct("bpf_timer", 16, ()),
    t.Struct("bpf_list_head", 16, ()),
    t.Struct("bpf_list_node", 24, ()),
    t.Struct("bpf_rb_root", 16, ()),
)
VALUE = len(_BASE)


def _value(*members: tuple[int, int], size: int = 256, more: tuple[t.BtfType, ...] = ()) -> t.Btf:
    """Types whose number VALUE is a structure with members (type, offset); ``more`` follow it."""
    made = tuple(t.Member(f"m{index}", type, 8 * offset) for index, (type, offset) in enumerate(members))
    return t.Btf((*_BASE, t.Struct("value", size, made), *more))


def _map(btf: t.Btf, kind: MapType = MapType.ARRAY) -> Record:
    return map_record(MapSpec("m", kind, 4, 256, 1, value_type=VALUE, btf=btf), ())


def test_a_lock_and_a_timer_are_found_where_they_are() -> None:
    found = _map(_value((INT, 0), (LOCK, 4), (TIMER, 8)))
    assert [(field.kind, field.offset) for field in found.fields] == [(Special.SPIN_LOCK, 4), (Special.TIMER, 8)]
    assert found.touched(0, 4) is None
    assert found.touched(0, 5) is found.find(Special.SPIN_LOCK)
    assert found.at(8, (Special.TIMER,)) is found.fields[1]


def test_fields_of_nested_structures_count_from_the_outermost() -> None:
    inner = t.Struct("inner", 8, (t.Member("lock", LOCK, 32),))
    found = _map(_value((VALUE + 1, 16), more=(inner,)))
    assert [(field.kind, field.offset) for field in found.fields] == [(Special.SPIN_LOCK, 20)]


@pytest.mark.parametrize(
    ("members", "more", "errno"),
    [
        (((LOCK, 0), (LOCK, 4)), (), "E2BIG"),
        (((TIMER, 4),), (), "EINVAL"),  # not aligned
        (((LOCK, 0), (TIMER, 0)), (), "EEXIST"),
        (((HEAD, 0),), (), "EINVAL"),  # no tag
        (((VALUE + 1, 0),), (t.Array(LOCK, INT, 2),), "EINVAL"),
        (((VALUE + 1, 0),), (t.Ptr(VALUE + 2), t.TypeTag("kptr", INT)), "EINVAL"),
    ],
)
def test_types_that_the_kernel_refuses(
    members: tuple[tuple[int, int], ...], more: tuple[t.BtfType, ...], errno: str
) -> None:
    found = _map(_value(*members, more=more))
    assert not found.fields
    assert found.problem.startswith(errno)


def test_a_map_of_another_type_has_none() -> None:
    found = _map(_value((TIMER, 0)), MapType.PERCPU_ARRAY)
    assert not found.fields
    assert found.problem.startswith("EOPNOTSUPP")


def test_pointers_are_repeated_in_arrays_up_to_eleven() -> None:
    object_type = t.Struct("mine", 8, (t.Member("a", INT, 0),))
    for count, problem in ((11, ""), (12, "E2BIG: more than 11 special fields")):
        more = (t.Array(VALUE + 2, INT, count), t.Ptr(VALUE + 3), t.TypeTag("kptr", VALUE + 4), object_type)
        found = _map(_value((VALUE + 1, 0), more=more))
        assert found.problem == problem
        assert [field.offset for field in found.fields] == ([] if problem else [8 * index for index in range(count)])
        assert all(field.kind is Special.KPTR and field.type == VALUE + 4 for field in found.fields)


def test_a_list_says_what_it_contains() -> None:
    node = t.Struct("node", 32, (t.Member("data", INT, 0), t.Member("link", NODE, 64)))
    more = (node, t.DeclTag("contains:node:link", VALUE, 1))
    btf = _value((LOCK, 0), (HEAD, 8), more=more)
    head = _map(btf).find(Special.LIST_HEAD)
    assert head is not None
    assert (head.type, head.node_offset) == (VALUE + 1, 8)
    held = object_record(btf, VALUE + 1, ())
    assert [(field.kind, field.offset) for field in held.fields] == [(Special.LIST_NODE, 8)]
    assert parse_record(btf, VALUE, IN_OBJECTS, ()).fields == _map(btf).fields


def test_a_list_without_a_lock_is_refused() -> None:
    node = t.Struct("node", 32, (t.Member("link", NODE, 0),))
    found = _map(_value((HEAD, 8), more=(node, t.DeclTag("contains:node:link", VALUE, 0))))
    assert found.problem == "EINVAL: a list or tree needs a lock beside it"


def test_unions_and_typedefs_hide_fields() -> None:
    more = (t.Union("either", 8, (t.Member("lock", LOCK, 0),)), t.Typedef("named", LOCK))
    assert not _map(_value((VALUE + 1, 0), (VALUE + 2, 8), more=more)).fields


def test_bit_fields_make_the_kernel_refuse_the_type() -> None:
    members = (t.Member("a", INT, 0, 3), t.Member("b", INT, 3, 5), t.Member("lock", LOCK, 32))
    found = object_record(t.Btf((*_BASE, t.Struct("bits", 8, members))), VALUE, ())
    assert found.problem.startswith("EINVAL")


def test_a_structure_is_looked_at_for_other_fields_than_a_res_spin_lock() -> None:
    lock = t.Struct("bpf_res_spin_lock", 4, ())
    alone = t.Btf((*_BASE, t.Struct("value", 8, (t.Member("lock", VALUE + 1, 0),)), lock))
    assert not object_record(alone, VALUE, ()).fields
    refcount = t.Struct("bpf_refcount", 4, ())
    members = (t.Member("lock", VALUE + 1, 0), t.Member("refs", VALUE + 2, 32))
    both = t.Btf((*_BASE, t.Struct("value", 8, members), lock, refcount))
    assert [field.kind for field in object_record(both, VALUE, ()).fields] == [
        Special.RES_SPIN_LOCK,
        Special.REFCOUNT,
    ]

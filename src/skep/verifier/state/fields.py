"""Special fields of map values and of objects that a program allocates: locks, timers, pointers to kernel objects,
heads and nodes of lists and trees. The kernel finds them by the names of their types in the program's BTF, and keeps
plain loads and stores away from them (kernel: btf_parse_fields, map_check_btf, btf_parse_struct_metas).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from skep.abi.map_types import MapType
from skep.btf import types as t
from skep.model.maps import MapSpec

MAX_FIELDS = 11  # BTF_FIELDS_MAX, of one type
MAX_NESTING = 32  # MAX_RESOLVE_DEPTH
_PAGE = 4096


class Special(Enum):
    """What a special field is: its name in the kernel's messages (btf_field_type_name), size and alignment in bytes."""

    SPIN_LOCK = ("bpf_spin_lock", 4, 4, 1)
    RES_SPIN_LOCK = ("bpf_res_spin_lock", 4, 4, 2)
    TIMER = ("bpf_timer", 16, 8, 3)
    WORK_QUEUE = ("bpf_wq", 16, 8, 4)
    TASK_WORK = ("bpf_task_work", 8, 8, 5)
    LIST_HEAD = ("bpf_list_head", 16, 8, 6)
    LIST_NODE = ("bpf_list_node", 24, 8, 7)
    TREE_ROOT = ("bpf_rb_root", 16, 8, 8)
    TREE_NODE = ("bpf_rb_node", 32, 8, 9)
    REFCOUNT = ("bpf_refcount", 4, 4, 10)
    KPTR_UNTRUSTED = ("kptr", 8, 8, 11)
    KPTR = ("kptr", 8, 8, 12)  # with a reference
    PERCPU_KPTR = ("percpu_kptr", 8, 8, 13)
    UPTR = ("uptr", 8, 8, 14)

    def __init__(self, kernel_name: str, size: int, align: int, _number: int) -> None:
        self.kernel_name = kernel_name
        self.size = size
        self.align = align


KPTRS = frozenset({Special.KPTR_UNTRUSTED, Special.KPTR, Special.PERCPU_KPTR})
POINTERS = KPTRS | {Special.UPTR}
GRAPH_ROOTS = frozenset({Special.LIST_HEAD, Special.TREE_ROOT})
GRAPH_NODES = frozenset({Special.LIST_NODE, Special.TREE_NODE})
LOCKS = frozenset({Special.SPIN_LOCK, Special.RES_SPIN_LOCK})
LATER = frozenset({Special.TIMER, Special.WORK_QUEUE, Special.TASK_WORK})
_STRUCTS = {kind.kernel_name: kind for kind in Special if kind not in POINTERS}
_TAGS = {
    "kptr_untrusted": Special.KPTR_UNTRUSTED,
    "kptr": Special.KPTR,
    "percpu_kptr": Special.PERCPU_KPTR,
    "uptr": Special.UPTR,
}
_UNIQUE = LOCKS | LATER  # one of them in a structure
_REPEATABLE = POINTERS | GRAPH_ROOTS  # in arrays
_NODES = {Special.LIST_HEAD: Special.LIST_NODE, Special.TREE_ROOT: Special.TREE_NODE}

# Structures of the kernel that a map may own, and the function that gives each back (kernel: btf_find_dtor_kfunc).
_DESTRUCTORS = {
    "task_struct": "bpf_task_release_dtor",
    "cgroup": "bpf_cgroup_release_dtor",
    "bpf_cpumask": "bpf_cpumask_release_dtor",
    "bpf_crypto_ctx": "bpf_crypto_ctx_release_dtor",
    "sk_buff": "bpf_kfree_skb_dtor",
    "prog_test_ref_kfunc": "bpf_kfunc_call_test_release_dtor",
    "prog_test_member": "bpf_kfunc_call_memb_release_dtor",
}

IN_MAPS = LOCKS | POINTERS | GRAPH_ROOTS | LATER | {Special.REFCOUNT}
IN_OBJECTS = LOCKS | KPTRS | GRAPH_ROOTS | GRAPH_NODES | {Special.REFCOUNT}

_LOCAL = frozenset({MapType.SK_STORAGE, MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE})
_PLAIN = frozenset({MapType.HASH, MapType.ARRAY})
_TABLES = _PLAIN | {MapType.LRU_HASH}
_PERCPU = frozenset({MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY})
ALLOWED_IN: Mapping[Special, frozenset[MapType]] = {
    **dict.fromkeys(LOCKS, _PLAIN | _LOCAL | {MapType.CGROUP_STORAGE_DEPRECATED}),
    **dict.fromkeys((*LATER, *GRAPH_ROOTS), _TABLES),
    **dict.fromkeys((*KPTRS, Special.REFCOUNT), _TABLES | _PERCPU | _LOCAL),
    Special.UPTR: frozenset({MapType.TASK_STORAGE}),
}
"""Which maps may hold which fields in their values (kernel: map_check_btf)."""


@dataclass(frozen=True, slots=True)
class Field:
    """A special field.

    Attributes:
        offset: bytes from the start of the value or object.
        btf, type: what a pointer field points to, or the objects that a list or tree holds (``contains:``).
        node_offset: for LIST_HEAD and TREE_ROOT: where in those objects the node is.
    """

    kind: Special
    offset: int
    btf: t.Btf | None = None
    type: int = 0
    node_offset: int = 0

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.kind.size


@dataclass(frozen=True, slots=True)
class Record:
    """The special fields of one type, lowest offset first.

    Attributes:
        problem: why the kernel takes none of them; "": it takes these.
    """

    fields: tuple[Field, ...] = ()
    problem: str = ""

    def find(self, *kinds: Special) -> Field | None:
        """The first field of one of these kinds."""
        return next((field for field in self.fields if field.kind in kinds), None)

    def at(self, offset: int, kinds: Iterable[Special]) -> Field | None:
        """The field of one of these kinds that starts at ``offset`` (kernel: btf_record_find)."""
        return next((field for field in self.fields if field.offset == offset and field.kind in kinds), None)

    def touched(self, low: int, end: int) -> Field | None:
        """The first field that an access of bytes ``low`` to ``end`` (exclusive) may touch."""
        return next((field for field in self.fields if low < field.end and field.offset < end), None)


NO_FIELDS = Record()


class _BadType(Exception):
    """The kernel refuses the type; the text says why, with its error number."""


def map_record(spec: MapSpec, kernel: Iterable[t.Btf]) -> Record:
    """The special fields in a map's values.

    Args:
        spec: the map.
        kernel: types of the kernel and its modules, where the targets of kptrs are looked up.
    """
    btf = spec.btf
    if btf is None or not 0 < spec.value_type < len(btf):
        return NO_FIELDS
    found = parse_record(btf, btf.strip(spec.value_type), IN_MAPS, kernel)
    for field in found.fields:
        if spec.type not in ALLOWED_IN[field.kind]:
            return Record((), f"EOPNOTSUPP: {field.kind.kernel_name} in a map of type {spec.type.name}")
    return found


def object_record(btf: t.Btf, type_id: int, kernel: Iterable[t.Btf]) -> Record:
    """The special fields of a structure that a program may allocate: only those that have one of their own members
    among them, not just nested ones, are looked at (kernel: btf_parse_struct_metas).
    """
    found = btf[type_id]
    if not isinstance(found, (t.Struct, t.Union)):
        return NO_FIELDS
    if not any(_is_special(btf, member.type) for member in found.members):
        return NO_FIELDS
    return parse_record(btf, type_id, IN_OBJECTS, kernel)


def _is_special(btf: t.Btf, type_id: int) -> bool:
    """A member for which the kernel looks at a structure at all; a bpf_res_spin_lock is none (alloc_obj_fields)."""
    found = btf[type_id]
    if isinstance(found, t.Struct):
        return _STRUCTS.get(found.name) in IN_OBJECTS - {Special.RES_SPIN_LOCK}
    return _pointer_tag(btf, found) in KPTRS


def parse_record(btf: t.Btf, type_id: int, wanted: frozenset[Special], kernel: Iterable[t.Btf]) -> Record:
    """All fields of some kinds in a type (kernel: btf_parse_fields)."""
    try:
        found = _find(btf, type_id, wanted, 0)
        fields = tuple(_completed(btf, field, tuple(kernel)) for field in found)
        _check(btf, fields)
    except _BadType as error:
        return Record((), str(error))
    return Record(tuple(sorted(fields, key=lambda field: field.offset)))


def _find(btf: t.Btf, type_id: int, wanted: frozenset[Special], level: int) -> list[Field]:
    """Fields of a structure or of a section of variables, in order (kernel: btf_find_field)."""
    found = btf[type_id]
    fields: list[Field] = []
    seen: set[Special] = set()
    if level >= MAX_NESTING:
        raise _BadType("E2BIG: structures are nested too deep")
    if isinstance(found, (t.Struct, t.Union)):
        for index, member in enumerate(found.members):
            if member.bit_offset % 8:  # bit fields, too, wherever they are
                raise _BadType("EINVAL: a member does not start at a byte")
            room = MAX_FIELDS - len(fields)
            tagged = (type_id, index)
            fields += _one(btf, member.type, member.bit_offset // 8, 0, wanted, seen, level, tagged, room)
    elif isinstance(found, t.Datasec):
        for entry in found.entries:
            variable = btf[entry.type]
            if isinstance(variable, t.Var):
                room = MAX_FIELDS - len(fields)
                tagged = (entry.type, -1)
                fields += _one(btf, variable.type, entry.offset, entry.size, wanted, seen, level, tagged, room)
    return fields


def _one(
    btf: t.Btf,
    type_id: int,
    offset: int,
    expected_size: int,
    wanted: frozenset[Special],
    seen: set[Special],
    level: int,
    tagged: tuple[int, int],
    room: int,
) -> list[Field]:
    """One member or variable: a field, an array of fields, or a structure with fields (kernel: btf_find_field_one).

    ``tagged``: the declaration that a ``contains:`` tag names: a structure and its member, or a variable and -1.
    """
    count = 1
    for _ in range(MAX_NESTING):
        found = btf[type_id]
        if not isinstance(found, t.Array):
            break
        count *= found.nelems
        type_id = found.type
    else:
        raise _BadType("E2BIG: an array has too many dimensions")
    if not count:
        return []
    kind = _kind(btf, found, wanted)
    if kind is None:
        if not isinstance(found, t.Struct) or (expected_size and expected_size != found.size * count):
            return []
        inner = _find(btf, type_id, wanted, level + 1)
        return _repeated([replace(field, offset=field.offset + offset) for field in inner], count, found.size, room)
    if kind in _UNIQUE:
        if kind in seen:
            raise _BadType(f"E2BIG: more than one {kind.kernel_name}")
        seen.add(kind)
    if expected_size and expected_size != kind.size * count:
        return []
    if offset % kind.align:
        raise _BadType(f"EINVAL: {kind.kernel_name} is not aligned")
    if isinstance(found, t.Struct) and found.size != kind.size:
        return []
    return _repeated([_with_target(btf, kind, offset, type_id, tagged)], count, kind.size, room)


def _kind(btf: t.Btf, found: t.BtfType, wanted: frozenset[Special]) -> Special | None:
    if isinstance(found, (t.Struct, t.Union)):
        kind = _STRUCTS.get(found.name)
        return kind if kind in wanted else None
    kind = _pointer_tag(btf, found)
    return kind if kind in wanted else None


def _pointer_tag(btf: t.Btf, found: t.BtfType) -> Special | None:
    """What the tag behind a pointer says (kernel: btf_find_kptr)."""
    if isinstance(found, t.Volatile):
        found = btf[found.type]
    tag = btf[found.type] if isinstance(found, t.Ptr) else None
    return _TAGS.get(tag.name) if isinstance(tag, t.TypeTag) and not tag.attribute else None


def _with_target(btf: t.Btf, kind: Special, offset: int, type_id: int, tagged: tuple[int, int]) -> Field:
    if kind in POINTERS:
        found = btf[type_id]
        pointer = btf[found.type] if isinstance(found, t.Volatile) else found
        assert isinstance(pointer, t.Ptr)
        tag = btf[pointer.type]
        assert isinstance(tag, t.TypeTag)
        if isinstance(btf[tag.type], t.TypeTag):
            raise _BadType("EINVAL: a pointer has more than one tag")
        target = btf.strip(tag.type)
        if not isinstance(btf[target], (t.Struct, t.Union)):
            raise _BadType(f"EINVAL: {kind.kernel_name} does not point to a structure")
        return Field(kind, offset, btf, target)
    if kind not in GRAPH_ROOTS:
        return Field(kind, offset)
    return Field(kind, offset, btf, *_contained(btf, kind, tagged))


def _contained(btf: t.Btf, kind: Special, tagged: tuple[int, int]) -> tuple[int, int]:
    """Type and node offset of what a list or tree holds: the tag ``contains:TYPE:MEMBER`` (kernel:
    btf_find_graph_root, btf_parse_graph_root).
    """
    prefix = "contains:"
    tags = [
        found.name.removeprefix(prefix)
        for found in btf
        if isinstance(found, t.DeclTag)
        and not found.attribute
        and (found.type, found.component) == tagged
        and found.name.startswith(prefix)
    ]
    if len(tags) != 1:
        raise _BadType(f"EINVAL: {kind.kernel_name} needs one tag that says what it contains")
    name, colon, member_name = tags[0].partition(":")
    if not colon or not member_name:
        raise _BadType(f"EINVAL: the tag of {kind.kernel_name} names no node")
    held = btf.find(name, t.Struct)
    if held is None:
        raise _BadType(f"ENOENT: {kind.kernel_name} contains an unknown 'struct {name}'")
    members = [each for each in btf[held].members if each.name == member_name]  # type: ignore[union-attr]
    if not members:
        raise _BadType(f"ENOENT: 'struct {name}' has no member '{member_name}'")
    node = btf[members[0].type]
    if len(members) > 1 or not isinstance(node, t.Struct) or node.name != _NODES[kind].kernel_name:
        raise _BadType(f"EINVAL: '{member_name}' of 'struct {name}' is no {_NODES[kind].kernel_name}")
    offset, rest = divmod(members[0].bit_offset, 8)
    if rest or offset % _NODES[kind].align:
        raise _BadType(f"EINVAL: '{member_name}' of 'struct {name}' is not aligned")
    return held, offset


def _repeated(fields: list[Field], count: int, step: int, room: int) -> list[Field]:
    """The fields of each element of an array (kernel: btf_repeat_fields)."""
    if count > 1 and any(field.kind not in _REPEATABLE for field in fields):
        raise _BadType("EINVAL: an array of fields that can only be alone")
    if len(fields) * count > room:
        raise _BadType(f"E2BIG: more than {MAX_FIELDS} special fields")
    return [replace(field, offset=field.offset + step * index) for index in range(count) for field in fields]


def _completed(btf: t.Btf, field: Field, kernel: tuple[t.Btf, ...]) -> Field:
    """A pointer field with its target looked up in the kernel's types; types only the program has are its own
    (kernel: btf_parse_kptr, btf_check_and_fixup_fields).
    """
    if field.kind not in POINTERS:
        return field
    target = btf[field.type]
    for types in kernel:
        found = types.find(target.name, type(target))
        if found is not None:
            if field.kind is Special.UPTR:
                raise _BadType("EINVAL: a uptr cannot point to a structure of the kernel")
            if field.kind is Special.KPTR and types.find(_DESTRUCTORS.get(target.name, ""), t.Func) is None:
                raise _BadType(f"ENOENT: the kernel cannot give back a 'struct {target.name}' that a map owns")
            return replace(field, btf=types, type=found)
    if field.kind is Special.UPTR:
        size = target.size if isinstance(target, (t.Struct, t.Union)) else 0
        if not 0 < size <= _PAGE:
            raise _BadType("E2BIG: a uptr points to at most one page")
    return field


def _check(btf: t.Btf, fields: tuple[Field, ...]) -> None:
    """What must and must not be together (kernel: btf_parse_fields, btf_check_and_fixup_fields)."""
    end = 0
    for field in fields:
        if field.offset < end:
            raise _BadType("EEXIST: special fields overlap")
        end = field.end
    kinds = {field.kind for field in fields}
    if kinds >= LOCKS:
        raise _BadType("EINVAL: two kinds of locks")
    if kinds & GRAPH_ROOTS and not kinds & LOCKS:
        raise _BadType("EINVAL: a list or tree needs a lock beside it")
    if kinds >= GRAPH_NODES and Special.REFCOUNT not in kinds:
        raise _BadType("EINVAL: a node of a list and of a tree needs a bpf_refcount")
    for field in fields:
        if field.kind in GRAPH_ROOTS and kinds & GRAPH_NODES:
            held = parse_record_kinds(btf, field.type)
            if held & GRAPH_ROOTS:
                raise _BadType("ELOOP: what holds nodes is itself held")


def parse_record_kinds(btf: t.Btf, type_id: int) -> frozenset[Special]:
    """The kinds of special fields that a structure has as members, without any of the checks."""
    found = btf[type_id]
    members = found.members if isinstance(found, (t.Struct, t.Union)) else ()
    kinds = (_kind(btf, btf[member.type], IN_OBJECTS) for member in members)
    return frozenset(kind for kind in kinds if kind is not None)

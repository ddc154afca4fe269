"""What this kernel can do, asked by doing it (libbpf's features.c); asked late, and remembered."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.btf.types import (
    Array,
    Btf,
    BtfType,
    Datasec,
    DeclTag,
    Enum64,
    Float,
    Func,
    FuncProto,
    Int,
    Param,
    SectionVar,
    TypeTag,
    Var,
    Void,
)
from skep.btf.writer import encode_btf
from skep.kernel.bpf import btf, maps, programs
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.memlock import with_memory

_RETURN_0: Final = bytes.fromhex("b7000000000000009500000000000000")
_INT: Final = Int("int", 4, 32, signed=True)
_MMAPABLE: Final = 1 << 10


def _takes_types(*types: BtfType) -> bool:
    try:
        with_memory(lambda: btf.load(encode_btf(Btf((Void(), *types))))).close()
    except BpfCallError:
        return False
    return True


def _takes_program(**changes: object) -> bool:
    request = programs.LoadRequest(**({"prog_type": ProgType.SOCKET_FILTER, "code": _RETURN_0} | changes))  # type: ignore[arg-type]
    try:
        with_memory(lambda: programs.load(request))[0].close()
    except BpfCallError:
        return False
    return True


def _takes_map(request: maps.MapRequest) -> bool:
    try:
        with_memory(lambda: maps.create(request)).close()
    except BpfCallError:
        return False
    return True


_PROTO: Final = FuncProto(1, (Param("a", 1),))
_PROBES: Final[Mapping[str, Callable[[], bool]]] = {
    "names": lambda: _takes_program(name=b"skep_probe"),
    "expected_attach_type": lambda: _takes_program(
        prog_type=ProgType.CGROUP_SOCK, expected_attach_type=AttachType.CGROUP_INET_SOCK_CREATE
    ),
    "btf": lambda: _takes_types(_INT),
    "btf_func": lambda: _takes_types(_INT, _PROTO, Func("f", 2, 0)),
    "btf_func_global": lambda: _takes_types(_INT, _PROTO, Func("f", 2, 1)),
    "btf_datasec": lambda: _takes_types(_INT, Var("x", 1, 0), Datasec(".data", 4, (SectionVar(2, 0, 4),))),
    "btf_float": lambda: _takes_types(Float("float", 4)),
    "btf_decl_tag": lambda: _takes_types(_INT, Var("x", 1, 0), DeclTag("t", 2, -1)),
    "btf_type_tag": lambda: _takes_types(_INT, TypeTag("t", 1)),
    "btf_enum64": lambda: _takes_types(Enum64("e", 8, False, (("A", 1),))),
    "btf_zero_array": lambda: _takes_types(_INT, Array(1, 1, 0)),
    "global_data": lambda: _takes_map(maps.MapRequest(MapType.ARRAY, 4, 32, 1, 1 << 7)),
    "mmapable": lambda: _takes_map(maps.MapRequest(MapType.ARRAY, 4, 4, 1, _MMAPABLE)),
    "map_names": lambda: _takes_map(maps.MapRequest(MapType.ARRAY, 4, 4, 1, name=b"skep_probe")),
}


@cache
def has(feature: str) -> bool:
    """Whether the running kernel has a feature (a key of :func:`features`). Asked once per process."""
    return _PROBES[feature]()


def features() -> list[str]:
    """The features that :func:`has` knows."""
    return list(_PROBES)


@cache
def has_prog_type(prog_type: ProgType) -> bool:
    """Whether programs of a type can be loaded: by loading the smallest one."""
    extra: dict[str, object] = dict(_PROG_EXTRAS.get(prog_type, {}))
    accepted_errors: tuple[int, ...] = ()
    if prog_type in (ProgType.TRACING, ProgType.LSM, ProgType.EXT, ProgType.STRUCT_OPS):
        # They cannot load without a target; a kernel that knows them complains about just that.
        return _knows_target_type(prog_type)
    request = programs.LoadRequest(prog_type, _RETURN_0, **extra)  # type: ignore[arg-type]
    try:
        with_memory(lambda: programs.load(request))[0].close()
    except BpfCallError as error:
        return error.number in accepted_errors
    return True


_PROG_EXTRAS: Final[Mapping[ProgType, Mapping[str, object]]] = {
    ProgType.CGROUP_SOCK_ADDR: {"expected_attach_type": AttachType.CGROUP_INET4_CONNECT},
    ProgType.CGROUP_SOCKOPT: {"expected_attach_type": AttachType.CGROUP_GETSOCKOPT},
    ProgType.SK_LOOKUP: {"expected_attach_type": AttachType.SK_LOOKUP},
    ProgType.NETFILTER: {"expected_attach_type": AttachType.NETFILTER},
    ProgType.SYSCALL: {"flags": 1 << 4},
    ProgType.KPROBE: {"kernel_version": 0},
}


def _knows_target_type(prog_type: ProgType) -> bool:
    attach = {ProgType.TRACING: AttachType.TRACE_RAW_TP, ProgType.LSM: AttachType.LSM_MAC}.get(prog_type, 0)
    request = programs.LoadRequest(prog_type, _RETURN_0, expected_attach_type=int(attach))
    try:
        programs.load(request)[0].close()
    except BpfCallError as error:
        return bool(error.log) or error.number in (errno.ENOTSUP, 524)
    return True


@cache
def has_map_type(map_type: MapType) -> bool:
    """Whether maps of a type can be made: by making a small one."""
    return _try_map(map_type) is None


def _try_map(map_type: MapType) -> int | None:
    """The errno of making a small map of a type; None: it was made."""
    from skep.abi.map_facts import FACTS  # late: only here

    facts = FACTS[map_type]
    key, value, entries, flags = facts.key_sizes[0], 8, 1, 0
    if facts.value_sizes is not None:
        value = min(facts.value_sizes)
    if map_type is MapType.LPM_TRIE:
        key = 8
    if facts.key_sizes == (1, None):
        key = 4
    if map_type in (MapType.CGROUP_STORAGE_DEPRECATED, MapType.PERCPU_CGROUP_STORAGE_DEPRECATED):
        key, entries = 16, 0
    if facts.needs_no_prealloc:
        flags |= 1
    if facts.page_sized:
        entries = 1 << 16
    if facts.no_entries:
        entries = 0
    if map_type is MapType.ARENA:
        flags, entries = _MMAPABLE, 1
    extra: dict[str, Any] = {}
    opened = []
    try:
        if facts.needs_inner:
            inner = maps.create(maps.MapRequest(MapType.ARRAY, 4, 4, 1))
            opened.append(inner)
            extra["inner"] = inner.number
        if facts.needs_btf and map_type is not MapType.STRUCT_OPS:
            types = btf.load(encode_btf(Btf((Void(), _INT))))
            opened.append(types)
            extra |= {"btf": types.number, "key_type": 1, "value_type": 1}
            value = 4
        if map_type is MapType.STRUCT_OPS:
            extra["vmlinux_value_type"] = 1
        request = maps.MapRequest(map_type, key, value, entries, flags, **extra)
        with_memory(lambda: maps.create(request)).close()
    except BpfCallError as error:
        # A kernel that knows struct_ops does not find type 1 to be one (ENOTSUPP); one that does not says EINVAL.
        return None if map_type is MapType.STRUCT_OPS and error.number == 524 else error.number
    finally:
        for fd in opened:
            fd.close()
    return None

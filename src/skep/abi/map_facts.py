"""What holds for each kind of map: sizes, which helpers may touch it, how its values may be reached (Linux 6.18).

Sources: check_map_func_compatibility (kernel/bpf/verifier.c) for helpers, the map_alloc_check of each map for sizes.
tests/differential/abi/test_map_facts.py asks the running kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from skep.abi.map_types import MapType as M
from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P


class Holds(StrEnum):
    """What a map's values are."""

    BYTES = "bytes"
    PROGRAMS = "programs"
    MAPS = "maps"
    PERF_EVENTS = "perf_events"
    CGROUPS = "cgroups"
    DEVICES = "devices"
    CPUS = "cpus"
    SOCKETS = "sockets"
    STACKS = "stacks"
    RECORDS = "records"
    STRUCT_OPS = "struct_ops"
    INSNS = "insns"


@dataclass(frozen=True, slots=True)
class MapFacts:
    """One kind of map.

    Attributes:
        since: kernel version that brought it, (major, minor).
        holds: what its values are.
        key_sizes: allowed bytes of a key, (least, most); most None: no limit of its own.
        value_sizes: allowed bytes of a value, one by one; None: any from 1.
        no_entries: max_entries must be 0.
        page_sized: max_entries is bytes: a power of two, and whole pages.
        is_per_cpu: each CPU has its own value; user space sees all, each rounded up to 8 bytes.
        needs_inner: made with the blueprint of the maps that it will hold.
        needs_btf: key and value must have BTF types.
        needs_no_prealloc: BPF_F_NO_PREALLOC must be set.
        direct_value: LD_IMM64 can take the address of a value (global data).
        for_each: bpf_for_each_map_elem works.
        helpers: the only helpers that may be given such a map; None: all that are not bound to other types.
    """

    since: tuple[int, int]
    holds: Holds = Holds.BYTES
    key_sizes: tuple[int, int | None] = (4, 4)
    value_sizes: frozenset[int] | None = None
    no_entries: bool = False
    page_sized: bool = False
    is_per_cpu: bool = False
    needs_inner: bool = False
    needs_btf: bool = False
    needs_no_prealloc: bool = False
    direct_value: bool = False
    for_each: bool = False
    helpers: frozenset[int] | None = None


# Helpers by number, as rows below name them.
_LOOKUP, _UPDATE, _DELETE, _TAIL_CALL = 1, 2, 3, 12
_PERF_READ, _PERF_OUTPUT, _GET_STACKID, _SKB_UNDER, _TASK_UNDER = 22, 25, 27, 33, 37
_REDIRECT_MAP, _SK_REDIRECT_MAP, _SOCK_MAP_UPDATE, _PERF_READ_VALUE, _MSG_REDIRECT_MAP = 51, 52, 53, 55, 60
_SOCK_HASH_UPDATE, _MSG_REDIRECT_HASH, _SK_REDIRECT_HASH, _LOCAL_STORAGE, _SELECT_REUSEPORT = 70, 71, 72, 81, 82
_PUSH, _POP, _PEEK, _SK_STORAGE_GET, _SK_STORAGE_DELETE, _SKB_OUTPUT, _XDP_OUTPUT = 87, 88, 89, 107, 108, 111, 121
_RINGBUF_OUTPUT, _RINGBUF_RESERVE, _RINGBUF_QUERY, _RINGBUF_RESERVE_DYNPTR = 130, 131, 134, 198
_INODE_GET, _INODE_DELETE, _TASK_GET, _TASK_DELETE, _CGRP_GET, _CGRP_DELETE = 145, 146, 156, 157, 210, 211
_FOR_EACH, _TIMER_INIT, _KPTR_XCHG, _LOOKUP_PERCPU, _USER_RINGBUF_DRAIN = 164, 169, 194, 195, 209

_FD = frozenset({4})
_FD_OR_COOKIE = frozenset({4, 8})
_NONE = frozenset({0})
_ANY_KEY = (1, None)
_REDIRECT = frozenset({_REDIRECT_MAP, _LOOKUP})
_FIFO = frozenset({_PUSH, _POP, _PEEK})

FACTS: Mapping[M, MapFacts] = MappingProxyType(
    {
        M.HASH: MapFacts((3, 19), key_sizes=_ANY_KEY, for_each=True),
        M.ARRAY: MapFacts((3, 19), direct_value=True, for_each=True),
        M.PROG_ARRAY: MapFacts((4, 2), Holds.PROGRAMS, value_sizes=_FD, helpers=frozenset({_TAIL_CALL})),
        M.PERF_EVENT_ARRAY: MapFacts(
            (4, 3),
            Holds.PERF_EVENTS,
            value_sizes=_FD,
            helpers=frozenset({_PERF_READ, _PERF_OUTPUT, _SKB_OUTPUT, _PERF_READ_VALUE, _XDP_OUTPUT}),
        ),
        M.PERCPU_HASH: MapFacts((4, 6), key_sizes=_ANY_KEY, is_per_cpu=True, for_each=True),
        M.PERCPU_ARRAY: MapFacts((4, 6), is_per_cpu=True, for_each=True),
        M.STACK_TRACE: MapFacts(
            (4, 6), Holds.STACKS, value_sizes=frozenset(range(8, 127 * 8 + 1, 8)), helpers=frozenset({_GET_STACKID})
        ),
        M.CGROUP_ARRAY: MapFacts((4, 8), Holds.CGROUPS, value_sizes=_FD, helpers=frozenset({_SKB_UNDER, _TASK_UNDER})),
        M.LRU_HASH: MapFacts((4, 10), key_sizes=_ANY_KEY, for_each=True),
        M.LRU_PERCPU_HASH: MapFacts((4, 10), key_sizes=_ANY_KEY, is_per_cpu=True, for_each=True),
        M.LPM_TRIE: MapFacts((4, 11), key_sizes=(5, 4 + 256), needs_no_prealloc=True),
        M.ARRAY_OF_MAPS: MapFacts((4, 12), Holds.MAPS, value_sizes=_FD, needs_inner=True, helpers=frozenset({_LOOKUP})),
        M.HASH_OF_MAPS: MapFacts(
            (4, 12), Holds.MAPS, _ANY_KEY, value_sizes=_FD, needs_inner=True, helpers=frozenset({_LOOKUP})
        ),
        M.DEVMAP: MapFacts((4, 14), Holds.DEVICES, value_sizes=_FD_OR_COOKIE, helpers=_REDIRECT),
        M.SOCKMAP: MapFacts(
            (4, 14),
            Holds.SOCKETS,
            value_sizes=_FD_OR_COOKIE,
            helpers=frozenset({_SK_REDIRECT_MAP, _SOCK_MAP_UPDATE, _MSG_REDIRECT_MAP, _SELECT_REUSEPORT, _LOOKUP}),
        ),
        M.CPUMAP: MapFacts((4, 15), Holds.CPUS, value_sizes=_FD_OR_COOKIE, helpers=frozenset({_REDIRECT_MAP})),
        M.XSKMAP: MapFacts((4, 18), Holds.SOCKETS, value_sizes=_FD, helpers=_REDIRECT),
        M.SOCKHASH: MapFacts(
            (4, 18),
            Holds.SOCKETS,
            _ANY_KEY,
            value_sizes=_FD_OR_COOKIE,
            helpers=frozenset({_SK_REDIRECT_HASH, _SOCK_HASH_UPDATE, _MSG_REDIRECT_HASH, _SELECT_REUSEPORT, _LOOKUP}),
        ),
        M.CGROUP_STORAGE_DEPRECATED: MapFacts(
            (4, 19), key_sizes=(8, 16), no_entries=True, helpers=frozenset({_LOCAL_STORAGE})
        ),
        M.REUSEPORT_SOCKARRAY: MapFacts(
            (4, 19), Holds.SOCKETS, value_sizes=_FD_OR_COOKIE, helpers=frozenset({_SELECT_REUSEPORT})
        ),
        M.PERCPU_CGROUP_STORAGE_DEPRECATED: MapFacts(
            (4, 20), key_sizes=(8, 16), no_entries=True, is_per_cpu=True, helpers=frozenset({_LOCAL_STORAGE})
        ),
        M.QUEUE: MapFacts((4, 20), key_sizes=(0, 0), helpers=_FIFO),
        M.STACK: MapFacts((4, 20), key_sizes=(0, 0), helpers=_FIFO),
        M.SK_STORAGE: MapFacts(
            (5, 2),
            no_entries=True,
            needs_btf=True,
            needs_no_prealloc=True,
            helpers=frozenset({_SK_STORAGE_GET, _SK_STORAGE_DELETE, _KPTR_XCHG}),
        ),
        M.DEVMAP_HASH: MapFacts((5, 4), Holds.DEVICES, value_sizes=_FD_OR_COOKIE, helpers=_REDIRECT),
        M.STRUCT_OPS: MapFacts((5, 6), Holds.STRUCT_OPS, needs_btf=True, helpers=frozenset()),
        M.RINGBUF: MapFacts(
            (5, 8),
            Holds.RECORDS,
            (0, 0),
            _NONE,
            page_sized=True,
            helpers=frozenset({_RINGBUF_OUTPUT, _RINGBUF_RESERVE, _RINGBUF_QUERY, _RINGBUF_RESERVE_DYNPTR}),
        ),
        M.INODE_STORAGE: MapFacts(
            (5, 10),
            no_entries=True,
            needs_btf=True,
            needs_no_prealloc=True,
            helpers=frozenset({_INODE_GET, _INODE_DELETE, _KPTR_XCHG}),
        ),
        M.TASK_STORAGE: MapFacts(
            (5, 11),
            no_entries=True,
            needs_btf=True,
            needs_no_prealloc=True,
            helpers=frozenset({_TASK_GET, _TASK_DELETE, _KPTR_XCHG}),
        ),
        M.BLOOM_FILTER: MapFacts((5, 16), key_sizes=(0, 0), helpers=frozenset({_PUSH, _PEEK})),
        M.USER_RINGBUF: MapFacts(
            (6, 1), Holds.RECORDS, (0, 0), _NONE, page_sized=True, helpers=frozenset({_USER_RINGBUF_DRAIN})
        ),
        M.CGRP_STORAGE: MapFacts(
            (6, 2),
            no_entries=True,
            needs_btf=True,
            needs_no_prealloc=True,
            helpers=frozenset({_CGRP_GET, _CGRP_DELETE, _KPTR_XCHG}),
        ),
        # no element to look up: its memory is reached through pointers
        M.ARENA: MapFacts((6, 9), key_sizes=(0, 0), value_sizes=_NONE, direct_value=True, helpers=frozenset()),
        M.INSN_ARRAY: MapFacts((6, 19), Holds.INSNS, direct_value=True, helpers=frozenset()),
        # in the headers of 7.2, not in those of 6.18
        M.RHASH: MapFacts((7, 2), key_sizes=_ANY_KEY, needs_no_prealloc=True, for_each=True),
    }
)

_SOCKETS = frozenset({M.SOCKMAP, M.SOCKHASH})
_PERF = frozenset({M.PERF_EVENT_ARRAY})
_RINGBUF = frozenset({M.RINGBUF})
_CGROUP_LOCAL = frozenset({M.CGROUP_STORAGE_DEPRECATED, M.PERCPU_CGROUP_STORAGE_DEPRECATED})

#: Helpers that take only some types of map (the other half of check_map_func_compatibility).
HELPER_MAPS: Mapping[int, frozenset[M]] = MappingProxyType(
    {
        _TAIL_CALL: frozenset({M.PROG_ARRAY}),
        **dict.fromkeys((_PERF_READ, _PERF_OUTPUT, _PERF_READ_VALUE, _SKB_OUTPUT, _XDP_OUTPUT), _PERF),
        **dict.fromkeys((_RINGBUF_OUTPUT, _RINGBUF_RESERVE, _RINGBUF_QUERY, _RINGBUF_RESERVE_DYNPTR), _RINGBUF),
        _USER_RINGBUF_DRAIN: frozenset({M.USER_RINGBUF}),
        _GET_STACKID: frozenset({M.STACK_TRACE}),
        _TASK_UNDER: frozenset({M.CGROUP_ARRAY}),
        _SKB_UNDER: frozenset({M.CGROUP_ARRAY}),
        _REDIRECT_MAP: frozenset({M.DEVMAP, M.DEVMAP_HASH, M.CPUMAP, M.XSKMAP}),
        **{helper: frozenset({M.SOCKMAP}) for helper in (_SK_REDIRECT_MAP, _MSG_REDIRECT_MAP, _SOCK_MAP_UPDATE)},
        **{helper: frozenset({M.SOCKHASH}) for helper in (_SK_REDIRECT_HASH, _MSG_REDIRECT_HASH, _SOCK_HASH_UPDATE)},
        _LOCAL_STORAGE: _CGROUP_LOCAL,
        _SELECT_REUSEPORT: _SOCKETS | {M.REUSEPORT_SOCKARRAY},
        _POP: frozenset({M.QUEUE, M.STACK}),
        _PEEK: frozenset({M.QUEUE, M.STACK, M.BLOOM_FILTER}),
        _PUSH: frozenset({M.QUEUE, M.STACK, M.BLOOM_FILTER}),
        _LOOKUP_PERCPU: frozenset({M.PERCPU_ARRAY, M.PERCPU_HASH, M.LRU_PERCPU_HASH}),
        _SK_STORAGE_GET: frozenset({M.SK_STORAGE}),
        _SK_STORAGE_DELETE: frozenset({M.SK_STORAGE}),
        _INODE_GET: frozenset({M.INODE_STORAGE}),
        _INODE_DELETE: frozenset({M.INODE_STORAGE}),
        _TASK_GET: frozenset({M.TASK_STORAGE}),
        _TASK_DELETE: frozenset({M.TASK_STORAGE}),
        _CGRP_GET: frozenset({M.CGRP_STORAGE}),
        _CGRP_DELETE: frozenset({M.CGRP_STORAGE}),
    }
)

#: Program types that may update and delete in socket maps too (may_update_sockmap).
_UPDATES_SOCKETS: frozenset[P] = frozenset(
    {P.SOCKET_FILTER, P.SCHED_CLS, P.SCHED_ACT, P.XDP, P.SK_REUSEPORT, P.FLOW_DISSECTOR, P.SK_LOOKUP}
)


def may_use(helper: int, map_type: M, prog_type: P, attach_type: A | None = None) -> bool:
    """Whether a helper (by number) may be given a map of a type; asked after whether the program may call it at all."""
    if map_type in _SOCKETS and helper in (_UPDATE, _DELETE):
        if prog_type is P.TRACING:
            return attach_type is A.TRACE_ITER
        return prog_type in _UPDATES_SOCKETS or (prog_type is P.SOCK_OPS and helper == _DELETE)
    if helper == _FOR_EACH:
        return FACTS[map_type].for_each
    if helper in HELPER_MAPS and map_type not in HELPER_MAPS[helper]:
        return False
    facts = FACTS.get(map_type)
    return facts is not None and (facts.helpers is None or helper in facts.helpers)


def kernel_sentence(helper: int, helper_name: str, map_type: M) -> str:
    """What the kernel's verifier says where :func:`may_use` is False."""
    return f"cannot pass map_type {int(map_type)} into func {helper_name}#{helper}"

"""Which helpers work on which types of maps (kernel: check_map_func_compatibility)."""

from __future__ import annotations

from skep.abi.map_types import MapType as M

# Maps that only these helpers take.
_ONLY: dict[M, frozenset[int]] = {
    M.PROG_ARRAY: frozenset({12}),
    M.PERF_EVENT_ARRAY: frozenset({22, 25, 55, 111, 121}),
    M.RINGBUF: frozenset({130, 131, 134, 198, 199, 200}),
    M.USER_RINGBUF: frozenset({209}),
    M.STACK_TRACE: frozenset({27}),
    M.CGROUP_ARRAY: frozenset({33, 37}),
    M.CGROUP_STORAGE_DEPRECATED: frozenset({81}),
    M.PERCPU_CGROUP_STORAGE_DEPRECATED: frozenset({81}),
    M.DEVMAP: frozenset({1, 51}),
    M.DEVMAP_HASH: frozenset({1, 51}),
    M.CPUMAP: frozenset({51}),
    M.XSKMAP: frozenset({1, 51}),
    M.ARRAY_OF_MAPS: frozenset({1}),
    M.HASH_OF_MAPS: frozenset({1}),
    M.SOCKMAP: frozenset({1, 3, 52, 53, 60, 82}),
    M.SOCKHASH: frozenset({1, 3, 70, 71, 72, 82}),
    M.REUSEPORT_SOCKARRAY: frozenset({82}),
    M.QUEUE: frozenset({87, 88, 89}),
    M.STACK: frozenset({87, 88, 89}),
    M.BLOOM_FILTER: frozenset({87, 89}),
    M.SK_STORAGE: frozenset({107, 108}),
    M.INODE_STORAGE: frozenset({145, 146}),
    M.TASK_STORAGE: frozenset({156, 157}),
    M.CGRP_STORAGE: frozenset({210, 211}),
    M.STRUCT_OPS: frozenset(),
    M.ARENA: frozenset(),
    M.INSN_ARRAY: frozenset(),
}

_PERCPU = frozenset({M.PERCPU_ARRAY, M.PERCPU_HASH, M.LRU_PERCPU_HASH})
_RINGBUF = frozenset({M.RINGBUF})
_PERF = frozenset({M.PERF_EVENT_ARRAY})

# Helpers that take only these maps.
_TAKES: dict[int, frozenset[M]] = {
    12: frozenset({M.PROG_ARRAY}),
    **dict.fromkeys((22, 25, 55, 111, 121), _PERF),
    **dict.fromkeys((130, 131, 134, 198, 199, 200), _RINGBUF),
    209: frozenset({M.USER_RINGBUF}),
    27: frozenset({M.STACK_TRACE}),
    33: frozenset({M.CGROUP_ARRAY}),
    37: frozenset({M.CGROUP_ARRAY}),
    51: frozenset({M.DEVMAP, M.DEVMAP_HASH, M.CPUMAP, M.XSKMAP}),
    **dict.fromkeys((52, 53, 60), frozenset({M.SOCKMAP})),
    **dict.fromkeys((70, 71, 72), frozenset({M.SOCKHASH})),
    81: frozenset({M.CGROUP_STORAGE_DEPRECATED, M.PERCPU_CGROUP_STORAGE_DEPRECATED}),
    82: frozenset({M.REUSEPORT_SOCKARRAY, M.SOCKMAP, M.SOCKHASH}),
    87: frozenset({M.QUEUE, M.STACK, M.BLOOM_FILTER}),
    88: frozenset({M.QUEUE, M.STACK}),
    89: frozenset({M.QUEUE, M.STACK, M.BLOOM_FILTER}),
    195: _PERCPU,
    # bpf_for_each_map_elem: maps with map_set_for_each_callback_args and map_for_each_callback
    164: frozenset({M.ARRAY, M.PERCPU_ARRAY, M.HASH, M.PERCPU_HASH, M.LRU_HASH, M.LRU_PERCPU_HASH}),
    **dict.fromkeys((107, 108), frozenset({M.SK_STORAGE})),
    **dict.fromkeys((145, 146), frozenset({M.INODE_STORAGE})),
    **dict.fromkeys((156, 157), frozenset({M.TASK_STORAGE})),
    **dict.fromkeys((210, 211), frozenset({M.CGRP_STORAGE})),
}

SLEEPABLE_MAPS = frozenset(
    {
        M.HASH,
        M.LRU_HASH,
        M.ARRAY,
        M.PERCPU_HASH,
        M.PERCPU_ARRAY,
        M.LRU_PERCPU_HASH,
        M.ARRAY_OF_MAPS,
        M.HASH_OF_MAPS,
        M.RINGBUF,
        M.USER_RINGBUF,
        M.INODE_STORAGE,
        M.SK_STORAGE,
        M.TASK_STORAGE,
        M.CGRP_STORAGE,
        M.QUEUE,
        M.STACK,
        M.ARENA,
        M.INSN_ARRAY,
        M.PROG_ARRAY,
    }
)


def fits(helper: int, map_type: M) -> bool:
    """Whether the helper works on maps of this type."""
    only = _ONLY.get(map_type)
    if only is not None and helper not in only:
        return False
    takes = _TAKES.get(helper)
    return takes is None or map_type in takes

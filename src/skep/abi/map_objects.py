"""The kernel's own structure behind each type of map: programs may read it through the map's address.

Facts of Linux 6.18: the ``map_btf_id`` of each ``struct bpf_map_ops``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from skep.abi.map_types import MapType as M

_ARRAYS = (M.ARRAY, M.PERCPU_ARRAY, M.PROG_ARRAY, M.PERF_EVENT_ARRAY, M.CGROUP_ARRAY, M.ARRAY_OF_MAPS)
_HASHES = (M.HASH, M.LRU_HASH, M.PERCPU_HASH, M.LRU_PERCPU_HASH, M.HASH_OF_MAPS)
_LOCAL = (M.SK_STORAGE, M.INODE_STORAGE, M.TASK_STORAGE, M.CGRP_STORAGE)

#: Names of structures. Types that are not here cannot be looked into.
MAP_STRUCTS: Mapping[M, str] = MappingProxyType(
    {
        **dict.fromkeys(_ARRAYS, "bpf_array"),
        **dict.fromkeys(_HASHES, "bpf_htab"),
        **dict.fromkeys(_LOCAL, "bpf_local_storage_map"),
        M.STACK_TRACE: "bpf_stack_map",
        M.LPM_TRIE: "lpm_trie",
        M.DEVMAP: "bpf_dtab",
        M.DEVMAP_HASH: "bpf_dtab",
        M.CPUMAP: "bpf_cpu_map",
        M.XSKMAP: "xsk_map",
        M.SOCKMAP: "bpf_stab",
        M.SOCKHASH: "bpf_shtab",
        M.REUSEPORT_SOCKARRAY: "reuseport_array",
        M.QUEUE: "bpf_queue_stack",
        M.STACK: "bpf_queue_stack",
        M.CGROUP_STORAGE_DEPRECATED: "bpf_cgroup_storage_map",
        M.PERCPU_CGROUP_STORAGE_DEPRECATED: "bpf_cgroup_storage_map",
        M.RINGBUF: "bpf_ringbuf_map",
        M.USER_RINGBUF: "bpf_ringbuf_map",
        M.BLOOM_FILTER: "bpf_bloom_filter",
        M.ARENA: "bpf_arena",
    }
)

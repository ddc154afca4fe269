"""What BTF does not say about the arguments of tracepoints and iterators: which may be NULL, which are trusted.

Facts of Linux 6.18 (raw_tp_null_args in kernel/bpf/btf.c; the ``ctx_arg_info`` of each iterator's registration), as the
kernel shows them when it loads a program that reads the argument (tests/differential/abi/test_kfunc_availability.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_FIRST = (
    "tmigr_update_events mm_page_alloc mm_page_pcpu_drain mm_page_alloc_zone_locked"
    " mm_collapse_huge_page_isolate xfs_inodegc_flush xfs_inodegc_push xfs_inodegc_start xfs_inodegc_stop"
    " xfs_inodegc_queue xfs_inodegc_throttle xfs_fs_sync_fs xfs_blockgc_start xfs_blockgc_stop"
    " xfs_blockgc_worker xfs_blockgc_flush_all xfs_defer_create_intent xfs_defer_cancel_list"
    " xfs_defer_pending_finish xfs_defer_pending_abort xfs_defer_relog_intent xfs_defer_isolate_paused"
    " xfs_defer_item_pause xfs_defer_item_unpause xfs_defer_add_item xfs_defer_cancel_item"
    " xfs_defer_finish_item"
)
_SECOND = (
    "sched_pi_setprio mm_khugepaged_scan_pmd mm_khugepaged_scan_file mm_khugepaged_collapse_file"
    " writeback_dirty_folio folio_wait_writeback posix_lock_inode fcntl_setlk locks_remove_posix"
    " flock_lock_inode break_lease_noblock break_lease_block break_lease_unblock generic_delete_lease"
    " time_out_leases ext4_mballoc_discard ext4_mballoc_free hugetlbfs_alloc_inode"
    " xfs_ioc_free_eofblocks xfs_blockgc_free_space"
)
_THIRD = (
    "sched_stick_numa sched_swap_numa xfs_btree_updkeys xfs_btree_overlapped_query_range"
    " tcp_sendmsg_locked fib_table_lookup"
)

#: Tracepoints (BTF raw tracepoints, ``tp_btf``): numbers of the arguments that may be NULL, the first is 0.
NULLABLE_ARGUMENTS: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        **dict.fromkeys(_FIRST.split(), frozenset({0})),
        **dict.fromkeys(_SECOND.split(), frozenset({1})),
        **dict.fromkeys(_THIRD.split(), frozenset({2})),
        "kfree_skb": frozenset({3}),
        "qdisc_dequeue": frozenset({3}),
        "tcp_send_reset": frozenset({0, 1}),
        "xfs_map_blocks_found": frozenset({4}),
        "xfs_map_blocks_alloc": frozenset({4}),
    }
)


@dataclass(frozen=True, slots=True)
class IteratorArgument:
    """One argument of an iterator program that has rules of its own.

    Attributes:
        buffer: a buffer of unknown length instead of an object; ``readonly``: that must not be written.
    """

    nullable: bool = True
    trusted: bool = False
    buffer: bool = False
    readonly: bool = False


_MAYBE = IteratorArgument()
_TRUSTED = IteratorArgument(trusted=True)
_KEY = IteratorArgument(buffer=True, readonly=True)
_VALUE = IteratorArgument(buffer=True)

#: Iterators over sockets, which are locked while the program runs: these helpers may be called (get_func_proto).
SOCKET_HELPERS: Mapping[str, frozenset[int]] = MappingProxyType(dict.fromkeys(("tcp", "unix"), frozenset({49, 57})))

#: Iterators: by argument number (0 is the metadata). What is not here follows from BTF: trusted, never NULL.
ITERATORS: Mapping[str, Mapping[int, IteratorArgument]] = MappingProxyType(
    {
        "bpf_link": {1: _MAYBE},
        "bpf_map": {1: _TRUSTED},
        "bpf_map_elem": {2: _KEY, 3: _VALUE},
        "bpf_prog": {1: _MAYBE},
        "bpf_sk_storage_map": {2: _MAYBE, 3: _VALUE},
        "cgroup": {1: _TRUSTED},
        "dmabuf": {1: _MAYBE},
        "ipv6_route": {1: _MAYBE},
        "kmem_cache": {1: _TRUSTED},
        "ksym": {1: _MAYBE},
        "netlink": {1: _MAYBE},
        "sockmap": {2: _KEY, 3: _MAYBE},
        "task": {1: _TRUSTED},
        "task_file": {1: _MAYBE, 3: _MAYBE},
        "task_vma": {1: _MAYBE, 2: _MAYBE},
        "tcp": {1: _TRUSTED},
        "udp": {1: _TRUSTED},
        "unix": {1: _MAYBE},
    }
)

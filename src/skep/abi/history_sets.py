"""What later kernels widened: helpers and kfuncs for more program types, fields of contexts.

Measured on Linux 6.1, 6.12 and 6.18 (scripts/kernels/availability.py asks in the guest; docs/other-kernels.md). Where
the release that made the change is not known for certain, the version is the first *measured* one that has it: a
program is never promised to a kernel that refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from skep.abi.features import Version
from skep.abi.prog_types import ProgType as P

_LWT = (P.LWT_IN, P.LWT_OUT, P.LWT_XMIT, P.LWT_SEG6LOCAL)
_PACKETS = (P.SOCKET_FILTER, P.SCHED_CLS, P.SCHED_ACT, P.XDP, P.CGROUP_SKB, *_LWT, P.SK_SKB, P.FLOW_DISSECTOR)
_SOCKETS = (P.SOCK_OPS, P.SK_REUSEPORT, P.SK_LOOKUP)
_CGROUPS = (P.CGROUP_SOCK, P.CGROUP_DEVICE, P.CGROUP_SOCK_ADDR, P.CGROUP_SYSCTL, P.CGROUP_SOCKOPT)
_QUIET = (*_PACKETS, *_SOCKETS, P.NETFILTER)  # had none of the helpers on the current task
_NOT_TRACING = (*_QUIET, *_CGROUPS, P.SK_MSG, P.LIRC_MODE2)
_RAW = (P.RAW_TRACEPOINT, P.RAW_TRACEPOINT_WRITABLE)


def _for(since: Version, names: str, prog_types: Iterable[P]) -> dict[tuple[str, P], Version]:
    return {(name, kind): since for name in names.split() for kind in prog_types}


#: Versions that differ from the helper's row: none yet.
HELPER_SINCE: Final[Mapping[str, Version]] = MappingProxyType({})

#: (helper, program type) -> the version from which this type may call it, where that is later than the helper.
HELPERS_FOR: Final[Mapping[tuple[str, P], Version]] = MappingProxyType(
    {
        **_for((6, 10), "bpf_get_current_pid_tgid", _QUIET),
        **_for((6, 10), "bpf_get_ns_current_pid_tgid", _NOT_TRACING),
        **_for((6, 12), "bpf_get_current_cgroup_id bpf_get_current_ancestor_cgroup_id", _QUIET),
        **_for((6, 16), "bpf_get_current_uid_gid bpf_get_current_comm", _QUIET),
        **_for((6, 16), "bpf_get_current_comm", (P.SK_MSG,)),
        **_for(
            (6, 16),
            "bpf_perf_event_read bpf_perf_event_read_value bpf_send_signal bpf_send_signal_thread bpf_get_task_stack "
            "bpf_copy_from_user bpf_copy_from_user_task bpf_task_storage_get bpf_task_storage_delete "
            "bpf_get_branch_snapshot bpf_find_vma",
            _NOT_TRACING,
        ),
        **_for((6, 16), "bpf_current_task_under_cgroup", (*_QUIET, P.SK_MSG)),
        **_for((6, 12), "bpf_current_task_under_cgroup", _CGROUPS),
        **_for(
            (6, 16),
            "bpf_get_cgroup_classid",
            (
                *(P.SOCKET_FILTER, P.KPROBE, P.TRACEPOINT, P.XDP, P.PERF_EVENT, P.CGROUP_SKB, P.SK_SKB, *_RAW),
                *(*_SOCKETS, P.FLOW_DISSECTOR, P.SYSCALL, P.NETFILTER),
            ),
        ),
        **_for((6, 15), "bpf_get_netns_cookie", (P.SOCKET_FILTER, P.SCHED_CLS, P.SCHED_ACT, P.CGROUP_SKB)),
        **_for((6, 16), "bpf_skb_pull_data", (P.LWT_SEG6LOCAL,)),
        **_for((6, 10), "bpf_get_attach_cookie", (*_RAW, P.TRACING)),
        # from the history of each helper's .get_func_proto
        **_for((5, 11), "bpf_sk_storage_get bpf_sk_storage_delete", (P.TRACING,)),
        **_for((5, 12), "bpf_get_socket_cookie", (P.TRACING,)),
        **_for((5, 8), "bpf_perf_event_output", (P.SK_MSG, *_CGROUPS)),
    }
)

#: Program types that any kfunc of the generic sets reached later than kfuncs as such.
_LATE: Final[Mapping[P, Version]] = MappingProxyType(
    {
        **dict.fromkeys((P.TRACEPOINT, P.PERF_EVENT, P.KPROBE), (6, 12)),
        **dict.fromkeys((P.XDP, P.SYSCALL, P.CGROUP_SKB, P.SOCK_OPS, *_CGROUPS), (6, 12)),
    }
)
_GENERIC: Final = (
    "bpf_obj_new_impl bpf_obj_drop_impl bpf_percpu_obj_new_impl bpf_percpu_obj_drop_impl bpf_refcount_acquire_impl "
    "bpf_list_push_front_impl bpf_list_push_back_impl bpf_list_pop_front bpf_list_pop_back bpf_rbtree_add_impl "
    "bpf_rbtree_remove bpf_rbtree_first bpf_task_acquire bpf_task_release bpf_task_from_pid bpf_task_under_cgroup "
    "bpf_cgroup_acquire bpf_cgroup_release bpf_cgroup_ancestor bpf_cgroup_from_id bpf_throw"
)
_KEYS: Final = "bpf_lookup_user_key bpf_lookup_system_key bpf_key_put bpf_verify_pkcs7_signature"
_KEY_USERS: Final = (P.SCHED_CLS, P.XDP, P.CGROUP_SKB, P.CGROUP_SOCK, P.CGROUP_SOCK_ADDR, P.CGROUP_SOCKOPT, P.SYSCALL)

#: The same for kfuncs.
KFUNCS_FOR: Final[Mapping[tuple[str, P], Version]] = MappingProxyType(
    {
        **{(name, kind): since for name in _GENERIC.split() for kind, since in _LATE.items()},
        **_for((6, 12), _KEYS, (P.TRACEPOINT, P.PERF_EVENT)),
        **_for((6, 18), _KEYS, (*_KEY_USERS, P.STRUCT_OPS)),
    }
)

#: (program type, field of its context) -> the version from which the field can be read.
FIELD_SINCE: Final[Mapping[tuple[P, str], Version]] = MappingProxyType(
    {
        (P.SOCK_OPS, "skb_hwtstamp"): (6, 2),
        (P.XDP, "egress_ifindex"): (5, 8),
        (P.SK_MSG, "sk"): (5, 8),
        (P.SK_LOOKUP, "ingress_ifindex"): (5, 17),
        (P.SK_LOOKUP, "cookie"): (5, 13),
        (P.SK_REUSEPORT, "migrating_sk"): (5, 14),
        (P.SK_REUSEPORT, "sk"): (5, 14),
        (P.CGROUP_SOCKOPT, "retval"): (5, 3),
        (P.SCHED_CLS, "gso_size"): (5, 7),
        (P.SCHED_CLS, "hwtstamp"): (5, 16),
        (P.SCHED_CLS, "tstamp_type"): (5, 18),
        **{(P.SOCK_OPS, name): (5, 10) for name in ("skb_data", "skb_data_end", "skb_len", "skb_tcp_flags")},
    }
)

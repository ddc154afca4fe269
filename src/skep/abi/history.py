"""Which Linux brought what: attach types, map flags, what maps may hold, where programs may sleep.

Helpers, kfuncs, map types, instructions and program types carry their version in their own tables; the rest is here.
The sets that later kernels widened (a helper for more program types, ...) are in ``history_sets``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from skep.abi.features import FEATURES, Version
from skep.abi.map_types import MapType as M
from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P

#: The releases that ``skep verify --kernel`` knows by name, oldest first: the long-term ones, and the newest.
RELEASES: Final[tuple[Version, ...]] = ((5, 4), (5, 10), (5, 15), (6, 1), (6, 6), (6, 12), (6, 18))
#: The newest of them, whose rules skep's verifier follows.
NEWEST: Final[Version] = (6, 18)

#: The kernel version that brought each attach type.
ATTACH_TYPES: Mapping[A, Version] = MappingProxyType(
    {
        **dict.fromkeys((A.CGROUP_INET_INGRESS, A.CGROUP_INET_EGRESS, A.CGROUP_INET_SOCK_CREATE), (4, 10)),
        A.CGROUP_SOCK_OPS: (4, 13),
        **dict.fromkeys((A.SK_SKB_STREAM_PARSER, A.SK_SKB_STREAM_VERDICT), (4, 14)),
        A.CGROUP_DEVICE: (4, 15),
        A.SK_MSG_VERDICT: (4, 17),
        **dict.fromkeys((A.CGROUP_INET4_BIND, A.CGROUP_INET6_BIND), (4, 17)),
        **dict.fromkeys((A.CGROUP_INET4_CONNECT, A.CGROUP_INET6_CONNECT), (4, 17)),
        **dict.fromkeys((A.CGROUP_INET4_POST_BIND, A.CGROUP_INET6_POST_BIND), (4, 17)),
        **dict.fromkeys((A.CGROUP_UDP4_SENDMSG, A.CGROUP_UDP6_SENDMSG, A.LIRC_MODE2), (4, 18)),
        A.FLOW_DISSECTOR: (4, 20),
        **dict.fromkeys((A.CGROUP_SYSCTL, A.CGROUP_UDP4_RECVMSG, A.CGROUP_UDP6_RECVMSG), (5, 2)),
        **dict.fromkeys((A.CGROUP_GETSOCKOPT, A.CGROUP_SETSOCKOPT), (5, 3)),
        **dict.fromkeys((A.TRACE_RAW_TP, A.TRACE_FENTRY, A.TRACE_FEXIT), (5, 5)),
        **dict.fromkeys((A.MODIFY_RETURN, A.LSM_MAC), (5, 7)),
        **dict.fromkeys((A.TRACE_ITER, A.XDP_DEVMAP), (5, 8)),
        **dict.fromkeys((A.CGROUP_INET4_GETPEERNAME, A.CGROUP_INET6_GETPEERNAME), (5, 8)),
        **dict.fromkeys((A.CGROUP_INET4_GETSOCKNAME, A.CGROUP_INET6_GETSOCKNAME), (5, 8)),
        **dict.fromkeys((A.CGROUP_INET_SOCK_RELEASE, A.XDP_CPUMAP, A.SK_LOOKUP, A.XDP), (5, 9)),
        A.SK_SKB_VERDICT: (5, 13),
        **dict.fromkeys((A.SK_REUSEPORT_SELECT, A.SK_REUSEPORT_SELECT_OR_MIGRATE), (5, 14)),
        A.PERF_EVENT: (5, 15),
        A.TRACE_KPROBE_MULTI: (5, 18),
        A.LSM_CGROUP: (6, 0),
        **dict.fromkeys((A.STRUCT_OPS, A.NETFILTER), (6, 4)),
        **dict.fromkeys((A.TCX_INGRESS, A.TCX_EGRESS, A.TRACE_UPROBE_MULTI), (6, 6)),
        **dict.fromkeys((A.CGROUP_UNIX_CONNECT, A.CGROUP_UNIX_SENDMSG, A.CGROUP_UNIX_RECVMSG), (6, 7)),
        **dict.fromkeys((A.CGROUP_UNIX_GETPEERNAME, A.CGROUP_UNIX_GETSOCKNAME), (6, 7)),
        **dict.fromkeys((A.NETKIT_PRIMARY, A.NETKIT_PEER), (6, 7)),
        A.TRACE_KPROBE_SESSION: (6, 10),
        A.TRACE_UPROBE_SESSION: (6, 13),
        A.TRACE_FSESSION: (7, 0),
        **dict.fromkeys((A.TRACE_FENTRY_MULTI, A.TRACE_FEXIT_MULTI, A.TRACE_FSESSION_MULTI), (7, 2)),
    }
)

#: Attach types that BPF_PROG_LOAD compares (bpf_prog_load_check_attach, check_attach_btf_id). An older kernel ignores
#: the others in a load: such a program loads there and cannot be attached.
CHECKED_AT_LOAD: Final[frozenset[P]] = frozenset(
    {
        *(P.CGROUP_SOCK, P.CGROUP_SOCK_ADDR, P.CGROUP_SKB, P.CGROUP_SOCKOPT, P.SK_LOOKUP, P.SK_REUSEPORT),
        *(P.TRACING, P.LSM, P.NETFILTER),
    }
)

#: Attach types without which such a program can do nothing: no older way to attach it.
_OPTIONAL: Final[frozenset[A]] = frozenset({A.XDP, A.PERF_EVENT, A.TCX_INGRESS, A.TCX_EGRESS, A.SK_REUSEPORT_SELECT})


def needs_attach_type(attach_type: A) -> bool:
    """Whether there is no older way to attach (tc without tcx, XDP without links, ...)."""
    return attach_type not in _OPTIONAL


#: (bit, name, version) of BPF_MAP_CREATE's flags.
MAP_FLAGS: Final[tuple[tuple[int, str, Version], ...]] = (
    (1 << 0, "BPF_F_NO_PREALLOC", (4, 6)),
    (1 << 1, "BPF_F_NO_COMMON_LRU", (4, 10)),
    (1 << 2, "BPF_F_NUMA_NODE", (4, 14)),
    (1 << 5, "BPF_F_STACK_BUILD_ID", (4, 17)),
    (1 << 6, "BPF_F_ZERO_SEED", (5, 0)),
    (1 << 7, "BPF_F_RDONLY_PROG", (5, 2)),
    (1 << 8, "BPF_F_WRONLY_PROG", (5, 2)),
    (1 << 9, "BPF_F_CLONE", (5, 4)),
    (1 << 10, "BPF_F_MMAPABLE", (5, 5)),
    (1 << 11, "BPF_F_PRESERVE_ELEMS", (5, 10)),
    (1 << 12, "BPF_F_INNER_MAP", (5, 10)),
    (1 << 13, "BPF_F_LINK", (6, 4)),
    (1 << 15, "BPF_F_VTYPE_BTF_OBJ_FD", (6, 9)),
    (1 << 17, "BPF_F_SEGV_ON_FAULT", (6, 9)),
    (1 << 18, "BPF_F_NO_USER_CONV", (6, 9)),
    (1 << 19, "BPF_F_RB_OVERWRITE", (6, 19)),
)

#: Structures that a map's value may hold -> the feature (of ``features``) that brought them.
VALUE_STRUCTS: Mapping[str, str] = MappingProxyType(
    {
        "bpf_spin_lock": "spin_locks",
        "bpf_timer": "timers",
        "bpf_list_head": "linked_lists",
        "bpf_rb_root": "rbtrees",
        "bpf_refcount": "refcounts",
        "bpf_wq": "workqueues",
        "bpf_res_spin_lock": "resilient_locks",
        "bpf_task_work": "task_work",
    }
)

#: Type tags on pointers in a map's value -> the feature that brought them.
POINTER_TAGS: Mapping[str, str] = MappingProxyType(
    {"kptr": "kptrs", "kptr_untrusted": "kptrs", "percpu_kptr": "percpu_kptrs", "uptr": "user_pointers"}
)

#: Declaration tags on arguments of global functions -> the feature that brought them (``arg:ctx``: any kernel, since
#: loaders rewrite it).
ARGUMENT_TAGS: Mapping[str, str] = MappingProxyType(
    {
        "arg:nonnull": "argument_tags",
        "arg:nullable": "argument_tags_trusted",
        "arg:trusted": "argument_tags_trusted",
        "arg:untrusted": "argument_tags_untrusted",
        "arg:arena": "arena",
    }
)

#: Program types that may sleep -> the version from which they may; attach types where only some may.
SLEEPABLE: Mapping[P | A, Version] = MappingProxyType(
    {
        A.TRACE_FENTRY: (5, 10),
        A.TRACE_FEXIT: (5, 10),
        A.MODIFY_RETURN: (5, 10),
        P.LSM: (5, 10),
        A.TRACE_ITER: (6, 0),
        P.SYSCALL: (5, 14),
        P.KPROBE: (6, 0),  # uprobes
        P.STRUCT_OPS: (6, 1),
    }
)

#: Map types in sleepable programs (check_map_prog_compatibility).
SLEEPABLE_MAPS: Mapping[M, Version] = MappingProxyType(
    {
        **dict.fromkeys((M.HASH, M.LRU_HASH, M.ARRAY), (5, 10)),
        **dict.fromkeys((M.PERCPU_HASH, M.PERCPU_ARRAY, M.LRU_PERCPU_HASH), (5, 12)),
        **dict.fromkeys((M.ARRAY_OF_MAPS, M.HASH_OF_MAPS), (5, 12)),
        M.ARENA: (6, 9),
    }
)
#: Hash maps in them that are not preallocated.
SLEEPABLE_NO_PREALLOC: Final[Version] = (6, 1)

#: What an iter program can walk over -> version (bpf_iter_reg_target).
ITERATORS: Mapping[str, Version] = MappingProxyType(
    {
        **dict.fromkeys(("task", "task_file", "bpf_map", "ipv6_route", "netlink"), (5, 8)),
        **dict.fromkeys(("bpf_map_elem", "bpf_prog", "tcp", "udp", "bpf_sk_storage_map"), (5, 9)),
        "sockmap": (5, 10),
        "task_vma": (5, 12),
        "unix": (5, 15),
        "bpf_link": (5, 19),
        "ksym": (6, 0),
        "cgroup": (6, 1),
        "kmem_cache": (6, 13),
        "dmabuf": (6, 16),
    }
)

#: A parameter of the map type's own (bloom filter, arena).
MAP_EXTRA: Final[Version] = (5, 16)


def since_text(version: Version) -> str:
    """``5.17``."""
    return f"{version[0]}.{version[1]}"


def feature_since(name: str) -> Version:
    """The version of a feature; KeyError: a mistake in a table."""
    return FEATURES[name].since

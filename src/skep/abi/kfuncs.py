"""Kernel functions that programs call by name (kfuncs).

Parameters and results come from the kernel's BTF; what BTF does not say is here: the version that brought a function,
its flags (KF_* of include/linux/btf.h, as in 6.18), and which program types may call it (as Linux 6.18 answers when it
loads a call, tests/differential/abi/test_kfunc_availability.py). Functions that are not here may exist all the same:
kfuncs are no stable interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Flag, auto
from types import MappingProxyType

from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P


class KfuncFlag(Flag):
    """What the verifier must know of a kfunc (KF_*)."""

    NONE = 0
    ACQUIRE = auto()  # the result is a reference that must be released
    RELEASE = auto()  # releases its argument
    RET_NULL = auto()  # the result may be NULL
    TRUSTED_ARGS = auto()  # pointers must be trusted
    SLEEPABLE = auto()
    DESTRUCTIVE = auto()
    RCU = auto()  # pointers may be RCU protected
    RCU_PROTECTED = auto()  # only in an RCU section
    ITER_NEW = auto()
    ITER_NEXT = auto()
    ITER_DESTROY = auto()
    CHANGES_PACKET = auto()  # packet pointers die with the call


@dataclass(frozen=True, slots=True)
class Kfunc:
    """One kernel function.

    Attributes:
        since: kernel version that brought it, (major, minor).
        hidden_argument: the verifier fills in its last argument itself (the ``_impl`` functions).
        prog_types: which program types may call it; None: all.
        attach_types: of these, which attach types; None: all.
    """

    name: str
    since: tuple[int, int]
    flags: KfuncFlag = KfuncFlag.NONE
    hidden_argument: bool = False
    prog_types: frozenset[P] | None = None
    attach_types: frozenset[A] | None = None


K = Kfunc
F = KfuncFlag
_ACQUIRE_NULL = F.ACQUIRE | F.RET_NULL
_ACQUIRE_RCU_NULL = _ACQUIRE_NULL | F.RCU
_ITER_NEXT = F.ITER_NEXT | F.RET_NULL
_TRUSTED_NEW = F.ITER_NEW | F.TRUSTED_ARGS
_RCU_NEW = _TRUSTED_NEW | F.RCU_PROTECTED
_SLEEPABLE_TRUSTED = F.SLEEPABLE | F.TRUSTED_ARGS

# Groups of program types that share a set of kfuncs (kernel: bpf_prog_type_to_kfunc_hook).
_TRACING = frozenset({P.TRACING, P.TRACEPOINT, P.PERF_EVENT, P.LSM})
_CGROUP = frozenset(
    {P.CGROUP_SKB, P.CGROUP_SOCK, P.CGROUP_DEVICE, P.CGROUP_SOCK_ADDR, P.CGROUP_SOCKOPT, P.CGROUP_SYSCTL, P.SOCK_OPS}
)
_GENERIC = _TRACING | _CGROUP | {P.SCHED_CLS, P.XDP, P.STRUCT_OPS, P.SYSCALL}
_CPUMASK = _TRACING | {P.STRUCT_OPS, P.SYSCALL}
_CRYPTO = frozenset({P.SCHED_CLS, P.SCHED_ACT, P.XDP})
_CONNECTIONS = frozenset({P.SCHED_CLS, P.XDP})
_LWT = frozenset({P.LWT_IN, P.LWT_OUT, P.LWT_XMIT, P.LWT_SEG6LOCAL})
_SKB = _TRACING | _CGROUP | _LWT | {P.SOCKET_FILTER, P.SCHED_CLS, P.SCHED_ACT, P.SK_SKB, P.NETFILTER}
_XDP = frozenset({P.XDP})
_TC = frozenset({P.SCHED_CLS})
_LSM = frozenset({P.LSM})
_SYSCALL = frozenset({P.SYSCALL})
_TCP = frozenset({P.STRUCT_OPS})
_SESSIONS = frozenset({A.TRACE_KPROBE_SESSION, A.TRACE_UPROBE_SESSION})


def _group(
    prog_types: frozenset[P] | None, *rows: Kfunc, attach_types: frozenset[A] | None = None
) -> tuple[Kfunc, ...]:
    return tuple(replace(row, prog_types=prog_types, attach_types=attach_types) for row in rows)


_ROWS: tuple[Kfunc, ...] = (
    # objects of the program's own
    *_group(
        _GENERIC,
        K("bpf_obj_new_impl", (6, 2), _ACQUIRE_NULL, hidden_argument=True),
        K("bpf_obj_drop_impl", (6, 2), F.RELEASE, hidden_argument=True),
        K("bpf_percpu_obj_new_impl", (6, 7), _ACQUIRE_NULL, hidden_argument=True),
        K("bpf_percpu_obj_drop_impl", (6, 7), F.RELEASE, hidden_argument=True),
        K("bpf_refcount_acquire_impl", (6, 4), _ACQUIRE_RCU_NULL, hidden_argument=True),
        K("bpf_list_push_front_impl", (6, 2), hidden_argument=True),
        K("bpf_list_push_back_impl", (6, 2), hidden_argument=True),
        K("bpf_list_pop_front", (6, 2), _ACQUIRE_NULL),
        K("bpf_list_pop_back", (6, 2), _ACQUIRE_NULL),
        K("bpf_list_front", (6, 16), F.RET_NULL),
        K("bpf_list_back", (6, 16), F.RET_NULL),
        K("bpf_rbtree_add_impl", (6, 3), hidden_argument=True),
        K("bpf_rbtree_remove", (6, 3), _ACQUIRE_NULL),
        K("bpf_rbtree_first", (6, 3), F.RET_NULL),
        K("bpf_rbtree_root", (6, 16), F.RET_NULL),
        K("bpf_rbtree_left", (6, 16), F.RET_NULL),
        K("bpf_rbtree_right", (6, 16), F.RET_NULL),
    ),
    # tasks, control groups, keys
    *_group(
        _GENERIC,
        K("bpf_task_acquire", (6, 2), _ACQUIRE_RCU_NULL),
        K("bpf_task_release", (6, 2), F.RELEASE),
        K("bpf_task_from_pid", (6, 2), _ACQUIRE_NULL),
        K("bpf_task_from_vpid", (6, 13), _ACQUIRE_NULL),
        K("bpf_task_under_cgroup", (6, 5), F.RCU),
        K("bpf_task_get_cgroup1", (6, 8), _ACQUIRE_RCU_NULL),
        K("bpf_send_signal_task", (6, 13), F.TRUSTED_ARGS),
        K("bpf_cgroup_acquire", (6, 2), _ACQUIRE_RCU_NULL),
        K("bpf_cgroup_release", (6, 2), F.RELEASE),
        K("bpf_cgroup_ancestor", (6, 2), _ACQUIRE_RCU_NULL),
        K("bpf_cgroup_from_id", (6, 4), _ACQUIRE_NULL),
        K("bpf_lookup_user_key", (6, 1), _ACQUIRE_NULL | F.SLEEPABLE),
        K("bpf_lookup_system_key", (6, 1), _ACQUIRE_NULL),
        K("bpf_key_put", (6, 1), F.RELEASE),
        K("bpf_verify_pkcs7_signature", (6, 1), F.SLEEPABLE),
        K("bpf_throw", (6, 7)),
        K("crash_kexec", (6, 2), F.DESTRUCTIVE),
    ),
    # casts and critical sections
    *_group(
        None,
        K("bpf_cast_to_kern_ctx", (6, 2)),
        K("bpf_rdonly_cast", (6, 2)),
        K("bpf_rcu_read_lock", (6, 2)),
        K("bpf_rcu_read_unlock", (6, 2)),
        K("bpf_preempt_disable", (6, 10)),
        K("bpf_preempt_enable", (6, 10)),
        K("bpf_local_irq_save", (6, 14)),
        K("bpf_local_irq_restore", (6, 14)),
        K("bpf_res_spin_lock", (6, 15), F.RET_NULL),
        K("bpf_res_spin_unlock", (6, 15)),
        K("bpf_res_spin_lock_irqsave", (6, 15), F.RET_NULL),
        K("bpf_res_spin_unlock_irqrestore", (6, 15)),
        K("__bpf_trap", (6, 16)),
    ),
    # dynptrs
    *_group(
        None,
        K("bpf_dynptr_slice", (6, 4), F.RET_NULL),
        K("bpf_dynptr_slice_rdwr", (6, 4), F.RET_NULL),
        K("bpf_dynptr_adjust", (6, 5)),
        K("bpf_dynptr_is_null", (6, 5)),
        K("bpf_dynptr_is_rdonly", (6, 5)),
        K("bpf_dynptr_size", (6, 5)),
        K("bpf_dynptr_clone", (6, 5)),
        K("bpf_dynptr_copy", (6, 16)),
        K("bpf_dynptr_memset", (6, 17)),
        K("bpf_probe_read_user_dynptr", (6, 16)),
        K("bpf_probe_read_kernel_dynptr", (6, 16)),
        K("bpf_probe_read_user_str_dynptr", (6, 16)),
        K("bpf_probe_read_kernel_str_dynptr", (6, 16)),
        K("bpf_copy_from_user_dynptr", (6, 16), F.SLEEPABLE),
        K("bpf_copy_from_user_str_dynptr", (6, 16), F.SLEEPABLE),
        K("bpf_copy_from_user_task_dynptr", (6, 16), _SLEEPABLE_TRUSTED),
        K("bpf_copy_from_user_task_str_dynptr", (6, 16), _SLEEPABLE_TRUSTED),
    ),
    # iterators
    *_group(
        None,
        K("bpf_iter_num_new", (6, 4), F.ITER_NEW),
        K("bpf_iter_num_next", (6, 4), _ITER_NEXT),
        K("bpf_iter_num_destroy", (6, 4), F.ITER_DESTROY),
        K("bpf_iter_task_new", (6, 7), _RCU_NEW),
        K("bpf_iter_task_next", (6, 7), _ITER_NEXT),
        K("bpf_iter_task_destroy", (6, 7), F.ITER_DESTROY),
        K("bpf_iter_task_vma_new", (6, 7), F.ITER_NEW | F.RCU),
        K("bpf_iter_task_vma_next", (6, 7), _ITER_NEXT),
        K("bpf_iter_task_vma_destroy", (6, 7), F.ITER_DESTROY),
        K("bpf_iter_css_new", (6, 7), _RCU_NEW),
        K("bpf_iter_css_next", (6, 7), _ITER_NEXT),
        K("bpf_iter_css_destroy", (6, 7), F.ITER_DESTROY),
        K("bpf_iter_css_task_new", (6, 7), _TRUSTED_NEW),
        K("bpf_iter_css_task_next", (6, 7), _ITER_NEXT),
        K("bpf_iter_css_task_destroy", (6, 7), F.ITER_DESTROY),
        K("bpf_iter_bits_new", (6, 11), F.ITER_NEW),
        K("bpf_iter_bits_next", (6, 11), _ITER_NEXT),
        K("bpf_iter_bits_destroy", (6, 11), F.ITER_DESTROY),
        K("bpf_iter_kmem_cache_new", (6, 13), F.ITER_NEW | F.SLEEPABLE),
        K("bpf_iter_kmem_cache_next", (6, 13), _ITER_NEXT | F.SLEEPABLE),
        K("bpf_iter_kmem_cache_destroy", (6, 13), F.ITER_DESTROY | F.SLEEPABLE),
        K("bpf_iter_dmabuf_new", (6, 17), F.ITER_NEW | F.SLEEPABLE),
        K("bpf_iter_dmabuf_next", (6, 17), _ITER_NEXT | F.SLEEPABLE),
        K("bpf_iter_dmabuf_destroy", (6, 17), F.ITER_DESTROY | F.SLEEPABLE),
    ),
    # arena, work later, maps, memory, text
    *_group(
        None,
        K("bpf_arena_alloc_pages", (6, 9), _SLEEPABLE_TRUSTED),
        K("bpf_arena_free_pages", (6, 9), _SLEEPABLE_TRUSTED),
        K("bpf_arena_reserve_pages", (6, 17), _SLEEPABLE_TRUSTED),
        K("bpf_wq_init", (6, 10)),
        K("bpf_wq_start", (6, 10)),
        K("bpf_wq_set_callback_impl", (6, 10), hidden_argument=True),
        K("bpf_task_work_schedule_signal_impl", (6, 18), F.TRUSTED_ARGS, hidden_argument=True),
        K("bpf_task_work_schedule_resume_impl", (6, 18), F.TRUSTED_ARGS, hidden_argument=True),
        K("bpf_map_sum_elem_count", (6, 6), F.TRUSTED_ARGS),
        K("bpf_get_kmem_cache", (6, 13)),
        K("bpf_copy_from_user_str", (6, 12), F.SLEEPABLE),
        K("bpf_copy_from_user_task_str", (6, 15), F.SLEEPABLE),
        K("bpf_cgroup_read_xattr", (6, 17), F.RCU),
        K("bpf_stream_vprintk_impl", (6, 17), F.TRUSTED_ARGS, hidden_argument=True),
        K("bpf_strcmp", (6, 17)),
        K("bpf_strchr", (6, 17)),
        K("bpf_strchrnul", (6, 17)),
        K("bpf_strnchr", (6, 17)),
        K("bpf_strrchr", (6, 17)),
        K("bpf_strlen", (6, 17)),
        K("bpf_strnlen", (6, 17)),
        K("bpf_strspn", (6, 17)),
        K("bpf_strcspn", (6, 17)),
        K("bpf_strstr", (6, 17)),
        K("bpf_strnstr", (6, 17)),
        K("bpf_strcasecmp", (6, 18)),
        K("bpf_modify_return_test_tp", (6, 10)),
        K("bpf_xdp_metadata_rx_timestamp", (6, 3)),
        K("bpf_xdp_metadata_rx_hash", (6, 3)),
        K("bpf_xdp_metadata_rx_vlan_tag", (6, 8)),
    ),
    # CPU masks
    *_group(
        _CPUMASK,
        K("bpf_cpumask_create", (6, 3), _ACQUIRE_NULL),
        K("bpf_cpumask_acquire", (6, 3), F.ACQUIRE | F.TRUSTED_ARGS),
        K("bpf_cpumask_release", (6, 3), F.RELEASE),
        K("bpf_cpumask_first", (6, 3), F.RCU),
        K("bpf_cpumask_first_zero", (6, 3), F.RCU),
        K("bpf_cpumask_set_cpu", (6, 3), F.RCU),
        K("bpf_cpumask_clear_cpu", (6, 3), F.RCU),
        K("bpf_cpumask_test_cpu", (6, 3), F.RCU),
        K("bpf_cpumask_test_and_set_cpu", (6, 3), F.RCU),
        K("bpf_cpumask_test_and_clear_cpu", (6, 3), F.RCU),
        K("bpf_cpumask_setall", (6, 3), F.RCU),
        K("bpf_cpumask_clear", (6, 3), F.RCU),
        K("bpf_cpumask_and", (6, 3), F.RCU),
        K("bpf_cpumask_or", (6, 3), F.RCU),
        K("bpf_cpumask_xor", (6, 3), F.RCU),
        K("bpf_cpumask_equal", (6, 3), F.RCU),
        K("bpf_cpumask_intersects", (6, 3), F.RCU),
        K("bpf_cpumask_subset", (6, 3), F.RCU),
        K("bpf_cpumask_empty", (6, 3), F.RCU),
        K("bpf_cpumask_full", (6, 3), F.RCU),
        K("bpf_cpumask_copy", (6, 3), F.RCU),
        K("bpf_cpumask_first_and", (6, 5), F.RCU),
        K("bpf_cpumask_any_distribute", (6, 5), F.RCU),
        K("bpf_cpumask_any_and_distribute", (6, 5), F.RCU),
        K("bpf_cpumask_weight", (6, 8), F.RCU),
        K("bpf_cpumask_populate", (6, 15), F.RCU),
    ),
    # statistics of control groups
    *_group(
        _TRACING,
        K("css_rstat_updated", (6, 16)),
        K("css_rstat_flush", (6, 16), F.SLEEPABLE),
    ),
    # test functions of the kernel
    *_group(
        _TRACING | {P.SCHED_CLS, P.SYSCALL},
        K("bpf_kfunc_call_test_release", (6, 0), F.RELEASE),
        K("bpf_kfunc_call_memb_release", (6, 0), F.RELEASE),
    ),
    # cryptography
    *_group(
        _SYSCALL,
        K("bpf_crypto_ctx_create", (6, 10), _ACQUIRE_NULL | F.SLEEPABLE),
        K("bpf_crypto_ctx_acquire", (6, 10), _ACQUIRE_RCU_NULL),
        K("bpf_crypto_ctx_release", (6, 10), F.RELEASE),
    ),
    *_group(
        _CRYPTO,
        K("bpf_crypto_decrypt", (6, 10), F.RCU),
        K("bpf_crypto_encrypt", (6, 10), F.RCU),
    ),
    # packets and connections
    *_group(
        _CONNECTIONS,
        K("bpf_skb_ct_lookup", (5, 18), _ACQUIRE_NULL),
        K("bpf_skb_ct_alloc", (6, 0), _ACQUIRE_NULL),
        K("bpf_xdp_ct_lookup", (5, 18), _ACQUIRE_NULL),
        K("bpf_xdp_ct_alloc", (6, 0), _ACQUIRE_NULL),
        K("bpf_ct_insert_entry", (6, 0), _ACQUIRE_NULL | F.RELEASE),
        K("bpf_ct_release", (5, 18), F.RELEASE),
        K("bpf_ct_set_timeout", (6, 0), F.TRUSTED_ARGS),
        K("bpf_ct_change_timeout", (6, 0), F.TRUSTED_ARGS),
        K("bpf_ct_set_status", (6, 0), F.TRUSTED_ARGS),
        K("bpf_ct_change_status", (6, 0), F.TRUSTED_ARGS),
        K("bpf_ct_set_nat_info", (6, 1), F.TRUSTED_ARGS),
    ),
    *_group(
        _SKB,
        K("bpf_dynptr_from_skb", (6, 4), F.TRUSTED_ARGS),
    ),
    *_group(
        _TC | {P.SCHED_ACT},
        K("bpf_dynptr_from_skb_meta", (6, 18), F.TRUSTED_ARGS),
    ),
    *_group(
        _TC,
        K("bpf_sk_assign_tcp_reqsk", (6, 9), F.TRUSTED_ARGS),
    ),
    *_group(
        _XDP,
        K("bpf_dynptr_from_xdp", (6, 4)),
        K("bpf_xdp_pull_data", (6, 18), F.CHANGES_PACKET),
        K("bpf_xdp_get_xfrm_state", (6, 8), _ACQUIRE_NULL),
        K("bpf_xdp_xfrm_state_release", (6, 8), F.RELEASE),
    ),
    *_group(
        _CGROUP,
        K("bpf_sock_addr_set_sun_path", (6, 7)),
        K("bpf_sock_ops_enable_tx_tstamp", (6, 15), F.TRUSTED_ARGS),
    ),
    *_group(
        frozenset({P.TRACING}),
        K("bpf_sock_destroy", (6, 5), F.TRUSTED_ARGS),
        attach_types=frozenset({A.TRACE_ITER}),
    ),
    # sessions
    *_group(
        frozenset({P.KPROBE}),
        K("bpf_session_is_return", (6, 10)),
        K("bpf_session_cookie", (6, 10)),
        attach_types=_SESSIONS,
    ),
    # files
    *_group(
        _LSM,
        K("bpf_get_task_exe_file", (6, 12), _ACQUIRE_NULL | F.TRUSTED_ARGS),
        K("bpf_put_file", (6, 12), F.RELEASE),
        K("bpf_path_d_path", (6, 12), F.TRUSTED_ARGS),
        K("bpf_get_dentry_xattr", (6, 12), _SLEEPABLE_TRUSTED),
        K("bpf_get_file_xattr", (6, 8), _SLEEPABLE_TRUSTED),
        K("bpf_set_dentry_xattr", (6, 15), _SLEEPABLE_TRUSTED),
        K("bpf_remove_dentry_xattr", (6, 15), _SLEEPABLE_TRUSTED),
    ),
    # congestion control
    *_group(
        _TCP,
        K("tcp_reno_ssthresh", (5, 13)),
        K("tcp_reno_cong_avoid", (5, 13)),
        K("tcp_reno_undo_cwnd", (5, 13)),
        K("tcp_slow_start", (5, 13)),
        K("tcp_cong_avoid_ai", (5, 13)),
        K("cubictcp_init", (5, 13)),
        K("cubictcp_recalc_ssthresh", (5, 13)),
        K("cubictcp_cong_avoid", (5, 13)),
        K("cubictcp_state", (5, 13)),
        K("cubictcp_cwnd_event", (5, 13)),
        K("cubictcp_acked", (5, 13)),
        K("bbr_init", (5, 13)),
        K("bbr_main", (5, 13)),
        K("bbr_sndbuf_expand", (5, 13)),
        K("bbr_undo_cwnd", (5, 13)),
        K("bbr_cwnd_event", (5, 13)),
        K("bbr_ssthresh", (5, 13)),
        K("bbr_min_tso_segs", (5, 13)),
        K("bbr_set_state", (5, 13)),
    ),
)

#: Every kfunc that is known here, by name.
KFUNCS: Mapping[str, Kfunc] = MappingProxyType({kfunc.name: kfunc for kfunc in _ROWS})


def find_kfunc(name: str) -> Kfunc | None:
    """A kfunc by name; None: nothing is known here but what BTF says."""
    return KFUNCS.get(name)


def may_call(kfunc: Kfunc, prog_type: P, attach_type: A | None = None) -> bool:
    """Whether a program may call a kfunc. With ``attach_type`` None, whether one of some attach type may."""
    if kfunc.prog_types is not None and prog_type not in kfunc.prog_types:
        return False
    return kfunc.attach_types is None or attach_type is None or attach_type in kfunc.attach_types

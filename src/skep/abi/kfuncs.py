"""Kernel functions that programs call by name (kfuncs): the ones that programs use most.

Parameters and results come from the kernel's BTF; what BTF does not say is here: the version that brought a function,
and its flags (KF_* of include/linux/btf.h, as in 6.18). Functions that are not here may exist all the same: kfuncs are
no stable interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto
from types import MappingProxyType


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


@dataclass(frozen=True, slots=True)
class Kfunc:
    """One kernel function.

    Attributes:
        since: kernel version that brought it, (major, minor).
        hidden_argument: the verifier fills in its last argument itself (the ``_impl`` functions).
    """

    name: str
    since: tuple[int, int]
    flags: KfuncFlag = KfuncFlag.NONE
    hidden_argument: bool = False


K = Kfunc
_ACQUIRE_NULL = KfuncFlag.ACQUIRE | KfuncFlag.RET_NULL
_ACQUIRE_RCU_NULL = _ACQUIRE_NULL | KfuncFlag.RCU
_ITER_NEXT = KfuncFlag.ITER_NEXT | KfuncFlag.RET_NULL
_TRUSTED_NEW = KfuncFlag.ITER_NEW | KfuncFlag.TRUSTED_ARGS
_RCU_NEW = _TRUSTED_NEW | KfuncFlag.RCU_PROTECTED

KFUNCS: Mapping[str, Kfunc] = MappingProxyType(
    {
        kfunc.name: kfunc
        for kfunc in (
            # objects of the program's own
            K("bpf_obj_new_impl", (6, 2), _ACQUIRE_NULL, hidden_argument=True),
            K("bpf_obj_drop_impl", (6, 2), KfuncFlag.RELEASE, hidden_argument=True),
            K("bpf_percpu_obj_new_impl", (6, 7), _ACQUIRE_NULL, hidden_argument=True),
            K("bpf_percpu_obj_drop_impl", (6, 7), KfuncFlag.RELEASE, hidden_argument=True),
            K("bpf_refcount_acquire_impl", (6, 4), _ACQUIRE_RCU_NULL, hidden_argument=True),
            K("bpf_list_push_front_impl", (6, 2), hidden_argument=True),
            K("bpf_list_push_back_impl", (6, 2), hidden_argument=True),
            K("bpf_list_pop_front", (6, 2), _ACQUIRE_NULL),
            K("bpf_list_pop_back", (6, 2), _ACQUIRE_NULL),
            K("bpf_rbtree_add_impl", (6, 3), hidden_argument=True),
            K("bpf_rbtree_remove", (6, 3), _ACQUIRE_NULL),
            K("bpf_rbtree_first", (6, 3), KfuncFlag.RET_NULL),
            # tasks and control groups
            K("bpf_task_acquire", (6, 2), _ACQUIRE_RCU_NULL),
            K("bpf_task_release", (6, 2), KfuncFlag.RELEASE),
            K("bpf_task_from_pid", (6, 2), _ACQUIRE_NULL),
            K("bpf_task_from_vpid", (6, 13), _ACQUIRE_NULL),
            K("bpf_task_under_cgroup", (6, 5), KfuncFlag.RCU),
            K("bpf_cgroup_acquire", (6, 2), _ACQUIRE_RCU_NULL),
            K("bpf_cgroup_release", (6, 2), KfuncFlag.RELEASE),
            K("bpf_cgroup_ancestor", (6, 2), _ACQUIRE_RCU_NULL),
            K("bpf_cgroup_from_id", (6, 4), _ACQUIRE_NULL),
            # casts and critical sections
            K("bpf_cast_to_kern_ctx", (6, 2)),
            K("bpf_rdonly_cast", (6, 2)),
            K("bpf_rcu_read_lock", (6, 2)),
            K("bpf_rcu_read_unlock", (6, 2)),
            K("bpf_preempt_disable", (6, 10)),
            K("bpf_preempt_enable", (6, 10)),
            K("bpf_local_irq_save", (6, 14)),
            K("bpf_local_irq_restore", (6, 14)),
            K("bpf_throw", (6, 7)),
            # dynptrs
            K("bpf_dynptr_from_skb", (6, 4), KfuncFlag.TRUSTED_ARGS),
            K("bpf_dynptr_from_xdp", (6, 4)),
            K("bpf_dynptr_slice", (6, 4), KfuncFlag.RET_NULL),
            K("bpf_dynptr_slice_rdwr", (6, 4), KfuncFlag.RET_NULL),
            K("bpf_dynptr_adjust", (6, 5)),
            K("bpf_dynptr_is_null", (6, 5)),
            K("bpf_dynptr_is_rdonly", (6, 5)),
            K("bpf_dynptr_size", (6, 5)),
            K("bpf_dynptr_clone", (6, 5)),
            K("bpf_dynptr_copy", (6, 16)),
            # iterators
            K("bpf_iter_num_new", (6, 4), KfuncFlag.ITER_NEW),
            K("bpf_iter_num_next", (6, 4), _ITER_NEXT),
            K("bpf_iter_num_destroy", (6, 4), KfuncFlag.ITER_DESTROY),
            K("bpf_iter_task_new", (6, 7), _RCU_NEW),
            K("bpf_iter_task_next", (6, 7), _ITER_NEXT),
            K("bpf_iter_task_destroy", (6, 7), KfuncFlag.ITER_DESTROY),
            K("bpf_iter_task_vma_new", (6, 7), KfuncFlag.ITER_NEW | KfuncFlag.RCU),
            K("bpf_iter_task_vma_next", (6, 7), _ITER_NEXT),
            K("bpf_iter_task_vma_destroy", (6, 7), KfuncFlag.ITER_DESTROY),
            K("bpf_iter_css_new", (6, 7), _RCU_NEW),
            K("bpf_iter_css_next", (6, 7), _ITER_NEXT),
            K("bpf_iter_css_destroy", (6, 7), KfuncFlag.ITER_DESTROY),
            K("bpf_iter_bits_new", (6, 11), KfuncFlag.ITER_NEW),
            K("bpf_iter_bits_next", (6, 11), _ITER_NEXT),
            K("bpf_iter_bits_destroy", (6, 11), KfuncFlag.ITER_DESTROY),
            # CPU masks
            K("bpf_cpumask_create", (6, 3), _ACQUIRE_NULL),
            K("bpf_cpumask_acquire", (6, 3), KfuncFlag.ACQUIRE | KfuncFlag.TRUSTED_ARGS),
            K("bpf_cpumask_release", (6, 3), KfuncFlag.RELEASE),
            K("bpf_cpumask_set_cpu", (6, 3), KfuncFlag.RCU),
            K("bpf_cpumask_clear_cpu", (6, 3), KfuncFlag.RCU),
            K("bpf_cpumask_test_cpu", (6, 3), KfuncFlag.RCU),
            # packets and connections
            K("bpf_xdp_metadata_rx_timestamp", (6, 3)),
            K("bpf_xdp_metadata_rx_hash", (6, 3)),
            K("bpf_xdp_metadata_rx_vlan_tag", (6, 8)),
            K("bpf_skb_ct_lookup", (5, 18), _ACQUIRE_NULL),
            K("bpf_ct_release", (5, 18), KfuncFlag.RELEASE),
            # arena
            K("bpf_arena_alloc_pages", (6, 9), KfuncFlag.TRUSTED_ARGS | KfuncFlag.SLEEPABLE),
            K("bpf_arena_free_pages", (6, 9), KfuncFlag.TRUSTED_ARGS | KfuncFlag.SLEEPABLE),
            # work later
            K("bpf_wq_init", (6, 10)),
            K("bpf_wq_start", (6, 10)),
            K("bpf_wq_set_callback_impl", (6, 10), hidden_argument=True),
            # user memory, sessions, maps
            K("bpf_copy_from_user_str", (6, 12), KfuncFlag.SLEEPABLE),
            K("bpf_session_is_return", (6, 10)),
            K("bpf_session_cookie", (6, 10)),
            K("bpf_map_sum_elem_count", (6, 6), KfuncFlag.TRUSTED_ARGS),
        )
    }
)


def find_kfunc(name: str) -> Kfunc | None:
    """A kfunc by name; None: nothing is known here but what BTF says."""
    return KFUNCS.get(name)

"""Where tracing and LSM programs may attach, and where they may sleep.

Facts of Linux 6.18: check_attach_btf_id and bpf_check_attach_target (kernel/bpf/verifier.c), sleepable_lsm_hooks and
bpf_lsm_disabled_hooks (kernel/bpf/bpf_lsm.c). Which functions allow error injection is not in the kernel's BTF: system
calls do; for others :func:`refused` says that it does not know.
"""

from __future__ import annotations

from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P

_SLEEPABLE = (
    "bpf bpf_map bpf_map_create bpf_map_free bpf_prog bpf_prog_load bpf_prog_free bpf_token_create bpf_token_free "
    "bpf_token_cmd bpf_token_capable bprm_check_security bprm_committed_creds bprm_committing_creds "
    "bprm_creds_for_exec bprm_creds_from_file capget capset cred_prepare file_ioctl file_lock file_open "
    "file_post_open file_receive inode_create inode_free_security inode_getattr inode_getxattr inode_mknod "
    "inode_need_killpriv inode_post_setxattr inode_post_removexattr inode_readlink inode_removexattr inode_rename "
    "inode_rmdir inode_setattr inode_setxattr inode_symlink inode_unlink kernel_module_request kernel_read_file "
    "kernfs_init_security mmap_file netlink_send path_notify release_secctx sb_alloc_security sb_eat_lsm_opts "
    "sb_kern_mount sb_mount sb_remount sb_set_mnt_opts sb_show_options sb_statfs sb_umount settime socket_accept "
    "socket_bind socket_connect socket_create socket_getpeername socket_getpeersec_dgram socket_getsockname "
    "socket_getsockopt socket_listen socket_post_create socket_recvmsg socket_sendmsg socket_shutdown "
    "socket_socketpair syslog task_alloc current_getsecid_subj task_getsecid_obj task_prctl task_setscheduler "
    "task_to_inode userns_create"
)
_SLEEPABLE_HOOKS = frozenset(_SLEEPABLE.split())
_DISABLED_HOOKS = frozenset(
    {
        "vm_enough_memory",
        "inode_need_killpriv",
        "inode_getsecurity",
        "inode_listsecurity",
        "inode_copy_up_xattr",
        "getselfattr",
        "getprocattr",
        "setprocattr",
        "ismaclabel",
        "secid_to_secctx",
    }
)
_DENIED = frozenset(
    {
        "migrate_disable",
        "migrate_enable",
        "rcu_read_unlock_strict",
        "preempt_count_add",
        "preempt_count_sub",
        "__rcu_read_lock",
        "__rcu_read_unlock",
    }
)
_NO_RETURN = frozenset(
    {"do_exit", "do_group_exit", "kthread_complete_and_exit", "make_task_dead", "rewind_stack_and_make_dead"}
)
_SYSTEM_CALLS = ("__x64_sys_", "__ia32_sys_", "__arm64_sys_", "__s390x_sys_", "__riscv_sys_")
_TEST_FUNCTIONS = frozenset({"bpf_modify_return_test", "bpf_modify_return_test2", "bpf_modify_return_test_tp"})
_TRAMPOLINES = frozenset({A.TRACE_FENTRY, A.TRACE_FEXIT, A.MODIFY_RETURN, A.TRACE_FSESSION})


def refused(prog_type: P, attach_type: A | None, name: str, *, sleepable: bool) -> str | None:
    """Why a program must not attach to a function or hook (without ``bpf_lsm_``); None: it may.

    A text that starts with ``unsupported: `` says what is not known.
    """
    if prog_type is P.LSM:
        if name in _DISABLED_HOOKS:
            return f"attach_btf_id points to disabled hook bpf_lsm_{name}"
        if sleepable and name not in _SLEEPABLE_HOOKS:
            return f"{name} is not sleepable"
        return None
    if prog_type is not P.TRACING or attach_type not in _TRAMPOLINES:
        return None
    if name in _DENIED:
        return f"Attaching tracing programs to function '{name}' is rejected."
    if attach_type is not A.TRACE_FENTRY and name in _NO_RETURN:
        return f"Attaching fexit/fmod_ret to __noreturn function '{name}' is rejected."
    known = name.startswith(_SYSTEM_CALLS) or name in _TEST_FUNCTIONS
    if attach_type is A.MODIFY_RETURN and not known and not name.startswith("security_"):
        return f"unsupported: fmod_ret programs on {name}(), which may not allow error injection"
    if sleepable and not known:
        return f"unsupported: sleepable programs on {name}(), which may not be allowed to sleep"
    return None

"""Functions that are traced, security hooks, infrared, and the loader's own system calls."""

from __future__ import annotations

from skep.abi.helpers.groups import BASE, PROBES, TYPED
from skep.abi.helpers.row import ANY, CTX, FILLS, LONG_OUT, READS, SIZE, SIZE_OR_ZERO, UPDATES, btf, row
from skep.abi.prog_types import ProgType as P
from skep.abi.signatures import Signature

ROWS: tuple[Signature, ...] = (
    row(
        58, (4, 16), "long bpf_override_return(struct pt_regs *regs, __u64 rc)", CTX, ANY, on=(P.KPROBE,), gpl_only=True
    ),
    row(173, (5, 15), "__u64 bpf_get_func_ip(void *ctx)", CTX, on=(PROBES, TYPED, P.SYSCALL), gpl_only=True),
    row(174, (5, 15), "__u64 bpf_get_attach_cookie(void *ctx)", CTX, on=(PROBES, TYPED)),
    row(
        176,
        (5, 16),
        "long bpf_get_branch_snapshot(void *entries, __u32 size, __u64 flags)",
        FILLS,
        SIZE_OR_ZERO,
        on=(BASE,),
        gpl_only=True,
    ),
    row(183, (5, 17), "long bpf_get_func_arg(void *ctx, __u32 n, __u64 *value)", CTX, ANY, LONG_OUT, on=(TYPED,)),
    row(184, (5, 17), "long bpf_get_func_ret(void *ctx, __u64 *value)", CTX, LONG_OUT, on=(TYPED,)),
    row(185, (5, 17), "long bpf_get_func_arg_cnt(void *ctx)", CTX, on=(TYPED,)),
    row(
        147,
        (5, 10),
        "long bpf_d_path(const struct path *path, char *buf, __u32 sz)",
        btf("path"),
        UPDATES,
        SIZE_OR_ZERO,
        on=(TYPED,),
    ),
    row(
        159,
        (5, 11),
        "long bpf_bprm_opts_set(struct linux_binprm *bprm, __u64 flags)",
        btf("linux_binprm"),
        ANY,
        on=(P.LSM,),
    ),
    row(
        161,
        (5, 11),
        "long bpf_ima_inode_hash(struct inode *inode, void *dst, __u32 size)",
        btf("inode"),
        FILLS,
        SIZE,
        on=(P.LSM,),
        may_sleep=True,
    ),
    row(
        193,
        (5, 18),
        "long bpf_ima_file_hash(struct file *file, void *dst, __u32 size)",
        btf("file"),
        FILLS,
        SIZE,
        on=(P.LSM,),
        may_sleep=True,
    ),
    row(77, (4, 18), "long bpf_rc_repeat(void *ctx)", CTX, on=(P.LIRC_MODE2,), gpl_only=True),
    row(
        78,
        (4, 18),
        "long bpf_rc_keydown(void *ctx, __u32 protocol, __u64 scancode, __u32 toggle)",
        CTX,
        ANY,
        ANY,
        ANY,
        on=(P.LIRC_MODE2,),
        gpl_only=True,
    ),
    row(
        92,
        (5, 0),
        "long bpf_rc_pointer_rel(void *ctx, __s32 rel_x, __s32 rel_y)",
        CTX,
        ANY,
        ANY,
        on=(P.LIRC_MODE2,),
        gpl_only=True,
    ),
    row(166, (5, 14), "long bpf_sys_bpf(__u32 cmd, void *attr, __u32 attr_size)", ANY, READS, SIZE, on=(P.SYSCALL,)),
    row(
        167,
        (5, 14),
        "long bpf_btf_find_by_name_kind(char *name, int name_sz, __u32 kind, int flags)",
        READS,
        SIZE,
        ANY,
        ANY,
        on=(P.SYSCALL,),
    ),
    row(168, (5, 14), "long bpf_sys_close(__u32 fd)", ANY, on=(P.SYSCALL,)),
    row(
        179,
        (5, 16),
        "long bpf_kallsyms_lookup_name(const char *name, int name_sz, int flags, __u64 *res)",
        READS,
        SIZE_OR_ZERO,
        ANY,
        LONG_OUT,
        on=(P.SYSCALL,),
    ),
)

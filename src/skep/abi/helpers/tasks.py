"""Who is running: CPU, task, user, signals."""

from __future__ import annotations

from skep.abi.helpers.groups import BASE
from skep.abi.helpers.row import ANY, CALLBACK, CALLBACK_CONTEXT, COPIED, FILLS, SIZE, SIZE_OR_ZERO, TASK, row
from skep.abi.signatures import ReturnKind, Signature

ROWS: tuple[Signature, ...] = (
    row(8, (4, 1), "__u32 bpf_get_smp_processor_id(void)", on=(BASE,), return_range=(0, 8191)),
    row(42, (4, 10), "long bpf_get_numa_node_id(void)", on=(BASE,)),
    row(14, (4, 2), "__u64 bpf_get_current_pid_tgid(void)", on=(BASE,)),
    row(15, (4, 2), "__u64 bpf_get_current_uid_gid(void)", on=(BASE,)),
    row(16, (4, 2), "long bpf_get_current_comm(void *buf, __u32 size_of_buf)", FILLS, SIZE, on=(BASE,)),
    row(35, (4, 8), "__u64 bpf_get_current_task(void)", on=(BASE,), gpl_only=True),
    row(
        158,
        (5, 11),
        "struct task_struct *bpf_get_current_task_btf(void)",
        on=(BASE,),
        returns=ReturnKind.BTF_OBJECT,
        return_btf_name="task_struct",
        gpl_only=True,
    ),
    row(
        120,
        (5, 7),
        "long bpf_get_ns_current_pid_tgid(__u64 dev, __u64 ino, struct bpf_pidns_info *nsdata, __u32 size)",
        ANY,
        ANY,
        FILLS,
        SIZE,
        on=(BASE,),
    ),
    row(109, (5, 3), "long bpf_send_signal(__u32 sig)", ANY, on=(BASE,)),
    row(117, (5, 6), "long bpf_send_signal_thread(__u32 sig)", ANY, on=(BASE,)),
    row(
        141,
        (5, 9),
        "long bpf_get_task_stack(struct task_struct *task, void *buf, __u32 size, __u64 flags)",
        TASK,
        FILLS,
        SIZE_OR_ZERO,
        ANY,
        on=(BASE,),
        return_range=COPIED,
        return_limit_arg=3,
    ),
    row(
        175,
        (5, 15),
        "long bpf_task_pt_regs(struct task_struct *task)",
        TASK,
        on=(BASE,),
        returns=ReturnKind.BTF_OBJECT,
        return_btf_name="pt_regs",
        gpl_only=True,
    ),
    row(
        180,
        (5, 17),
        "long bpf_find_vma(struct task_struct *task, __u64 addr, void *callback_fn, void *callback_ctx, __u64 flags)",
        TASK,
        ANY,
        CALLBACK,
        CALLBACK_CONTEXT,
        ANY,
        on=(BASE,),
    ),
)

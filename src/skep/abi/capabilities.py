"""What needs CAP_PERFMON beside CAP_BPF, because it can read any memory of the kernel or show its addresses."""

from __future__ import annotations

from typing import Final

from skep.abi.prog_types import ProgType

#: Program types (kernel: is_perfmon_prog_type).
PERFMON_TYPES: Final = frozenset(
    {
        ProgType.KPROBE,
        ProgType.TRACEPOINT,
        ProgType.PERF_EVENT,
        ProgType.RAW_TRACEPOINT,
        ProgType.RAW_TRACEPOINT_WRITABLE,
        ProgType.TRACING,
        ProgType.LSM,
        ProgType.STRUCT_OPS,
        ProgType.EXT,
    }
)

# By number. Of tracing, which other programs get too (kernel: bpf_base_func_proto, 6.18, and what it hands on to
# bpf_tracing_func_proto) ...
_TRACING: Final = frozenset(
    {
        *(6, 16, 22, 35, 55),  # trace_printk, get_current_comm, perf_event_read, get_current_task, ..._read_value
        *(109, 117),  # send_signal, send_signal_thread
        *(112, 113, 114, 115),  # probe_read_user, _kernel, _user_str, _kernel_str
        *(141, 148, 149, 158, 165),  # get_task_stack, copy_from_user, snprintf_btf, get_current_task_btf, snprintf
        *(175, 176, 177, 180, 191),  # task_pt_regs, get_branch_snapshot, trace_vprintk, find_vma, copy_from_user_task
    }
)
# ... and those that give a socket as the kernel's own structure, skc_to_* (kernel: bpf_sk_base_func_proto).
_SOCKETS: Final = frozenset({136, 137, 138, 139, 140, 178, 196})
_HELPERS: Final = _TRACING | _SOCKETS


def needs_perfmon(helper: int, prog_type: ProgType) -> bool:
    """Whether a helper that programs of this type may call is refused to them without CAP_PERFMON."""
    return helper in _HELPERS and prog_type is not ProgType.SYSCALL

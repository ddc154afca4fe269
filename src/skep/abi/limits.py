"""Numbers that the kernel fixes. Bytes where the name says nothing else; sources in the comments."""

from __future__ import annotations

from typing import Final

#: Stack of one call chain of functions (MAX_BPF_STACK). r10 points to its end.
MAX_STACK: Final = 512
#: Stack of the callers of a function that makes a tail call (check_max_stack_depth).
MAX_STACK_BEFORE_TAIL_CALL: Final = 256
#: Spilled registers take a whole aligned slot.
STACK_SLOT: Final = 8
#: Frames of one call chain, the entry included (MAX_CALL_FRAMES).
MAX_CALL_FRAMES: Final = 8
#: Functions of one program, the entry included (BPF_MAX_SUBPROGS).
MAX_SUBPROGRAMS: Final = 256
#: Arguments in r1-r5 (MAX_BPF_FUNC_REG_ARGS).
MAX_CALL_ARGUMENTS: Final = 5
#: Arguments of a kernel function that is traced (MAX_BPF_FUNC_ARGS).
MAX_TRACED_ARGUMENTS: Final = 12

#: Instructions simulated for one program (BPF_COMPLEXITY_LIMIT_INSNS), and also the most it may have.
MAX_INSNS: Final = 1_000_000
#: Instructions of a program without CAP_BPF, and of any program before 5.2 (BPF_MAXINSNS).
MAX_INSNS_UNPRIVILEGED: Final = 4096
#: Jumps whose other side waits to be explored (BPF_COMPLEXITY_LIMIT_JMP_SEQ).
MAX_PENDING_BRANCHES: Final = 8192

#: Tail calls in a chain (MAX_TAIL_CALL_CNT): the 34th does not happen and the caller goes on.
MAX_TAIL_CALLS: Final = 33
#: Iterations of bpf_loop and of an open-coded number iterator (BPF_MAX_LOOPS).
MAX_LOOP_ITERATIONS: Final = 1 << 23
#: Iterations of one may_goto, without a clock (BPF_MAX_LOOPS), and what the stack slot counts with one.
MAX_MAY_GOTO_ITERATIONS: Final = 1 << 23
#: Maps that one program names (MAX_USED_MAPS).
MAX_MAPS: Final = 64
#: BTF files of modules whose functions one program calls (MAX_KFUNC_BTFS), and kernel functions (MAX_KFUNC_DESCS).
MAX_KFUNC_MODULES: Final = 256
MAX_KFUNCS: Final = 256

#: A pointer's offset, fixed or variable, stays below this (BPF_MAX_VAR_OFF, BPF_MAX_VAR_SIZ).
MAX_POINTER_OFFSET: Final = 1 << 29
MAX_MEMORY_SIZE: Final = 1 << 29
#: Packet pointers and their variable part (MAX_PACKET_OFF).
MAX_PACKET_OFFSET: Final = 0xFFFF
#: Bytes of a dynptr (DYNPTR_MAX_SIZE).
MAX_DYNPTR_SIZE: Final = (1 << 24) - 1
#: A ring buffer's record: its size field has 30 bits; and the header before each (BPF_RINGBUF_HDR_SZ).
MAX_RINGBUF_RECORD: Final = (1 << 30) - 1
RINGBUF_HEADER: Final = 8
#: xdp_md's room before the packet (XDP_PACKET_HEADROOM), and metadata in it.
XDP_HEADROOM: Final = 256
MAX_XDP_METADATA: Final = 252

#: Names of programs and maps, the NUL included (BPF_OBJ_NAME_LEN), and of tasks (TASK_COMM_LEN).
OBJECT_NAME: Final = 16
TASK_NAME: Final = 16
#: Negative results down to -4095 are errno numbers (MAX_ERRNO).
MAX_ERRNO: Final = 4095
#: Arguments that bpf_snprintf and its kin can print (MAX_BPRINTF_VARARGS).
MAX_PRINTF_ARGUMENTS: Final = 12
#: Longest license string that is looked at, NUL included (bpf_prog_load).
LICENSE: Final = 128
#: Pages of arenas, in bytes: max_entries counts them (PAGE_SIZE of the machines that have arenas).
ARENA_PAGE: Final = 4096
#: Most CPUs a kernel can be built for (CONFIG_NR_CPUS on x86-64).
MAX_CPUS: Final = 8192


def max_insns(kernel_version: tuple[int, int], privileged: bool = True) -> int:
    """Instructions a program may have on a kernel."""
    return MAX_INSNS if privileged and kernel_version >= (5, 2) else MAX_INSNS_UNPRIVILEGED


def max_processed_insns(kernel_version: tuple[int, int]) -> int:
    """Instructions the verifier of a kernel simulates before it gives up (BPF_COMPLEXITY_LIMIT_INSNS)."""
    return next(limit for since, limit in _COMPLEXITY if kernel_version >= since)


_COMPLEXITY: Final = (
    ((5, 2), MAX_INSNS),
    ((4, 14), 131_072),
    ((4, 12), 98_304),
    ((4, 8), 65_536),
    ((0, 0), 32_768),
)

"""Contexts of programs that watch events: registers, tracepoint records, raw arguments."""

from __future__ import annotations

from skep.abi.contexts.field import Context, ContextField, ContextTable, FieldKind
from skep.abi.prog_types import ProgType as P

F = ContextField

_X86_64 = [
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di", "orig_ax",
    "ip", "cs", "flags", "sp", "ss",
]  # fmt: skip
_ARM64 = [f"x{number}" for number in range(31)] + ["sp", "pc", "pstate"]

#: Registers in the order of struct pt_regs (x86-64) and struct user_pt_regs (arm64), 8 bytes each, by machine.
REGISTERS: dict[str, tuple[str, ...]] = {"x86_64": tuple(_X86_64), "aarch64": tuple(_ARM64)}

#: Bytes of a tracepoint's record that a program can reach (PERF_MAX_TRACE_SIZE).
MAX_TRACEPOINT_BYTES = 8192
#: A raw tracepoint hands on at most this many u64 arguments (MAX_BPF_FUNC_ARGS).
MAX_RAW_ARGUMENTS = 12
#: A syscall program's context: BPF_PROG_TEST_RUN's ctx_in, below U16_MAX bytes.
MAX_SYSCALL_CONTEXT_BYTES = 65536

_WORD_PARTS = frozenset((at, size) for size in (1, 2, 4, 8) for at in range(0, 8, size))


def _registers(machine: str, narrow: bool) -> tuple[ContextField, ...]:
    return tuple(F(name, 8 * index, 8, narrow=narrow) for index, name in enumerate(REGISTERS[machine]))


def kprobe_context(machine: str) -> Context:
    """pt_regs as kprobes and uprobes see it: any aligned part may be read (kprobe_prog_is_valid_access).

    On arm64 the kernel's structure goes on after user_pt_regs, with fields that change between versions: not here.
    """
    fields = _registers(machine, narrow=True)
    return Context("pt_regs", fields[-1].end, fields)


def perf_event_context(machine: str) -> Context:
    """bpf_perf_event_data: registers whole, then period and address (pe_prog_is_valid_access)."""
    fields = _registers(machine, narrow=False)
    end = fields[-1].end
    return Context("bpf_perf_event_data", end + 16, (*fields, F("sample_period", end, 8), F("addr", end + 8, 8)))


_RAW_ARGUMENTS = F("args", 0, 8 * MAX_RAW_ARGUMENTS, element=8)

TRACING_CONTEXTS: ContextTable = {
    P.KPROBE: kprobe_context("x86_64"),
    P.PERF_EVENT: perf_event_context("x86_64"),
    # The first 8 bytes hold the kernel's pointer to pt_regs; the record's layout is in the event's format file.
    P.TRACEPOINT: Context(
        "trace_entry",
        MAX_TRACEPOINT_BYTES,
        (F("record", 8, MAX_TRACEPOINT_BYTES - 8, element=8),),
        variable_size=True,
    ),
    P.RAW_TRACEPOINT: Context("bpf_raw_tracepoint_args", 8 * MAX_RAW_ARGUMENTS, (_RAW_ARGUMENTS,), variable_size=True),
    P.RAW_TRACEPOINT_WRITABLE: Context(
        "bpf_raw_tracepoint_args",
        8 * MAX_RAW_ARGUMENTS,
        (
            # raw_tp_writable_prog_is_valid_access: a load that starts at 0 must take the whole pointer
            F("buffer", 0, 8, FieldKind.TRACEPOINT_BUFFER, parts=_WORD_PARTS - {(0, 1), (0, 2), (0, 4)}),
            F("args", 8, 8 * (MAX_RAW_ARGUMENTS - 1), element=8),
        ),
        variable_size=True,
    ),
    # syscall_prog_is_valid_access: any aligned access that starts below U16_MAX
    P.SYSCALL: Context(
        "syscall_context",
        MAX_SYSCALL_CONTEXT_BYTES,
        (F("bytes", 0, MAX_SYSCALL_CONTEXT_BYTES, writable=True, element=8, narrow_write=True),),
        variable_size=True,
        highest_offset=MAX_SYSCALL_CONTEXT_BYTES - 2,
    ),
    P.LIRC_MODE2: Context("lirc_sample", 4, (F("sample", 0, 4, narrow=False),)),
    P.NETFILTER: Context(
        "bpf_nf_ctx",
        16,
        (
            F("state", 0, 8, FieldKind.BTF_OBJECT, narrow=False, btf_name="nf_hook_state"),
            F("skb", 8, 8, FieldKind.BTF_OBJECT, narrow=False, btf_name="sk_buff"),
        ),
    ),
}

"""Features of BPF and the kernel version that brought each, (major, minor): what a Target of that version can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skep.abi.prog_types import ProgType as P

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that a kernel can do or not.

    Attributes:
        name: how diagnostics and ``--target`` talk of it.
        what: one line for people.
    """

    name: str
    since: Version
    what: str


FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        feature.name: feature
        for feature in (
            Feature("isa_v1", (3, 18), "the first instruction set"),
            Feature("isa_v2", (4, 14), "jumps by less-than (JLT, JLE, JSLT, JSLE)"),
            Feature("isa_v3", (5, 1), "jumps on 32-bit registers (JMP32)"),
            Feature("isa_v4", (6, 6), "sign-extending loads and moves, bswap, signed division, 32-bit jump offsets"),
            Feature("direct_packet_access", (4, 7), "packet bytes through pointers"),
            Feature("direct_packet_write", (4, 8), "stores to packet bytes (XDP; tc since 4.9)"),
            Feature("bpf_to_bpf_calls", (4, 16), "functions that are not inlined"),
            Feature("btf", (4, 18), "BTF_LOAD: types of programs and maps"),
            Feature("btf_func_info", (5, 0), "func_info and line_info of programs"),
            Feature("btf_global_data", (5, 2), "BTF_KIND_VAR and BTF_KIND_DATASEC"),
            Feature("btf_func_linkage", (5, 6), "linkage of functions in BTF"),
            Feature("btf_float", (5, 13), "BTF_KIND_FLOAT"),
            Feature("btf_decl_tag", (5, 16), "BTF_KIND_DECL_TAG"),
            Feature("btf_type_tag", (5, 17), "BTF_KIND_TYPE_TAG"),
            Feature("btf_enum64", (6, 0), "BTF_KIND_ENUM64"),
            Feature("vmlinux_btf", (5, 4), "/sys/kernel/btf/vmlinux: CO-RE without other files"),
            Feature("module_btf", (5, 11), "BTF of modules, split from the kernel's"),
            Feature("spin_locks", (5, 1), "bpf_spin_lock in map values"),
            Feature("global_data", (5, 2), "global variables in .data, .bss and .rodata"),
            Feature("frozen_maps", (5, 2), "BPF_MAP_FREEZE: .rodata as known constants"),
            Feature("read_only_constants", (5, 5), "values of frozen, read-only maps are known to the verifier"),
            Feature("typed_pointers", (5, 5), "pointers to the kernel's structures, by BTF"),
            Feature("mmapable_arrays", (5, 5), "array maps that user space maps into memory"),
            Feature("large_programs", (5, 2), "a million instructions instead of 4096"),
            Feature("bounded_loops", (5, 3), "jumps backwards"),
            Feature("global_functions", (5, 6), "functions verified on their own"),
            Feature("tail_calls_in_subprograms", (5, 10), "tail calls in functions (x86-64; arm64 since 6.0)"),
            Feature("sleepable", (5, 10), "programs that may sleep"),
            Feature("batch_operations", (5, 6), "many map elements in one system call"),
            Feature("bpf_link", (5, 7), "links: attachment that lives as long as its fd"),
            Feature("iterators", (5, 8), "iter programs"),
            Feature("cap_bpf", (5, 8), "CAP_BPF and CAP_PERFMON instead of CAP_SYS_ADMIN"),
            Feature("memcg_accounting", (5, 11), "memory counted by cgroup instead of RLIMIT_MEMLOCK"),
            Feature("kernel_symbols", (5, 10), "addresses of the kernel's variables (extern ... __ksym)"),
            Feature("variable_stack_access", (5, 12), "the stack at an offset that is not constant"),
            Feature("pointer_arguments", (5, 12), "global functions with pointers to memory as arguments"),
            Feature("atomics", (5, 12), "fetch-and-add, and, or, xor, exchange, compare and exchange"),
            Feature("kfuncs", (5, 13), "calls of kernel functions"),
            Feature("callbacks", (5, 13), "functions as arguments of helpers (bpf_for_each_map_elem)"),
            Feature("timers", (5, 15), "struct bpf_timer in map values"),
            Feature("bpf_cookie", (5, 15), "a number of the user's with each attachment"),
            Feature("bpf_loop", (5, 17), "bpf_loop"),
            Feature("xdp_frags", (5, 18), "XDP over packets of several buffers"),
            Feature("kprobe_multi", (5, 18), "one link for many kprobes"),
            Feature("kptrs", (5, 19), "kernel pointers in map values"),
            Feature("dynptrs", (5, 19), "memory whose bounds are checked at run time"),
            Feature("module_kfuncs", (5, 16), "calls of functions of kernel modules"),
            Feature("map_extra", (5, 16), "a parameter of the map's own (bloom filter)"),
            Feature("linked_lists", (6, 2), "bpf_list_head and bpf_obj_new"),
            Feature("rcu_read_lock", (6, 2), "explicit RCU sections"),
            Feature("rbtrees", (6, 3), "bpf_rb_root"),
            Feature("open_coded_iterators", (6, 4), "bpf_for, bpf_iter_num_new"),
            Feature("context_store_imm", (6, 4), "constants stored to fields of the context (BPF_ST)"),
            Feature("refcounts", (6, 4), "bpf_refcount: objects with several owners"),
            Feature("tcx", (6, 6), "tc programs on links, in an order"),
            Feature("uprobe_multi", (6, 6), "one link for many uprobes"),
            Feature("netkit", (6, 7), "netkit devices"),
            Feature("sleepable_spin_locks", (6, 7), "spin locks in programs that sleep"),
            Feature("loops_entered_in_the_middle", (6, 7), "loops that are not entered at their head by a jump"),
            Feature("exceptions", (6, 7), "bpf_throw"),
            Feature("percpu_kptrs", (6, 7), "per-CPU kernel pointers in map values"),
            Feature("argument_tags", (6, 8), "arg:nonnull on arguments of global functions"),
            Feature("argument_tags_trusted", (6, 9), "arg:trusted and arg:nullable on arguments of global functions"),
            Feature("arena", (6, 9), "memory shared with user space, with pointers in it"),
            Feature("may_goto", (6, 9), "loops that the kernel ends when they take too long"),
            Feature("token", (6, 9), "BPF tokens: rights delegated through bpffs"),
            Feature("session", (6, 10), "kprobe.session: entry and return in one program"),
            Feature("small_frames", (6, 8), "stack frames rounded up to 16 bytes, not 32"),
            Feature("workqueues", (6, 10), "struct bpf_wq in map values"),
            Feature("preempt_disable", (6, 10), "sections without preemption"),
            Feature("user_pointers", (6, 13), "pointers to user memory in task storage"),
            Feature("private_stack", (6, 13), "a stack of its own for a program"),
            Feature("may_goto_nowhere", (6, 14), "may_goto to the next instruction"),
            Feature("load_acquire", (6, 15), "load-acquire and store-release"),
            Feature("resilient_locks", (6, 15), "bpf_res_spin_lock"),
            Feature("argument_tags_untrusted", (6, 17), "arg:untrusted on arguments of global functions"),
            Feature("task_work", (6, 18), "struct bpf_task_work in map values"),
            Feature("packet_loads_in_callbacks", (6, 18), "legacy packet loads (LD_ABS) in callbacks"),
            Feature("signed_programs", (6, 18), "signatures of programs checked by the kernel"),
        )
    }
)

#: The kernel version that brought each program type.
PROG_TYPES: Mapping[P, Version] = MappingProxyType(
    {
        P.SOCKET_FILTER: (3, 19),
        P.KPROBE: (4, 1),
        P.SCHED_CLS: (4, 1),
        P.SCHED_ACT: (4, 1),
        P.TRACEPOINT: (4, 7),
        P.XDP: (4, 8),
        P.PERF_EVENT: (4, 9),
        P.CGROUP_SKB: (4, 10),
        P.CGROUP_SOCK: (4, 10),
        P.LWT_IN: (4, 10),
        P.LWT_OUT: (4, 10),
        P.LWT_XMIT: (4, 10),
        P.SOCK_OPS: (4, 13),
        P.SK_SKB: (4, 14),
        P.CGROUP_DEVICE: (4, 15),
        P.SK_MSG: (4, 17),
        P.RAW_TRACEPOINT: (4, 17),
        P.CGROUP_SOCK_ADDR: (4, 17),
        P.LWT_SEG6LOCAL: (4, 18),
        P.LIRC_MODE2: (4, 18),
        P.SK_REUSEPORT: (4, 19),
        P.FLOW_DISSECTOR: (4, 20),
        P.CGROUP_SYSCTL: (5, 2),
        P.RAW_TRACEPOINT_WRITABLE: (5, 2),
        P.CGROUP_SOCKOPT: (5, 3),
        P.TRACING: (5, 5),
        P.STRUCT_OPS: (5, 6),
        P.EXT: (5, 6),
        P.LSM: (5, 7),
        P.SK_LOOKUP: (5, 9),
        P.SYSCALL: (5, 14),
        P.NETFILTER: (6, 4),
    }
)


def has_feature(name: str, kernel_version: tuple[int, ...]) -> bool:
    """Whether a kernel has a feature, by version alone (distributions backport; a probe knows better).

    Raises:
        KeyError: no such feature: a mistake in the caller.
    """
    return tuple(kernel_version[:2]) >= FEATURES[name].since

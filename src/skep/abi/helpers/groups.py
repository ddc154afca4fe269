"""Named sets of program types, so that a helper's row reads `on=(TC, LWT, P.XDP)`.

They follow the `*_func_proto` functions of the kernel (net/core/filter.c, kernel/trace/bpf_trace.c,
kernel/bpf/helpers.c),
Linux 6.18. What older kernels allowed can be less: a row's `since` tells only when the helper itself appeared.
"""

from __future__ import annotations

from skep.abi.prog_types import ProgType as P

#: bpf_base_func_proto: everything but LIRC, which lists its few helpers itself.
BASE = frozenset(P) - {P.UNSPEC, P.LIRC_MODE2}

TC = frozenset({P.SCHED_CLS, P.SCHED_ACT})

#: Lightweight tunnels (lwt_out_func_proto and those that build on it).
LWT = frozenset({P.LWT_IN, P.LWT_OUT, P.LWT_XMIT, P.LWT_SEG6LOCAL})

#: Programs that watch events (bpf_tracing_func_proto), without those that get BTF arguments.
PROBES = frozenset({P.KPROBE, P.TRACEPOINT, P.PERF_EVENT, P.RAW_TRACEPOINT, P.RAW_TRACEPOINT_WRITABLE})

#: tracing_prog_func_proto: programs whose context is typed by BTF.
TYPED = frozenset({P.TRACING, P.LSM})

#: cgroup_common_func_proto: what may read and set the return value that the caller sees.
CGROUP_HOOKS = frozenset({P.CGROUP_SOCK, P.CGROUP_DEVICE, P.CGROUP_SOCK_ADDR, P.CGROUP_SYSCTL, P.CGROUP_SOCKOPT})

#: bpf_sk_base_func_proto: programs of the network stack.
NETWORK = frozenset(
    {P.SOCKET_FILTER, P.XDP, P.CGROUP_SKB, P.SOCK_OPS, P.SK_SKB, P.SK_MSG, P.CGROUP_SOCK_ADDR, P.FLOW_DISSECTOR}
    | {P.SK_LOOKUP}
    | TC
    | LWT
)

#: What can look at skb->sk: tc and cgroup_skb.
SKB_SOCKET = TC | {P.CGROUP_SKB}

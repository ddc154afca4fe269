"""Control groups: who belongs where, sysctl, return values of hooks."""

from __future__ import annotations

from skep.abi.helpers.groups import BASE, CGROUP_HOOKS, LWT, SKB_SOCKET, TC
from skep.abi.helpers.row import ANY, BTF_SOCK, CTX, FILLS, MAP, READS, SIZE, UPDATES, row
from skep.abi.prog_types import ProgType as P
from skep.abi.signatures import Signature

ROWS: tuple[Signature, ...] = (
    row(
        33,
        (4, 8),
        "long bpf_skb_under_cgroup(struct __sk_buff *skb, void *map, __u32 index)",
        CTX,
        MAP,
        ANY,
        on=(LWT, TC),
    ),
    row(37, (4, 9), "long bpf_current_task_under_cgroup(void *map, __u32 index)", MAP, ANY, on=(BASE,)),
    row(79, (4, 18), "__u64 bpf_skb_cgroup_id(struct __sk_buff *skb)", CTX, on=(SKB_SOCKET,)),
    row(
        83,
        (4, 19),
        "__u64 bpf_skb_ancestor_cgroup_id(struct __sk_buff *skb, int ancestor_level)",
        CTX,
        ANY,
        on=(SKB_SOCKET,),
    ),
    row(80, (4, 18), "__u64 bpf_get_current_cgroup_id(void)", on=(BASE,)),
    row(123, (5, 7), "__u64 bpf_get_current_ancestor_cgroup_id(int ancestor_level)", ANY, on=(BASE,)),
    row(128, (5, 8), "__u64 bpf_sk_cgroup_id(void *sk)", BTF_SOCK, on=(P.CGROUP_SKB,)),
    row(
        129, (5, 8), "__u64 bpf_sk_ancestor_cgroup_id(void *sk, int ancestor_level)", BTF_SOCK, ANY, on=(P.CGROUP_SKB,)
    ),
    row(151, (5, 10), "__u64 bpf_skb_cgroup_classid(struct __sk_buff *skb)", CTX, on=(TC,)),
    row(186, (5, 18), "int bpf_get_retval(void)", on=(CGROUP_HOOKS,)),
    row(187, (5, 18), "int bpf_set_retval(int retval)", ANY, on=(CGROUP_HOOKS,)),
    row(
        101,
        (5, 2),
        "long bpf_sysctl_get_name(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len, __u64 flags)",
        CTX,
        UPDATES,
        SIZE,
        ANY,
        on=(P.CGROUP_SYSCTL,),
    ),
    row(
        102,
        (5, 2),
        "long bpf_sysctl_get_current_value(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len)",
        CTX,
        FILLS,
        SIZE,
        on=(P.CGROUP_SYSCTL,),
    ),
    row(
        103,
        (5, 2),
        "long bpf_sysctl_get_new_value(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len)",
        CTX,
        FILLS,
        SIZE,
        on=(P.CGROUP_SYSCTL,),
    ),
    row(
        104,
        (5, 2),
        "long bpf_sysctl_set_new_value(struct bpf_sysctl *ctx, const char *buf, unsigned long buf_len)",
        CTX,
        READS,
        SIZE,
        on=(P.CGROUP_SYSCTL,),
    ),
)

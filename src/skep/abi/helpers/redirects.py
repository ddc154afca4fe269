"""Where a packet goes next: routes and redirection."""

from __future__ import annotations

from skep.abi.helpers.groups import TC
from skep.abi.helpers.row import ANY, CTX, INT_INOUT, KEY, MAP, READS_OR_NULL, SIZE, SIZE_OR_ZERO, UPDATES, row
from skep.abi.prog_types import ProgType as P
from skep.abi.signatures import Signature

ROWS: tuple[Signature, ...] = (
    row(23, (4, 4), "long bpf_redirect(__u32 ifindex, __u64 flags)", ANY, ANY, on=(TC, P.XDP, P.LWT_XMIT)),
    row(51, (4, 14), "long bpf_redirect_map(void *map, __u64 key, __u64 flags)", MAP, ANY, ANY, on=(P.XDP,)),
    row(
        13,
        (4, 2),
        "long bpf_clone_redirect(struct __sk_buff *skb, __u32 ifindex, __u64 flags)",
        CTX,
        ANY,
        ANY,
        on=(TC, P.LWT_XMIT),
        resizes_packet=True,
    ),
    row(
        152,
        (5, 10),
        "long bpf_redirect_neigh(__u32 ifindex, struct bpf_redir_neigh *params, int plen, __u64 flags)",
        ANY,
        READS_OR_NULL,
        SIZE_OR_ZERO,
        ANY,
        on=(TC,),
    ),
    row(155, (5, 10), "long bpf_redirect_peer(__u32 ifindex, __u64 flags)", ANY, ANY, on=(TC,)),
    row(
        69,
        (4, 18),
        "long bpf_fib_lookup(void *ctx, struct bpf_fib_lookup *params, int plen, __u32 flags)",
        CTX,
        UPDATES,
        SIZE,
        ANY,
        on=(TC, P.XDP),
        gpl_only=True,
    ),
    row(
        163,
        (5, 12),
        "long bpf_check_mtu(void *ctx, __u32 ifindex, __u32 *mtu_len, __s32 len_diff, __u64 flags)",
        CTX,
        ANY,
        INT_INOUT,
        ANY,
        ANY,
        on=(TC, P.XDP),
        gpl_only=True,
    ),
    row(
        52,
        (4, 14),
        "long bpf_sk_redirect_map(struct __sk_buff *skb, void *map, __u32 key, __u64 flags)",
        CTX,
        MAP,
        ANY,
        ANY,
        on=(P.SK_SKB,),
    ),
    row(
        72,
        (4, 18),
        "long bpf_sk_redirect_hash(struct __sk_buff *skb, void *map, void *key, __u64 flags)",
        CTX,
        MAP,
        KEY,
        ANY,
        on=(P.SK_SKB,),
    ),
)

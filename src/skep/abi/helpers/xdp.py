"""Packets as xdp_md."""

from __future__ import annotations

from skep.abi.helpers.groups import TYPED
from skep.abi.helpers.row import ANY, CTX, FILLS, READS, SIZE, row
from skep.abi.prog_types import ProgType as P
from skep.abi.signatures import Signature

ROWS: tuple[Signature, ...] = (
    row(
        44,
        (4, 10),
        "long bpf_xdp_adjust_head(struct xdp_md *xdp_md, int delta)",
        CTX,
        ANY,
        on=(P.XDP,),
        resizes_packet=True,
    ),
    row(
        65,
        (4, 18),
        "long bpf_xdp_adjust_tail(struct xdp_md *xdp_md, int delta)",
        CTX,
        ANY,
        on=(P.XDP,),
        resizes_packet=True,
    ),
    row(
        54,
        (4, 15),
        "long bpf_xdp_adjust_meta(struct xdp_md *xdp_md, int delta)",
        CTX,
        ANY,
        on=(P.XDP,),
        resizes_packet=True,
    ),
    row(188, (5, 18), "__u64 bpf_xdp_get_buff_len(struct xdp_md *xdp_md)", CTX, on=(TYPED, P.XDP, P.SYSCALL)),
    row(
        189,
        (5, 18),
        "long bpf_xdp_load_bytes(struct xdp_md *xdp_md, __u32 offset, void *buf, __u32 len)",
        CTX,
        ANY,
        FILLS,
        SIZE,
        on=(P.XDP,),
    ),
    row(
        190,
        (5, 18),
        "long bpf_xdp_store_bytes(struct xdp_md *xdp_md, __u32 offset, void *buf, __u32 len)",
        CTX,
        ANY,
        READS,
        SIZE,
        on=(P.XDP,),
    ),
)

"""Time, timers and random numbers."""

from __future__ import annotations

from skep.abi.helpers.groups import BASE, NETWORK
from skep.abi.helpers.row import ANY, CALLBACK, MAP, TIMER, row
from skep.abi.prog_types import ProgType as P
from skep.abi.signatures import Signature

ROWS: tuple[Signature, ...] = (
    row(5, (4, 1), "__u64 bpf_ktime_get_ns(void)", on=None),
    row(125, (5, 8), "__u64 bpf_ktime_get_boot_ns(void)", on=None),
    row(
        160,
        (5, 11),
        "__u64 bpf_ktime_get_coarse_ns(void)",
        on=(NETWORK, P.CGROUP_SOCK, P.SK_REUSEPORT, P.CGROUP_SYSCTL, P.STRUCT_OPS),
    ),
    row(208, (6, 1), "__u64 bpf_ktime_get_tai_ns(void)", on=(BASE,)),
    row(118, (5, 6), "__u64 bpf_jiffies64(void)", on=(BASE,)),
    row(7, (4, 1), "__u32 bpf_get_prandom_u32(void)", on=None),
    row(
        169,
        (5, 15),
        "long bpf_timer_init(struct bpf_timer *timer, void *map, __u64 flags)",
        TIMER,
        MAP,
        ANY,
        on=(BASE,),
        gpl_only=True,
    ),
    row(
        170,
        (5, 15),
        "long bpf_timer_set_callback(struct bpf_timer *timer, void *callback_fn)",
        TIMER,
        CALLBACK,
        on=(BASE,),
        gpl_only=True,
    ),
    row(
        171,
        (5, 15),
        "long bpf_timer_start(struct bpf_timer *timer, __u64 nsecs, __u64 flags)",
        TIMER,
        ANY,
        ANY,
        on=(BASE,),
        gpl_only=True,
    ),
    row(172, (5, 15), "long bpf_timer_cancel(struct bpf_timer *timer)", TIMER, on=(BASE,), gpl_only=True),
)

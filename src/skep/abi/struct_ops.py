"""Tables of functions that programs can stand in for (struct_ops): what their programs may write.

Facts of Linux 6.18: bpf_tcp_ca_btf_struct_access and bpf_tcp_ca_check_member (net/ipv4/bpf_tcp_ca.c), and their like in
net/bpf/bpf_dummy_struct_ops.c and net/sched/bpf_qdisc.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class StructOps:
    """One table.

    Attributes:
        unsupported: members that no program can stand in for.
        promoted: structure of an argument -> structure it is known to be.
        writable: structure -> paths of members that programs may write: ``inet_conn.icsk_ack.pending``.
        sleepable: members whose programs may sleep.
    """

    unsupported: frozenset[str] = frozenset()
    promoted: Mapping[str, str] = field(default_factory=dict)
    writable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sleepable: frozenset[str] = frozenset()


_SOCK = "inet_conn.icsk_inet.sk."

STRUCT_OPS: Mapping[str, StructOps] = MappingProxyType(
    {
        "tcp_congestion_ops": StructOps(
            unsupported=frozenset({"get_info"}),
            promoted={"sock": "tcp_sock"},
            writable={
                "tcp_sock": (
                    _SOCK + "sk_pacing_rate",
                    _SOCK + "sk_pacing_status",
                    "inet_conn.icsk_ca_priv",
                    "inet_conn.icsk_ack.pending",
                    "snd_cwnd",
                    "snd_cwnd_cnt",
                    "snd_cwnd_stamp",
                    "snd_ssthresh",
                    "ecn_flags",
                    "app_limited",
                )
            },
        ),
        "bpf_dummy_ops": StructOps(writable={"bpf_dummy_ops_state": ("val",)}, sleepable=frozenset({"test_sleepable"})),
        "Qdisc_ops": StructOps(
            writable={"Qdisc": ("limit", "q.qlen", "qstats"), "sk_buff": ("tstamp", "cb")},
        ),
    }
)

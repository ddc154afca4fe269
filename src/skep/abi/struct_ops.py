"""Tables of functions that programs can stand in for (struct_ops): what their programs may write.

Facts of Linux 6.18: bpf_tcp_ca_btf_struct_access and bpf_tcp_ca_check_member (net/ipv4/bpf_tcp_ca.c), and their like in
net/bpf/bpf_dummy_struct_ops.c, drivers/hid/bpf/hid_bpf_struct_ops.c (6.11) and kernel/sched/ext.c (6.12).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from skep.abi.prog_types import ProgType as P


@dataclass(frozen=True, slots=True)
class StructOps:
    """One table.

    Attributes:
        unsupported: members that no program can stand in for.
        promoted: structure of an argument -> structure it is known to be.
        writable: structure -> paths of members that programs may write from their first byte on:
            ``inet_conn.icsk_ack.pending``; with ``[]`` at the end, at any byte.
        helpers: its programs may call helpers at all.
        sleepable: members whose programs may sleep; None: all.
        extra_helpers: helpers beyond those that programs of every type may call.
        refused_helpers: member -> helpers that its programs must not call.
        known: these are all the facts; else what is not said here is not known.
    """

    unsupported: frozenset[str] = frozenset()
    promoted: Mapping[str, str] = field(default_factory=dict)
    writable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    helpers: bool = True
    sleepable: frozenset[str] | None = None
    extra_helpers: frozenset[int] = frozenset()
    refused_helpers: Mapping[str, frozenset[int]] = field(default_factory=dict)
    known: bool = True


_SETSOCKOPT, _GETSOCKOPT = 49, 57
_SK_STORAGE_GET, _SK_STORAGE_DELETE, _TCP_SEND_ACK, _COARSE_CLOCK = 107, 108, 116, 160
#: Helpers whose rows name struct_ops programs, and that are in the lists of some tables only.
TABLE_HELPERS = frozenset({_SETSOCKOPT, _GETSOCKOPT, _SK_STORAGE_GET, _SK_STORAGE_DELETE, _TCP_SEND_ACK, _COARSE_CLOCK})
_SOCK = "inet_conn.icsk_inet.sk."

STRUCT_OPS: Mapping[str, StructOps] = MappingProxyType(
    {
        "tcp_congestion_ops": StructOps(
            unsupported=frozenset({"get_info"}),
            extra_helpers=TABLE_HELPERS,
            refused_helpers={"release": frozenset({_SETSOCKOPT, _GETSOCKOPT})},
            promoted={"sock": "tcp_sock"},
            writable={
                "tcp_sock": (
                    _SOCK + "sk_pacing_rate",
                    _SOCK + "sk_pacing_status",
                    "inet_conn.icsk_ca_priv[]",
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
        "bpf_dummy_ops": StructOps(
            helpers=False, writable={"bpf_dummy_ops_state": ("val",)}, sleepable=frozenset({"test_sleepable"})
        ),
        "hid_bpf_ops": StructOps(
            writable={"hid_bpf_ctx": ("retval[]",), "hid_device": ("name[]", "uniq[]", "phys[]")},
            sleepable=frozenset({"hid_rdesc_fixup", "hid_hw_request", "hid_hw_output_report"}),
        ),
        "sched_ext_ops": StructOps(
            writable={"task_struct": ("scx.slice[]", "scx.dsq_vtime[]", "scx.disallow[]")},
            sleepable=frozenset(
                {
                    *("init_task", "cgroup_init", "cgroup_exit", "cgroup_prep_move"),
                    *("cpu_online", "cpu_offline", "init", "exit"),
                }
            ),
        ),
    }
)

UNKNOWN_TABLE = StructOps(known=False)
"""A table that the kernel has and this file does not: arguments may be read, nothing may be written."""


def facts_of(table: str) -> StructOps:
    """What is known of a table."""
    return STRUCT_OPS.get(table, UNKNOWN_TABLE)


#: Objects that programs of other types may write: structure -> paths of members (nfct_btf_struct_access).
WRITABLE_OBJECTS: Mapping[P, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        P.XDP: {"nf_conn": ("mark",), "nf_conn___init": ("ct.mark",)},
        P.SCHED_CLS: {"nf_conn": ("mark",), "nf_conn___init": ("ct.mark",)},
    }
)

"""Names of the numbers that programs return (enum xdp_action, TC_ACT_*, enum sk_action ... of the uapi headers)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from skep.abi.prog_types import AttachType, ProgType

Names = Mapping[int, str]

XDP: Names = MappingProxyType({0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"})
TC: Names = MappingProxyType(
    {
        -1: "TC_ACT_UNSPEC",
        0: "TC_ACT_OK",
        1: "TC_ACT_RECLASSIFY",
        2: "TC_ACT_SHOT",
        3: "TC_ACT_PIPE",
        4: "TC_ACT_STOLEN",
        5: "TC_ACT_QUEUED",
        6: "TC_ACT_REPEAT",
        7: "TC_ACT_REDIRECT",
        8: "TC_ACT_TRAP",
    }
)
TCX: Names = MappingProxyType({-1: "TCX_NEXT", 0: "TCX_PASS", 2: "TCX_DROP", 7: "TCX_REDIRECT"})
NETKIT: Names = MappingProxyType({-1: "NETKIT_NEXT", 0: "NETKIT_PASS", 2: "NETKIT_DROP", 7: "NETKIT_REDIRECT"})
SK: Names = MappingProxyType({0: "SK_DROP", 1: "SK_PASS"})
#: enum bpf_ret_code: lightweight tunnels and the flow dissector.
LWT: Names = MappingProxyType({0: "BPF_OK", 2: "BPF_DROP", 7: "BPF_REDIRECT", 128: "BPF_LWT_REROUTE"})
FLOW_DISSECTOR: Names = MappingProxyType({0: "BPF_OK", 2: "BPF_DROP", 129: "BPF_FLOW_DISSECTOR_CONTINUE"})
#: Netfilter's verdicts; a BPF program may return only these two.
NETFILTER: Names = MappingProxyType({0: "NF_DROP", 1: "NF_ACCEPT"})
#: Hooks of control groups: the numbers have no names in the headers.
CGROUP: Names = MappingProxyType({0: "DENY", 1: "ALLOW"})

_BY_TYPE: Mapping[ProgType, Names] = MappingProxyType(
    {
        ProgType.XDP: XDP,
        ProgType.SCHED_CLS: TC,
        ProgType.SCHED_ACT: TC,
        ProgType.SK_SKB: SK,
        ProgType.SK_MSG: SK,
        ProgType.SK_LOOKUP: SK,
        ProgType.SK_REUSEPORT: SK,
        ProgType.LWT_IN: LWT,
        ProgType.LWT_OUT: LWT,
        ProgType.LWT_XMIT: LWT,
        ProgType.LWT_SEG6LOCAL: LWT,
        ProgType.FLOW_DISSECTOR: FLOW_DISSECTOR,
        ProgType.NETFILTER: NETFILTER,
        ProgType.CGROUP_SKB: CGROUP,
        ProgType.CGROUP_SOCK: CGROUP,
        ProgType.CGROUP_SOCK_ADDR: CGROUP,
        ProgType.CGROUP_DEVICE: CGROUP,
        ProgType.CGROUP_SYSCTL: CGROUP,
        ProgType.CGROUP_SOCKOPT: CGROUP,
    }
)
_BY_ATTACH_TYPE: Mapping[AttachType, Names] = MappingProxyType(
    {
        AttachType.TCX_INGRESS: TCX,
        AttachType.TCX_EGRESS: TCX,
        AttachType.NETKIT_PRIMARY: NETKIT,
        AttachType.NETKIT_PEER: NETKIT,
    }
)
_NONE: Names = MappingProxyType({})


def verdicts_of(prog_type: ProgType, attach_type: AttachType | None = None) -> Names:
    """Number -> name of what a program may return. Empty where the numbers mean something else (bytes to keep)."""
    if attach_type is not None and attach_type in _BY_ATTACH_TYPE:
        return _BY_ATTACH_TYPE[attach_type]
    return _BY_TYPE.get(prog_type, _NONE)


def verdict_name(prog_type: ProgType, value: int, attach_type: AttachType | None = None) -> str:
    """What to call a return value (32 bits, signed or not): its name, or the number as text."""
    signed = (value & 0xFFFF_FFFF) - ((value & 0x8000_0000) << 1)
    return verdicts_of(prog_type, attach_type).get(signed, str(signed))

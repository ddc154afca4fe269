"""Contexts of programs that see a packet: xdp_md, and __sk_buff as each program type sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from skep.abi.contexts.field import Context, ContextField, ContextTable, FieldKind
from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P

F = ContextField

#: struct __sk_buff, all of it; nothing writable yet (bpf_skb_is_valid_access).
_SK_BUFF: Mapping[str, ContextField] = MappingProxyType(
    {
        field.name: field
        for field in (
            F("len", 0, 4),
            F("pkt_type", 4, 4),
            F("mark", 8, 4),
            F("queue_mapping", 12, 4),
            F("protocol", 16, 4),
            F("vlan_present", 20, 4),
            F("vlan_tci", 24, 4),
            F("vlan_proto", 28, 4),
            F("priority", 32, 4),
            F("ingress_ifindex", 36, 4),
            F("ifindex", 40, 4),
            F("tc_index", 44, 4),
            F("cb", 48, 20, element=4, wide=True, narrow_write=True),
            F("hash", 68, 4),
            F("tc_classid", 72, 4),
            F("data", 76, 4, FieldKind.PACKET, narrow=False),
            F("data_end", 80, 4, FieldKind.PACKET_END, narrow=False),
            F("napi_id", 84, 4),
            F("family", 88, 4),
            F("remote_ip4", 92, 4, narrow=False),
            F("local_ip4", 96, 4, narrow=False),
            F("remote_ip6", 100, 16, narrow=False, element=4),
            F("local_ip6", 116, 16, narrow=False, element=4),
            F("remote_port", 132, 4),
            F("local_port", 136, 4),
            F("data_meta", 140, 4, FieldKind.PACKET_META, narrow=False),
            F("flow_keys", 144, 8, FieldKind.FLOW_KEYS, narrow=False),
            F("tstamp", 152, 8, narrow=False),
            F("wire_len", 160, 4),
            F("gso_segs", 164, 4),
            F("sk", 168, 8, FieldKind.SOCK_COMMON, narrow=False),
            F("gso_size", 176, 4),
            F("tstamp_type", 180, 1),
            F("hwtstamp", 184, 8, narrow=False),
        )
    }
)
_SK_BUFF_SIZE = 192
_PACKET = frozenset({"data", "data_end"})
#: Facts of the packet's socket: not where there may be none.
_SOCKET = frozenset({"family", "remote_ip4", "local_ip4", "remote_ip6", "local_ip6", "remote_port", "local_port"})
_TC_ONLY = frozenset({"tc_classid", "data_meta", "wire_len", "tstamp_type"})
_TIME = frozenset({"tstamp", "hwtstamp"})
_FLOW = frozenset({"flow_keys"})


def _sk_buff(*, hidden: frozenset[str], writable: str, packet_writable: bool = False) -> Context:
    """struct __sk_buff without ``hidden`` fields, with the fields named in ``writable`` (blank-separated) writable."""
    unlocked = frozenset(writable.split())
    return Context(
        "__sk_buff",
        _SK_BUFF_SIZE,
        tuple(
            replace(field, writable=field.name in unlocked)
            for field in _SK_BUFF.values()
            if field.name not in hidden and field.name not in _FLOW
        ),
        packet_writable=packet_writable,
        packet_arguments=True,
    )


_TC = _sk_buff(
    hidden=_SOCKET,
    writable="mark queue_mapping priority tc_index cb tc_classid tstamp",
    packet_writable=True,
)
_LWT_HIDDEN = _SOCKET | _TC_ONLY | _TIME
_LWT = _sk_buff(hidden=_LWT_HIDDEN, writable="mark priority cb")

_FLOW_DISSECTOR = Context(
    "__sk_buff",
    _SK_BUFF_SIZE,
    (_SK_BUFF["data"], _SK_BUFF["data_end"], _SK_BUFF["flow_keys"]),
    packet_arguments=True,
)

_XDP = Context(
    "xdp_md",
    24,
    (
        F("data", 0, 4, FieldKind.PACKET, narrow=False),
        F("data_end", 4, 4, FieldKind.PACKET_END, narrow=False),
        F("data_meta", 8, 4, FieldKind.PACKET_META, narrow=False),
        F("ingress_ifindex", 12, 4, narrow=False),
        F("rx_queue_index", 16, 4, narrow=False),
        F("egress_ifindex", 20, 4, narrow=False, attach_types=frozenset({A.XDP_DEVMAP})),
    ),
    packet_writable=True,
    packet_arguments=True,
)

PACKET_CONTEXTS: ContextTable = {
    P.XDP: _XDP,
    P.SCHED_CLS: _TC,
    P.SCHED_ACT: _TC,
    P.SOCKET_FILTER: _sk_buff(hidden=_SOCKET | _TC_ONLY | _TIME | _PACKET, writable="cb"),
    P.CGROUP_SKB: _sk_buff(hidden=_TC_ONLY, writable="mark priority cb tstamp"),
    P.LWT_IN: _LWT,
    P.LWT_OUT: _LWT,
    P.LWT_SEG6LOCAL: _LWT,
    P.LWT_XMIT: _sk_buff(hidden=_LWT_HIDDEN, writable="mark priority cb", packet_writable=True),
    P.SK_SKB: _sk_buff(hidden=_TC_ONLY | _TIME | {"mark"}, writable="priority tc_index", packet_writable=True),
    P.FLOW_DISSECTOR: _FLOW_DISSECTOR,
}

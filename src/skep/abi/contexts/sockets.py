"""Contexts of programs that see a socket, a message or a system call on a socket; and the other cgroup hooks."""

from __future__ import annotations

from skep.abi.contexts.field import Context, ContextField, ContextTable, FieldKind
from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P

F = ContextField
K = FieldKind

#: Some 4-byte fields may be read in parts only from their first byte on.
_FROM_START = frozenset({(0, 1), (0, 2), (0, 4)})

_CREATE_RELEASE = frozenset({A.CGROUP_INET_SOCK_CREATE, A.CGROUP_INET_SOCK_RELEASE})
_POST_BIND4 = frozenset({A.CGROUP_INET4_POST_BIND})
_POST_BIND6 = frozenset({A.CGROUP_INET6_POST_BIND})

# struct bpf_sock (sock_filter_is_valid_access)
_SOCK = Context(
    "bpf_sock",
    80,
    (
        F("bound_dev_if", 0, 4, narrow=False, writable=True, attach_types=_CREATE_RELEASE),
        F("family", 4, 4, parts=_FROM_START),
        F("type", 8, 4, parts=_FROM_START),
        F("protocol", 12, 4, parts=_FROM_START),
        F("mark", 16, 4, narrow=False, writable=True, attach_types=_CREATE_RELEASE),
        F("priority", 20, 4, narrow=False, writable=True, attach_types=_CREATE_RELEASE),
        F("src_ip4", 24, 4, attach_types=_POST_BIND4),
        F("src_ip6", 28, 16, element=4, attach_types=_POST_BIND6),
        F("src_port", 44, 4, parts=_FROM_START, attach_types=_POST_BIND4 | _POST_BIND6),
        # a __be16 whose load as 4 bytes old programs rely on
        F("dst_port", 48, 4, parts=_FROM_START | {(1, 1)}),
        F("dst_ip4", 52, 4),
        F("dst_ip6", 56, 16, element=4),
        F("state", 72, 4, parts=_FROM_START),
        F("rx_queue_mapping", 76, 4, parts=_FROM_START),
    ),
)

_SEND = {4: A.CGROUP_UDP4_SENDMSG, 6: A.CGROUP_UDP6_SENDMSG}
_INET4 = frozenset(
    {A.CGROUP_INET4_BIND, A.CGROUP_INET4_CONNECT, A.CGROUP_UDP4_SENDMSG, A.CGROUP_UDP4_RECVMSG}
    | {A.CGROUP_INET4_GETPEERNAME, A.CGROUP_INET4_GETSOCKNAME}
)
_INET6 = frozenset(
    {A.CGROUP_INET6_BIND, A.CGROUP_INET6_CONNECT, A.CGROUP_UDP6_SENDMSG, A.CGROUP_UDP6_RECVMSG}
    | {A.CGROUP_INET6_GETPEERNAME, A.CGROUP_INET6_GETSOCKNAME}
)

# struct bpf_sock_addr (sock_addr_is_valid_access)
_SOCK_ADDR = Context(
    "bpf_sock_addr",
    72,
    (
        F("user_family", 0, 4, narrow=False),
        F("user_ip4", 4, 4, writable=True, attach_types=_INET4),
        F("user_ip6", 8, 16, writable=True, element=4, wide=True, attach_types=_INET6),
        F("user_port", 24, 4, writable=True),
        F("family", 28, 4, narrow=False),
        F("type", 32, 4, narrow=False),
        F("protocol", 36, 4, narrow=False),
        F("msg_src_ip4", 40, 4, writable=True, attach_types=frozenset({_SEND[4]})),
        F("msg_src_ip6", 44, 16, writable=True, element=4, wide=True, attach_types=frozenset({_SEND[6]})),
        F("sk", 64, 8, K.SOCKET_NON_NULL, narrow=False),
    ),
)

_SOCK_OPS_WORDS = [
    "family", "remote_ip4", "local_ip4", "remote_ip6:4", "local_ip6:4", "remote_port", "local_port", "is_fullsock",
    "snd_cwnd", "srtt_us", "bpf_sock_ops_cb_flags", "state", "rtt_min", "snd_ssthresh", "rcv_nxt", "snd_nxt",
    "snd_una", "mss_cache", "ecn_flags", "rate_delivered", "rate_interval_us", "packets_out", "retrans_out",
    "total_retrans", "segs_in", "data_segs_in", "segs_out", "data_segs_out", "lost_out", "sacked_out",
]  # fmt: skip


def _words(names: list[str], offset: int) -> tuple[ContextField, ...]:
    """Consecutive u32 fields that are read whole; ``name:4`` is an array of four."""
    fields = []
    for name in names:
        name, _, count = name.partition(":")
        size = 4 * int(count or 1)
        fields.append(F(name, offset, size, narrow=False, element=4 if count else None))
        offset += size
    return tuple(fields)


# struct bpf_sock_ops (sock_ops_is_valid_access). The union of args, reply and replylong starts at 4.
_SOCK_OPS = Context(
    "bpf_sock_ops",
    224,
    (
        F("op", 0, 4, narrow=False),
        F("reply", 4, 4, narrow=False, writable=True),
        F("replylong", 8, 12, narrow=False, element=4),
        *_words(_SOCK_OPS_WORDS, 20),
        F("sk_txhash", 164, 4, narrow=False, writable=True),
        F("bytes_received", 168, 8, narrow=False),
        F("bytes_acked", 176, 8, narrow=False),
        F("sk", 184, 8, K.SOCKET, narrow=False),
        F("skb_data", 192, 8, K.PACKET, narrow=False),
        F("skb_data_end", 200, 8, K.PACKET_END, narrow=False),
        F("skb_len", 208, 4, narrow=False),
        F("skb_tcp_flags", 212, 4, parts=_FROM_START),
        F("skb_hwtstamp", 216, 8, narrow=False),
    ),
)

_GET = frozenset({A.CGROUP_GETSOCKOPT})
_SET = frozenset({A.CGROUP_SETSOCKOPT})

# struct bpf_sockopt (cg_sockopt_is_valid_access)
_SOCKOPT = Context(
    "bpf_sockopt",
    40,
    (
        F("sk", 0, 8, K.SOCKET_NON_NULL, narrow=False),
        F("optval", 8, 8, K.PACKET, narrow=False),
        F("optval_end", 16, 8, K.PACKET_END, narrow=False),
        F("level", 24, 4, narrow=False, writable=True, writable_for=_SET),
        F("optname", 28, 4, narrow=False, writable=True, writable_for=_SET),
        F("optlen", 32, 4, narrow=False, writable=True),
        F("retval", 36, 4, narrow=False, writable=True, attach_types=_GET),
    ),
    packet_writable=True,
    packet_arguments=True,
    packet_arguments_anywhere=True,
)

_SK_MSG_WORDS = [
    "family", "remote_ip4", "local_ip4", "remote_ip6:4", "local_ip6:4", "remote_port", "local_port", "size",
]  # fmt: skip

# struct sk_msg_md (sk_msg_is_valid_access)
_SK_MSG = Context(
    "sk_msg_md",
    80,
    (
        F("data", 0, 8, K.PACKET, narrow=False),
        F("data_end", 8, 8, K.PACKET_END, narrow=False),
        *_words(_SK_MSG_WORDS, 16),
        F("sk", 72, 8, K.SOCKET_NON_NULL, narrow=False),
    ),
    packet_writable=True,
    packet_arguments=True,
)

# struct sk_reuseport_md (sk_reuseport_is_valid_access)
_SK_REUSEPORT = Context(
    "sk_reuseport_md",
    56,
    (
        F("data", 0, 8, K.PACKET, narrow=False),
        F("data_end", 8, 8, K.PACKET_END, narrow=False),
        F("len", 16, 4),
        F("eth_protocol", 20, 4, parts=frozenset({(0, 2), (2, 2), (0, 4)})),
        F("ip_protocol", 24, 4),
        F("bind_inany", 28, 4),
        F("hash", 32, 4, narrow=False),
        F("sk", 40, 8, K.SOCKET_NON_NULL, narrow=False),
        F("migrating_sk", 48, 8, K.SOCK_COMMON, narrow=False),
    ),
    packet_arguments=True,
)

# struct bpf_sk_lookup (sk_lookup_is_valid_access)
_SK_LOOKUP = Context(
    "bpf_sk_lookup",
    72,
    (
        F("sk", 0, 8, K.SOCKET, narrow=False),
        F("family", 8, 4),
        F("protocol", 12, 4),
        F("remote_ip4", 16, 4),
        F("remote_ip6", 20, 16, element=4),
        F("remote_port", 36, 4),
        F("local_ip4", 40, 4),
        F("local_ip6", 44, 16, element=4),
        F("local_port", 60, 4),
        F("ingress_ifindex", 64, 4),
    ),
)

SOCKET_CONTEXTS: ContextTable = {
    P.CGROUP_SOCK: _SOCK,
    P.CGROUP_SOCK_ADDR: _SOCK_ADDR,
    P.CGROUP_SOCKOPT: _SOCKOPT,
    P.SOCK_OPS: _SOCK_OPS,
    P.SK_MSG: _SK_MSG,
    P.SK_REUSEPORT: _SK_REUSEPORT,
    P.SK_LOOKUP: _SK_LOOKUP,
    P.CGROUP_DEVICE: Context(
        "bpf_cgroup_dev_ctx",
        12,
        (F("access_type", 0, 4), F("major", 4, 4, narrow=False), F("minor", 8, 4, narrow=False)),
    ),
    P.CGROUP_SYSCTL: Context("bpf_sysctl", 8, (F("write", 0, 4), F("file_pos", 4, 4, writable=True))),
}

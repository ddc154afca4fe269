"""What protocol names mean: ``tcp``, ``ip proto 47``, ``isis``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skep.frontend.pcap import names
from skep.frontend.pcap.conditions import Condition, both, either, equal
from skep.frontend.pcap.lexer import Token, fault, missing
from skep.frontend.pcap.link_types import payload_is
from skep.frontend.pcap.links import Layout
from skep.isa.classic import opcodes as op

TCP, UDP, SCTP, ICMP, ICMP6, FRAGMENT = 6, 17, 132, 1, 58, 44

#: Keyword -> IP protocol number; those of IPv4 alone, and those of both versions.
IPV4_ONLY: Mapping[str, int] = {"icmp": ICMP, "igmp": 2, "igrp": 9, "vrrp": 112, "carp": 112}
BOTH_VERSIONS: Mapping[str, int] = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "pim": 103, "ah": 51, "esp": 50}
#: Keyword -> what the link layer says.
LINK_PAYLOADS: Mapping[str, int] = {
    "ip": names.IP, "ip6": names.IPV6, "arp": names.ARP, "rarp": names.RARP, "atalk": names.ATALK, "aarp": names.AARP,
    "decnet": 0x6003, "lat": 0x6004, "sca": 0x6007, "mopdl": 0x6001, "moprc": 0x6002, "iso": names.LLC_ISO,
    "stp": names.LLC_STP, "ipx": names.LLC_IPX, "netbeui": names.LLC_NETBEUI,
}  # fmt: skip
ISIS = 0x83
#: Kinds of IS-IS packets (ISO 10589), each by its numbers.
_ISIS_KINDS: Mapping[str, tuple[int, ...]] = {
    "l1": (15, 18, 24, 26, 17), "l2": (16, 20, 25, 27, 17), "iih": (15, 16, 17), "lsp": (18, 20),
    "snp": (24, 25, 26, 27), "csnp": (24, 25), "psnp": (26, 27),
}  # fmt: skip


def link_payload(layout: Layout, protocol: int, token: Token) -> Condition:
    """The link layer carries this; an error where labels hide it."""
    try:
        return payload_is(layout, protocol)
    except KeyError:
        what = "behind MPLS labels only IPv4 and IPv6 can be told"
        raise fault("H0406", what, token, help="use ip, ip6 or what they carry, or test it before mpls") from None


def protocol_alone(layout: Layout, token: Token) -> Condition:
    """A keyword that names a protocol."""
    name = token.text
    if name in LINK_PAYLOADS:
        return link_payload(layout, LINK_PAYLOADS[name], token)
    if name in IPV4_ONLY:
        return ip_protocol(layout, IPV4_ONLY[name], token)
    if name in BOTH_VERSIONS:
        return either(ip6_protocol(layout, BOTH_VERSIONS[name], token), ip_protocol(layout, BOTH_VERSIONS[name], token))
    if name == "icmp6":
        return ip6_protocol(layout, ICMP6, token)
    if name in names.ISO_PROTOCOLS:
        return iso_protocol(layout, names.ISO_PROTOCOLS[name], token)
    if name in _ISIS_KINDS:
        return either(*(_isis_kind(layout, number, token) for number in _ISIS_KINDS[name]))
    if name == "radio":
        raise missing("'radio': 802.11 radio headers are not supported", token)
    raise fault("H0406", f"'{name}' says nothing alone", token, help="e.g. ether host 00:11:22:33:44:55")


def ip_protocol(layout: Layout, number: int, token: Token) -> Condition:
    """IPv4 that carries this protocol."""
    return both(link_payload(layout, names.IP, token), equal(layout.at_network(op.B, 9), number))


def ip6_protocol(layout: Layout, number: int, token: Token) -> Condition:
    """IPv6 that carries this protocol, at once or behind one fragment header."""
    following = layout.at_network(op.B, 6)
    fragment = both(equal(following, FRAGMENT), equal(layout.at_network(op.B, 40), number))
    return both(link_payload(layout, names.IPV6, token), either(equal(following, number), fragment))


def iso_protocol(layout: Layout, number: int, token: Token) -> Condition:
    """ISO's network layer with this protocol discriminator."""
    return both(link_payload(layout, names.LLC_ISO, token), equal(layout.at_iso(op.B, 0), number))


def _isis_kind(layout: Layout, number: int, token: Token) -> Condition:
    return both(iso_protocol(layout, ISIS, token), equal(layout.at_iso(op.B, 4), number))


def _either_version(layout: Layout, number: int, token: Token) -> Condition:
    return either(ip6_protocol(layout, number, token), ip_protocol(layout, number, token))


#: What goes before `proto` -> what the number or name then means.
_PROTO: Mapping[str, Callable[[Layout, int, Token], Condition]] = {
    "": _either_version,
    "ip": ip_protocol,
    "ip6": ip6_protocol,
    "ether": link_payload,
    "iso": iso_protocol,
    "isis": _isis_kind,
}
_PROTO_NAMES: Mapping[str, Mapping[str, int]] = {
    "": names.IP_PROTOCOLS,
    "ip": names.IP_PROTOCOLS,
    "ip6": names.IP_PROTOCOLS,
    "ether": names.ETHER_PROTOCOLS,
    "iso": names.ISO_PROTOCOLS,
}


def numbered_protocol(layout: Layout, protocol: str, first: Token, value: Token) -> Condition:
    """``ip proto 47``; the protocol's name may stand for its number: ``ip proto \\icmp``."""
    meaning = _PROTO.get(protocol)
    if meaning is None:
        raise fault("H0406", f"'{protocol}' carries no numbered protocols", first, value, help="use ip, ip6 or ether")
    if value.kind.name == "NUMBER":
        return meaning(layout, value.number, value)
    known = _PROTO_NAMES.get(protocol, {})
    if value.text not in known:
        raise fault("H0409", f"there is no protocol '{value.text}' in skep's table", value, help="give its number")
    return meaning(layout, known[value.text], value)

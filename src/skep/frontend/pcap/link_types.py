"""How each link layer says what its payload is. Facts: IEEE 802.3 and 802.2, pcap-linktype(7), RFC 1661, RFC 3032.

Numbers up to 1500 are LLC service access points: they can be no ether type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skep.frontend.pcap import names
from skep.frontend.pcap.conditions import FALSE, Condition, above, both, either, equal, negate
from skep.frontend.pcap.links import Layout, LinkLayer
from skep.isa.classic import opcodes as op

_MAX_LENGTH = 1500  # of 802.3: larger numbers in the length field are ether types
_SAPS_BOTH = frozenset((names.LLC_ISO, names.LLC_NETBEUI, 0x06))
_APPLE = {names.ATALK: 0x080007, names.AARP: 0x000000}  # organisation in the SNAP header
_AF_INET, _AF_INET6 = 2, 10
_SLL_NOVELL, _SLL_LLC = 1, 4
_PPP = {names.IP: 0x21, names.IPV6: 0x57, 0x6003: 0x27, names.ATALK: 0x29, 0x0600: 0x25, names.LLC_ISO: 0x23,
        names.LLC_STP: 0x31, names.LLC_IPX: 0x2B}  # fmt: skip


def payload_is(layout: Layout, protocol: int) -> Condition:
    """The link layer's payload is this ether type (or LLC service access point, up to 1500).

    Raises:
        KeyError: behind MPLS labels there is no type: only IPv4 and IPv6 can be told by their first nibble.
    """
    if layout.labels:
        nibble = {names.IP: 0x40, names.IPV6: 0x60}[protocol]
        return both(equal(layout.at_network(op.B, -2), 1, 1), equal(layout.at_network(op.B, 0), nibble, 0xF0))
    return _BY_LINK[layout.link](layout, protocol)


def _snap(layout: Layout, protocol: int) -> Condition:
    """An LLC and SNAP header (RFC 1042) with this organisation and type."""
    organisation = _APPLE[protocol]
    return both(
        equal(layout.at_llc(op.W, 4), (organisation & 0xFFFF) << 16 | protocol),
        equal(layout.at_llc(op.W, 0), 0xAAAA0300 | organisation >> 16),
    )


def _ipx_snap(layout: Layout) -> Condition:
    return both(equal(layout.at_llc(op.W, 4), 0x8137), equal(layout.at_llc(op.W, 0), 0xAAAA0300))


def _ethernet(layout: Layout, protocol: int) -> Condition:
    kind = layout.at_type(op.H)
    is_llc = negate(above(kind, _MAX_LENGTH))
    if protocol in _SAPS_BOTH:
        return both(is_llc, equal(layout.at_llc(op.H, 0), protocol << 8 | protocol))
    if protocol == names.LLC_IPX:
        bare = either(equal(layout.at_llc(op.B, 0), names.LLC_IPX), equal(layout.at_llc(op.H, 0), 0xFFFF))
        return either(equal(kind, 0x8137), both(is_llc, either(_ipx_snap(layout), bare)))
    if protocol in _APPLE:
        return either(equal(kind, protocol), both(is_llc, _snap(layout, protocol)))
    if protocol <= _MAX_LENGTH:
        return both(is_llc, equal(layout.at_llc(op.B, 0), protocol))
    return equal(kind, protocol)


def _linux_sll(layout: Layout, protocol: int) -> Condition:
    kind = layout.at_type(op.H)
    is_llc = equal(kind, _SLL_LLC)
    if protocol in _SAPS_BOTH:
        return both(is_llc, equal(layout.at_llc(op.H, 0), protocol << 8 | protocol))
    if protocol == names.LLC_IPX:
        bare = either(equal(layout.at_llc(op.B, 0), names.LLC_IPX), _ipx_snap(layout))
        return either(equal(kind, 0x8137), equal(kind, _SLL_NOVELL), both(is_llc, bare))
    if protocol in _APPLE:
        return either(equal(kind, protocol), both(is_llc, _snap(layout, protocol)))
    if protocol <= _MAX_LENGTH:
        return both(is_llc, equal(layout.at_llc(op.B, 0), protocol))
    return equal(kind, protocol)


def _raw(layout: Layout, protocol: int) -> Condition:
    nibble = {names.IP: 0x40, names.IPV6: 0x60}.get(protocol)
    return FALSE if nibble is None else equal(layout.at_frame(op.B, 0), nibble, 0xF0)


def _null(layout: Layout, protocol: int) -> Condition:
    """A family of the machine that captured, in its byte order: like libpcap, ours (little-endian Linux)."""
    family = {names.IP: _AF_INET, names.IPV6: _AF_INET6}.get(protocol)
    return FALSE if family is None else equal(layout.at_frame(op.W, 0), family << 24)


def _loop(layout: Layout, protocol: int) -> Condition:
    """A family in network byte order."""
    family = {names.IP: _AF_INET, names.IPV6: _AF_INET6}.get(protocol)
    return FALSE if family is None else equal(layout.at_frame(op.W, 0), family)


def _ppp(layout: Layout, protocol: int) -> Condition:
    return equal(layout.at_type(op.H), _PPP.get(protocol, protocol))


_BY_LINK: Mapping[LinkLayer, Callable[[Layout, int], Condition]] = {
    LinkLayer.ETHERNET: _ethernet,
    LinkLayer.LINUX_SLL: _linux_sll,
    LinkLayer.RAW: _raw,
    LinkLayer.NULL: _null,
    LinkLayer.LOOP: _loop,
    LinkLayer.PPP: _ppp,
}

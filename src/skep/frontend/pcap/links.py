"""Where headers begin in a packet, by link type; the place moves as a filter goes through encapsulations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from skep.frontend.pcap.values import Value, header_length, load, total


class LinkLayer(IntEnum):
    """Link types of captures, by their number in files (pcap-linktype(7))."""

    NULL = 0
    ETHERNET = 1
    PPP = 9  # only inside PPPoE
    RAW = 101
    LOOP = 108
    LINUX_SLL = 113


#: Names that `-y` of tcpdump knows -> the link type.
LINK_NAMES: Mapping[str, LinkLayer] = {
    "NULL": LinkLayer.NULL,
    "EN10MB": LinkLayer.ETHERNET,
    "RAW": LinkLayer.RAW,
    "LOOP": LinkLayer.LOOP,
    "LINUX_SLL": LinkLayer.LINUX_SLL,
}
#: Numbers in files -> the link type: raw IP has several.
LINK_NUMBERS: Mapping[int, LinkLayer] = {
    **{int(layer): layer for layer in LINK_NAMES.values()},
    12: LinkLayer.RAW,
    14: LinkLayer.RAW,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in bytes from the packet's start.

    Attributes:
        link: the layer whose frame is looked at.
        frame: where that frame starts.
        ether_type: the field that says what the payload is.
        payload: where the payload of the link layer starts.
        network: from the payload to the network header (label stacks lie between).
        llc_network: from the payload to the network header behind an LLC header.
        labels: MPLS labels passed.
        depth: VLAN tags passed.
    """

    link: LinkLayer
    frame: int
    ether_type: int
    payload: int
    network: int = 0
    llc_network: int = 0
    labels: int = 0
    depth: int = 0

    def at_frame(self, size: int, offset: int, index: Value | None = None) -> Value:
        """Bytes of the frame."""
        return load(size, self.frame + offset, index)

    def at_type(self, size: int, offset: int = 0) -> Value:
        """Bytes from the payload's type on."""
        return load(size, self.ether_type + offset)

    def at_llc(self, size: int, offset: int) -> Value:
        """Bytes of an LLC header."""
        return load(size, self.payload + offset)

    def at_network(self, size: int, offset: int, index: Value | None = None) -> Value:
        """Bytes of the network header."""
        return load(size, self.payload + self.network + offset, index)

    def at_iso(self, size: int, offset: int) -> Value:
        """Bytes of a network header behind an LLC header without SNAP."""
        return load(size, self.payload + self.llc_network + offset)

    def at_transport(self, size: int, offset: int, index: Value | None = None) -> Value:
        """Bytes of what an IPv4 header carries."""
        start = self.payload + self.network
        return load(size, start + offset, total(header_length(start), index))

    def behind_tag(self) -> Layout:
        """Behind a VLAN tag."""
        return replace(self, ether_type=self.ether_type + 4, payload=self.payload + 4, depth=self.depth + 1)

    def behind_label(self) -> Layout:
        """Behind an MPLS label."""
        return replace(self, network=self.network + 4, llc_network=self.llc_network + 4, labels=self.labels + 1)

    def behind_pppoe(self) -> Layout:
        """Inside a PPPoE session: its header has 6 bytes, then comes PPP's protocol number."""
        start = self.payload + self.network + 6
        return Layout(LinkLayer.PPP, frame=start, ether_type=start, payload=start + 2)


#: Where a filter starts.
LAYOUTS: Mapping[LinkLayer, Layout] = {
    LinkLayer.ETHERNET: Layout(LinkLayer.ETHERNET, frame=0, ether_type=12, payload=14, llc_network=3),
    LinkLayer.RAW: Layout(LinkLayer.RAW, frame=0, ether_type=0, payload=0),
    LinkLayer.LINUX_SLL: Layout(LinkLayer.LINUX_SLL, frame=0, ether_type=14, payload=16),
    LinkLayer.NULL: Layout(LinkLayer.NULL, frame=0, ether_type=0, payload=4),
    LinkLayer.LOOP: Layout(LinkLayer.LOOP, frame=0, ether_type=0, payload=4),
}

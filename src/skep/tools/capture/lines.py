"""Packets as lines of text: time, who to whom, what; Ethernet, VLAN, ARP, IPv4 and IPv6 with TCP, UDP and ICMP."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TextIO

from skep.tools.capture.pcapng import packets_of

_ETHERNET = 1
_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_TAGS = frozenset({0x8100, 0x88A8, 0x9100})
_MAX_TAGS = 8
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 58: "ICMP6", 89: "OSPF", 132: "SCTP"}
_EXTENSIONS = frozenset({0, 43, 60, 135})  # IPv6: hop-by-hop, routing, destination, mobility
_FRAGMENT, _NO_NEXT = 44, 59
_FLAGS = ((2, "S"), (1, "F"), (4, "R"), (8, "P"), (16, "."), (32, "U"), (64, "E"), (128, "W"))
_ICMP = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
_ICMP6 = {
    1: "unreachable", 2: "packet too big", 3: "time exceeded", 128: "echo request", 129: "echo reply",
    133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation",
    136: "neighbour advertisement",
}  # fmt: skip


def describe(data: bytes, link_type: int = _ETHERNET) -> dict[str, Any]:
    """What a packet is: the layers that were found, as far as its bytes go."""
    facts: dict[str, Any] = {}
    try:
        kind, at = _link(data, link_type, facts)
        if kind == _IPV4:
            _ipv4(data, at, facts)
        elif kind == _IPV6:
            _ipv6(data, at, facts)
        elif kind == _ARP:
            _arp(data, at, facts)
        else:
            facts["protocol"] = f"type {kind:#06x}"
    except (struct.error, IndexError, ValueError):
        facts["truncated"] = True
    return facts


def _link(data: bytes, link_type: int, facts: dict[str, Any]) -> tuple[int, int]:
    """EtherType and where its payload starts."""
    if link_type != _ETHERNET:
        return (_IPV6 if data[0] >> 4 == 6 else _IPV4), 0
    facts["from"], facts["to"] = data[6:12].hex(":"), data[0:6].hex(":")
    (kind,) = struct.unpack_from(">H", data, 12)
    at = 14
    for _ in range(_MAX_TAGS):
        if kind not in _TAGS:
            break
        tag, kind = struct.unpack_from(">HH", data, at)
        facts.setdefault("vlan", []).append(tag & 0xFFF)
        at += 4
    return kind, at


def _ipv4(data: bytes, at: int, facts: dict[str, Any]) -> None:
    fragment, protocol = struct.unpack_from(">H", data, at + 6)[0] & 0x1FFF, data[at + 9]
    facts["from"] = str(IPv4Address(bytes(data[at + 12 : at + 16])))
    facts["to"] = str(IPv4Address(bytes(data[at + 16 : at + 20])))
    _transport(data, at + (data[at] & 15) * 4, protocol, fragment, facts)


def _ipv6(data: bytes, at: int, facts: dict[str, Any]) -> None:
    protocol, fragment = data[at + 6], 0
    facts["from"] = str(IPv6Address(bytes(data[at + 8 : at + 24])))
    facts["to"] = str(IPv6Address(bytes(data[at + 24 : at + 40])))
    at += 40
    while protocol in _EXTENSIONS or protocol == _FRAGMENT:
        if protocol == _FRAGMENT:
            fragment = struct.unpack_from(">H", data, at + 2)[0] >> 3
            size = 8
        else:
            size = (data[at + 1] + 1) * 8
        protocol, at = data[at], at + size
        if fragment:
            break
    _transport(data, at, protocol, fragment, facts)


def _transport(data: bytes, at: int, protocol: int, fragment: int, facts: dict[str, Any]) -> None:
    facts["protocol"] = _PROTOCOLS.get(protocol, "no payload" if protocol == _NO_NEXT else f"protocol {protocol}")
    if fragment:
        facts["fragment"] = fragment * 8
        return
    if protocol in (6, 17, 132):
        facts["from_port"], facts["to_port"] = struct.unpack_from(">HH", data, at)
    if protocol == 6:
        facts["flags"] = "".join(letter for bit, letter in _FLAGS if data[at + 13] & bit) or "none"
    if protocol in (1, 58):
        number = data[at]
        facts["icmp"] = (_ICMP if protocol == 1 else _ICMP6).get(number, f"type {number}")


def _arp(data: bytes, at: int, facts: dict[str, Any]) -> None:
    (operation,) = struct.unpack_from(">H", data, at + 6)
    facts["protocol"] = {1: "ARP request", 2: "ARP reply"}.get(operation, f"ARP {operation}")
    facts["from"] = str(IPv4Address(bytes(data[at + 14 : at + 18])))
    facts["to"] = str(IPv4Address(bytes(data[at + 24 : at + 28])))


def line_of(facts: dict[str, Any], time_ns: int, length: int) -> str:
    """One line, e.g. ``14:03:11.000012 10.0.0.1:443 > 10.0.0.2:5000 TCP S length 74``."""
    clock = datetime.fromtimestamp(time_ns // 10**9).strftime("%H:%M:%S") + f".{time_ns % 10**9 // 1000:06}"
    ends = [_end_point(facts, "from"), _end_point(facts, "to")]
    words = [clock, " > ".join(end for end in ends if end), str(facts.get("protocol", "")), facts.get("flags", "")]
    words += [facts.get("icmp", ""), f"vlan {','.join(map(str, facts['vlan']))}" if "vlan" in facts else ""]
    words += [f"fragment at {facts['fragment']}" if "fragment" in facts else ""]
    words += ["truncated" if "truncated" in facts else "", f"length {length}"]
    return " ".join(word for word in words if word)


def _end_point(facts: dict[str, Any], side: str) -> str:
    address, port = str(facts.get(side, "")), facts.get(f"{side}_port")
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class PacketLines:
    """A PacketWriter that prints packets: a line each, or a JSON object each."""

    def __init__(self, to: TextIO, *, as_json: bool = False, snaplen: int = 0) -> None:
        self.snaplen = snaplen
        self._to = to
        self._form: Callable[[dict[str, Any], int, int], str] = _json_line if as_json else line_of

    def room(self) -> int:
        """No limit; but a screen wants its lines soon."""
        return 1 << 16

    def write(self, blocks: memoryview, link_type: int) -> None:
        """Print the packets of these blocks."""
        for packet in packets_of(blocks):
            facts = describe(bytes(packet.data), link_type)
            self._to.write(self._form(facts, packet.time_ns, packet.original) + "\n")
        self._to.flush()


def _json_line(facts: dict[str, Any], time_ns: int, length: int) -> str:
    return json.dumps({"time_ns": time_ns, "length": length, **facts})

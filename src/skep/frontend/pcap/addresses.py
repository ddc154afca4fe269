"""Hosts, networks and Ethernet addresses: ``src net 10.0.0.0/8``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from skep.frontend.pcap import names
from skep.frontend.pcap.conditions import Condition, both, either, equal
from skep.frontend.pcap.lexer import Kind, Token, fault, missing
from skep.frontend.pcap.links import Layout, LinkLayer
from skep.frontend.pcap.protocols import link_payload
from skep.frontend.pcap.syntax import Direction, Operand
from skep.frontend.pcap.values import MASK
from skep.isa.classic import opcodes as op

BROADCAST = b"\xff" * 6
_OFFSETS = {"ip": (12, 16), "arp": (14, 24), "rarp": (14, 24)}


def towards(direction: Direction, test: Callable[[bool], Condition]) -> Condition:
    """Apply a test to source (True) and destination (False) as the direction says."""
    if direction is Direction.SRC:
        return test(True)
    if direction is Direction.DST:
        return test(False)
    join = both if direction is Direction.BOTH else either
    return join(test(True), test(False))


def host_or_net(layout: Layout, operand: Operand) -> Condition:
    """A primitive of type host or net (or none, which is host)."""
    value, protocol = operand.value, operand.qualifiers.protocol
    if protocol == "decnet":
        raise missing("DECnet addresses are not supported", value, help="compare bytes: decnet[3:2] = ...")
    if operand.mask is not None and operand.qualifiers.type != "net" and value.kind is not Kind.IPV6:
        raise fault("H0410", "only a network has a mask", value, operand.mask, help=f"net {value.text}/...")
    if value.kind is Kind.MAC:
        return _mac(layout, operand)
    if protocol == "ether" and value.kind is not Kind.NAME:
        raise fault("H0410", "an Ethernet address looks like 00:11:22:33:44:55", value)
    if value.kind is Kind.IPV6:
        return _ipv6(layout, operand)
    if value.kind is Kind.NAME:
        return _named(layout, operand)
    address, mask = _ipv4_number(operand)
    return ipv4(layout, operand, address, mask)


def _named(layout: Layout, operand: Operand) -> Condition:
    """A name: skep knows those that mean the same everywhere."""
    value, qualifiers = operand.value, operand.qualifiers
    addresses = names.HOSTS.get(value.text)
    if addresses is None or qualifiers.type == "net" or qualifiers.protocol == "ether":
        kind = "network" if qualifiers.type == "net" else "host"
        raise fault(
            "H0409",
            f"the {kind} '{value.text}' is not looked up",
            value,
            help=f"give its address (e.g. from: getent hosts {value.text})",
            why=("a filter must mean the same on every machine, so no name server is asked",),
        )
    found = []
    for text in addresses:
        if ":" in text and qualifiers.protocol in ("", "ip6"):
            found.append(_ipv6_words(layout, operand, int(ipaddress.IPv6Address(text)), 128))
        elif ":" not in text and qualifiers.protocol != "ip6":
            found.append(ipv4(layout, operand, int(ipaddress.IPv4Address(text)), MASK))
    return either(*found)


# ---- IPv4 ----


def _dotted(token: Token) -> tuple[int, int]:
    """A number of one to four parts, and how many bits it has."""
    if token.kind is Kind.NUMBER:
        return token.number, 32
    parts = [int(part) for part in token.text.split(".") if len(part) < 5]
    if len(parts) != token.text.count(".") + 1 or max(parts) > 255:
        raise fault("H0410", f"'{token.text}' is not an IPv4 address", token, help="every part is 0 to 255")
    return int.from_bytes(bytes(parts), "big"), 8 * len(parts)


def _ipv4_number(operand: Operand) -> tuple[int, int]:
    """Address and mask. Short ones stand for networks: ``net 10.1`` is 10.1.0.0/16."""
    value, mask = operand.value, operand.mask
    if value.kind is Kind.NUMBER and mask is None:
        return _plain_number(value.number, is_net=operand.qualifiers.type == "net")
    if value.kind is Kind.NUMBER and value.number > 255:
        raise fault("H0410", f"'{value.text}' is not an IPv4 address", value, help="every part is 0 to 255")
    address, bits = _dotted(value) if value.kind is not Kind.NUMBER else (value.number, 8)
    address <<= 32 - bits
    if mask is None:
        return address, MASK << 32 - bits & MASK
    if operand.is_prefix:
        if mask.number > 32:
            raise fault("H0410", "an IPv4 prefix has at most 32 bits", mask)
        ones = MASK << 32 - mask.number & MASK
    else:
        number, mask_bits = (mask.number, 8) if mask.kind is Kind.NUMBER else _dotted(mask)
        ones = number << 32 - mask_bits & MASK
    if address & ~ones & MASK:
        network = ipaddress.IPv4Address(address & ones)
        raise fault("H0410", "the address has bits outside its mask", value, mask, help=f"the network is {network}")
    return address, ones


def _plain_number(number: int, *, is_net: bool) -> tuple[int, int]:
    mask = MASK
    while is_net and number and not number & 0xFF000000:
        number, mask = number << 8, mask << 8 & MASK
    return number, mask


def ipv4(layout: Layout, operand: Operand, address: int, mask: int) -> Condition:
    """IPv4, ARP and RARP with this address; with labels in between only IPv4 can be told."""
    protocol, value = operand.qualifiers.protocol, operand.value
    if protocol and protocol not in _OFFSETS:
        raise fault("H0410", f"'{protocol}' does not go with an IPv4 address", operand.qualifiers.first, value)
    wanted = (protocol,) if protocol else ("ip",) if layout.labels else ("ip", "arp", "rarp")
    ether_types = {"ip": names.IP, "arp": names.ARP, "rarp": names.RARP}

    def one(name: str) -> Condition:
        source, destination = _OFFSETS[name]

        def test(is_source: bool) -> Condition:
            return equal(layout.at_network(op.W, source if is_source else destination), address, mask)

        return both(link_payload(layout, ether_types[name], value), towards(operand.qualifiers.direction, test))

    return either(*map(one, wanted))


# ---- IPv6 ----


def _ipv6(layout: Layout, operand: Operand) -> Condition:
    value, mask = operand.value, operand.mask
    if operand.qualifiers.protocol not in ("", "ip6"):
        protocol = operand.qualifiers.protocol
        raise fault("H0410", f"'{protocol}' does not go with an IPv6 address", operand.qualifiers.first, value)
    try:
        address = int(ipaddress.IPv6Address(value.text))
    except ValueError:
        raise fault("H0410", f"'{value.text}' is not an IPv6 address", value) from None
    prefix = 128 if mask is None else mask.number
    if prefix > 128:
        raise fault("H0410", "an IPv6 prefix has at most 128 bits", mask or value)
    if operand.qualifiers.type != "net" and prefix != 128:
        raise fault("H0410", "only a network has a mask", value, mask, help=f"net {value.text}/{prefix}")
    if address & (1 << 128 - prefix) - 1:
        network = ipaddress.IPv6Network((address, prefix), strict=False)
        raise fault("H0410", "the address has bits outside its mask", value, mask, help=f"the network is {network}")
    return _ipv6_words(layout, operand, address, prefix)


def _ipv6_words(layout: Layout, operand: Operand, address: int, prefix: int) -> Condition:
    ones = ((1 << 128) - 1) ^ ((1 << 128 - prefix) - 1)

    def test(is_source: bool) -> Condition:
        start = 8 if is_source else 24
        words = []
        for number in range(4):
            shift = 96 - 32 * number
            mask = ones >> shift & MASK
            if mask:
                words.append(equal(layout.at_network(op.W, start + 4 * number), address >> shift & MASK, mask))
        return both(*words)

    return both(link_payload(layout, names.IPV6, operand.value), towards(operand.qualifiers.direction, test))


# ---- Ethernet ----


def _mac(layout: Layout, operand: Operand) -> Condition:
    qualifiers, value = operand.qualifiers, operand.value
    if qualifiers.protocol != "ether" or qualifiers.type not in ("", "host"):
        raise fault("H0410", "an Ethernet address goes with 'ether'", qualifiers.first, value, help="ether host ...")
    if layout.link is not LinkLayer.ETHERNET:
        raise fault("H0410", f"a link of type {layout.link.name} has no Ethernet addresses", value)
    groups = re.split(r"[:.-]", value.text)
    address = bytes.fromhex("".join(group.zfill(12 // len(groups)) for group in groups))
    return ether_address(layout, address, qualifiers.direction)


def ether_address(layout: Layout, address: bytes, direction: Direction) -> Condition:
    """A frame with this address; the last four bytes first, as they differ most."""

    def test(is_source: bool) -> Condition:
        start = 6 if is_source else 0
        return both(
            equal(layout.at_frame(op.W, start + 2), int.from_bytes(address[2:], "big")),
            equal(layout.at_frame(op.H, start), int.from_bytes(address[:2], "big")),
        )

    return towards(direction, test)

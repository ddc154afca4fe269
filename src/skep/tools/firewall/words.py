"""Single words of a rule to values: networks, ports, protocols, ICMP types, rates, durations. ValueError says what
is wrong.
"""

from __future__ import annotations

import re
import socket

from skep.tools.firewall.rules import Network, Rate
from skep.tools.names import (
    ICMP,
    ICMPV6,
    IPV6_EXTENSIONS,
    PROTOCOLS,
    TYPES,
    protocol_name,
)
from skep.tools.words import UNITS, parse_number, parse_port, unknown_word

_MAX_RATE = 1_000_000_000
_RATE = re.compile(r"(\d{1,10})\s*/\s*([a-z]+)")


def parse_network(text: str) -> Network:
    """``10.0.0.0/8``, ``192.0.2.1``, ``2001:db8::/32``; ``any4`` and ``any6`` for a whole family."""
    if text in ("any4", "any6"):
        return Network(4 if text == "any4" else 6, 0, 0)
    host, slash, prefix = text.partition("/")
    family, number, bits = (6, socket.AF_INET6, 128) if ":" in host else (4, socket.AF_INET, 32)
    try:
        packed = socket.inet_pton(number, host)
    except (OSError, ValueError):
        raise ValueError(f"'{text}' is not an IP address or network; e.g. 192.0.2.0/24 or 2001:db8::/32") from None
    length = bits
    if slash:
        if not (prefix.isascii() and prefix.isdigit() and int(prefix) <= bits):
            raise ValueError(f"'{text}' has no prefix length between 0 and {bits} behind the slash")
        length = int(prefix)
    address = int.from_bytes(packed, "big")
    clean = address >> (bits - length) << (bits - length)
    if clean != address:
        right = Network(family, clean, length)
        raise ValueError(f"'{text}' has bits set behind its prefix; write {right}, or {host} for the one address")
    if family == 6 and address >> 32 == 0xFFFF and length >= 96:
        raise ValueError(f"'{text}' is an IPv4 address in IPv6 clothes; write the IPv4 address")
    return Network(family, address, length)


def parse_ports(text: str) -> tuple[int, int]:
    """``443``, ``https``, ``8000-8099``."""
    low, dash, high = text.partition("-")
    if dash and low[:1].isdigit():
        first, last = parse_port(low.strip()), parse_port(high.strip())
        if first > last:
            raise ValueError(f"'{text}' ends before it begins; write {last}-{first}")
        return first, last
    port = parse_port(text)
    return port, port


def parse_protocol(text: str) -> int:
    """A protocol by name or number."""
    if text in PROTOCOLS:
        return PROTOCOLS[text]
    if not text[:1].isdigit():
        raise ValueError(unknown_word("protocol", text, PROTOCOLS, "use its number"))
    number = parse_number(text, 0, 255, "a protocol")
    if number in IPV6_EXTENSIONS:
        raise ValueError(f"{number} is an IPv6 extension header: the firewall looks at the protocol behind it")
    return number


def parse_icmp(text: str, protocol: int) -> tuple[int, int]:
    """``echo-request``, ``3``, ``3/4`` (type and code) as a range of type * 256 + code."""
    kind, slash, code = text.partition("/")
    names = TYPES[protocol]
    if kind in names:
        number = names[kind]
    elif kind[:1].isdigit():
        number = parse_number(kind, 0, 255, "an ICMP type")
    else:
        raise ValueError(unknown_word(f"{protocol_name(protocol)} type", kind, names, "use its number"))
    if not slash:
        return number << 8, number << 8 | 255
    exact = number << 8 | parse_number(code, 0, 255, "an ICMP code")
    return exact, exact


def parse_rate(text: str, burst: str | None) -> Rate:
    """``100/s`` with a burst in packets (default: as many as in one second, at least 1)."""
    match = _RATE.fullmatch(text)
    if match is None or match.group(2) not in UNITS:
        raise ValueError(f"'{text}' is not a rate; e.g. 100/s, 30/m, 5/h")
    count, seconds = int(match.group(1)), UNITS[match.group(2)]
    if not 1 <= count <= _MAX_RATE:
        raise ValueError(f"a rate has 1 to {_MAX_RATE} packets, not {count}")
    most = parse_number(burst, 1, _MAX_RATE, "a burst") if burst is not None else max(1, count // seconds)
    return Rate(count, seconds, most)


def is_icmp(protocol: int) -> bool:
    """Whether it has types instead of ports."""
    return protocol in (ICMP, ICMPV6)

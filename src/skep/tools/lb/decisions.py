"""What became of one packet, as the program writes it down (struct decision, lb.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from skep.tools.lb.config import with_port
from skep.tools.lb.layout import DECISION
from skep.tools.lb.maglev import NOBODY
from skep.tools.names import protocol_name

#: enum reason, lb.h, up to the last verdict: the word for machines, and what it means.
REASONS: Mapping[str, str] = {
    "forwarded": "to a backend",
    "replied": "NAT: back to the client",
    "error_forwarded": "ICMP error, to the backend that it is about",
    "error_replied": "NAT: ICMP error, back to the client",
    "later_fragment": "as its first fragment",
    "echoed": "ping of a VIP, answered",
    "too_big": "too big with an outer header: the client was told",
    "not_ours": "to no VIP: the host's",
    "no_service": "to a VIP, to no service: the host's",
    "fragment_passed": "fragment: the host's",
    "not_loaded": "no configuration yet: the host's",
    "no_backend": "no backend takes connections: dropped",
    "fragment_dropped": "fragment: dropped",
    "unknown_fragment": "fragment without a first one: dropped",
    "malformed": "malformed: dropped",
    "no_room": "no room for an outer header: dropped",
}

#: Events behind them, in the order of lb.h.
EVENTS: Mapping[str, str] = {
    "opened": "connections written down",
    "kept": "connections that went on",
    "moved": "connections that got another backend",
    "lost": "connections that could not be written down",
}

VERDICTS = {1: "DROP", 2: "PASS", 3: "TX", 4: "REDIRECT"}
_REASON_NAMES = tuple(REASONS)


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one packet.

    Attributes:
        backend: its number (None: none was chosen).
        source, destination: addresses as text ("" for what is not IP).
    """

    reason: str
    verdict: str
    backend: int | None
    source: str
    destination: str
    source_port: int
    destination_port: int
    protocol: int
    length: int

    @property
    def flow(self) -> str:
        """``tcp 198.51.100.7:4711 > 203.0.113.10:80``."""
        if not self.source:
            return "not IP"
        ends = [
            with_port(ip_address(host), port) if port else host
            for host, port in ((self.source, self.source_port), (self.destination, self.destination_port))
        ]
        return f"{protocol_name(self.protocol)} {ends[0]} > {ends[1]}"


def _text(raw: bytes, family: int) -> str:
    if family == 4:
        return str(IPv4Address(raw[12:]))
    return str(IPv6Address(raw)) if family else ""


def decode_decision(raw: bytes) -> Decision:
    """struct decision."""
    source, destination, sport, dport, protocol, family, reason, action, backend, length = DECISION.unpack(raw)
    return Decision(
        _REASON_NAMES[reason],
        VERDICTS.get(action, str(action)),
        None if backend == NOBODY else backend,
        _text(source, family),
        _text(destination, family),
        sport,
        dport,
        protocol,
        length,
    )

"""What became of one packet, as the program writes it down (struct decision, firewall.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from skep.tools.firewall.classes import NO_RULE
from skep.tools.firewall.rules import Action
from skep.tools.names import protocol_name

#: enum reason, firewall.h: the word for machines, and what it means.
REASONS: Mapping[str, str] = {
    "rule": "a rule",
    "default": "no rule: the default",
    "live": "a live entry",
    "reply": "reply of a known connection",
    "related": "ICMP error about a known connection",
    "non_ip": "not IP (ARP and the like)",
    "ndp": "IPv6 neighbour discovery",
    "over_rate": "over the rate of a rule",
    "later_fragment": "as its first fragment",
    "unknown_fragment": "fragment without a first one",
    "fragment": "fragments are denied or allowed",
    "malformed": "malformed",
    "not_loaded": "no rules yet",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one packet.

    Attributes:
        rule: the number of the rule in its set, from 0 (None: no rule decided).
        source, destination: addresses as text ("" for what is not IP).
    """

    action: Action
    reason: str
    rule: int | None
    source: str
    destination: str
    source_port: int
    destination_port: int
    protocol: int
    length: int

    @property
    def flow(self) -> str:
        """``tcp 10.0.0.1:4711 > 192.0.2.1:80``."""
        if not self.source:
            return self.reason.replace("_", " ")
        ports = self.source_port or self.destination_port
        ends = [
            (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") if ports else host
            for host, port in ((self.source, self.source_port), (self.destination, self.destination_port))
        ]
        return f"{protocol_name(self.protocol)} {ends[0]} > {ends[1]}"


_REASON_NAMES = tuple(REASONS)


def _address(raw: bytes, family: int) -> str:
    if family == 0:
        return ""
    return str(ip_address(raw[12:] if family == 4 else raw))


def decode_decision(fields: tuple[bytes, bytes, int, int, int, int, int, int, int, int]) -> Decision:
    source, destination, source_port, destination_port, protocol, family, action, reason, rule, length = fields
    return Decision(
        Action(action),
        _REASON_NAMES[reason],
        None if rule == NO_RULE else rule,
        _address(source, family),
        _address(destination, family),
        source_port,
        destination_port,
        protocol,
        length,
    )

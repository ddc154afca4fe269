"""What a rule file says: rules, a policy, and where each was written. Words and numbers only; nothing is compiled
yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import ip_network

MAX_PORT = 65535


class Action(IntEnum):
    """What becomes of a packet (enum action, firewall.h)."""

    DENY = 0
    ALLOW = 1


class Direction(IntEnum):
    """The way of a packet, seen from the interface (enum direction, firewall.h)."""

    IN = 0
    OUT = 1


class FragmentPolicy(StrEnum):
    """What becomes of fragments: the verdict of the first one, or one answer for all."""

    TRACK = "track"
    DENY = "deny"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, order=True)
class Network:
    """An IP network: ``family`` 4 or 6, the address as a number, the length of the prefix in bits."""

    family: int
    address: int
    length: int

    @property
    def bits(self) -> int:
        """Bits of an address of this family."""
        return 32 if self.family == 4 else 128

    def contains(self, other: Network) -> bool:
        """Whether every address of ``other`` lies in here."""
        if self.family != other.family or self.length > other.length:
            return False
        shift = self.bits - self.length
        return self.address >> shift == other.address >> shift

    def __str__(self) -> str:
        return str(ip_network((self.address, self.length) if self.family == 4 else (self.packed, self.length)))

    @property
    def packed(self) -> bytes:
        """The address as bytes, as on the wire."""
        return self.address.to_bytes(self.bits // 8, "big")


@dataclass(frozen=True, slots=True, order=True)
class Service:
    """A protocol, with a range of destination ports, or of ICMP type * 256 + code (low to high, both included)."""

    protocol: int
    low: int = 0
    high: int = MAX_PORT


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket for each source address: ``count`` packets in ``seconds``, ``burst`` at once."""

    count: int
    seconds: int
    burst: int

    @property
    def interval_ns(self) -> int:
        """Nanoseconds between two packets."""
        return max(1, self.seconds * 1_000_000_000 // self.count)

    @property
    def burst_ns(self) -> int:
        """How far ahead of its time a source may be."""
        return (self.burst - 1) * self.interval_ns


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. None: it does not ask. A packet matches if every question that is asked has one of the answers.

    Attributes:
        sources, destinations: networks.
        services: protocols, with destination ports or ICMP types.
        source_ports: ranges.
        places: (interface or "", direction or None): "" any interface.
        rate: only with ALLOW: packets over it are denied.
        line: where it was written (0: nowhere).
    """

    action: Action
    sources: tuple[Network, ...] | None = None
    destinations: tuple[Network, ...] | None = None
    services: tuple[Service, ...] | None = None
    source_ports: tuple[tuple[int, int], ...] | None = None
    interfaces: tuple[str, ...] | None = None
    direction: Direction | None = None
    rate: Rate | None = None
    name: str = ""
    line: int = field(default=0, compare=False)
    text: str = field(default="", compare=False)


#: Seconds after which what is kept about a connection or a fragment is forgotten, unless a packet comes by.
TIMEOUTS: Mapping[str, int] = {
    "tcp_opening": 30,  # a SYN without an answer
    "tcp": 7440,  # RFC 5382: not less than 2 hours and 4 minutes
    "tcp_closing": 10,  # after RST, or FIN both ways
    "udp": 180,
    "icmp": 30,
    "other": 60,
    "fragment": 30,
}


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A rule file.

    Attributes:
        defaults: what becomes of packets that no rule matches, coming in and going out.
        stateful: replies to what was allowed are allowed.
        non_ip: what becomes of ARP and the like.
        ndp: ALLOW: IPv6 neighbour discovery passes; DENY: the rules judge it.
        rules: the first that matches decides.
    """

    rules: tuple[Rule, ...] = ()
    defaults: tuple[Action, Action] = (Action.DENY, Action.DENY)
    stateful: bool = False
    non_ip: Action = Action.ALLOW
    ndp: Action = Action.ALLOW
    fragments: FragmentPolicy = FragmentPolicy.TRACK
    timeouts: Mapping[str, int] = field(default_factory=lambda: dict(TIMEOUTS))
    file: str = "<rules>"

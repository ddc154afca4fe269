"""What a configuration says: services, their backends, how packets get there. Words and numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from skep.tools.names import protocol_name

Address = IPv4Address | IPv6Address

#: Seconds, by what times out.
TIMEOUTS: Mapping[str, int] = {"tcp_opening": 30, "tcp": 7200, "tcp_closing": 60, "udp": 60, "fragment": 30}


class Forward(IntEnum):
    """How packets get to a backend (enum method, lb.h)."""

    IPIP = 0
    GUE = 1
    NAT = 2


class State(IntEnum):
    """What a backend takes (enum state, lb.h)."""

    GONE = 0
    ACTIVE = 1
    DRAINING = 2
    DOWN = 3


class FragmentPolicy(StrEnum):
    """What becomes of fragments to a VIP: they follow their first one, are dropped, or are the host's."""

    TRACK = "track"
    DROP = "drop"
    PASS = "pass"


class CheckKind(StrEnum):
    """How a backend is asked whether it works."""

    TCP = "tcp"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Health:
    """A health check.

    Attributes:
        port: where to ask; 0: the backend's port.
        path, host: of the HTTP request; host "": the address.
        statuses: HTTP answers that are good, from and to.
        every, timeout: seconds.
        rise, fall: so many good (bad) answers in a row make it up (down).
    """

    kind: CheckKind = CheckKind.TCP
    port: int = 0
    path: str = "/"
    host: str = ""
    statuses: tuple[int, int] = (200, 399)
    every: int = 5
    timeout: int = 2
    rise: int = 2
    fall: int = 3


@dataclass(frozen=True, slots=True)
class Backend:
    """Where packets of a service go.

    Attributes:
        port: differs from the service's only with NAT.
        weight: 1 to 256.
        mac: 6 bytes, of the next hop; b"": back to the router that sent the packet here.
        interface: out by this one; "": the one that the packet came in by.
    """

    address: Address
    port: int
    weight: int = 1
    mac: bytes = b""
    interface: str = ""
    line: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        """``10.0.0.1:80``."""
        return with_port(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Service:
    """A virtual address, protocol and port, and who is behind it."""

    address: Address
    protocol: int
    port: int
    forward: Forward
    backends: tuple[Backend, ...] = ()
    by_source: bool = False
    health: Health | None = None
    given_name: str = ""
    line: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        """Its name in the file, or ``tcp/203.0.113.10:80``."""
        return self.given_name or f"{protocol_name(self.protocol)}/{with_port(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration.

    Attributes:
        source4, source6: source addresses of outer headers.
        mtu: the largest IP packet, with its outer header, that gets to a backend.
        seed: of the hash; the same on all load balancers of a VIP.
    """

    services: tuple[Service, ...] = ()
    source4: IPv4Address | None = None
    source6: IPv6Address | None = None
    mtu: int = 1500
    gue_port: int = 6080
    seed: int = 0
    fragments: FragmentPolicy = FragmentPolicy.TRACK
    timeouts: Mapping[str, int] = field(default_factory=lambda: dict(TIMEOUTS))
    file: str = ""


def with_port(address: Address, port: int) -> str:
    """``10.0.0.1:80``, ``[2001:db8::1]:80``."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def parse_address(text: str) -> Address:
    """An IP address; ValueError with advice."""
    try:
        found = ip_address(text)
    except ValueError:
        raise ValueError(f"'{text}' is not an IP address; e.g. 203.0.113.10 or 2001:db8::10") from None
    if isinstance(found, IPv6Address) and (found.scope_id or found.ipv4_mapped):
        raise ValueError(f"'{text}' is no address for this; write a plain IPv4 or IPv6 address")
    if found.is_multicast or found.is_unspecified:
        raise ValueError(f"'{text}' is not the address of one machine")
    return found


def parse_endpoint(text: str) -> tuple[Address, int | None]:
    """``10.0.0.1``, ``10.0.0.1:80``, ``2001:db8::1``, ``[2001:db8::1]:80``; ValueError with advice."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"'{text}' is not an address and a port; e.g. [2001:db8::1]:80")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if not port:
        return parse_address(host), None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"'{port}' is not a port (1 to 65535)")
    return parse_address(host), int(port)


def parse_mac(text: str) -> bytes:
    """``02:00:00:00:00:01``; ValueError with advice."""
    parts = text.split(":")
    if len(parts) != 6 or any(len(part) != 2 or not set(part.lower()) <= set("0123456789abcdef") for part in parts):
        raise ValueError(f"'{text}' is not a hardware address; e.g. 02:00:00:00:00:01")
    found = bytes(int(part, 16) for part in parts)
    if found[0] & 1 or not any(found):
        raise ValueError(f"'{text}' is not the address of one machine")
    return found

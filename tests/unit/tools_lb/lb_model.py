"""The policy of skep lb, written again: slow and straight, from docs/tools/lb.md. It shares no code.

The configuration's nouns are skep's; tables, hashing, connections, fragments and NAT are done here in plain Python.
Taking packets apart is that of the firewall's model.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from tests.unit.tools_firewall.firewall_model import Malformed, Seen, take_apart, turned

M = 65537
MASK = (1 << 64) - 1
SECOND = 10**9


def maglev(backends: list[tuple[str, int]]) -> list[str]:
    """The table for (name, weight), as the paper has it; weights as more turns."""
    rows = []
    for name, weight in sorted(backends):
        first, second = struct.unpack("<QQ", blake2b(name.encode(), digest_size=16).digest())
        rows.append([name, first % M, second % (M - 1) + 1, weight, 0])
    heaviest = max(weight for _, weight in backends)
    table, left = [""] * M, M
    while True:
        for row in rows:
            row[4] += row[3]
            if row[4] < heaviest:
                continue
            row[4] -= heaviest
            while table[row[1]]:
                row[1] = (row[1] + row[2]) % M
            table[row[1]] = row[0]
            left -= 1
            if not left:
                return table


def mapped(address: bytes) -> bytes:
    return bytes(10) + b"\xff\xff" + address if len(address) == 4 else address


def hash_of(seed: int, flow: tuple[Any, ...], version: int, by_source: bool) -> int:
    """``flow``: source, destination, ports, protocol."""
    raw = mapped(flow[0]) + mapped(flow[1]) + struct.pack("<HHBBH", flow[2], flow[3], flow[4], version, 0)
    words = struct.unpack("<5Q", raw)[: 2 if by_source else 5]
    start = (seed + 1) * 0x9E3779B97F4A7C15 & MASK
    value = start
    for word in (*words, start):
        value = (value ^ word) * 0x9E3779B97F4A7C15 & MASK
        value ^= value >> 32
    return value >> 32


def destination(frame: bytes) -> bytes:
    """Where an IP packet goes, if that much of it is there; b"" if not."""
    if len(frame) < 14:
        return b""
    kind, at, tags = int.from_bytes(frame[12:14], "big"), 14, 0
    while kind in (0x8100, 0x88A8, 0x9100):
        if tags == 2 or len(frame) < at + 4:
            return b""
        kind = int.from_bytes(frame[at + 2 : at + 4], "big")
        at, tags = at + 4, tags + 1
    data = frame[at:]
    if kind == 0x0800 and len(data) >= 20 and data[0] >> 4 == 4 and data[0] & 15 >= 5:
        return data[16:20]
    if kind == 0x86DD and len(data) >= 40 and data[0] >> 4 == 6:
        return data[24:40]
    return b""


def is_routed(frame: bytes) -> bool:
    """A routing header with segments left, in front of the last extension header."""
    at = l3_offset(frame)
    if frame[at] >> 4 != 6:
        return False
    kind, at = frame[at + 6], at + 40
    while kind in (0, 43, 44, 51, 60, 135, 139, 140):
        if kind == 43 and frame[at + 3]:
            return True
        if kind == 44 and int.from_bytes(frame[at + 2 : at + 4], "big") >> 3:
            return False
        size = 8 if kind == 44 else (frame[at + 1] + 2) * 4 if kind == 51 else (frame[at + 1] + 1) * 8
        kind, at = frame[at], at + size
    return False


def l3_offset(frame: bytes) -> int:
    at = 14
    while frame[at - 2 : at] in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
        at += 4
    return at


def l3_length(frame: bytes) -> int:
    at = l3_offset(frame)
    if frame[at] >> 4 == 4:
        return int.from_bytes(frame[at + 2 : at + 4], "big")
    return 40 + int.from_bytes(frame[at + 4 : at + 6], "big")


@dataclass
class Connection:
    backend: Any
    one_way: bool
    seen: int
    opening: bool = True
    fin_there: bool = False
    fin_back: bool = False
    reset: bool = False

    @property
    def over(self) -> bool:
        return self.reset or (self.fin_there and (self.fin_back or self.one_way))


@dataclass
class Model:
    """A configuration and what it remembers. ``states``: by (service, backend), where not active."""

    config: Any
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    connections: dict[Any, Connection] = field(default_factory=dict)
    fragments: dict[Any, Any] = field(default_factory=dict)
    tables: dict[Any, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        services = self.config.services
        self.vips = {service.address.packed for service in services}
        self.services = {(s.address.packed, s.protocol, s.port): s for s in services}
        self.origins = {
            (b.address.packed, s.protocol, b.port): (s, b)
            for s in services
            if s.forward.name == "NAT"
            for b in s.backends
        }

    def judge(self, frame: bytes, now: int) -> tuple[str, str | None]:
        """(reason, backend)."""
        to = destination(frame)
        try:
            seen = take_apart(frame)
        except Malformed:
            return ("malformed" if to in self.vips else "not_ours"), None
        if seen is None:
            return "not_ours", None
        return self.to_vip(frame, seen, now) if to in self.vips else self.other(frame, seen, now)

    def to_vip(self, frame: bytes, seen: Seen, now: int) -> tuple[str, str | None]:
        policy = self.config.fragments.value
        if seen.fragment == "later":
            if policy == "pass":
                return "fragment_passed", None
            if policy == "drop":
                return "fragment_dropped", None
            return self.later(frame, seen, now) or ("unknown_fragment", None)
        if seen.protocol in (1, 58):
            return self.icmp(frame, seen, now)
        service = self.services.get((seen.destination, seen.protocol, seen.ports[1]))
        if service is None or is_routed(frame):
            return "no_service", None
        if seen.fragment and policy != "track":
            return ("fragment_passed" if policy == "pass" else "fragment_dropped"), None
        backend = self.choose(service, seen.flow, seen, now, remembers=True)
        if seen.fragment and backend is not None:
            self.fragments[fragment_key(seen)] = (now, service, backend, False)
        return self.sent(frame, service, backend, "forwarded")

    def icmp(self, frame: bytes, seen: Seen, now: int) -> tuple[str, str | None]:
        if seen.fragment:
            return "no_service", None
        if seen.inner is not None:
            flow = turned(seen.inner)
            service = self.services.get((flow[1], flow[4], flow[3])) if flow[4] in (6, 17) else None
            if service is None or flow[1] != seen.destination:
                return "no_service", None
            backend = self.choose(service, flow, seen, now, remembers=False)
            return self.sent(frame, service, backend, "error_forwarded")
        return ("echoed" if seen.opens else "no_service"), None

    def sent(self, frame: bytes, service: Any, backend: Any, reason: str) -> tuple[str, str | None]:
        if backend is None:
            return "no_backend", None
        if service.forward.name != "NAT":
            extra = (20 if backend.address.version == 4 else 40) + (12 if service.forward.name == "GUE" else 0)
            if l3_length(frame) + extra > self.config.mtu:
                return "too_big", backend.name
        return reason, backend.name

    def choose(self, service: Any, flow: Any, seen: Seen, now: int, *, remembers: bool) -> Any:
        is_tcp = flow[4] == 6
        is_syn = is_tcp and remembers and bool(seen.flags & 2) and not seen.flags & 16
        known = self.connections.get(flow)
        if known is not None and self.alive(known, flow, now) and not (is_syn and known.over):
            state = self.states.get((service.name, known.backend.name), "active")
            stays = state == "active"
            stays |= state == "draining" and (not is_syn or known.opening)
            stays |= state == "down" and is_tcp and not is_syn
            if stays:
                if remembers:
                    known.fin_there |= bool(seen.flags & 1)
                    known.reset |= bool(seen.flags & 4)
                    known.seen = now
                    known.opening &= is_syn
                return known.backend
        backend = self.by_table(service, flow, 4 if len(flow[0]) == 4 else 6)
        if backend is not None and remembers:
            fresh = Connection(backend, service.forward.name != "NAT", now)
            fresh.fin_there, fresh.reset = bool(seen.flags & 1), bool(seen.flags & 4)
            self.connections[flow] = fresh
        return backend

    def by_table(self, service: Any, flow: Any, version: int) -> Any:
        active = [b for b in service.backends if self.states.get((service.name, b.name), "active") == "active"]
        if not active:
            return None
        key = tuple((b.name, b.weight) for b in active)
        if key not in self.tables:
            self.tables[key] = maglev(list(key))
        entry = hash_of(self.config.seed, flow, version, service.by_source) * M >> 32
        return next(b for b in active if b.name == self.tables[key][entry])

    def alive(self, known: Connection, flow: Any, now: int) -> bool:
        timeouts = self.config.timeouts
        name = "udp"
        if flow[4] == 6:
            name = "tcp_closing" if known.over else "tcp_opening" if known.opening else "tcp"
        return now - known.seen <= timeouts[name] * SECOND

    def later(self, frame: bytes, seen: Seen, now: int) -> tuple[str, str | None] | None:
        found = self.fragments.get(fragment_key(seen))
        if found is None or now - found[0] > self.config.timeouts["fragment"] * SECOND:
            return None
        _, service, backend, is_reply = found
        return ("later_fragment", backend.name) if is_reply else self.sent(frame, service, backend, "later_fragment")

    def other(self, frame: bytes, seen: Seen, now: int) -> tuple[str, str | None]:
        nothing = ("not_ours", None)
        if not self.origins or is_routed(frame):
            return nothing
        if seen.fragment == "later":
            return (self.later(frame, seen, now) if self.config.fragments.value == "track" else None) or nothing
        if seen.protocol not in (1, 58):
            found = self.origin(seen.flow, now)
            if found is None:
                return nothing
            service, backend, known = found
            known.fin_back |= bool(seen.flags & 1)
            known.reset |= bool(seen.flags & 4)
            known.seen = now
            if seen.fragment and self.config.fragments.value == "track":
                self.fragments[fragment_key(seen)] = (now, service, backend, True)
            return "replied", backend.name
        if seen.inner is None or seen.fragment or seen.inner[0] != seen.destination:
            return nothing
        found = self.origin(turned(seen.inner), now)
        return ("error_replied", found[1].name) if found else nothing

    def origin(self, back: Any, now: int) -> Any:
        """Service, backend and connection of a packet from a backend (its flow)."""
        found = self.origins.get((back[0], back[4], back[2]))
        if found is None:
            return None
        service, backend = found
        flow = (back[1], service.address.packed, back[3], service.port, back[4])
        known = self.connections.get(flow)
        if known is None or known.backend is not backend or not self.alive(known, flow, now):
            return None
        return service, backend, known


def fragment_key(seen: Seen) -> tuple[Any, ...]:
    return (seen.source, seen.destination, seen.fragment_id, seen.protocol if seen.version == 4 else 0)

"""The policy of skep firewall, written again: slow and straight, from docs/tools/firewall.md. It shares no code.

Rules are taken from the same RuleSet nouns (words only); taking packets apart, first match, connections, fragments
and rate limits are done here in plain Python.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

PORTS = (6, 17, 33, 132, 136)
EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)


class Malformed(Exception):
    """Not what it claims to be."""


@dataclass
class Seen:
    """A packet taken apart."""

    version: int = 0
    source: bytes = b""
    destination: bytes = b""
    protocol: int = -1
    ports: tuple[int, int] = (0, 0)
    service: int = 0
    flags: int = 0
    fragment: str = ""
    fragment_id: int = 0
    ndp: bool = False
    opens: bool = True
    inner: tuple[Any, ...] | None = None
    icmp_type: int = -1

    @property
    def flow(self) -> tuple[Any, ...]:
        return (self.source, self.destination, *self.ports, self.protocol)

    @property
    def back(self) -> tuple[Any, ...]:
        return turned(self.flow)


def turned(flow: tuple[Any, ...]) -> tuple[Any, ...]:
    return (flow[1], flow[0], flow[3], flow[2], flow[4])


def need(condition: bool) -> None:
    if not condition:
        raise Malformed


def take_apart(frame: bytes) -> Seen | None:
    """None: not IP."""
    need(len(frame) >= 14)
    kind, at, tags = int.from_bytes(frame[12:14], "big"), 14, 0
    while kind in (0x8100, 0x88A8, 0x9100):
        need(tags < 2 and len(frame) >= at + 4)
        kind = int.from_bytes(frame[at + 2 : at + 4], "big")
        at, tags = at + 4, tags + 1
    if kind == 0x0800:
        return ipv4(frame[at:])
    if kind == 0x86DD:
        return ipv6(frame[at:])
    return None


def ipv4(data: bytes) -> Seen:
    need(len(data) >= 20 and data[0] >> 4 == 4)
    header, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
    need(header >= 20 and header <= total <= len(data))
    seen = Seen(4, data[12:16], data[16:20], data[9])
    word = int.from_bytes(data[6:8], "big")
    offset, more = (word & 0x1FFF) * 8, bool(word & 0x2000)
    body = data[header:total]
    if offset or more:
        need(header + offset + len(body) <= 65535)
        need(not more or (len(body) > 0 and len(body) % 8 == 0))
        seen.fragment = "later" if offset else "first"
        seen.fragment_id = int.from_bytes(data[4:6], "big")
        need(not (offset == 8 and seen.protocol == 6))
        if offset:
            return seen
    transport(seen, body)
    return seen


def ipv6(data: bytes) -> Seen:
    need(len(data) >= 40 and data[0] >> 4 == 6)
    length = int.from_bytes(data[4:6], "big")
    need(40 + length <= len(data))
    body, kind, count = data[40 : 40 + length], data[6], 0
    seen = Seen(6, data[8:24], data[24:40])
    while kind in EXTENSIONS:
        need(count < 8 and len(body) >= 8)
        need(not (kind == 0 and count > 0))
        need(not (kind == 43 and body[2] == 0))
        size = (body[1] + 1) * 8
        if kind == 51:
            size = (body[1] + 2) * 4
        if kind == 44:
            size = 8
            word = int.from_bytes(body[2:4], "big")
            offset, more = (word >> 3) * 8, word & 1
            rest = len(body) - 8
            need(not seen.fragment)
            need(offset + rest <= 65535 and (not more or (rest > 0 and rest % 8 == 0)))
            seen.fragment_id = int.from_bytes(body[4:8], "big")
            if offset:
                need(not (offset == 8 and body[0] == 6))
                seen.fragment, seen.protocol = "later", body[0]
                return seen
            seen.fragment = "first" if more else ""
        need(len(body) >= size)
        kind, body, count = body[0], body[size:], count + 1
    seen.protocol = kind
    transport(seen, body, hop_limit=data[7])
    return seen


def transport(seen: Seen, body: bytes, hop_limit: int = 0) -> None:
    protocol = seen.protocol
    if protocol == 6:
        need(len(body) >= 20)
        size, seen.flags = (body[12] >> 4) * 4, body[13]
        need(20 <= size <= len(body))
        need(bool(seen.flags & 0b10111))
        need(not (seen.flags & 2 and seen.flags & 5))
    elif protocol == 17:
        need(len(body) >= 8)
        length = int.from_bytes(body[4:6], "big")
        need(length >= 8 and (bool(seen.fragment) or length <= len(body)))
    elif protocol == 136:
        need(len(body) >= 8)
    elif protocol in (132, 33):
        need(len(body) >= 12)
    elif protocol in (1, 58):
        need(protocol == (1 if seen.version == 4 else 58))
        need(len(body) >= 8)
        icmp(seen, body, hop_limit)
        return
    if protocol in PORTS:
        seen.ports = struct.unpack(">HH", body[:4])
        seen.service = seen.ports[1]


def icmp(seen: Seen, body: bytes, hop_limit: int) -> None:
    request, reply = (8, 0) if seen.version == 4 else (128, 129)
    errors = (3, 4, 11, 12) if seen.version == 4 else (1, 2, 3, 4)
    kind = seen.icmp_type = body[0]
    seen.service = kind * 256 + body[1]
    seen.opens = kind == request
    if kind in (request, reply):
        number = int.from_bytes(body[4:6], "big")
        seen.ports = (number, number)
    elif kind in errors:
        seen.inner = inner_flow(seen.version, body[8:])
    elif seen.version == 6 and 133 <= kind <= 136:
        seen.ndp = hop_limit == 255 and body[1] == 0


def inner_flow(version: int, data: bytes) -> tuple[Any, ...] | None:
    if version == 4:
        if len(data) < 20 or data[0] >> 4 != 4 or data[0] & 15 < 5 or int.from_bytes(data[6:8], "big") & 0x1FFF:
            return None
        source, destination, protocol, l4 = data[12:16], data[16:20], data[9], data[(data[0] & 15) * 4 :]
    else:
        if len(data) < 40 or data[0] >> 4 != 6:
            return None
        source, destination, protocol, l4 = data[8:24], data[24:40], data[6], data[40:]
    if len(l4) < 8:
        return None
    ports = (0, 0)
    if protocol in PORTS:
        ports = struct.unpack(">HH", l4[:4])
    elif protocol in (1, 58):
        if l4[0] not in ((8, 0) if version == 4 else (128, 129)):
            return None
        number = int.from_bytes(l4[4:6], "big")
        ports = (number, number)
    return (source, destination, *ports, protocol)


@dataclass
class Connection:
    seen: int
    replied: bool = False
    fin_there: bool = False
    fin_back: bool = False
    reset: bool = False
    kept: bool = False

    @property
    def over(self) -> bool:
        return self.reset or (self.fin_there and self.fin_back)


@dataclass
class Model:
    """A rule set and what it remembers."""

    rules: Any
    interface: str = ""
    direction: int = 0
    connections: dict[Any, Connection] = field(default_factory=dict)
    fragments: dict[Any, Any] = field(default_factory=dict)
    buckets: dict[Any, tuple[float, int]] = field(default_factory=dict)

    def judge(self, frame: bytes, now: int) -> tuple[int, str, int | None]:
        """(1 allowed or 0 denied, reason, rule)."""
        rules = self.rules
        try:
            seen = take_apart(frame)
        except Malformed:
            return 0, "malformed", None
        if seen is None:
            return int(rules.non_ip), "non_ip", None
        key = (seen.source, seen.destination, seen.fragment_id, seen.protocol if seen.version == 4 else 0)
        if seen.fragment == "later":
            if rules.fragments != "track":
                return int(rules.fragments == "allow"), "fragment", None
            first = self.fragments.get(key)
            if first is None or now - first[0] > rules.timeouts["fragment"] * 10**9:
                return 0, "unknown_fragment", None
            return first[1], "later_fragment", first[2]
        if seen.fragment == "first" and rules.fragments == "deny":
            return 0, "fragment", None
        verdict = self.judge_whole(seen, now)
        if seen.fragment == "first" and rules.fragments == "track":
            self.fragments[key] = (now, verdict[0], verdict[2])
        return verdict

    def judge_whole(self, seen: Seen, now: int) -> tuple[int, str, int | None]:
        rules = self.rules
        if seen.ndp and rules.ndp:
            return 1, "ndp", None
        if rules.stateful and self.is_reply(seen, now):
            return 1, "reply", None
        if rules.stateful and self.is_related(seen, now):
            return 1, "related", None
        action, reason, number = int(rules.defaults[self.direction]), "default", None
        for number_here, rule in enumerate(rules.rules):
            if self.matches(rule, seen):
                action, reason, number = int(rule.action), "rule", number_here
                if rule.rate is not None and not self.has_token(rule, number_here, seen, now):
                    action, reason = 0, "over_rate"
                break
        if action and rules.stateful:
            self.remember(seen, now)
        return action, reason, number

    def matches(self, rule: Any, seen: Seen) -> bool:
        for asked, address in ((rule.sources, seen.source), (rule.destinations, seen.destination)):
            if asked is not None and not any(inside(network, address, seen.version) for network in asked):
                return False
        if rule.services is not None and not any(
            service.protocol == seen.protocol
            and (seen.protocol not in (*PORTS, 1, 58) or service.low <= seen.service <= service.high)
            for service in rule.services
        ):
            return False
        if rule.source_ports is not None and not (
            seen.protocol in PORTS and any(low <= seen.ports[0] <= high for low, high in rule.source_ports)
        ):
            return False
        if rule.interfaces is not None and self.interface not in rule.interfaces:
            return False
        return rule.direction is None or int(rule.direction) == self.direction

    def has_token(self, rule: Any, number: int, seen: Seen, now: int) -> bool:
        """Tokens drip in at the rate; a bucket holds `burst` of them and starts full. Counted in units of one
        interval.
        """
        source = seen.source if seen.version == 4 else seen.source[:8]
        interval = rule.rate.seconds * 10**9 // rule.rate.count
        most = rule.rate.burst * interval
        level, when = self.buckets.get((number, source), (most, now))
        level = min(most, level + now - when)
        enough = level >= interval
        self.buckets[(number, source)] = (level - interval if enough else level, now)
        return enough

    def lifetime(self, flow: Any, connection: Connection) -> int:
        timeouts = self.rules.timeouts
        protocol = flow[4]
        if protocol == 6:
            if not connection.replied:
                return int(timeouts["tcp_opening"])
            return int(timeouts["tcp_closing" if connection.over else "tcp"])
        return int(timeouts["udp" if protocol in (17, 136) else "icmp" if protocol in (1, 58) else "other"])

    def find(self, flow: Any, now: int) -> Connection | None:
        connection = self.connections.get(flow)
        if connection is None or now - connection.seen > self.lifetime(flow, connection) * 10**9:
            return None
        return connection

    def is_reply(self, seen: Seen, now: int) -> bool:
        if seen.flags & 2 and not seen.flags & 16:
            return False
        if seen.icmp_type >= 0 and seen.service != (0 if seen.version == 4 else 129 * 256):
            return False
        connection = self.find(seen.back, now)
        if connection is None:
            return False
        if seen.protocol == 6 and not connection.replied and not seen.flags & 6:
            return False
        connection.replied = True
        connection.fin_back |= bool(seen.flags & 1)
        connection.reset |= bool(seen.flags & 4)
        connection.seen = now
        return True

    def is_related(self, seen: Seen, now: int) -> bool:
        if seen.inner is None or seen.inner[0] != seen.destination:
            return False
        return self.find(seen.inner, now) is not None or self.find(turned(seen.inner), now) is not None

    def remember(self, seen: Seen, now: int) -> None:
        is_syn = bool(seen.flags & 2 and not seen.flags & 16)
        connection = self.find(seen.flow, now)
        if connection is not None and not (is_syn and connection.over):
            connection.fin_there |= bool(seen.flags & 1)
            connection.reset |= bool(seen.flags & 4)
            connection.seen = now
            return
        if seen.protocol == 6 and not is_syn:
            return
        if seen.opens:
            self.connections[seen.flow] = Connection(now)


def inside(network: Any, address: bytes, version: int) -> bool:
    shift = network.bits - network.length
    return network.family == version and network.address >> shift == int.from_bytes(address, "big") >> shift

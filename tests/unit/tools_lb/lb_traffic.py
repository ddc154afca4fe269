"""Random traffic that means the services of a configuration: requests, answers, ICMP errors, fragments of both."""

from __future__ import annotations

import random
import struct
from typing import Any

from tests.unit.tools_firewall.traffic import V4, V6, address, frames, transport

CLIENT_PORTS = (40000, 40001)
LINK = bytes.fromhex("020000000002020000000001")


def ip_packet(chance: random.Random, ends: tuple[bytes, bytes], protocol: int, body: bytes) -> bytes:
    """An IP packet, sometimes a first or later fragment of few packets."""
    fragment, more = chance.choice([(0, 0)] * 6 + [(0, 1), (3, 0), (3, 1)])
    if more:
        body = (body + bytes(64))[:40]
    number = chance.choice([1, 2])
    if len(ends[0]) == 4:
        length = 20 + len(body)
        header = struct.pack(">BBHHHBBH", 0x45, 0, length, number, more << 13 | fragment, 64, protocol, 0)
        return header + ends[0] + ends[1] + body
    kind = protocol
    if fragment or more:
        body = struct.pack(">BBHI", protocol, 0, fragment << 3 | more, number) + body
        kind = 44
    return struct.pack(">IHBB", 6 << 28, len(body), kind, 64) + ends[0] + ends[1] + body


def meant(chance: random.Random, config: Any) -> bytes:
    """A frame of a flow of one of the services, in one of its two directions, or an error about it."""
    behind_nat = [service for service in config.services if service.forward.name == "NAT" and service.backends]
    service = chance.choice(chance.choice([behind_nat or config.services, config.services]))
    version = service.address.version
    client = V4[3] if version == 4 else V6[3]
    sport = chance.choice(CLIENT_PORTS)
    outside = (address(client), service.address.packed), (sport, service.port)
    inside = outside
    if behind_nat and service in behind_nat:
        backend = chance.choice(service.backends)
        inside = (address(client), backend.address.packed), (sport, backend.port)
    kind = chance.choice(["there"] * 4 + ["back"] * 3 + ["error"] * 3)
    if kind == "error":  # about a request that was translated, or about an answer
        ends, ports = chance.choice([inside, turned(outside)])
    else:
        ends, ports = outside if kind == "there" else turned(inside)
    data = ip_packet(chance, ends, service.protocol, transport(chance, version, service.protocol, ports, None))
    if kind == "error":
        router = address(chance.choice(V4 if version == 4 else V6))
        head = struct.pack(">BBHHH", chance.choice([3, 11] if version == 4 else [1, 2]), 4, 0, 0, 1400)
        quoted = data[: chance.choice([28, 48, 60, 68, 100])]
        sender = chance.choice([ends[1], router])
        data = ip_packet(chance, (sender, ends[0]), 1 if version == 4 else 58, head + quoted)
    return LINK + (b"\x08\x00" if version == 4 else b"\x86\xdd") + data


def turned(flow: Any) -> Any:
    return flow[0][::-1], flow[1][::-1]


def world_frames(chance: random.Random, config: Any, count: int) -> list[bytes]:
    """Half of anything, half of what the services are about."""
    anything = frames(chance, count)
    return [meant(chance, config) if chance.random() < 0.5 else frame for frame in anything]

"""Small random worlds: few addresses and ports, so that rules, packets and connections meet often."""

from __future__ import annotations

import random
import struct
from pathlib import Path

V4 = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.1.0.1", "192.0.2.1", "192.0.2.200", "203.0.113.9"]
V6 = ["fd00::1", "fd00::2", "fd00:0:0:1::1", "2001:db8::1", "fe80::1"]
NETWORKS4 = [
    *V4,
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.0/24",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "0.0.0.0/0",
    "10.1.0.0/31",
]
NETWORKS6 = [*V6, "fd00::/8", "fd00::/64", "2001:db8::/32", "::/0"]
PORTS = [22, 53, 80, 81, 443, 8000, 8050, 40000, 40001]
RANGES = ["22", "53", "80-81", "443", "8000-8099", "0-1023", "1024-65535", "8050"]


def rule_text(chance: random.Random) -> str:
    action = chance.choice(["allow", "allow", "deny"])
    if chance.random() < 0.03:
        return f"{action}: any"
    parts: dict[str, str] = {}
    family = chance.choice([4, 4, 6])
    networks = NETWORKS4 if family == 4 else NETWORKS6
    for key in ("from", "to"):
        if chance.random() < 0.5:
            chosen = chance.sample(networks, chance.choice([1, 1, 2]))
            parts[key] = "[" + ", ".join(f"'{n}'" for n in chosen) + "]"
    kind = chance.random()
    if kind < 0.55:
        parts["proto"] = chance.choice(["tcp", "udp", "[tcp, udp]", "sctp", "udplite", "dccp"])
        if chance.random() < 0.7:
            parts["port"] = "[" + ", ".join(chance.sample(RANGES, chance.choice([1, 1, 2]))) + "]"
        if chance.random() < 0.25:
            parts["sport"] = chance.choice(RANGES)
    elif kind < 0.7:
        parts["proto"] = "icmp" if family == 4 else "icmpv6"
        if chance.random() < 0.7:
            parts["icmp"] = chance.choice(
                ["echo-request", "echo-reply", "destination-unreachable", "3/1", "[1, 128/0]"]
            )
    elif kind < 0.75:
        parts["proto"] = "gre"
    if chance.random() < 0.15:
        parts["interface"] = chance.choice(["eth0", "eth1", "[eth0, eth1]"])
    if chance.random() < 0.15:
        parts["direction"] = chance.choice(["in", "out"])
    if action == "allow" and chance.random() < 0.15:
        parts["rate"] = chance.choice(["2/s", "5/m", "1000/s"])
        if chance.random() < 0.5:
            parts["burst"] = chance.choice(["1", "3"])
    if not parts:
        parts["proto"] = "tcp"
    return f"{action}: {{{', '.join(f'{k}: {v}' for k, v in parts.items())}}}"


def rules_text(chance: random.Random, count: int) -> str:
    lines = [f"default: {chance.choice(['deny', 'allow', '{in: deny, out: allow}', '{in: allow, out: deny}'])}"]
    lines.append(f"stateful: {chance.choice(['true', 'false'])}")
    lines.append(f"fragments: {chance.choice(['track', 'track', 'deny', 'allow'])}")
    lines.append(f"non_ip: {chance.choice(['allow', 'deny'])}")
    lines.append(f"ndp: {chance.choice(['allow', 'deny'])}")
    lines.append("timeouts: {tcp: 60s, tcp_opening: 5, tcp_closing: 3, udp: 10, icmp: 5, fragment: 4, other: 6}")
    lines.append("rules:")
    lines += [f"  - {rule_text(chance)}" for _ in range(count)]
    return "\n".join(lines) + "\n"


def address(text: str) -> bytes:
    import ipaddress

    return ipaddress.ip_address(text).packed


def transport(
    chance: random.Random, version: int, protocol: int, ports: tuple[int, int], recent: bytes | None
) -> bytes:
    tail = chance.randbytes(chance.choice([0, 4, 8, 24]))
    if protocol == 6:
        flags = chance.choice([2, 2, 18, 16, 16, 24, 17, 4, 20, 1, 0, 3, 6])
        return struct.pack(">HHIIBBHHH", *ports, 1, 2, 0x50, flags, 100, 0, 0) + tail
    if protocol in (17, 136):
        return struct.pack(">HHHH", *ports, 8 + len(tail), 0) + tail
    if protocol in (132, 33):
        return struct.pack(">HHII", *ports, 0, 0) + tail
    if protocol == 1:
        kind = chance.choice([8, 8, 0, 0, 3, 11, 129])
    elif protocol == 58:
        kind = chance.choice([128, 128, 129, 129, 1, 2, 133, 135, 0])
    else:
        return tail
    head = struct.pack(">BBHHH", kind, chance.choice([0, 0, 1]), 0, chance.choice([0, 7, 8]), 1)
    is_error = kind in ((3, 11) if version == 4 else (1, 2))
    return head + (recent[:68] if is_error and recent else tail)


def packet(chance: random.Random, version: int, recent: bytes | None = None) -> bytes:
    """An IP packet; an ICMP error is about ``recent``, and goes to who sent that."""
    hosts = V4 if version == 4 else V6
    source, destination = address(chance.choice(hosts)), address(chance.choice(hosts))
    protocol = chance.choice([6, 6, 6, 17, 17, 1 if version == 4 else 58, 1 if version == 4 else 58, 132, 136, 33, 47])
    ports = (chance.choice(PORTS), chance.choice(PORTS))
    body = transport(chance, version, protocol, ports, recent)
    if recent and len(body) > 40 and protocol in (1, 58) and chance.random() < 0.8:
        destination = recent[12:16] if version == 4 else recent[8:24]
    fragment, more = 0, 0
    if chance.random() < 0.15:
        fragment, more = chance.choice([(0, 1), (0, 1), (3, 0), (3, 1), (1, 0), (8191, 0)])
        body = (body + bytes(64))[:40] if more and chance.random() < 0.9 else body
    number = chance.choice([1, 2])
    if version == 4:
        options = b"\x01" * 4 if chance.random() < 0.1 else b""
        header = struct.pack(
            ">BBHHHBBH",
            0x45 + len(options) // 4,
            0,
            20 + len(options) + len(body),
            number,
            more << 13 | fragment,
            64,
            protocol,
            0,
        )
        return header + source + destination + options + body
    chain: list[tuple[int, bytes]] = []
    while chance.random() < 0.2 and len(chain) < 9:
        kind = chance.choice([0, 43, 60, 51, 135])
        chain.append((kind, bytes((chance.choice([0, 0, 1]),)) + bytes((chance.choice([2, 3, 0]),)) + bytes(14)))
    if fragment or more:
        field = struct.pack(">BHI", 0, fragment << 3 | more, number)
        chain.append((44, field))
    kinds = [kind for kind, _ in chain] + [protocol]
    data = b""
    for at, (kind, content) in enumerate(chain):
        size = 8 if kind == 44 else (content[0] + 2) * 4 if kind == 51 else (content[0] + 1) * 8
        data += (bytes((kinds[at + 1],)) + content).ljust(size, b"\0")[:size]
    data += body
    hops = chance.choice([255, 64])
    return struct.pack(">IHBB", 6 << 28, len(data), kinds[0], hops) + source + destination + data


def frames(chance: random.Random, count: int) -> list[bytes]:
    """Ethernet frames of one world: later ones may speak of earlier ones."""
    recent: dict[int, list[bytes]] = {4: [], 6: []}
    return [frame(chance, recent) for _ in range(count)]


def frame(chance: random.Random, recent: dict[int, list[bytes]]) -> bytes:
    """An Ethernet frame: mostly whole, sometimes tagged, padded, cut or mutated."""
    version = chance.choice([4, 4, 6])
    data = packet(chance, version, chance.choice(recent[version][-5:]) if recent[version] else None)
    recent[version].append(data)
    kind = 0x0800 if version == 4 else 0x86DD
    if chance.random() < 0.03:
        kind, data = 0x0806, bytes(28)
    tags = chance.choice([0] * 8 + [1, 1, 2, 3])
    head = bytes.fromhex("020000000002020000000001")
    for _ in range(tags):
        head += struct.pack(">HH", chance.choice([0x8100, 0x88A8, 0x9100]), 5)
    whole = head + struct.pack(">H", kind) + data
    spoil = chance.random()
    if spoil < 0.08:
        whole = whole[: chance.randrange(15, len(whole) + 1)]
    elif spoil < 0.2:
        mutable = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 4])):
            mutable[chance.randrange(12, len(mutable))] = chance.choice([0, 1, 255, chance.randrange(256)])
        whole = bytes(mutable)
    elif spoil < 0.3:
        whole += bytes(chance.randrange(1, 30))
    return whole


def write_pcap(path: Path, frames: list[bytes], times_us: list[int]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for data, now in zip(frames, times_us, strict=True):
            file.write(struct.pack("<IIII", now // 1_000_000, now % 1_000_000, len(data), len(data)) + data)

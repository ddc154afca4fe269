"""Packets of many kinds for filters: every protocol that expressions name, encapsulated, fragmented, broken."""

from __future__ import annotations

import functools
import gzip
import random
import struct
from collections.abc import Iterator
from pathlib import Path

MAC_A, MAC_B = bytes.fromhex("001122334455"), bytes.fromhex("0a0b0c0d0e0f")
BROADCAST, MULTICAST = b"\xff" * 6, bytes.fromhex("01005e000001")
HOSTS = [
    bytes((10, 0, 0, 1)),
    bytes((10, 0, 0, 2)),
    bytes((192, 168, 1, 7)),
    bytes((224, 0, 0, 5)),
    bytes((8, 8, 8, 8)),
]
HOSTS6 = [bytes.fromhex(text) for text in (
    "20010db8000000000000000000000001", "20010db8000100000000000000000002", "fe800000000000000000000000000001",
    "ff020000000000000000000000000001", "00000000000000000000000000000001",
)]  # fmt: skip
PORTS = [80, 80, 80, 443, 443, 53, 53, 22, 8080, 123, 68, 65535, 20]


def ethernet(kind: int, payload: bytes, dst: bytes = MAC_B, src: bytes = MAC_A) -> bytes:
    return dst + src + struct.pack(">H", kind) + payload


def ipv4(
    protocol: int, payload: bytes, src: bytes = HOSTS[0], dst: bytes = HOSTS[1], fragment: int = 0, options: bytes = b""
) -> bytes:
    size = 20 + len(options)
    return struct.pack(
        ">BBHHHBBH4s4s", 0x40 | size // 4, 0, size + len(payload), 7, fragment, 64, protocol, 0, src, dst
    ) + options + payload  # fmt: skip


def ipv6(following: int, payload: bytes, src: bytes = HOSTS6[0], dst: bytes = HOSTS6[1]) -> bytes:
    return struct.pack(">IHBB16s16s", 0x60000000, len(payload), following, 64, src, dst) + payload


def tcp(sport: int, dport: int, flags: int = 0x10, payload: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", sport, dport, 1, 2, 0x50, flags, 1000, 0, 0) + payload


def udp(sport: int, dport: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def sctp(sport: int, dport: int) -> bytes:
    return struct.pack(">HHII", sport, dport, 1, 0) + bytes(8)


def arp(src: bytes, dst: bytes, operation: int = 1) -> bytes:
    return struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, operation, MAC_A, src, bytes(6), dst)


def _transports(chance: random.Random) -> Iterator[tuple[int, bytes]]:
    def ports() -> tuple[int, int]:
        return chance.choice(PORTS), chance.choice(PORTS)

    for _ in range(3):
        payload = chance.choice((b"GET / HTTP/1.1", chance.randbytes(chance.randrange(60))))
        yield 6, tcp(*ports(), chance.choice((2, 0x12, 0x10, 0x11, 4, 0x18)), payload)
        yield 17, udp(*ports(), payload)
    yield 132, sctp(*ports())
    yield 1, struct.pack(">BBHI", chance.choice((0, 3, 8, 11)), chance.choice((0, 1, 3)), 0, 5) + bytes(20)
    yield 58, struct.pack(">BBHI", chance.choice((1, 3, 128, 129, 133, 135, 136)), 0, 0, 5) + bytes(20)
    for protocol in (2, 9, 50, 51, 103, 112, 47, 89, 0):
        yield protocol, chance.randbytes(24)


def _networks(chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """(ether type, packet)."""
    for protocol, payload in _transports(chance):
        src, dst = chance.choice(HOSTS), chance.choice(HOSTS)
        yield 0x800, ipv4(protocol, payload, src, dst)
        yield 0x800, ipv4(protocol, payload, src, dst, options=bytes(4 * chance.randrange(1, 5)))
        yield 0x800, ipv4(protocol, payload, src, dst, fragment=chance.choice((0x2000, 0x2005, 0x0010, 0x4000)))
        src, dst = chance.choice(HOSTS6), chance.choice(HOSTS6)
        yield 0x86DD, ipv6(protocol, payload, src, dst)
        yield 0x86DD, ipv6(44, bytes((protocol, 0, 0, 1)) + bytes(4) + payload, src, dst)
        yield 0x86DD, ipv6(0, bytes((protocol, 0)) + bytes(6) + payload, src, dst)
    for kind in (0x806, 0x8035) * 3:
        yield kind, arp(chance.choice(HOSTS), chance.choice(HOSTS), chance.choice((1, 2)))
    for kind in (0x809B, 0x80F3, 0x6003, 0x6004, 0x6007, 0x6001, 0x6002, 0x8137, 0x8863, 0x88CC, 0x9000):
        yield kind, chance.randbytes(40)


def _encapsulated(chance: random.Random) -> Iterator[bytes]:
    """Frames."""

    def address() -> bytes:
        return chance.choice((MAC_A, MAC_B, BROADCAST, MULTICAST))

    for kind, packet in _networks(chance):
        dst, src = address(), chance.choice((MAC_A, MAC_B))
        yield ethernet(kind, packet, dst, src)
        tag = chance.choice((0x8100, 0x88A8, 0x9100))
        tagged = struct.pack(">HH", chance.choice((5, 100, 0x6005, 0xE064)), kind) + packet
        yield ethernet(tag, tagged, dst, src)
        yield ethernet(0x8100, struct.pack(">HH", chance.choice((5, 100, 7)), chance.choice((0x8100, 0x88A8))) + tagged)
        if kind in (0x800, 0x86DD):
            label = chance.choice((5, 100, 1000)) << 12
            bottom = struct.pack(">I", label | 0x100 | 64) + packet
            yield ethernet(0x8847, bottom, dst, src)
            yield ethernet(0x8847, struct.pack(">I", (100 << 12) | 64) + bottom, dst, src)
            ppp = 0x21 if kind == 0x800 else 0x57
            session = chance.choice((1, 5, 0x1234))
            ppp_frame = struct.pack(">BBHHH", 0x11, 0, session, len(packet) + 2, ppp) + packet
            yield ethernet(0x8864, ppp_frame, dst, src)
            yield ethernet(0x8100, struct.pack(">HH", 5, 0x8864) + ppp_frame, dst, src)
            yield ethernet(0x8100, struct.pack(">HH", 5, 0x8847) + bottom, dst, src)
    isis = b"\xfe\xfe\x03\x83" + bytes(3)
    snap = b"\xaa\xaa\x03"
    for header in (
        *(isis + bytes((kind,)) for kind in (15, 16, 17, 18, 20, 24, 26)),
        *(bytes((sap, sap, 3)) for sap in (0x42, 0xE0, 0xF0, 0x06)),
        *(b"\xfe\xfe\x03" + bytes((kind,)) for kind in (0x81, 0x82)),
        *(snap + tail for tail in (b"\x08\x00\x07\x80\x9b", b"\0\0\0\x80\xf3", b"\0\0\0\x81\x37")),
        b"\xff\xff\x00",
    ):
        body = header + chance.randbytes(40)
        yield ethernet(len(body), body, address())


def _particular() -> Iterator[bytes]:
    """What chance rarely gives: equal ports, addresses and lengths."""
    for a, b in ((80, 80), (443, 80), (80, 443), (53, 53), (22, 443)):
        for dst in HOSTS:
            yield ethernet(0x800, ipv4(6, tcp(a, b, 2), HOSTS[0], dst))
            yield ethernet(0x800, ipv4(17, udp(a, b, b"x"), dst, HOSTS[0]))
        yield ethernet(0x800, ipv4(132, sctp(a, b)))
        yield ethernet(0x86DD, ipv6(6, tcp(a, b), HOSTS6[0], HOSTS6[0]))
        label = struct.pack(">II", (100 << 12) | 64, (5 << 12) | 0x100 | 64)
        yield ethernet(0x8847, label + ipv4(6, tcp(a, b)))
    for kind in (0x806, 0x8035):
        yield ethernet(kind, arp(HOSTS[0], HOSTS[0]))
        yield ethernet(kind, arp(HOSTS[0], HOSTS[1], 2))
    yield ethernet(0x800, ipv4(112, b"\x21" + bytes(20), HOSTS[0], bytes((10, 0, 0, 255))))
    yield ethernet(0x800, ipv4(17, udp(1, 2), HOSTS[0], bytes((1, 2, 3, 4))))
    yield ethernet(0x800, ipv4(1, b"\x08\0" + bytes(20)).replace(b"\x45\0", b"\x45\x40", 1))
    yield ethernet(0x8100, b"\0\x05\0\x2b\x42\x42\x03" + bytes(40))


def _broken(frames: list[bytes], chance: random.Random) -> Iterator[bytes]:
    for frame in chance.sample(frames, min(60, len(frames))):
        changed = bytearray(frame)
        for _ in range(3):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed)
    yield from (chance.randbytes(size) for size in (60, 100, 1500))
    yield bytes(60)
    yield b"\xff" * 60


@functools.cache
def frames() -> tuple[bytes, ...]:
    """Whole Ethernet frames of every kind, the same every time."""
    chance = random.Random(20)
    whole = [frame for _ in range(2) for frame in _encapsulated(chance)]
    padded = [frame.ljust(96, b"\0") for frame in [*whole, *_particular(), *_broken(whole, chance)]]
    return tuple(padded)


@functools.cache
def truncated() -> tuple[bytes, ...]:
    """Some frames, cut at every length."""
    chance = random.Random(21)
    return tuple(frame[:size] for frame in chance.sample(frames(), 16) for size in range(len(frame)))


@functools.cache
def raw_packets() -> tuple[bytes, ...]:
    """IP packets without a link layer, and what is none."""
    chance = random.Random(22)
    return tuple(packet.ljust(90, b"\0") for _ in range(2) for _, packet in _networks(chance))


@functools.cache
def cooked() -> tuple[bytes, ...]:
    """Linux cooked captures (SLL version 1)."""
    chance = random.Random(23)
    found = []
    for _ in range(2):
        for kind, packet in _networks(chance):
            header = struct.pack(">HHH8sH", chance.choice((0, 1, 2, 4)), 1, 6, MAC_A + bytes(2), kind)
            found.append((header + packet).ljust(96, b"\0"))
    for kind, body in ((4, b"\x42\x42\x03"), (4, b"\xfe\xfe\x03\x83"), (1, b"\xff\xff"), (4, b"\xe0\xe0\x03")):
        found.append(struct.pack(">HHH8sH", 0, 1, 6, MAC_A + bytes(2), kind) + body + bytes(60))
    return tuple(found)


@functools.cache
def null_frames(order: str) -> tuple[bytes, ...]:
    """BSD loopback: the family in little-endian ("<": LINKTYPE_NULL) or network order (">": LINKTYPE_LOOP)."""
    chance = random.Random(24)
    family = {0x800: 2, 0x86DD: 10}
    return tuple(
        (struct.pack(f"{order}I", family.get(kind, 99)) + packet).ljust(90, b"\0")
        for _ in range(2)
        for kind, packet in _networks(chance)
    )


def read_pcap(path: Path) -> list[bytes]:
    """Packets of a little-endian classic pcap."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    packets, at = [], 24
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        packets.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return packets

"""Captures of any size, the same for the same seed: for benchmarks and tests."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
SIZES = (60,) * 7 + (590,) * 4 + (1514,)  # bytes of a frame in the proportions of the "simple IMIX"
DISTINCT = 20_000  # packets before the sequence repeats
TCP, UDP = 6, 17
_START_SECONDS = 1_700_000_000
_GAP_US = 10


def packets(count: int, seed: int = 1, sources: int = 1000) -> Iterator[bytes]:
    """Ethernet frames with IPv4 and TCP or UDP, right checksums of the IP header, ports people know.

    Args:
        count: how many.
        seed: the same seed gives the same packets.
        sources: how many different source addresses (10.x.y.z).
    """
    chance = random.Random(seed)
    addresses = [struct.pack(">I", 0x0A000000 + chance.randrange(1 << 24)) for _ in range(sources)]
    for _ in range(count):
        yield _packet(chance, chance.choice(addresses))


def write_capture(path: Path, size: int, seed: int = 1) -> int:
    """Write a pcap of about ``size`` bytes.

    Returns:
        The number of packets.
    """
    distinct = list(packets(DISTINCT, seed))
    written, count = len(PCAP_HEADER), 0
    with path.open("wb") as file:
        file.write(PCAP_HEADER)
        while written < size:
            block = bytearray()
            for frame in distinct:
                now = count * _GAP_US
                header = (_START_SECONDS + now // 1_000_000, now % 1_000_000, len(frame), len(frame))
                block += struct.pack("<IIII", *header) + frame
                count += 1
                if written + len(block) >= size:
                    break
            file.write(block)
            written += len(block)
    return count


def _packet(chance: random.Random, source: bytes) -> bytes:
    size = chance.choice(SIZES)
    protocol = chance.choice((TCP, TCP, UDP))
    destination = bytes((192, 0, 2, chance.randrange(256)))
    ip_length = size - 14
    header = struct.pack(">BBHHHBBH", 0x45, 0, ip_length, chance.randrange(65536), 0x4000, 64, protocol, 0)
    checksum = _checksum(header + source + destination)
    ip = header[:10] + struct.pack(">H", checksum) + source + destination
    ports = struct.pack(">HH", chance.randrange(1024, 65536), chance.choice((80, 443, 443, 53, 22)))
    if protocol == TCP:
        l4 = ports + struct.pack(">IIBBHHH", chance.randrange(1 << 32), 0, 0x50, 0x10, 65535, 0, 0)
    else:
        l4 = ports + struct.pack(">HH", ip_length - 20, 0)
    frame = b"\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00" + ip + l4
    return frame + chance.randbytes(size - len(frame))


def _checksum(data: bytes) -> int:
    """RFC 1071, for an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

"""Blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian; and packets read back from blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SECTION, INTERFACE, PACKET, STATISTICS = 0x0A0D0D0A, 1, 6, 5
_MAGIC, _VERSION, _UNKNOWN_LENGTH = 0x1A2B3C4D, (1, 0), -1
_OS, _APPLICATION = 3, 4
_NAME, _RESOLUTION, _FILTER = 2, 9, 11
_START, _END, _RECEIVED, _DROPPED, _ACCEPTED, _LOST, _DELIVERED = 2, 3, 4, 5, 6, 7, 8
_NANOSECONDS = b"\x09"
_HEADER = struct.Struct("<7I")  # of an Enhanced Packet Block: type, length, interface, time (2), captured, original
_MAX_TEXT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Counts:
    """What an Interface Statistics Block says. Times in nanoseconds since 1970.

    Attributes:
        received: packets that the program saw.
        lost: packets that did not fit into the ring.
        accepted: packets that passed.
    """

    start_ns: int
    end_ns: int
    received: int
    lost: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of an Enhanced Packet Block. ``original``: its length on the wire."""

    time_ns: int
    original: int
    data: memoryview


def section_block(application: str, system: str) -> bytes:
    """Section Header Block."""
    options = _option(_OS, system.encode()) + _option(_APPLICATION, application.encode())
    return _block(SECTION, struct.pack("<IHHq", _MAGIC, *_VERSION, _UNKNOWN_LENGTH) + _end(options))


def interface_block(link_type: int, snaplen: int, name: str, expression: str) -> bytes:
    """Interface Description Block, with nanoseconds; ``snaplen`` 0: whole packets."""
    options = _option(_RESOLUTION, _NANOSECONDS)
    if name:
        options += _option(_NAME, name.encode())
    if expression:
        options += _option(_FILTER, b"\0" + expression.encode())
    return _block(INTERFACE, struct.pack("<HHI", link_type, 0, snaplen) + _end(options))


def statistics_block(counts: Counts) -> bytes:
    """Interface Statistics Block."""
    options = b"".join(
        [
            _option(_START, _time(counts.start_ns)),
            _option(_END, _time(counts.end_ns)),
            _option(_RECEIVED, struct.pack("<Q", counts.received + counts.lost)),
            _option(_DROPPED, struct.pack("<Q", 0)),
            _option(_ACCEPTED, struct.pack("<Q", counts.accepted)),
            _option(_LOST, struct.pack("<Q", counts.lost)),
            _option(_DELIVERED, struct.pack("<Q", counts.accepted)),
        ]
    )
    return _block(STATISTICS, struct.pack("<I", 0) + _time(counts.end_ns) + _end(options))


def packets_of(blocks: memoryview) -> Iterator[Packet]:
    """The packets of Enhanced Packet Blocks, as native loops write them."""
    at = 0
    while at < len(blocks):
        _, length, _, high, low, captured, original = _HEADER.unpack_from(blocks, at)
        start = at + _HEADER.size
        yield Packet(high << 32 | low, original, blocks[start : start + captured])
        at += length


def count_blocks(blocks: memoryview) -> int:
    """How many blocks."""
    count = at = 0
    while at < len(blocks):
        at += int.from_bytes(blocks[at + 4 : at + 8], "little")
        count += 1
    return count


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    value = value[:_MAX_TEXT]
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _end(options: bytes) -> bytes:
    return options + struct.pack("<HH", 0, 0)


def _time(ns: int) -> bytes:
    return struct.pack("<II", ns >> 32 & 0xFFFFFFFF, ns & 0xFFFFFFFF)

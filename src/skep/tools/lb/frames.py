"""Packets to try a load balancer with: made from a flow in words, or read from a capture; and a capture written."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import skep
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.tools.lb.config import Address, parse_endpoint
from skep.tools.names import TCP, UDP

_PROTOCOLS = {"tcp": TCP, "udp": UDP}
_FLOW = re.compile(r"(tcp|udp)\s+(\S+)\s*>\s*(\S+)")
_MACS = bytes.fromhex("020000000002020000000001")  # to, from
_SYN = 2
_EVERYTHING = "len >= 0"
MAX_FRAME = 1 << 16


def parse_flow(text: str) -> bytes:
    """``tcp 198.51.100.7:4711 > 203.0.113.10:80``: a frame of that flow (a SYN, or a datagram with 4 bytes).

    Raises:
        UsageError: N0301.
    """
    match = _FLOW.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError(f"'{text}' is not a flow")
        (source, sport), (target, dport) = parse_endpoint(match[2]), parse_endpoint(match[3])
        if not sport or not dport:
            raise ValueError("both ends of a flow have a port")
        if source.version != target.version:
            raise ValueError("one end is IPv4, the other IPv6")
    except ValueError as error:
        what, _, advice = str(error).partition("; ")
        help = advice or "e.g. 'tcp 198.51.100.7:4711 > 203.0.113.10:80'"
        raise UsageError(Diagnostic("N0301", what, help=help)) from None
    return make_frame(_PROTOCOLS[match[1]], source, sport, target, dport)


def parse_packet(text: str) -> bytes:
    """A frame in hexadecimal digits.

    Raises:
        UsageError: N0302.
    """
    try:
        frame = bytes.fromhex(text)
    except ValueError:
        raise UsageError(Diagnostic("N0302", "the packet is not hexadecimal digits", help="e.g. 0200...")) from None
    if not 14 <= len(frame) <= MAX_FRAME:
        what = f"a packet of {len(frame)} bytes"
        raise UsageError(Diagnostic("N0302", what, help="give a whole frame, with its Ethernet header"))
    return frame


def make_frame(protocol: int, source: Address, sport: int, target: Address, dport: int) -> bytes:
    """The frame of :func:`parse_flow`, with right checksums."""
    if protocol == TCP:
        l4 = bytearray(struct.pack(">HHIIBBHHH", sport, dport, 1, 0, 0x50, _SYN, 65535, 0, 0))
    else:
        l4 = bytearray(struct.pack(">HHHH", sport, dport, 12, 0) + b"skep")
    at = 16 if protocol == TCP else 6
    pseudo = source.packed + target.packed + struct.pack(">II", len(l4), protocol)
    l4[at : at + 2] = struct.pack(">H", checksum(pseudo + l4) or 0xFFFF)
    if source.version == 6:
        header = struct.pack(">IHBB", 6 << 28, len(l4), protocol, 64) + source.packed + target.packed
        return _MACS + b"\x86\xdd" + header + l4
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(l4), 1, 0x4000, 64, protocol, 0)
    header += source.packed + target.packed
    return _MACS + b"\x08\x00" + header[:10] + struct.pack(">H", checksum(header)) + header[12:] + l4


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) & 1 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class _Collector:
    """A PacketWriter that keeps the frames of Enhanced Packet Blocks."""

    snaplen = 0

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def room(self) -> int:
        return 1 << 22

    def write(self, blocks: memoryview, link_type: int) -> None:
        at = 0
        while at < len(blocks):
            size, captured = struct.unpack_from("=I", blocks, at + 4)[0], struct.unpack_from("=I", blocks, at + 20)[0]
            self.frames.append(bytes(blocks[at + 28 : at + 28 + captured]))
            at += size


def read_frames(path: Path, count: int) -> Sequence[bytes]:
    """The first ``count`` frames of a capture.

    Raises:
        SkepError: it cannot be read.
    """
    collector = _Collector()
    with (
        skep.load(skep.compile_filter(_EVERYTHING)) as live,
        live.programs["filter"].attach(skep.hooks.Pcap(path, out=collector)) as link,
    ):
        link.run(passed=count)
    return collector.frames


def write_frames(path: Path, frames: Iterator[bytes]) -> int:
    """Write a pcap; how many frames."""
    count, now = 0, int(time.time())
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for frame in frames:
            file.write(struct.pack("<IIII", now, count % 1_000_000, len(frame), len(frame)) + frame)
            count += 1
    return count

"""Just enough of rtnetlink (uapi linux/rtnetlink.h, rtnetlink(7)) for XDP and tc before there were links."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

NETLINK_ROUTE: Final = 0
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP = 0x1, 0x4, 0x8, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_F_NESTED: Final = 0x8000
NLA_TYPE_MASK: Final = 0x3FFF
_HEADER: Final = struct.Struct("=IHHII")
_ROOM: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class Message:
    """One answer: its type and what follows the netlink header."""

    type: int
    body: bytes


class NetlinkSocket:
    """A socket to the routing tables of the network namespace in which it was opened."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def request(self, kind: int, body: bytes, flags: int = 0) -> list[Message]:
        """Send one request; its answers, without the acknowledgement.

        Raises:
            OSError: with the kernel's errno.
        """
        self._sequence += 1
        flags |= NLM_F_REQUEST | (0 if flags & NLM_F_DUMP == NLM_F_DUMP else NLM_F_ACK)
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        found: list[Message] = []
        while True:
            data = self._socket.recv(_ROOM)
            at = 0
            while at + _HEADER.size <= len(data):
                length, answer, _, sequence, _ = _HEADER.unpack_from(data, at)
                payload = data[at + _HEADER.size : at + length]
                at += max(_aligned(length), _HEADER.size)
                if sequence != self._sequence:
                    continue
                if answer == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return found
                if answer == NLMSG_DONE:
                    return found
                found.append(Message(answer, payload))

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(_aligned(length) - length)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """An attribute with a NUL-terminated text."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute with a 32-bit number."""
    return attribute(kind, struct.pack("=i" if value < 0 else "=I", value))


def attributes(data: bytes) -> Mapping[int, bytes]:
    """Attributes by type (the last of a type)."""
    return dict(_attributes(data))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & NLA_TYPE_MASK, data[at + 4 : at + length]
        at += _aligned(length)


def _aligned(size: int) -> int:
    return (size + 3) & ~3

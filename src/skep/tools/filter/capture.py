"""Of which link type a capture's packets are: an expression is compiled for one."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import IO, cast

from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError, UsageError
from skep.frontend.pcap import LINK_NAMES, LINK_NUMBERS, LinkLayer

_PCAP = {0xA1B2C3D4, 0xA1B23C4D}
_SECTION, _INTERFACE = 0x0A0D0D0A, 1
_PACKETS = {2, 3, 6}  # packet blocks, simple and enhanced
_BIG_ENDIAN, _LITTLE_ENDIAN = b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"
_MAX_BLOCKS = 10_000  # before the first packet
_MAX_BLOCK = 1 << 20


def link_layer(path: str | Path) -> LinkLayer | None:
    """The link type of a capture's first packet; None where the file does not say (it is empty, or no capture).

    What is wrong with a file is said by whoever reads its packets.

    Raises:
        UsageError: H0101: it cannot be opened.
        UnsupportedError: H0413: a link type that filters cannot be compiled for.
    """
    try:
        with open(path, "rb") as plain:
            is_gzip = plain.read(2) == b"\x1f\x8b"
        with open(path, "rb") as plain:
            number = _link_type(cast(IO[bytes], gzip.GzipFile(fileobj=plain)) if is_gzip else plain)
    except (EOFError, struct.error, gzip.BadGzipFile):
        return None
    except OSError as error:
        what = f"the capture {path} cannot be opened: {error.strerror or error}"
        raise UsageError(Diagnostic("H0101", what, help="give a pcap or pcapng file")) from error
    if number is None or number in LINK_NUMBERS:
        return None if number is None else LINK_NUMBERS[number]
    raise UnsupportedError(
        Diagnostic(
            "H0413",
            f"no filters are compiled for packets of link type {number}",
            why=(f"{path} holds such packets; skep knows {', '.join(LINK_NAMES)}",),
            help="give a classic program that was made for them: --read-ddd",
        )
    )


def _link_type(file: IO[bytes]) -> int | None:
    magic = file.read(4)
    for order in "<>":
        (number,) = struct.unpack(f"{order}I", magic)
        if number in _PCAP:
            return int(struct.unpack(f"{order}16xI", file.read(20))[0]) & 0x0FFFFFFF
    return _first_packet(file, magic) if magic == struct.pack("<I", _SECTION) else None


def _first_packet(file: IO[bytes], kind: bytes) -> int | None:
    """pcapng: interfaces are described before their packets; the first packet says which it came from."""
    order = "<"
    interfaces: list[int] = []
    for _ in range(_MAX_BLOCKS):
        length = file.read(4)
        if kind == struct.pack("<I", _SECTION):
            order = {_LITTLE_ENDIAN: "<", _BIG_ENDIAN: ">"}.get(mark := file.read(4), "")
            if not order:
                return None
            interfaces.clear()
            body, size = mark, struct.unpack(f"{order}I", length)[0] - 16
        else:
            body, size = b"", struct.unpack(f"{order}I", length)[0] - 12
        if not 0 <= size <= _MAX_BLOCK:
            return None
        body += file.read(size)
        file.read(4)  # the length again
        (number,) = struct.unpack(f"{order}I", kind)
        if number == _INTERFACE:
            interfaces.append(struct.unpack_from(f"{order}H", body)[0])
        elif number in _PACKETS:
            which = 0 if number == 3 else struct.unpack_from(f"{order}{'H' if number == 2 else 'I'}", body)[0]
            return interfaces[which] if which < len(interfaces) else None
        kind = file.read(4)
        if len(kind) < 4:
            break
    return interfaces[0] if interfaces else None

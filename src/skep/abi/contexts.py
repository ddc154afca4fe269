"""Contexts: the structure a program gets in r1, by program type, and what may be done with each field."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FieldKind(StrEnum):
    """What a load of a context field yields."""

    SCALAR = "scalar"
    PACKET = "packet"  # a 32-bit field whose load yields a pointer to the packet's first byte
    PACKET_END = "packet_end"
    PACKET_META = "packet_meta"
    SOCKET = "socket"  # a pointer to bpf_sock, or NULL
    FLOW_KEYS = "flow_keys"


@dataclass(frozen=True, slots=True)
class ContextField:
    """One field of a context, as the program sees it (offset and size in bytes)."""

    name: str
    offset: int
    size: int
    kind: FieldKind = FieldKind.SCALAR
    writable: bool = False
    narrow: bool = True  # may be read in parts (a u8 of a u32)

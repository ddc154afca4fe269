"""The numbers of the BTF file format: header, kinds, and how many words follow each kind (include/uapi/linux/btf.h)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

MAGIC: Final = 0xEB9F
VERSION: Final = 1
HEADER_SIZE: Final = 24  # magic, version, flags, hdr_len, type_off, type_len, str_off, str_len
MAX_VLEN: Final = 0xFFFF
MAX_NAME_OFFSET: Final = 0xFFFFFFFF


class Kind(IntEnum):
    """BTF_KIND_*."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Words of 4 bytes that follow the 3 words of every type: a fixed number, and a number per element (vlen).
FIXED_WORDS: Final = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
ELEMENT_WORDS: Final = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.FUNC_PROTO: 2,
    Kind.DATASEC: 3,
    Kind.ENUM64: 3,
}


def header_struct(byte_order: str) -> struct.Struct:
    """Layout of the header in one byte order."""
    return struct.Struct(("<" if byte_order == "little" else ">") + "HBBIIIII")


def magic_byte_order(data: bytes) -> str | None:
    """The byte order that the magic at the start says, or None if it is not BTF's magic."""
    for byte_order in ("little", "big"):
        if data[:2] == MAGIC.to_bytes(2, "little" if byte_order == "little" else "big"):
            return byte_order
    return None

"""Types to the bytes of a BTF section: the inverse of the reader."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from skep.btf.faults import broken
from skep.btf.layout import HEADER_SIZE, MAGIC, MAX_VLEN, VERSION, Kind, header_struct
from skep.btf.strings import StringTable
from skep.btf.types import (
    Array,
    Btf,
    BtfType,
    Const,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)

_WORD: Final = 0xFFFFFFFF
_MAX_BITFIELD: Final = 0xFF
_MAX_BITFIELD_OFFSET: Final = 0xFFFFFF


def encode_btf(btf: Btf) -> bytes:
    """The bytes of a set's own types in its byte order; parse_btf() of them, with the same base, gives equal types.

    Raises:
        BtfError: B0116 a number that the format has no room for, B0106 a name with a NUL character.
    """
    strings = StringTable(btf.base)
    words: list[int] = []
    skipped = 1 if btf.base is None else 0  # void has no record
    for position in range(skipped, len(btf.own)):
        found = btf.own[position]
        record = _record(found, strings.offset)
        if min(record) < 0 or max(record) > _WORD:
            raise _no_room(found)
        words += record
    order = "<" if btf.byte_order == "little" else ">"
    types = struct.pack(f"{order}{len(words)}I", *words)
    names = strings.section()
    header = header_struct(btf.byte_order).pack(MAGIC, VERSION, 0, HEADER_SIZE, 0, len(types), len(types), len(names))
    return header + types + names


def _no_room(found: BtfType) -> Exception:
    return broken("B0116", f"{type(found).__name__} '{found.name}' holds a number that BTF has no room for")


_Offset = Callable[[str], int]


def _record(found: BtfType, name: _Offset) -> list[int]:
    """The words of one type."""
    writer = _WRITERS.get(type(found))
    if writer is None:
        raise broken("B0116", "void can only be type 0")
    kind, flag, count, size_or_type, rest = writer(found, name)
    if count > MAX_VLEN:
        raise _no_room(found)
    return [name(found.name), int(flag) << 31 | kind << 24 | count, size_or_type, *rest]


_Parts = tuple[Kind, bool, int, int, list[int]]  # kind, kind_flag, vlen, size or type, what follows


def _int(found: Int, name: _Offset) -> _Parts:
    if found.bits > 0xFF or found.bit_offset > 0xFF:
        raise _no_room(found)
    encoding = found.signed | found.char << 1 | found.boolean << 2
    return Kind.INT, False, 0, found.size, [encoding << 24 | found.bit_offset << 16 | found.bits]


def _composite(found: Struct | Union, name: _Offset) -> _Parts:
    flag = any(member.bitfield_size for member in found.members)
    rest: list[int] = []
    for member in found.members:
        if flag and (member.bitfield_size > _MAX_BITFIELD or member.bit_offset > _MAX_BITFIELD_OFFSET):
            raise _no_room(found)
        rest += [name(member.name), member.type, member.bitfield_size << 24 | member.bit_offset]
    kind = Kind.STRUCT if isinstance(found, Struct) else Kind.UNION
    return kind, flag, len(found.members), found.size, rest


def _enum(found: Enum, name: _Offset) -> _Parts:
    rest: list[int] = []
    low = -(1 << 31) if found.signed else 0
    for label, value in found.values:
        if not low <= value <= low + _WORD:
            raise _no_room(found)
        rest += [name(label), value & _WORD]
    return Kind.ENUM, found.signed, len(found.values), found.size, rest


def _enum64(found: Enum64, name: _Offset) -> _Parts:
    rest: list[int] = []
    low = -(1 << 63) if found.signed else 0
    for label, value in found.values:
        if not low <= value < low + (1 << 64):
            raise _no_room(found)
        rest += [name(label), value & _WORD, value >> 32 & _WORD]
    return Kind.ENUM64, found.signed, len(found.values), found.size, rest


def _proto(found: FuncProto, name: _Offset) -> _Parts:
    rest = [word for param in found.params for word in (name(param.name), param.type)]
    return Kind.FUNC_PROTO, False, len(found.params), found.ret, rest


def _datasec(found: Datasec, name: _Offset) -> _Parts:
    rest = [word for entry in found.entries for word in (entry.type, entry.offset, entry.size)]
    return Kind.DATASEC, False, len(found.entries), found.size, rest


def _decl_tag(found: DeclTag, name: _Offset) -> _Parts:
    return Kind.DECL_TAG, found.attribute, 0, found.type, [found.component & _WORD]


def _reference(kind: Kind) -> Callable[[Any, _Offset], _Parts]:
    return lambda found, name: (kind, False, 0, found.type, [])


_WRITERS: Final[dict[type, Callable[[Any, _Offset], _Parts]]] = {
    Int: _int,
    Ptr: _reference(Kind.PTR),
    Array: lambda found, name: (Kind.ARRAY, False, 0, 0, [found.type, found.index_type, found.nelems]),
    Struct: _composite,
    Union: _composite,
    Enum: _enum,
    Fwd: lambda found, name: (Kind.FWD, found.is_union, 0, 0, []),
    Typedef: _reference(Kind.TYPEDEF),
    Volatile: _reference(Kind.VOLATILE),
    Const: _reference(Kind.CONST),
    Restrict: _reference(Kind.RESTRICT),
    Func: lambda found, name: (Kind.FUNC, False, found.linkage, found.type, []),
    FuncProto: _proto,
    Var: lambda found, name: (Kind.VAR, False, 0, found.type, [found.linkage]),
    Datasec: _datasec,
    Float: lambda found, name: (Kind.FLOAT, False, 0, found.size, []),
    DeclTag: _decl_tag,
    TypeTag: lambda found, name: (Kind.TYPE_TAG, found.attribute, 0, found.type, []),
    Enum64: _enum64,
}

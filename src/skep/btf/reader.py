"""Bytes of a ``.BTF`` section (or /sys/kernel/btf/*) to types.

Every record is checked at once (:mod:`skep.btf.structure`): its room, its names, the ids it refers to, and that no type
holds itself. Type objects are made when they are asked for: the kernel's BTF has more than 100,000 types and most
readers want a dozen of them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import overload

from skep.btf.faults import broken
from skep.btf.layout import HEADER_SIZE, VERSION, Kind, header_struct, magic_byte_order
from skep.btf.strings import read_name, string_section, total_size
from skep.btf.structure import Records, check, scan
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
    Member,
    Param,
    Ptr,
    Restrict,
    SectionVar,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Void,
    Volatile,
)


def parse_btf(data: bytes, base: Btf | None = None) -> Btf:
    """Types from the bytes of a BTF section, in either byte order (the magic says which).

    Args:
        data: header, types and strings.
        base: what split BTF (a kernel module's) continues.

    Raises:
        BtfError: B0101 header, B0102 strings, B0103 types cut off, B0104 unknown kind, B0105 id outside, B0106 name
            outside, B0107 a type that holds itself, B0108 nested too deep, B0110 an id of the wrong kind.
    """
    data = bytes(data)
    byte_order, types, strings = _split_sections(data)
    first_id = len(base) if base is not None else 1
    if not strings.endswith(b"\0") and (strings or base is None):
        raise broken("B0102", "the string section of the BTF does not end with a NUL byte")
    if base is None and strings[:1] != b"\0":
        raise broken("B0102", "the string section of the BTF does not start with the empty name")
    if base is not None and base.byte_order != byte_order:
        raise broken("B0101", f"split BTF is {byte_order}-endian, its base is {base.byte_order}-endian")
    words = array("I", types)
    if byte_order != sys.byteorder:
        words.byteswap()
    base_strings = total_size(base) if base is not None else 0
    records = scan(words, first_id, base_strings + len(strings))
    check(records, base)
    own = LazyTypes(records, strings, base_strings, base)
    return Btf(own=own, base=base, byte_order=byte_order, strings=strings)


def _split_sections(data: bytes) -> tuple[str, bytes, bytes]:
    """Byte order, type section and string section, after the rules of libbpf's btf_parse_hdr."""
    byte_order = magic_byte_order(data)
    if byte_order is None:
        raise broken("B0101", "this is not BTF: it does not start with the magic 0xeb9f")
    if len(data) < HEADER_SIZE:
        raise broken("B0101", f"the BTF header is cut off: {len(data)} bytes, {HEADER_SIZE} are needed")
    _, version, _, header_size, type_offset, type_size, string_offset, string_size = header_struct(
        byte_order
    ).unpack_from(data)
    if version != VERSION:
        raise broken("B0101", f"BTF version {version} is not known (only version {VERSION} is)")
    body = len(data) - header_size
    if header_size < HEADER_SIZE or body < 0:
        raise broken("B0101", f"the BTF header says that it is {header_size} bytes long; the data has {len(data)}")
    if type_offset % 4 or type_size % 4:
        raise broken("B0101", "the type section of the BTF is not aligned to 4 bytes")
    if type_offset + type_size > body or string_offset + string_size > body:
        raise broken(
            "B0101",
            "the sections of the BTF lie outside its data",
            f"types: {type_size} bytes at {type_offset}; strings: {string_size} bytes at {string_offset}; "
            f"there are {body} bytes",
        )
    types = data[header_size + type_offset :][:type_size]
    return byte_order, types, data[header_size + string_offset :][:string_size]


class LazyTypes(Sequence[BtfType]):
    """The types of one section, each made at the first use."""

    def __init__(self, records: Records, strings: bytes, strings_start: int, base: Btf | None) -> None:
        self._words = records.words
        self._starts = records.starts
        self._strings = strings
        self._strings_start = strings_start
        self._base = base
        self._made: list[BtfType | None] = [None] * len(records.starts)
        if base is None:
            self._made[0] = Void()
        self._names: dict[int, str] = {0: ""}

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, index: int) -> BtfType: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BtfType]: ...
    def __getitem__(self, index: int | slice) -> BtfType | Sequence[BtfType]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        made = self._made[index]
        if made is None:
            made = self._made[index] = self._make(self._starts[index])
        return made

    def positions_by_name(self) -> Mapping[str, list[int]]:
        """Positions by name, lowest first, without making the types."""
        by_offset: dict[int, list[int]] = {}
        words = self._words
        for position, start in enumerate(self._starts):
            if start >= 0 and words[start]:
                by_offset.setdefault(words[start], []).append(position)
        table: dict[str, list[int]] = {}
        for offset, positions in by_offset.items():
            name = self.name(offset)
            if name in table:  # the same text stands in two places
                table[name] = sorted(table[name] + positions)
            elif name:
                table[name] = positions
        return table

    def name(self, offset: int) -> str:
        """The name at an offset of the whole string section, the base's included."""
        known = self._names.get(offset)
        if known is None:
            known = self._names[offset] = self._find_name(offset)
        return known

    def _find_name(self, offset: int) -> str:
        if offset >= self._strings_start:
            return read_name(self._strings, offset - self._strings_start)
        base = self._base
        while base is not None:
            start = total_size(base.base) if base.base is not None else 0
            if offset >= start:
                return read_name(string_section(base), offset - start)
            base = base.base
        return ""

    def _make(self, start: int) -> BtfType:
        name_offset, info, size_or_type = self._words[start : start + 3]
        kind = (info >> 24) & 0x1F
        return _MAKERS[Kind(kind)](self, self.name(name_offset), info, size_or_type, start + 3)

    def _signed(self, word: int) -> int:
        return word - (1 << 32) if word >= 1 << 31 else word

    def _int(self, name: str, info: int, size: int, at: int) -> BtfType:
        data = self._words[at]
        encoding = data >> 24
        return Int(
            name, size, data & 0xFF, bool(encoding & 1), bool(encoding & 2), bool(encoding & 4), (data >> 16) & 0xFF
        )

    def _array(self, name: str, info: int, size: int, at: int) -> BtfType:
        element, index_type, nelems = self._words[at : at + 3]
        return Array(element, index_type, nelems, name)

    def _members(self, info: int, at: int) -> tuple[Member, ...]:
        """With kind_flag the offset's upper 8 bits are the bitfield's size."""
        words = self._words[at : at + 3 * (info & 0xFFFF)]
        name = self.name
        if info >> 31:
            return tuple(
                Member(name(words[i]), words[i + 1], words[i + 2] & 0xFFFFFF, words[i + 2] >> 24)
                for i in range(0, len(words), 3)
            )
        return tuple(Member(name(words[i]), words[i + 1], words[i + 2]) for i in range(0, len(words), 3))

    def _struct(self, name: str, info: int, size: int, at: int) -> BtfType:
        return Struct(name, size, self._members(info, at))

    def _union(self, name: str, info: int, size: int, at: int) -> BtfType:
        return Union(name, size, self._members(info, at))

    def _enum(self, name: str, info: int, size: int, at: int) -> BtfType:
        signed = bool(info >> 31)
        words = self._words[at : at + 2 * (info & 0xFFFF)]
        values = tuple(
            (self.name(words[i]), self._signed(words[i + 1]) if signed else words[i + 1])
            for i in range(0, len(words), 2)
        )
        return Enum(name, size, signed, values)

    def _enum64(self, name: str, info: int, size: int, at: int) -> BtfType:
        signed = bool(info >> 31)
        words = self._words[at : at + 3 * (info & 0xFFFF)]
        values = tuple(
            (self.name(words[i]), words[i + 1] | (self._signed(words[i + 2]) if signed else words[i + 2]) << 32)
            for i in range(0, len(words), 3)
        )
        return Enum64(name, size, signed, values)

    def _func_proto(self, name: str, info: int, ret: int, at: int) -> BtfType:
        words = self._words[at : at + 2 * (info & 0xFFFF)]
        params = tuple(Param(self.name(words[i]), words[i + 1]) for i in range(0, len(words), 2))
        return FuncProto(ret, params, name)

    def _datasec(self, name: str, info: int, size: int, at: int) -> BtfType:
        words = self._words[at : at + 3 * (info & 0xFFFF)]
        return Datasec(name, size, tuple(SectionVar(*words[i : i + 3]) for i in range(0, len(words), 3)))

    def _func(self, name: str, info: int, proto: int, at: int) -> BtfType:
        return Func(name, proto, info & 0xFFFF)

    def _var(self, name: str, info: int, type_id: int, at: int) -> BtfType:
        return Var(name, type_id, self._words[at])

    def _decl_tag(self, name: str, info: int, type_id: int, at: int) -> BtfType:
        return DeclTag(name, type_id, self._signed(self._words[at]), bool(info >> 31))


_Maker = Callable[[LazyTypes, str, int, int, int], BtfType]

_MAKERS: dict[Kind, _Maker] = {
    Kind.INT: LazyTypes._int,
    Kind.PTR: lambda types, name, info, ref, at: Ptr(ref, name),
    Kind.ARRAY: LazyTypes._array,
    Kind.STRUCT: LazyTypes._struct,
    Kind.UNION: LazyTypes._union,
    Kind.ENUM: LazyTypes._enum,
    Kind.FWD: lambda types, name, info, ref, at: Fwd(name, bool(info >> 31)),
    Kind.TYPEDEF: lambda types, name, info, ref, at: Typedef(name, ref),
    Kind.VOLATILE: lambda types, name, info, ref, at: Volatile(ref, name),
    Kind.CONST: lambda types, name, info, ref, at: Const(ref, name),
    Kind.RESTRICT: lambda types, name, info, ref, at: Restrict(ref, name),
    Kind.FUNC: LazyTypes._func,
    Kind.FUNC_PROTO: LazyTypes._func_proto,
    Kind.VAR: LazyTypes._var,
    Kind.DATASEC: LazyTypes._datasec,
    Kind.FLOAT: lambda types, name, info, ref, at: Float(name, ref),
    Kind.DECL_TAG: LazyTypes._decl_tag,
    Kind.TYPE_TAG: lambda types, name, info, ref, at: TypeTag(name, ref, bool(info >> 31)),
    Kind.ENUM64: LazyTypes._enum64,
}

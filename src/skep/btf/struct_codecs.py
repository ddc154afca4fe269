"""Codecs of structs, unions and data sections."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skep.btf.codecs import ArrayCodec, Codec, ValueFault, wrong_kind
from skep.btf.python_values import Shape, StructValue, UnionValue
from skep.diagnostics import Diagnostic
from skep.errors import UsageError


@dataclass(frozen=True, slots=True)
class Field:
    """A member: ``offset`` in bytes from the struct's start. ``name`` is empty for an anonymous struct or union."""

    name: str
    offset: int
    codec: Codec


def names_of(fields: tuple[Field, ...]) -> tuple[str, ...]:
    """Names as C sees them: those of anonymous members stand in their place."""
    names: list[str] = []
    for each in fields:
        if each.name:
            names.append(each.name)
        elif isinstance(each.codec, StructCodec | UnionCodec):
            names += each.codec.shape.names
    return tuple(names)


def _mask(size: int, fields: tuple[Field, ...]) -> bytes:
    mask = bytearray(size)
    for each in fields:
        place = slice(each.offset, each.offset + each.codec.size)
        mask[place] = bytes(a | b for a, b in zip(mask[place], each.codec.mask(), strict=True))
    return bytes(mask)


def _member_of(title: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong_kind(title, "a mapping of its members", value)
    return value


class StructCodec(Codec):
    """A struct. One whose members are all plain numbers is packed at once.

    ``tail``: a flexible array at the end; decode() then takes longer data, and encode() gives it.
    """

    def __init__(self, title: str, size: int, fields: tuple[Field, ...], byte_order: str) -> None:
        self.title = title
        self.size = size
        self.fields = fields
        self.shape = Shape(title, names_of(fields))
        self.weight = 1 + sum(each.codec.weight for each in fields)
        self._struct = self._flat(byte_order)
        last = fields[-1].codec if fields else None
        self.tail = last if isinstance(last, ArrayCodec) and not last.count and last.element.size else None

    def _flat(self, byte_order: str) -> struct.Struct | None:
        """One struct.Struct for all members, where they are in order, named and plain; ``x`` for padding."""
        parts, at = ["<" if byte_order == "little" else ">"], 0
        for each in self.fields:
            if each.codec.format is None or each.offset < at or not each.name:
                return None
            parts.append(f"{each.offset - at}x{each.codec.format}")
            at = each.offset + each.codec.size
        return struct.Struct("".join(parts) + f"{self.size - at}x")

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        if self._struct is not None:
            return StructValue(self.shape, self._struct.unpack_from(data, offset))
        values: list[Any] = []
        for each in self.fields:
            value = each.codec.read(data, offset + each.offset)
            if each.name:
                values.append(value)
            else:
                values += [value[name] for name in value]
        return StructValue(self.shape, tuple(values))

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        members = _member_of(self.title, value)
        names = self.shape.index
        if len(members) != len(names) or any(name not in names for name in members):
            for name in members:
                if name not in names:
                    known = ", ".join(list(names)[:12])
                    raise ValueFault("B0204", f"{self.title} has no member {name!r}; it has {known or 'none'}")
        if self._struct is not None:
            try:
                self._struct.pack_into(buffer, offset, *[members[name] for name in self.shape.names])
            except (struct.error, KeyError, TypeError, OverflowError):
                pass  # member by member, to say which one does not fit
            else:
                return
        for each in self.fields:
            if each.name:
                if each.name not in members:
                    raise ValueFault("B0203", f"{self.title} needs a value for '{each.name}'")
                self._put(each, buffer, offset, members[each.name])
            elif isinstance(each.codec, StructCodec | UnionCodec):
                inner = {name: members[name] for name in each.codec.shape.names if name in members}
                each.codec.put(buffer, offset + each.offset, inner)

    def _put(self, each: Field, buffer: bytearray, offset: int, value: Any) -> None:
        try:
            each.codec.put(buffer, offset + each.offset, value)
        except ValueFault as fault:
            raise fault.at(f".{each.name}") from None

    def mask(self) -> bytes:
        return _mask(self.size, self.fields)

    def decode(self, data: bytes | bytearray | memoryview) -> Any:
        """As Codec.decode; behind ``size`` bytes there may be elements of a flexible array."""
        if self.tail is None or len(data) <= self.size:
            return super().decode(data)
        last = self.fields[-1]
        count, rest = divmod(len(data) - last.offset, self.tail.element.size)
        if rest and len(data) - last.offset - rest < self.size - last.offset:
            raise UsageError(Diagnostic("B0205", f"{self.title} has {self.size} bytes, not {len(data)}"))
        value = self.read(data, 0)
        step = self.tail.element.size
        elements = [self.tail.element.read(data, last.offset + index * step) for index in range(count)]
        return StructValue(self.shape, (*tuple(value.values())[:-1], type(value[last.name])(elements)))

    def encode(self, value: Any) -> bytes:
        """As Codec.encode; longer when the flexible array at the end has elements."""
        elements = value.get(self.fields[-1].name) if self.tail is not None and isinstance(value, Mapping) else None
        if not elements or self.tail is None:
            return super().encode(value)
        last = self.fields[-1]
        buffer = bytearray(max(self.size, last.offset + len(elements) * self.tail.element.size))
        try:
            self.put(buffer, 0, {**value, last.name: ()})
            for index, each in enumerate(elements):
                try:
                    self.tail.element.put(buffer, last.offset + index * self.tail.element.size, each)
                except ValueFault as fault:
                    raise fault.at(f".{last.name}[{index}]") from None
        except ValueFault as fault:
            raise self._usage_error(fault) from None
        return bytes(buffer)


class UnionCodec(Codec):
    """A union: encoded from one member, or from several that agree."""

    def __init__(self, title: str, size: int, fields: tuple[Field, ...]) -> None:
        self.title = title
        self.size = size
        self.fields = fields
        self.shape = Shape(title, names_of(fields))
        self.weight = 1 + sum(each.codec.weight for each in fields)

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        return UnionValue(self.shape, bytes(data[offset : offset + self.size]), self._read_member)

    def _read_member(self, name: str, raw: bytes) -> Any:
        for each in self.fields:
            if each.name == name:
                return each.codec.read(raw, each.offset)
            if isinstance(each.codec, StructCodec | UnionCodec) and not each.name and name in each.codec.shape.index:
                return each.codec.read(raw, each.offset)[name]
        raise KeyError(name)

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        if isinstance(value, UnionValue) and len(value.raw) == self.size:
            buffer[offset : offset + self.size] = value.raw
            return
        members = _member_of(self.title, value)
        for name in members:
            if name not in self.shape.index:
                raise ValueFault("B0204", f"{self.title} has no member {name!r}; it has {', '.join(self.shape.names)}")
        whole, known = 0, 0
        written: list[str] = []
        for each in self.fields:
            found = self._encode_member(each, members)
            if found is None:
                continue
            bits, mask = found
            if (whole ^ bits) & known & mask:
                raise ValueFault("B0207", f"'{each.name or 'a member'}' and '{written[-1]}' of {self.title} disagree")
            whole |= bits & mask
            known |= mask
            written.append(each.name or "a member")
        if not written and self.fields:
            raise ValueFault("B0203", f"{self.title} needs a value for one of {', '.join(self.shape.names)}")
        buffer[offset : offset + self.size] = whole.to_bytes(self.size, "little")

    def _encode_member(self, each: Field, members: Mapping[str, Any]) -> tuple[int, int] | None:
        """The member's bytes and its mask in the union, as little-endian numbers; None when it is not given."""
        value: Any
        if each.name:
            if each.name not in members:
                return None
            value = members[each.name]
        else:
            assert isinstance(each.codec, StructCodec | UnionCodec)
            value = {name: members[name] for name in each.codec.shape.names if name in members}
            if not value:
                return None
        scratch = bytearray(self.size)
        try:
            each.codec.put(scratch, each.offset, value)
        except ValueFault as fault:
            raise fault.at(f".{each.name}" if each.name else "") from None
        return int.from_bytes(scratch, "little"), int.from_bytes(_mask(self.size, (each,)), "little")

    def mask(self) -> bytes:
        return _mask(self.size, self.fields)

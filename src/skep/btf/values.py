"""Python value <-> bytes, by type. What values look like in Python: :mod:`skep.btf.python_values`."""

from __future__ import annotations

from typing import Final

from skep.btf.c_names import c_name
from skep.btf.catalog import MAX_SIZE, POINTER_SIZE, describe, get_type, size_of
from skep.btf.codecs import (
    ArrayCodec,
    BitfieldCodec,
    BoolCodec,
    ByteArrayCodec,
    CharArrayCodec,
    Codec,
    EnumCodec,
    FloatCodec,
    IntCodec,
)
from skep.btf.faults import broken
from skep.btf.python_values import to_json
from skep.btf.struct_codecs import Field, StructCodec, UnionCodec
from skep.btf.types import Array, Btf, Datasec, Enum, Enum64, Float, Int, Ptr, Struct, Union, Var
from skep.errors import BtfError

__all__ = ["Codec", "codec", "to_json"]

_MAX_VALUE_SIZE: Final = 1 << 30  # bytes; the kernel's map values are smaller
_FREE_WEIGHT: Final = 1 << 16  # values without bytes (empty structs) that a type may hold
_WIDEST_INT: Final = 16  # bytes


def codec(btf: Btf, type_id: int) -> Codec:
    """The codec of a type, compiled once per type and kept by ``btf``. Byte order is ``btf.byte_order``.

    Raises:
        BtfError: B0109 a type without values (void, a function, a forward declaration) or one beyond 1 GiB, B0114
            members that lie outside their struct, B0115 two members of one name.
    """
    return _Compiler(btf).compile(type_id)


class _Compiler:
    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._order = btf.byte_order
        self._open: set[int] = set()

    def compile(self, type_id: int) -> Codec:
        known = self._btf._codecs.get(type_id)
        if isinstance(known, Codec):
            return known
        get_type(self._btf, type_id)
        if type_id in self._open:
            raise broken("B0107", f"BTF type {type_id} holds itself")
        self._open.add(type_id)
        made = self._make(type_id)
        if made.size > _MAX_VALUE_SIZE or made.weight > _FREE_WEIGHT + 8 * made.size:
            raise broken("B0109", f"{describe(self._btf, type_id)} is too big for values: {made.size} bytes")
        self._open.discard(type_id)
        self._btf._codecs[type_id] = made
        return made

    def _make(self, type_id: int) -> Codec:
        btf, order = self._btf, self._order
        bare = btf.strip(type_id)
        found = btf[bare]
        title = self._title(type_id)
        if isinstance(found, Int):
            return self._int(title, found)
        if isinstance(found, Ptr):
            return IntCodec(title, POINTER_SIZE, False, order)
        if isinstance(found, Enum | Enum64):
            self._check_width(title, found.size)
            return EnumCodec(title, IntCodec(title, found.size, found.signed, order), found.values)
        if isinstance(found, Float):
            self._check_width(title, found.size)
            return FloatCodec(title, found.size, order)
        if isinstance(found, Array):
            return self._array(title, found)
        if isinstance(found, Struct):
            return StructCodec(title, found.size, self._fields(found, title), order)
        if isinstance(found, Union):
            return UnionCodec(title, found.size, self._fields(found, title))
        if isinstance(found, Var):
            return self.compile(found.type)
        if isinstance(found, Datasec):
            return StructCodec(title, found.size, self._variables(found), order)
        raise broken(
            "B0109", f"{title} has no values", "only numbers, pointers, enums, arrays, structs and unions have"
        )

    def _title(self, type_id: int) -> str:
        try:
            return c_name(self._btf, type_id)
        except BtfError:
            return f"BTF type {type_id}"

    def _check_width(self, title: str, size: int) -> None:
        if not 0 < size <= _WIDEST_INT:
            raise broken("B0109", f"{title} has {size} bytes; numbers have 1 to {_WIDEST_INT}")

    def _int(self, title: str, found: Int) -> Codec:
        self._check_width(title, found.size)
        whole = IntCodec(title, found.size, found.signed, self._order)
        return BoolCodec(title, whole) if found.boolean else whole

    def _array(self, title: str, found: Array) -> Codec:
        element = self.compile(found.type)
        if element.size * found.nelems > MAX_SIZE or found.nelems > _MAX_VALUE_SIZE:
            raise broken("B0109", f"{title} is too big for values")
        bare = self._btf[self._btf.strip(found.type)]
        if isinstance(bare, Int) and bare.size == 1 and found.nelems and not bare.boolean:
            if bare.name == "char" or bare.char:
                return CharArrayCodec(title, found.nelems)
            if not bare.signed:
                return ByteArrayCodec(title, found.nelems)
        return ArrayCodec(title, element, found.nelems, self._order)

    def _fields(self, found: Struct | Union, title: str) -> tuple[Field, ...]:
        fields: list[Field] = []
        seen: set[str] = set()
        for member in found.members:
            bits, start = member.bitfield_size, member.bit_offset
            bare = self._btf[self._btf.strip(member.type)]
            if not bits and isinstance(bare, Int) and (bare.bits != bare.size * 8 or start % 8):
                bits, start = bare.bits, start + bare.bit_offset  # bitfields as they were written before kind_flag
            if not member.name and not isinstance(bare, Struct | Union):
                continue  # an unnamed bitfield is padding
            if bits:
                field = Field(member.name, start // 8, self._bitfield(member.type, start % 8, bits))
            else:
                if start % 8:
                    raise broken("B0114", f"member '{member.name}' of {title} starts within a byte")
                field = Field(member.name, start // 8, self.compile(member.type))
            if field.offset + field.codec.size > found.size:
                raise broken("B0114", f"member '{member.name}' of {title} lies outside of it")
            names = (field.name,) if field.name else field.codec.shape.names  # type: ignore[attr-defined]
            twice = next((name for name in names if name in seen), None)
            if twice is not None:
                raise broken("B0115", f"{title} has two members '{twice}'")
            seen.update(names)
            fields.append(field)
        return tuple(fields)

    def _bitfield(self, type_id: int, start: int, bits: int) -> Codec:
        found = self._btf[self._btf.strip(type_id)]
        title = self._title(type_id)
        if not isinstance(found, Int | Enum | Enum64) or bits > 8 * _WIDEST_INT:
            raise broken("B0114", f"a bitfield of {bits} bits cannot be {title}")
        plain = BitfieldCodec(title, start, bits, found.signed, self._order)
        if isinstance(found, Int):
            return BoolCodec(plain.title, plain) if found.boolean else plain
        return EnumCodec(plain.title, plain, found.values)

    def _variables(self, found: Datasec) -> tuple[Field, ...]:
        """Static variables of two functions may share a name: later ones get ``___2`` and so on."""
        fields: dict[str, Field] = {}
        for entry in found.entries:
            variable = get_type(self._btf, entry.type)
            if not isinstance(variable, Var) or not variable.name:
                continue
            if entry.offset + max(entry.size, size_of(self._btf, variable.type)) > found.size:
                raise broken("B0114", f"variable '{variable.name}' lies outside of {found.name}")
            name, number = variable.name, 1
            while name in fields:
                number += 1
                name = f"{variable.name}___{number}"
            fields[name] = Field(name, entry.offset, self.compile(variable.type))
        return tuple(fields.values())

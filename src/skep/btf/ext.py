"""``.BTF.ext``: where functions start, which source line an instruction comes from, and CO-RE relocations.

All three tables have one shape: record size, then per ELF section its name, a count, and records that start with the
byte offset of the instruction in that section. Records may be longer than what we know of them (libbpf's rule).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from skep.btf.core_kinds import CoreKind, CoreRelocation
from skep.btf.faults import broken
from skep.btf.layout import VERSION, magic_byte_order
from skep.btf.strings import name_at
from skep.btf.types import Btf, Func
from skep.diagnostics import Span

_HEADER_SIZES: Final = (24, 32)  # without and with CO-RE relocations
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class BtfExt:
    """By ELF section name, in file order: (byte offset of the instruction in the section, what is known there)."""

    functions: Mapping[str, list[tuple[int, int]]] = field(default_factory=dict)
    lines: Mapping[str, list[tuple[int, Span]]] = field(default_factory=dict)
    core: Mapping[str, list[tuple[int, CoreRelocation]]] = field(default_factory=dict)


def parse_btf_ext(data: bytes, btf: Btf) -> BtfExt:
    """The tables of a ``.BTF.ext`` section whose names and types are in ``btf``.

    Raises:
        BtfError: B0111 a broken header or table; B0105, B0106 an id or name outside; B0110 a function's id that is
            not a function; B0112 an unknown kind of CO-RE relocation.
    """
    data = bytes(data)
    byte_order = magic_byte_order(data)
    if byte_order is None:
        raise broken("B0111", "this is not .BTF.ext: it does not start with the magic 0xeb9f")
    order = "<" if byte_order == "little" else ">"
    if len(data) < _HEADER_SIZES[0]:
        raise broken("B0111", f"the header of .BTF.ext is cut off: {len(data)} bytes")
    _, version, _, header_size = struct.unpack_from(order + "HBBI", data)
    if version != VERSION:
        raise broken("B0111", f".BTF.ext version {version} is not known (only version {VERSION} is)")
    if not _HEADER_SIZES[0] <= header_size <= len(data):
        raise broken("B0111", f"the header of .BTF.ext says {header_size} bytes; the data has {len(data)}")
    has_core = header_size >= _HEADER_SIZES[1]
    places = struct.unpack_from(order + ("6I" if has_core else "4I"), data, 8)
    body = data[header_size:]
    reader = _Tables(body, order, btf)
    return BtfExt(
        functions=reader.table("func_info", places[0:2], 8, reader.function),
        lines=reader.table("line_info", places[2:4], 16, reader.line),
        core=reader.table("core_relo", places[4:6], 16, reader.relocation) if has_core else {},
    )


class _Tables:
    """Reads the three tables. A record's words after the instruction offset go to one of the three makers."""

    def __init__(self, body: bytes, order: str, btf: Btf) -> None:
        self._body = body
        self._order = order
        self._btf = btf
        self._names: dict[int, str] = {}

    def table(
        self, what: str, place: tuple[int, ...], least: int, make: Callable[..., _T]
    ) -> dict[str, list[tuple[int, _T]]]:
        """One table at (start, size); ``least`` is the record size that we know. All in bytes."""
        start, size = place
        if not size:
            return {}
        if start % 4 or start + size > len(self._body) or size < 4:
            raise broken("B0111", f"{what} of .BTF.ext lies outside its data: {size} bytes at {start}")
        words = struct.Struct(self._order + "I")
        record = struct.Struct(f"{self._order}{least // 4}I")
        (record_size,) = words.unpack_from(self._body, start)
        if record_size < least or record_size % 4:
            raise broken("B0111", f"{what} of .BTF.ext has records of {record_size} bytes; at least {least} are needed")
        sections: dict[str, list[tuple[int, _T]]] = {}
        at, end = start + 4, start + size
        while at < end:
            if at + 8 > end:
                raise broken("B0111", f"{what} of .BTF.ext is cut off")
            name_offset, count = struct.unpack_from(self._order + "2I", self._body, at)
            at += 8
            if count == 0 or at + count * record_size > end:
                raise broken("B0111", f"{what} of .BTF.ext says that a section has {count} records")
            entries = sections.setdefault(self._name(name_offset), [])
            for record_at in range(at, at + count * record_size, record_size):
                offset, *rest = record.unpack_from(self._body, record_at)
                entries.append((offset, make(*rest)))
            at += count * record_size
        return sections

    def function(self, type_id: int) -> int:
        """struct bpf_func_info."""
        if not isinstance(self._type(type_id), Func):
            raise broken("B0110", f"func_info names BTF type {type_id}, which is not a function")
        return type_id

    def line(self, file: int, text: int, line_and_column: int) -> Span:
        """struct bpf_line_info: the line in the upper 22 bits, the column in the lower 10."""
        shown = self._name(text).rstrip("\n")
        return Span(self._name(file), line_and_column >> 10, line_and_column & 0x3FF, text=shown or None)

    def relocation(self, type_id: int, access: int, kind: int) -> CoreRelocation:
        """struct bpf_core_relo."""
        self._type(type_id)
        if kind > max(CoreKind):
            raise broken("B0112", f"CO-RE relocations of kind {kind} are not known")
        return CoreRelocation(CoreKind(kind), type_id, self._name(access))

    def _type(self, type_id: int) -> object:
        if type_id >= len(self._btf):
            raise broken("B0105", f".BTF.ext refers to BTF type {type_id}; there are only {len(self._btf)}")
        return self._btf[type_id]

    def _name(self, offset: int) -> str:
        known = self._names.get(offset)
        if known is None:
            known = self._names[offset] = name_at(self._btf, offset)
        return known

"""BTF's string section: names by byte offset; split BTF continues its base's offsets (Documentation/bpf/btf.rst)."""

from __future__ import annotations

from collections.abc import Iterator

from skep.btf.faults import broken
from skep.btf.types import Btf, BtfType, Enum, Enum64, FuncProto, Struct, Union


def names_of(btf_type: BtfType) -> Iterator[str]:
    """Every name that one type brings, its own first; empty ones included."""
    yield btf_type.name
    if isinstance(btf_type, Struct | Union):
        yield from (member.name for member in btf_type.members)
    elif isinstance(btf_type, FuncProto):
        yield from (param.name for param in btf_type.params)
    elif isinstance(btf_type, Enum | Enum64):
        yield from (name for name, _ in btf_type.values)


def encode_name(name: str) -> bytes:
    """A name as bytes with its NUL; BtfError for one that cannot be written."""
    if "\0" in name:
        raise broken("B0106", f"the name {name!r} holds a NUL character")
    return name.encode("utf-8", "backslashreplace") + b"\0"


class StringTable:
    """Gives every name an offset. It starts with the base's names, if there is a base."""

    def __init__(self, base: Btf | None) -> None:
        self.start = total_size(base) if base is not None else 0
        self._offsets: dict[bytes, int] = {b"\0": 0}
        section = base
        while section is not None:
            start = total_size(section.base) if section.base is not None else 0
            self._learn(string_section(section), start)
            section = section.base
        self._parts: list[bytes] = [] if base is not None else [b"\0"]
        self._size = sum(map(len, self._parts))

    def _learn(self, strings: bytes, start: int) -> None:
        offset = 0
        for text in strings.split(b"\0")[:-1]:
            self._offsets.setdefault(text + b"\0", start + offset)
            offset += len(text) + 1

    def offset(self, name: str) -> int:
        """The offset of a name, which is added when it is new."""
        text = encode_name(name)
        known = self._offsets.get(text)
        if known is None:
            known = self._offsets[text] = self.start + self._size
            self._parts.append(text)
            self._size += len(text)
        return known

    def section(self) -> bytes:
        """The bytes of this table, without the base's."""
        return b"".join(self._parts)


def string_section(btf: Btf) -> bytes:
    """The section that a set was read from; for a set made by hand the one that the writer gives it."""
    if btf.strings:
        return btf.strings
    table = StringTable(btf.base)
    for btf_type in btf.own:
        for name in names_of(btf_type):
            table.offset(name)
    btf.strings = table.section()
    return btf.strings


def total_size(btf: Btf) -> int:
    """Bytes of all string sections down to the lowest base: where split BTF's own offsets start."""
    size = 0
    section: Btf | None = btf
    while section is not None:
        size += len(string_section(section))
        section = section.base
    return size


def read_name(strings: bytes, offset: int) -> str:
    """The name at an offset that is known to lie inside. Bytes that are not UTF-8 become backslash escapes."""
    return strings[offset : strings.index(0, offset)].decode("utf-8", "backslashreplace")


def name_at(btf: Btf, offset: int) -> str:
    """The name at an offset of the strings of a set and its bases; BtfError B0106 outside."""
    section: Btf | None = btf
    while section is not None:
        start = total_size(section.base) if section.base is not None else 0
        strings = string_section(section)
        if offset >= start:
            if offset - start >= max(len(strings), 1):
                break
            return read_name(strings, offset - start) if strings else ""
        section = section.base
    raise broken("B0106", f"a name lies outside the strings of the BTF: offset {offset}")

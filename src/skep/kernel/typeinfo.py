"""Types of an object as this kernel takes them, with the names that line info refers to; loaded once per object."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from skep.btf.layout import HEADER_SIZE, header_struct
from skep.btf.types import (
    Btf,
    BtfType,
    Const,
    Datasec,
    DeclTag,
    Enum64,
    Float,
    Func,
    Int,
    Member,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
)
from skep.btf.writer import encode_btf
from skep.diagnostics import Span
from skep.errors import BtfError
from skep.kernel import probes
from skep.kernel.bpf import btf as btf_calls
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.kernel.memlock import with_memory
from skep.model.programs import LinkedProgram

_COLUMN_BITS: Final = 10
_MAX_LINE: Final = (1 << 22) - 1
_STATIC, _GLOBAL = 0, 1


def _older_var(found: Var) -> BtfType:
    return Int(found.name, 1, 8)


def _older_datasec(found: Datasec) -> BtfType:
    """libbpf's way: a struct with the same layout of one-byte members keeps ids and sizes."""
    name = "".join(c if c.isalnum() else "_" for c in found.name)
    members = tuple(Member(f"v{n}", e.type, e.offset * 8) for n, e in enumerate(found.entries))
    return Struct(name, found.size, members)


def _older_enum64(found: Enum64) -> BtfType:
    return Union(found.name, found.size, ())


#: Feature that is missing -> the kind of type, and what to write in its place (bpf_object__sanitize_btf).
_OLDER: Final[Mapping[str, tuple[type, Callable[[Any], BtfType]]]] = {
    "btf_datasec": (Datasec, _older_datasec),
    "btf_func": (Func, lambda found: Typedef(found.name, found.type)),
    "btf_func_global": (Func, lambda found: replace(found, linkage=_STATIC)),
    "btf_float": (Float, lambda found: Struct("", found.size, ())),
    "btf_decl_tag": (DeclTag, lambda found: Int(found.name, 1, 8)),
    "btf_type_tag": (TypeTag, lambda found: Const(found.type)),
    "btf_enum64": (Enum64, _older_enum64),
}


def older_types(btf: Btf, has: Callable[[str], bool] = probes.has) -> Btf:
    """The same ids with the kinds that this kernel does not know written as older ones."""
    missing = [name for name in _OLDER if not has(name)]
    own: list[BtfType] = []
    for found in btf.own:
        changed: BtfType = found
        for name in missing:
            kind, change = _OLDER[name]
            if isinstance(changed, kind):
                changed = change(changed)
        if "btf_datasec" in missing and isinstance(found, Var):
            changed = _older_var(found)
        own.append(changed)
    return Btf(tuple(own), byte_order=btf.byte_order)


@dataclass(slots=True)
class LoadedTypes:
    """An object's types in the kernel, and where in their strings a text is."""

    source: Btf
    fd: Fd
    offsets: dict[str, int]
    has_functions: bool = True


class TypeStore:
    """Types that were given to the kernel, by object; they live as long as the engine."""

    def __init__(self, token: Callable[[], int] = lambda: 0) -> None:
        self._known: dict[int, LoadedTypes | None] = {}
        self._keep: list[Btf] = []
        self._token = token
        self.notes: list[str] = []

    def get(self, btf: Btf | None, texts: Iterable[str] = ()) -> LoadedTypes | None:
        """The types in the kernel; None where there are none, or the kernel takes none (the reason is in ``notes``).

        ``texts``: what line info will refer to.
        """
        if btf is None:
            return None
        texts = list(texts)
        if id(btf) in self._known:
            known = self._known[id(btf)]
            if known is None or all(text in known.offsets for text in texts):
                return known
            known.fd.close()
            texts += known.offsets
        else:
            self._keep.append(btf)  # its id() stays its own
        # Whatever the object's own strings hold comes along, so that one load serves all its programs and maps.
        texts += [text.decode("utf-8", "backslashreplace") for text in btf.strings.split(b"\0")]
        made = self._load(btf, texts)
        self._known[id(btf)] = made
        return made

    def _load(self, btf: Btf, texts: Iterable[str]) -> LoadedTypes | None:
        try:
            data, offsets = encode_with_texts(btf, texts)
            try:
                fd = with_memory(lambda: btf_calls.load(data, self._token()))
                return LoadedTypes(btf, fd, offsets)
            except BpfCallError as first:
                if not probes.has("btf"):
                    self.notes.append("this kernel takes no types (BTF came with Linux 4.18)")
                    return None
                data, offsets = encode_with_texts(older_types(btf), texts)
                try:
                    fd = with_memory(lambda: btf_calls.load(data, self._token()))
                except BpfCallError:
                    last = first.log.strip().splitlines()[-1:] or [str(first)]
                    self.notes.append(f"the kernel refuses the object's types: {last[0]}")
                    return None
                return LoadedTypes(btf, fd, offsets, probes.has("btf_func"))
        except BtfError as error:
            self.notes.append(f"the object's types cannot be written: {error.diagnostic.what}")
            return None

    def close(self) -> None:
        """Give all back; programs and maps keep theirs."""
        for known in self._known.values():
            if known is not None:
                known.fd.close()
        self._known.clear()
        self._keep.clear()


def encode_with_texts(btf: Btf, texts: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    """The bytes of a BTF section whose strings also hold these texts, and the offset of every string."""
    data = encode_btf(btf)
    header = header_struct(btf.byte_order)
    magic, version, flags, size, type_at, type_size, text_at, text_size = header.unpack_from(data)
    strings = data[HEADER_SIZE + text_at : HEADER_SIZE + text_at + text_size]
    offsets: dict[str, int] = {}
    at = 0
    for text in strings.split(b"\0")[:-1]:
        offsets.setdefault(text.decode("utf-8", "backslashreplace"), at)
        at += len(text) + 1
    added = bytearray()
    for text_line in texts:
        if text_line not in offsets:
            offsets[text_line] = text_size + len(added)
            added += text_line.encode("utf-8", "replace").replace(b"\0", b" ") + b"\0"
    head = header.pack(magic, version, flags, size, type_at, type_size, text_at, text_size + len(added))
    return head + data[HEADER_SIZE:] + bytes(added), offsets


def texts_of(linked: LinkedProgram) -> list[str]:
    """File names and source lines that the line info of a program refers to."""
    found: dict[str, None] = {}
    for span in linked.lines.values():
        found.setdefault(span.file)
        found.setdefault(span.text or "")
    return list(found)


def func_info(linked: LinkedProgram, types: LoadedTypes) -> bytes:
    """struct bpf_func_info of each subprogram; b"" where one has no type (the kernel wants all or none)."""
    if not types.has_functions:
        return b""
    rows = [(sub.start, sub.btf_id) for sub in linked.subprograms]
    if not all(btf_id and isinstance(types.source[btf_id], Func) for _, btf_id in rows):
        return b""
    return b"".join(struct.pack("=II", *row) for row in rows)


def line_info(linked: LinkedProgram, types: LoadedTypes) -> bytes:
    """struct bpf_line_info of the program; every function starts with one, as the kernel wants. b"": there is none."""
    lines: dict[int, Span] = dict(linked.lines)
    for sub in linked.subprograms:
        if sub.start in lines:
            continue
        following = min((slot for slot in lines if sub.start < slot < sub.end), default=None)
        if following is None:
            return b""
        lines[sub.start] = lines[following]
    rows = []
    for slot, span in sorted(lines.items()):
        place = min(span.line, _MAX_LINE) << _COLUMN_BITS | min(span.column, (1 << _COLUMN_BITS) - 1)
        rows.append(
            struct.pack("=IIII", slot, types.offsets.get(span.file, 0), types.offsets.get(span.text or "", 0), place)
        )
    return b"".join(rows)

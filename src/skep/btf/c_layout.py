"""How C lays a struct out, so that the text says where BTF differs: packed, and padding with unnamed bitfields.

Rules of the System V ABI, which clang uses for BPF: members at multiples of their alignment; a bitfield does not cross
a boundary of its type. BTF does not record ``aligned(n)``: padding is written out instead, so a struct's alignment here
can be smaller than the compiler's was, never its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from skep.btf.catalog import POINTER_SIZE, get_type, size_of
from skep.btf.faults import broken
from skep.btf.types import (
    Array,
    Btf,
    Const,
    Enum,
    Enum64,
    Float,
    Int,
    Member,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Volatile,
)

_PAD_TYPES: Final = ((64, "long"), (32, "int"), (16, "short"), (8, "char"))
_LONG_PAD_BITS: Final = 8 * 64  # longer gaps become an array


@dataclass(frozen=True, slots=True)
class Layout:
    """``lines[i]``: padding to write before member i, the last entry after all members."""

    packed: bool
    pads: tuple[tuple[str, ...], ...]


class Layouts:
    """Layouts and alignments, each computed once."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._aligns: dict[int, int] = {}
        self._packed: dict[int, bool] = {}

    def align(self, type_id: int) -> int:
        """Alignment in bytes that the written type has."""
        known = self._aligns.get(type_id)
        if known is not None:
            return known
        found = get_type(self._btf, type_id)
        if isinstance(found, Int | Float | Enum | Enum64):
            align = min(16, 1 << max(found.size.bit_length() - 1, 0))
        elif isinstance(found, Ptr):
            align = POINTER_SIZE
        elif isinstance(found, Array | Typedef | Const | Volatile | Restrict | TypeTag):
            align = self.align(found.type)
        elif isinstance(found, Struct | Union):
            align = 1 if self._is_packed(found) else self._widest(found)
        else:
            align = 1
        self._aligns[type_id] = align
        return align

    def _widest(self, found: Struct | Union) -> int:
        return max((self.align(member.type) for member in found.members), default=1)

    def _is_packed(self, found: Struct | Union) -> bool:
        """Whether some member, or the size, is impossible with natural alignment."""
        if found.size % self._widest(found):
            return True
        for member in found.members:
            if bits := self.bitfield(member):
                unit = size_of(self._btf, member.type) * 8
                if unit and member.bit_offset // unit != (member.bit_offset + bits - 1) // unit:
                    return True
            elif member.bit_offset % (8 * self.align(member.type)):
                return True
        return False

    def bitfield(self, member: Member) -> int:
        """Bits of a bitfield, also of one written the old way (an Int with fewer bits than its size); 0: not one."""
        if member.bitfield_size:
            return member.bitfield_size
        bare = self._btf[self._btf.strip(member.type)]
        if isinstance(bare, Int) and (bare.bits != bare.size * 8 or member.bit_offset % 8):
            return bare.bits
        return 0

    def layout(self, found: Struct | Union) -> Layout:
        """Padding and packing of a struct or union; BtfError B0114 when members overlap."""
        packed = self._is_packed(found)
        if isinstance(found, Union):
            return Layout(packed, self._union_pads(found, packed))
        pads: list[tuple[str, ...]] = []
        at = 0
        for member in found.members:
            bits = self.bitfield(member)
            size = size_of(self._btf, member.type) * 8
            start = self._next(at, member, bits, size, packed)
            if start > member.bit_offset:
                raise broken("B0114", f"member '{member.name}' of '{found.name}' overlaps the one before it")
            pads.append(_pad(at, member.bit_offset) if start < member.bit_offset else ())
            at = member.bit_offset + (bits or size)
        align = 8 if packed else 8 * self._widest(found)
        if at > found.size * 8:
            raise broken("B0114", f"the last member of '{found.name}' lies outside of it")
        full = found.size * 8 == -(-at // align) * align
        pads.append(() if full else _pad(at, found.size * 8))
        return Layout(packed, tuple(pads))

    def _next(self, at: int, member: Member, bits: int, size: int, packed: bool) -> int:
        """The bit where C puts the member by itself."""
        if bits:
            crosses = not packed and size and at // size != (at + bits - 1) // size
            return -(-at // size) * size if crosses else at
        align = 8 if packed else 8 * self.align(member.type)
        return -(-at // align) * align

    def _union_pads(self, found: Union, packed: bool) -> tuple[tuple[str, ...], ...]:
        biggest = 0
        for member in found.members:
            if member.bit_offset:
                raise broken("B0114", f"member '{member.name}' of union '{found.name}' is not at its start")
            bits = self.bitfield(member)
            biggest = max(biggest, (bits + 7) // 8 if bits else size_of(self._btf, member.type))
        align = 1 if packed else self._widest(found)
        if biggest > found.size:
            raise broken("B0114", f"a member of union '{found.name}' is bigger than it")
        full = -(-biggest // align) * align == found.size
        return (*((),) * len(found.members), () if full else (f"unsigned char __skep_pad[{found.size}]",))


def _pad(at: int, end: int) -> tuple[str, ...]:
    """Unnamed bitfields from one bit to another; each starts where its type may start, so nothing moves."""
    lines: list[str] = []
    while at < end:
        if at % 8 == 0 and end - at > _LONG_PAD_BITS and end % 8 == 0:
            lines.append(f"unsigned char __skep_pad_{at // 8}[{(end - at) // 8}]")
            break
        fitting = ((bits, name) for bits, name in _PAD_TYPES if at % bits == 0 and at + bits <= end)
        bits, name = next(fitting, (min(8 - at % 8, end - at), "char"))
        lines.append(f"{name} : {bits}")
        at += bits
    return tuple(lines)

"""Questions about types: how big, where is a member, what is behind a typedef, how is it written in C.

Sizes are bytes. Pointers are 8 bytes: that is BPF's, and every supported kernel's, size. Answers that do not exist
(the size of void, a member that is not there) are BtfError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from skep.btf.c_names import c_name
from skep.btf.faults import broken
from skep.btf.types import (
    Array,
    Btf,
    BtfType,
    Const,
    Datasec,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Int,
    Member,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from skep.errors import BtfError

POINTER_SIZE: Final = 8
MAX_SIZE: Final = 0xFFFFFFFF  # of a type, in bytes; the kernel keeps sizes in 32 bits
_MAX_PLACES: Final = 1 << 14  # members of one struct, anonymous structs opened up
_MAX_NESTING: Final = 256  # for sets made by hand; the reader allows less


def get_type(btf: Btf, type_id: int) -> BtfType:
    """The type with this id; BtfError B0105 when there is none."""
    if not 0 <= type_id < len(btf):
        raise broken("B0105", f"there is no BTF type {type_id}; there are {len(btf)}")
    return btf[type_id]


def size_of(btf: Btf, type_id: int) -> int:
    """Bytes of a value of this type; BtfError B0109 for types without values (void, functions)."""
    count = 1
    at = type_id
    for _ in range(_MAX_NESTING):
        found = get_type(btf, at)
        if isinstance(found, Int | Struct | Union | Enum | Enum64 | Float | Datasec):
            size = count * found.size
            break
        if isinstance(found, Ptr):
            size = count * POINTER_SIZE
            break
        if isinstance(found, Array):
            count *= found.nelems
        elif not isinstance(found, Typedef | Const | Volatile | Restrict | TypeTag | Var):
            raise broken("B0109", f"{describe(btf, type_id)} has no size")
        if count > MAX_SIZE:
            raise broken("B0109", f"BTF type {type_id} is bigger than 4 GiB")
        at = found.type
    else:
        raise broken("B0108", f"BTF type {type_id} is nested too deep")
    if size > MAX_SIZE:
        raise broken("B0109", f"BTF type {type_id} is bigger than 4 GiB")
    return size


def align_of(btf: Btf, type_id: int) -> int:
    """Natural alignment in bytes. A packed struct shows in its layout and has alignment 1 (libbpf's btf__align_of)."""
    return _align(btf, type_id, {}, 0)


def _align(btf: Btf, type_id: int, known: dict[int, int], depth: int) -> int:
    if type_id in known:
        return known[type_id]
    if depth > _MAX_NESTING:
        raise broken("B0108", f"BTF type {type_id} is nested too deep")
    found = get_type(btf, type_id)
    if isinstance(found, Int):
        align = min(16, _power_of_two(found.size))
    elif isinstance(found, Enum | Enum64 | Float):
        align = min(16 if isinstance(found, Float) else 8, _power_of_two(found.size))
    elif isinstance(found, Ptr):
        align = POINTER_SIZE
    elif isinstance(found, Array | Typedef | Const | Volatile | Restrict | TypeTag | Var):
        align = _align(btf, found.type, known, depth + 1)
    elif isinstance(found, Struct | Union):
        aligns = [_align(btf, each.type, known, depth + 1) for each in found.members]
        align = max(aligns, default=1)
        misplaced = any(
            not each.bitfield_size and each.bit_offset % (8 * its)
            for each, its in zip(found.members, aligns, strict=True)
        )
        if misplaced or found.size % align:
            align = 1
    else:
        raise broken("B0109", f"{describe(btf, type_id)} has no alignment")
    known[type_id] = align
    return align


def _power_of_two(size: int) -> int:
    return 1 << max(size.bit_length() - 1, 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member lies in the outermost struct. ``path``: member indexes through anonymous structs and unions."""

    member: Member
    bit_offset: int
    path: tuple[int, ...]

    @property
    def offset(self) -> int:
        """Bytes from the start; of the byte that holds its first bit, for a bitfield."""
        return self.bit_offset // 8


def find_member(btf: Btf, type_id: int, name: str) -> Place | None:
    """A member by name, through typedefs and anonymous structs and unions; None when there is none."""
    seen: set[int] = set()
    stack: list[tuple[int, int, tuple[int, ...]]] = [(type_id, 0, ())]
    while stack:
        at, base_bits, path = stack.pop()
        at = btf.strip(at)
        if at in seen:  # searched before, at another place: it does not have the name
            continue
        seen.add(at)
        found = get_type(btf, at)
        if isinstance(found, Struct | Union):
            for index, each in enumerate(found.members):
                if each.name == name:
                    return Place(each, base_bits + each.bit_offset, (*path, index))
            stack += [
                (each.type, base_bits + each.bit_offset, (*path, index))
                for index, each in reversed(list(enumerate(found.members)))
                if not each.name
            ]
    return None


def member(btf: Btf, type_id: int, name: str) -> Place:
    """As find_member; BtfError B0113 when there is none."""
    found = find_member(btf, type_id, name)
    if found is None:
        raise broken("B0113", f"{describe(btf, type_id)} has no member '{name}'")
    return found


def places(btf: Btf, type_id: int) -> list[Place]:
    """All named members in order, those of anonymous structs and unions as if they were the outer one's."""
    collected: list[Place] = []
    visits = 0
    stack: list[tuple[int, int, tuple[int, ...], Member | None]] = [(type_id, 0, (), None)]
    while stack:
        at, bits, path, each = stack.pop()
        visits += 1
        if visits > _MAX_PLACES:
            raise broken("B0108", f"{describe(btf, type_id)} has more than {_MAX_PLACES} members")
        if each is not None and each.name:
            collected.append(Place(each, bits, path))
            continue
        found = get_type(btf, btf.strip(at))
        if isinstance(found, Struct | Union):
            stack += [
                (inner.type, bits + inner.bit_offset, (*path, index), inner)
                for index, inner in reversed(list(enumerate(found.members)))
            ]
    return collected


def pointee(btf: Btf, type_id: int) -> int | None:
    """The id that a pointer points to (not stripped); None for other types."""
    found = get_type(btf, btf.strip(type_id))
    return found.type if isinstance(found, Ptr) else None


def function_proto(btf: Btf, type_id: int) -> FuncProto | None:
    """The prototype of a function, of a pointer to one, or of a typedef of either."""
    found = get_type(btf, btf.strip(type_id))
    if isinstance(found, Ptr | Func):
        found = get_type(btf, btf.strip(found.type))
    return found if isinstance(found, FuncProto) else None


def enum_value(btf: Btf, type_id: int, name: str) -> int | None:
    """The value of an enumerator by name."""
    found = get_type(btf, btf.strip(type_id))
    if not isinstance(found, Enum | Enum64):
        return None
    return next((value for known, value in found.values if known == name), None)


def find_enumerator(btf: Btf, name: str) -> int | None:
    """The value of an enumerator of any enum of the set. Makes every enum once: slow for the kernel's BTF."""
    for found in btf:
        if isinstance(found, Enum | Enum64):
            for known, value in found.values:
                if known == name:
                    return value
    return None


def enumerator_name(found: Enum | Enum64, value: int) -> str | None:
    """The first name for a value."""
    return next((name for name, known in found.values if known == value), None)


def is_signed(btf: Btf, type_id: int) -> bool:
    """Whether a value is sign-extended when it is read; False for what is no number."""
    found = get_type(btf, btf.strip(type_id))
    return isinstance(found, Int | Enum | Enum64) and found.signed


def describe(btf: Btf, type_id: int) -> str:
    """A type for messages: its C text, or its number where it has none."""
    if not 0 <= type_id < len(btf):
        return f"BTF type {type_id}"
    try:
        return f"'{c_name(btf, type_id)}'"
    except BtfError:
        return f"BTF type {type_id}"

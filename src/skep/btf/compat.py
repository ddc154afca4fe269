"""When types of two sets mean the same: three answers for CO-RE, from loose to strict, and one for sharing memory.

CO-RE's rules are those of libbpf (relo_core.c) and the kernel: names count without flavors (``___x``).
"""

from __future__ import annotations

from typing import Final

from skep.btf.catalog import get_type, size_of
from skep.btf.faults import broken
from skep.btf.types import (
    Array,
    Btf,
    BtfType,
    Enum,
    Enum64,
    Float,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Struct,
    Union,
    Void,
    essential_name,
)

_MAX_LEVEL: Final = 32  # libbpf's limit for nested prototypes and structs
_ENUMS = (Enum, Enum64)
_COMPOSITES = (Struct, Union)


def is_same_kind(local: BtfType, target: BtfType) -> bool:
    """Equal kinds; both widths of enum are one kind."""
    return type(local) is type(target) or (isinstance(local, _ENUMS) and isinstance(target, _ENUMS))


def are_fields_compatible(local_btf: Btf, local_id: int, target_btf: Btf, target_id: int) -> bool:
    """Whether a target's member may stand for a local one: structs for structs, any int for any int, pointers alike."""
    for _ in range(_MAX_LEVEL * 2):
        local = get_type(local_btf, local_btf.strip(local_id))
        target = get_type(target_btf, target_btf.strip(target_id))
        if isinstance(local, _COMPOSITES) and isinstance(target, _COMPOSITES):
            return True
        if not is_same_kind(local, target):
            return False
        if isinstance(local, Ptr | Float):
            return True
        if isinstance(local, Fwd | Enum | Enum64):
            names = essential_name(local.name), essential_name(target.name)
            return not all(names) or names[0] == names[1]
        if isinstance(local, Int) and isinstance(target, Int):
            return local.bit_offset == 0 and target.bit_offset == 0
        if not (isinstance(local, Array) and isinstance(target, Array)):
            return False
        local_id, target_id = local.type, target.type
    raise broken("B0108", f"BTF type {local_id} is nested too deep")


class Matcher:
    """Compares types of two sets; remembers answers, so that types that share parts are compared once."""

    def __init__(self, local: Btf, target: Btf) -> None:
        self._local = local
        self._target = target
        self._compatible: dict[tuple[int, int], bool] = {}
        self._matching: dict[tuple[int, int, bool], bool] = {}
        self._same: dict[tuple[int, int], bool] = {}

    def are_compatible(self, local_id: int, target_id: int, level: int = _MAX_LEVEL) -> bool:
        """For TYPE_EXISTS, TYPE_SIZE and TYPE_ID_TARGET: the same kinds all the way; names are not compared."""
        key = (local_id, target_id)
        if key not in self._compatible:
            self._compatible[key] = self._compare_kinds(*key, level)
        return self._compatible[key]

    def _compare_kinds(self, local_id: int, target_id: int, level: int) -> bool:
        local, target = self._stripped(local_id, target_id, level)
        if not is_same_kind(local, target):
            return False
        if isinstance(local, Void | Struct | Union | Enum | Enum64 | Fwd):
            return True
        if isinstance(local, Int) and isinstance(target, Int):
            return local.bit_offset == 0 and target.bit_offset == 0
        if isinstance(local, Ptr | Array) and isinstance(target, Ptr | Array):
            return self.are_compatible(local.type, target.type, level - 1)
        if isinstance(local, FuncProto) and isinstance(target, FuncProto):
            return len(local.params) == len(target.params) and all(
                self.are_compatible(mine, theirs, level - 1) for mine, theirs in _signatures(local, target)
            )
        return False

    def match(self, local_id: int, target_id: int, behind_pointer: bool = False, level: int = _MAX_LEVEL) -> bool:
        """For TYPE_MATCHES: every local member and enumerator is in the target too, with a matching type."""
        key = (local_id, target_id, behind_pointer)
        if key not in self._matching:
            self._matching[key] = self._compare_names(*key, level)
        return self._matching[key]

    def _compare_names(self, local_id: int, target_id: int, behind_pointer: bool, level: int) -> bool:
        local, target = self._stripped(local_id, target_id, level)
        if not _same_name(local.name, target.name):
            return False
        if isinstance(local, Fwd):
            if isinstance(target, Fwd):
                return local.is_union == target.is_union
            return behind_pointer and isinstance(target, Union if local.is_union else Struct)
        if isinstance(local, _COMPOSITES):
            if behind_pointer and isinstance(target, Fwd):
                return isinstance(local, Union) == target.is_union
            if type(local) is not type(target) or not isinstance(target, _COMPOSITES):
                return False
            return behind_pointer or self._match_members(local, target, level)
        if isinstance(local, _ENUMS) and isinstance(target, _ENUMS):
            theirs = {essential_name(name) for name, _ in target.values}
            return len(local.values) <= len(target.values) and all(
                essential_name(name) in theirs for name, _ in local.values
            )
        if type(local) is not type(target):
            return False
        if isinstance(local, Int) and isinstance(target, Int):
            return local.bits == target.bits and local.signed == target.signed
        if isinstance(local, Ptr) and isinstance(target, Ptr):
            return self.match(local.type, target.type, True, level - 1)
        if isinstance(local, Array) and isinstance(target, Array):
            return local.nelems == target.nelems and self.match(local.type, target.type, behind_pointer, level - 1)
        if isinstance(local, FuncProto) and isinstance(target, FuncProto):
            return len(local.params) == len(target.params) and all(
                self.match(mine, their, behind_pointer, level - 1) for mine, their in _signatures(local, target)
            )
        return isinstance(local, Void)

    def _match_members(self, local: Struct | Union, target: Struct | Union, level: int) -> bool:
        if len(local.members) > len(target.members):
            return False
        by_name: dict[str, list[int]] = {}
        for theirs in target.members:
            by_name.setdefault(essential_name(theirs.name), []).append(theirs.type)
        return all(
            any(
                self.match(mine.type, candidate, False, level - 1)
                for candidate in by_name.get(essential_name(mine.name), ())
            )
            for mine in local.members
        )

    def have_same_layout(self, local_id: int, target_id: int, level: int = 2 * _MAX_LEVEL) -> bool:
        """Whether the same bytes mean the same in both: sizes, offsets, signs and member names.

        Names of structs do not count, and what pointers point to is not compared. For sharing a map with a program
        that was compiled elsewhere.
        """
        key = (local_id, target_id)
        if key not in self._same:
            self._same[key] = self._compare_layout(*key, level)
        return self._same[key]

    def _compare_layout(self, local_id: int, target_id: int, level: int) -> bool:
        local, target = self._stripped(local_id, target_id, level)
        if not is_same_kind(local, target):
            return False
        if isinstance(local, _COMPOSITES) and isinstance(target, _COMPOSITES):
            return (
                local.size == target.size
                and len(local.members) == len(target.members)
                and all(
                    (mine.name, mine.bit_offset, mine.bitfield_size)
                    == (theirs.name, theirs.bit_offset, theirs.bitfield_size)
                    and self.have_same_layout(mine.type, theirs.type, level - 1)
                    for mine, theirs in zip(local.members, target.members, strict=True)
                )
            )
        if isinstance(local, Array) and isinstance(target, Array):
            return local.nelems == target.nelems and self.have_same_layout(local.type, target.type, level - 1)
        if isinstance(local, Int) and isinstance(target, Int):
            same_sign = local.signed == target.signed or local.name == target.name == "char"  # kernels: -funsigned-char
            return same_sign and (local.size, local.bits) == (target.size, target.bits)
        if isinstance(local, Enum | Enum64 | Float | Ptr):
            return size_of(self._local, local_id) == size_of(self._target, target_id)
        return False

    def _stripped(self, local_id: int, target_id: int, level: int) -> tuple[BtfType, BtfType]:
        if level <= 0:
            raise broken("B0108", f"BTF type {local_id} is nested too deep to be compared")
        local = get_type(self._local, self._local.strip(local_id))
        return local, get_type(self._target, self._target.strip(target_id))


def _same_name(local: str, target: str) -> bool:
    return essential_name(local) == essential_name(target)


def _signatures(local: FuncProto, target: FuncProto) -> list[tuple[int, int]]:
    """Pairs of parameter and result types."""
    pairs = [(mine.type, theirs.type) for mine, theirs in zip(local.params, target.params, strict=True)]
    return [*pairs, (local.ret, target.ret)]

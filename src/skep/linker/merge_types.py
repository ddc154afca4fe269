"""Types of several objects in one set. Nothing is lost and every id gets a new number; only scalars are shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from skep.btf.types import (
    Array,
    Btf,
    BtfType,
    Const,
    Datasec,
    DeclTag,
    Float,
    Func,
    FuncProto,
    Int,
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

_ALIGNMENT: Final = 16
_ONCE: Final = frozenset({"license", "version"})  # the same in all objects
Ids = Sequence[int]


def _one(found: BtfType, ids: Ids) -> BtfType:
    assert isinstance(found, Ptr | Typedef | Volatile | Const | Restrict | Func | Var | DeclTag | TypeTag)
    return replace(found, type=ids[found.type])


def _array(found: BtfType, ids: Ids) -> BtfType:
    assert isinstance(found, Array)
    return replace(found, type=ids[found.type], index_type=ids[found.index_type])


def _composite(found: BtfType, ids: Ids) -> BtfType:
    assert isinstance(found, Struct | Union)
    return replace(found, members=tuple(replace(member, type=ids[member.type]) for member in found.members))


def _proto(found: BtfType, ids: Ids) -> BtfType:
    assert isinstance(found, FuncProto)
    params = tuple(replace(param, type=ids[param.type]) for param in found.params)
    return replace(found, ret=ids[found.ret], params=params)


_RENUMBER: Final[Mapping[type, Callable[[BtfType, Ids], BtfType]]] = {
    **dict.fromkeys((Ptr, Typedef, Volatile, Const, Restrict, Func, Var, DeclTag, TypeTag), _one),
    Array: _array,
    Struct: _composite,
    Union: _composite,
    FuncProto: _proto,
}


class TypeMerger:
    """Takes one set after the other; sections come last, when all their parts are known."""

    def __init__(self, byte_order: str) -> None:
        self.byte_order = byte_order
        self.types: list[BtfType] = [Void()]
        self.scalars: dict[BtfType, int] = {}
        self.sections: dict[str, list[SectionVar]] = {}
        self.ends: dict[str, int] = {}

    def add(self, btf: Btf, bases: Mapping[str, int]) -> Ids:
        """Add a set.

        Args:
            btf: the set; without base.
            bases: section name -> where this object's part starts in the merged section, bytes.

        Returns:
            The new id of every old one (0 for sections).
        """
        ids: list[int] = []
        fresh: list[tuple[int, BtfType]] = []
        for found in btf:
            known = self.scalars.get(found) if isinstance(found, Int | Float) else None
            if isinstance(found, Void | Datasec):
                ids.append(0)
            elif known is not None:
                ids.append(known)
            else:
                ids.append(len(self.types))
                fresh.append((len(self.types), found))
                if isinstance(found, Int | Float):
                    self.scalars[found] = len(self.types)
                self.types.append(found)
        for new_id, found in fresh:
            renumber = _RENUMBER.get(type(found))
            self.types[new_id] = renumber(found, ids) if renumber is not None else found
        for found in btf:
            if isinstance(found, Datasec):
                self._add_section(found, ids, bases.get(found.name))
        return ids

    def _add_section(self, section: Datasec, ids: Ids, base: int | None) -> None:
        end = self.ends.get(section.name)
        if end is not None and section.name in _ONCE:
            return
        if base is None:  # no global data, such as .maps: parts only must not overlap
            base = -(-(end or 0) // _ALIGNMENT) * _ALIGNMENT
        entries = self.sections.setdefault(section.name, [])
        entries.extend(SectionVar(ids[entry.type], base + entry.offset, entry.size) for entry in section.entries)
        self.ends[section.name] = max(end or 0, base + section.size)

    def finish(self) -> Btf:
        """The merged set, sections at its end."""
        for name, entries in self.sections.items():
            ordered = tuple(sorted(entries, key=lambda entry: entry.offset))
            self.types.append(Datasec(name, self.ends[name], ordered))
        return Btf(tuple(self.types), byte_order=self.byte_order)

    def set_section(self, name: str, entries: Sequence[SectionVar], size: int) -> None:
        """Replace what is known of a section, when its layout is made anew."""
        self.sections[name] = list(entries)
        self.ends[name] = size

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

_EXTERN: Final = 2
_GLOBAL: Final = 1
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

    def add(self, btf: Btf, bases: Mapping[str, int], defined: frozenset[str]) -> Ids:
        """Add a set.

        Args:
            btf: the set; without base.
            bases: section name -> where this object's part starts in the merged section, bytes.
            defined: names that some object defines: externs of these names count as definitions.

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
            changed = renumber(found, ids) if renumber is not None else found
            if isinstance(changed, Var) and changed.linkage == _EXTERN and changed.name in defined:
                changed = replace(changed, linkage=_GLOBAL)
            self.types[new_id] = changed
        for found in btf:
            if isinstance(found, Datasec):
                self._add_section(btf, found, ids, bases.get(found.name, 0))
        return ids

    def _add_section(self, btf: Btf, section: Datasec, ids: Ids, base: int) -> None:
        entries = self.sections.setdefault(section.name, [])
        names = {getattr(self.types[entry.type], "name", "") for entry in entries}
        for entry in section.entries:
            var = btf[entry.type]
            is_extern = isinstance(var, Var | Func) and var.linkage == _EXTERN
            if is_extern and (var.name in names or section.name == ".maps"):
                continue  # declared by several objects, or declared here and defined elsewhere
            entries.append(SectionVar(ids[entry.type], base + entry.offset, entry.size))
        self.ends[section.name] = max(self.ends.get(section.name, 0), base + section.size)

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

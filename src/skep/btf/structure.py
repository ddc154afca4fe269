"""What must hold of BTF records before anyone may rely on them: room, names, ids, and no type inside itself.

Two walks over the references. By value: typedefs, qualifiers, arrays, struct and union members; a cycle would make a
type of endless size. Without a struct or union on the way: pointers and prototypes too; C cannot write such a cycle,
and the kernel refuses it ("Loop detected", kernel/bpf/btf.c btf_resolve). So every walk over types ends: at a
struct, or after at most MAX_DEPTH steps.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from skep.btf.faults import broken
from skep.btf.layout import ELEMENT_WORDS, FIXED_WORDS, Kind
from skep.btf.types import Btf, FuncProto

MAX_DEPTH: Final = 64  # nesting of types; the deepest in Linux 6.18 is far below, the kernel allows 32

_FIXED: Final = [FIXED_WORDS.get(Kind(k), 0) if k else 0 for k in range(20)]
_ELEMENT: Final = [ELEMENT_WORDS.get(Kind(k), 0) if k else 0 for k in range(20)]
_REFERRING: Final = frozenset(
    {Kind.PTR, Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG, Kind.VAR, Kind.DECL_TAG,
     Kind.FUNC, Kind.FUNC_PROTO}
)  # fmt: skip
_MODIFIERS: Final = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_COMPOSITES: Final = frozenset({Kind.STRUCT, Kind.UNION})
_VALUE_CARRIERS: Final = frozenset({*_MODIFIERS, Kind.ARRAY, Kind.STRUCT, Kind.UNION, Kind.VAR})
_OTHERS: Final = frozenset(
    {*_MODIFIERS, Kind.PTR, Kind.ARRAY, Kind.FUNC_PROTO, Kind.FUNC, Kind.VAR, Kind.DECL_TAG, Kind.DATASEC}
)


@dataclass(slots=True)
class Records:
    """Where each type's record starts. ``starts`` and ``kinds`` have one entry per position of ``Btf.own``."""

    words: array[int]
    first_id: int  # id of the first record
    starts: list[int]  # in words; -1 for void
    kinds: bytearray

    @property
    def offset(self) -> int:
        """The id of position 0."""
        return self.first_id - (1 if self.starts and self.starts[0] < 0 else 0)


def scan(words: array[int], first_id: int, strings_size: int) -> Records:
    """Find where every record starts; B0103, B0104, B0106."""
    without_base = first_id == 1
    starts = [-1] if without_base else []
    kinds = bytearray(1 if without_base else 0)
    at, end = 0, len(words)
    name_limit = max(strings_size, 1)
    while at < end:
        if at + 3 > end:
            raise broken("B0103", f"BTF type {first_id + len(starts) - without_base} is cut off")
        info = words[at + 1]
        kind = (info >> 24) & 0x1F
        if not 0 < kind < 20:
            raise broken("B0104", f"BTF type {first_id + len(starts) - without_base} has the unknown kind {kind}")
        if words[at] >= name_limit:
            raise _bad_name(first_id + len(starts) - without_base, words[at], name_limit)
        starts.append(at)
        kinds.append(kind)
        width = _ELEMENT[kind]
        body = at + 3
        at = body + _FIXED[kind]
        if width:
            at += width * (info & 0xFFFF)
            if at > end:
                break
            if info & 0xFFFF and kind != Kind.DATASEC and max(words[body:at:width]) >= name_limit:
                raise _bad_name(first_id + len(starts) - 1 - without_base, max(words[body:at:width]), name_limit)
    if at > end:
        raise broken("B0103", f"BTF type {first_id + len(starts) - 1 - without_base} goes beyond the type section")
    return Records(words, first_id, starts, kinds)


def _bad_name(type_id: int, offset: int, limit: int) -> Exception:
    return broken("B0106", f"a name of BTF type {type_id} lies outside the strings: offset {offset} of {limit}")


def check(records: Records, base: Btf | None) -> None:
    """Ids inside, functions with prototypes, nothing inside itself; B0105, B0107, B0108, B0110."""
    _check_ids(records, base)
    by_value = _Depths(records, _VALUE_CARRIERS, _value_children, "holds itself")
    by_value.walk()
    others = _Depths(records, _OTHERS, _other_children, "refers to itself with no struct between")
    others.walk()


def _check_ids(records: Records, base: Btf | None) -> None:
    words, starts, kinds, offset = records.words, records.starts, records.kinds, records.offset
    limit = offset + len(starts)
    for position, start in enumerate(starts):
        kind = kinds[position]
        highest = 0
        if kind in _REFERRING:
            highest = words[start + 2]
        if kind == Kind.ARRAY:
            highest = max(words[start + 3], words[start + 4])
        elif (count := words[start + 1] & 0xFFFF if start >= 0 else 0) and kind in _ID_PLACES:
            first, step = _ID_PLACES[kind]
            highest = max(highest, max(words[start + first : start + 3 + step * count : step]))
        if highest >= limit:
            raise broken("B0105", f"BTF type {offset + position} refers to type {highest}; there are only {limit}")
        if kind == Kind.FUNC:
            target = words[start + 2]
            proto = isinstance(base[target], FuncProto) if base is not None and target < offset else None
            if not (kinds[target - offset] == Kind.FUNC_PROTO if proto is None else proto):
                raise broken("B0110", f"the function at BTF type {offset + position} has no prototype")


# Where ids stand in elements: word of the first id counted from the record's start, words from one to the next.
_ID_PLACES: Final[dict[int, tuple[int, int]]] = {
    Kind.STRUCT: (4, 3),
    Kind.UNION: (4, 3),
    Kind.FUNC_PROTO: (4, 2),
    Kind.DATASEC: (3, 3),
}


def _value_children(words: array[int], start: int, kind: int) -> list[int]:
    if kind in _COMPOSITES:
        return words[start + 4 : start + 3 + 3 * (words[start + 1] & 0xFFFF) : 3].tolist()
    return [words[start + 3 if kind == Kind.ARRAY else start + 2]]


def _other_children(words: array[int], start: int, kind: int) -> list[int]:
    if kind == Kind.FUNC_PROTO:
        return [words[start + 2], *words[start + 4 : start + 3 + 2 * (words[start + 1] & 0xFFFF) : 2]]
    if kind == Kind.DATASEC:
        return words[start + 3 : start + 3 + 3 * (words[start + 1] & 0xFFFF) : 3].tolist()
    return [words[start + 3 if kind == Kind.ARRAY else start + 2]]


class _Depths:
    """Depth-first walk over some kinds, each visited once; finds cycles and nesting beyond MAX_DEPTH."""

    def __init__(
        self,
        records: Records,
        kinds: frozenset[Kind],
        children: Callable[[array[int], int, int], list[int]],
        complaint: str,
    ) -> None:
        self._records = records
        self._children = children
        self._complaint = complaint
        self._walked = bytes(kind in kinds for kind in range(20))
        # Depth by position: 0 not yet known, otherwise depth + 1. Kinds outside the walk have depth 0.
        self._depths = bytearray(0 if self._walked[kind] else 1 for kind in records.kinds)

    def walk(self) -> None:
        """Visit everything. Most types only refer to known ones: those need no stack."""
        depths, words, offset = self._depths, self._records.words, self._records.offset
        kinds, children = self._records.kinds, self._children
        for position, start in enumerate(self._records.starts):
            if depths[position]:
                continue
            deepest = 0
            for child in children(words, start, kinds[position]):
                depth = depths[child - offset] if child >= offset else 1
                if not depth:
                    self._visit(position)
                    break
                if depth > deepest:
                    deepest = depth
            else:
                self._set(position, deepest)

    def _set(self, position: int, deepest_child: int) -> None:
        if deepest_child > MAX_DEPTH:
            raise broken("B0108", f"BTF type {self._records.offset + position} is nested more than {MAX_DEPTH} deep")
        self._depths[position] = deepest_child + 1

    def _visit(self, position: int) -> None:
        depths, words, offset = self._depths, self._records.words, self._records.offset
        kinds, starts, children = self._records.kinds, self._records.starts, self._children
        open_positions = {position}
        stack = [(position, iter(children(words, starts[position], kinds[position])))]
        while stack:
            position, rest = stack[-1]
            for child in rest:
                below = child - offset
                if below < 0 or depths[below]:
                    continue
                if below in open_positions:
                    raise broken("B0107", f"BTF type {child} {self._complaint}")
                open_positions.add(below)
                stack.append((below, iter(children(words, starts[below], kinds[below]))))
                break
            else:
                stack.pop()
                below_all = children(words, starts[position], kinds[position])
                self._set(position, max((self._depth(child) for child in below_all), default=0))
                open_positions.discard(position)

    def _depth(self, type_id: int) -> int:
        """Depth + 1, 0 when not yet known. A base is checked on its own, its types count as leaves."""
        return self._depths[type_id - self._records.offset] if type_id >= self._records.offset else 1

"""The same types without some of them: an older kernel's, as far as a newer one's can stand in for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import overload

from skep.btf.types import Btf, BtfType, Enum, Func


class _Masked(Sequence[BtfType]):
    """Ids stay; names of hidden types cannot be found, and some types are replaced."""

    def __init__(self, own: Sequence[BtfType], names: Mapping[str, list[int]], replaced: Mapping[int, BtfType]) -> None:
        self._own = own
        self._names = names
        self._replaced = replaced

    def __len__(self) -> int:
        return len(self._own)

    @overload
    def __getitem__(self, index: int) -> BtfType: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BtfType]: ...
    def __getitem__(self, index: int | slice) -> BtfType | Sequence[BtfType]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        found = self._replaced.get(index)
        return self._own[index] if found is None else found

    def __iter__(self) -> Iterator[BtfType]:
        return (self[i] for i in range(len(self)))

    def positions_by_name(self) -> Mapping[str, list[int]]:
        return self._names


def without(btf: Btf, functions: frozenset[str], enumerators: Mapping[str, int]) -> Btf:
    """A copy in which some functions cannot be found, and enumerations end early.

    Args:
        btf: of a kernel; no split BTF.
        functions: names to hide.
        enumerators: name of an enumeration -> the largest value that it keeps.
    """
    names = dict(btf._positions())
    for name in functions & names.keys():
        names[name] = [at for at in names[name] if not isinstance(btf.own[at], Func)]
    replaced: dict[int, BtfType] = {}
    for name, largest in enumerators.items():
        for number in btf.find_all(name, Enum):
            found = btf[number]
            assert isinstance(found, Enum)
            kept = tuple((word, value) for word, value in found.values if value <= largest)
            replaced[number] = replace(found, values=kept)
    return Btf(_Masked(btf.own, names, replaced), None, None, btf.byte_order, btf.strings)

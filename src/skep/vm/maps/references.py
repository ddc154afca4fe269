"""Maps whose values are maps or programs of this process: array_of_maps, hash_of_maps, prog_array.

A value is a number in a table of the runtime. What it stands for lives as long as an entry names it, and then until no
run can still be using it.
"""

from __future__ import annotations

import errno
import struct
import threading
import weakref
from functools import partial

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.engine import ANY
from skep.model.maps import MapSpec
from skep.vm.maps.handle import TailTarget, VmMap
from skep.vm.maps.memory import Block
from skep.vm.maps.rules import INNER_MAP
from skep.vm.runs import runs
from skep.vm.runtime import Table, runtime


class ReferenceMap(VmMap):
    """A map of maps, or a prog_array."""

    def __init__(self, spec: MapSpec, block: Block) -> None:
        super().__init__(spec, block)
        self._lock = threading.Lock()
        self._table = runtime().programs if spec.type is MapType.PROG_ARRAY else runtime().maps
        self._numbers: set[int] = set()  # in the table
        weakref.finalize(block, _retire_all, self._table, self._numbers)

    def set_inner(self, key: bytes, inner: VmMap) -> None:
        """Put a map in.

        Raises:
            MapError: M0202: it differs from the declared inner map in what programs rely on.
        """
        self._check_inner(inner)
        number = self._table.add(inner.address, inner.block)
        try:
            self._set(key, number)
        except BaseException:
            self._table.remove(number)
            raise
        self._numbers.add(number)

    def claim(self, prog_type: ProgType) -> None:
        """From now on only programs of this type call or enter this prog_array: their contexts must be alike.

        Raises:
            MapError: M0202: programs of another type do already (bpf_prog_map_compatible()).
        """
        owner = int(prog_type) + 1
        with self._lock:
            if self._header.owner not in (0, owner):
                there = ProgType(self._header.owner - 1).name.lower()
                what = f"it is for programs of type {there}, not {prog_type.name.lower()}"
                raise self._error(errno.EINVAL, what, "use one prog_array for each program type")
            self._header.owner = owner

    def set_program(self, index: int, program: TailTarget) -> None:
        """Put a program in; its code stays in memory until it is replaced.

        Raises:
            MapError: M0202: it is for programs of another type, or there is no such index.
        """
        if self._spec.type is not MapType.PROG_ARRAY:
            super().set_program(index, program)
        self.claim(program.prog_type)
        entry, code = program.tail_target()
        number = self._table.add(entry, code)
        try:
            self._set(struct.pack("<I", index), number)
        except BaseException:
            self._table.remove(number)
            raise
        self._numbers.add(number)

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Only the engine puts maps and programs in."""
        what = "its values are maps or programs of this process, not bytes"
        raise self._error(errno.EINVAL, what, "use engine.set_inner() or engine.set_program()")

    def delete(self, key: bytes) -> bool:
        """Take an entry out; False if there is none."""
        with self._lock:
            before = self._number_at(key)
            if not before or not super().delete(key):
                return False
            self._retire(before)
            return True

    def lookup(self, key: bytes) -> bytes | None:
        """The number of the entry, None where there is none."""
        value = super().lookup(key)
        return value if value is not None and any(value) else None

    def _number_at(self, key: bytes) -> int:
        value = super().lookup(key)
        return struct.unpack("<I", value)[0] if value is not None else 0

    def _set(self, key: bytes, number: int) -> None:
        with self._lock:
            before = self._number_at(key)
            super().update(key, struct.pack("<I", number))
            self._retire(before)

    def _retire(self, number: int) -> None:
        if number in self._numbers:
            self._numbers.discard(number)
            runs().when_unused(partial(self._table.remove, number))

    def _check_inner(self, inner: VmMap) -> None:
        """What bpf_map_meta_equal() and array_map_meta_equal() compare."""
        template = self._spec.inner
        if self._spec.type is MapType.PROG_ARRAY:
            raise self._error(errno.EINVAL, "its values are programs, not maps", "use engine.set_program()")
        if template is None:
            return
        names = ["type", "key_size", "value_size", "flags"]
        if template.type is MapType.ARRAY and not template.flags & INNER_MAP:
            names.append("max_entries")
        for name in names:
            wanted, found = getattr(template, name), getattr(inner.spec, name)
            if wanted != found:
                what = f"the inner map '{inner.spec.name}' has {name} {found!r}, declared is {wanted!r}"
                raise self._error(errno.EINVAL, what, "make it like the declared inner map")


def _retire_all(table: Table, numbers: set[int]) -> None:
    """The map's memory is gone, so no program can reach its entries any more."""
    for number in numbers:
        table.remove(number)
    numbers.clear()

"""What the programs of a long run share: maps, which are put back as they were, and the memory of a packet.

Making maps costs more than running a generated program on them. Here a map is made once for each blueprint, and all
programs with such a map, interpreted and native, use the same memory. So what is in there afterwards can be compared
as bytes, and even addresses are the same.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from skep.abi.map_types import MapType
from skep.model.maps import MapSpec
from skep.testing.differential import Executed, read_contents
from skep.testing.generate import Sample
from skep.testing.samples import Contents, link_target
from skep.verifier import verify
from skep.vm.helpers.table import VALUE_OFFSET
from skep.vm.interpreter.machine import STACK_BYTES
from skep.vm.maps import VmMap, create_map
from skep.vm.maps.references import ReferenceMap
from skep.vm.programs import VmProgram
from skep.vm.runs import runs
from skep.vm.runtime import Run, Test, runtime

T = TypeVar("T")
MAX_MAP_BYTES = 1 << 20  # larger ones are not worth the time it takes to put them back
_ROOM = 1 << 16
_RANDOM = 0x9E3779B97F4A7C15


@dataclass(slots=True)
class SharedMap:
    """A map that many programs use, one after the other.

    Attributes:
        name: what it is called in bundles.
        pristine: its memory as it was made.
        kept: what its entries refer to.
    """

    name: str
    handle: VmMap
    pristine: bytes
    kept: object = None

    def reset(self, contents: bytes | None) -> None:
        """As if it were new."""
        ctypes.memmove(self.handle.address, self.pristine, len(self.pristine))
        if contents:
            ctypes.memmove(self.handle.address + VALUE_OFFSET, contents, len(contents))

    def image(self) -> bytes:
        """Its memory."""
        return ctypes.string_at(self.handle.address, len(self.pristine))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did on its packets: results, and what its maps' memory holds in the end."""

    runs: tuple[tuple[int, bytes], ...]
    images: tuple[bytes, ...] = field(repr=False)


class TooLargeError(Exception):
    """A map of the program is too large for a long run."""


class Rig:
    """One per process and thread. Programs run here one at a time."""

    def __init__(self) -> None:
        self._maps: dict[tuple[object, ...], SharedMap] = {}
        self._work = ctypes.create_string_buffer(_ROOM)
        self._data = ctypes.create_string_buffer(1 << 12)
        self._test_packet = runtime().functions["skep_test_packet"]

    def maps(self, sample: Sample, *, others: bool = False) -> dict[str, SharedMap]:
        """The maps of a program by their names in it.

        Args:
            others: not those that programs are given otherwise: the same, at other addresses.

        Raises:
            TooLargeError: one of them is larger than MAX_MAP_BYTES.
            SkepError: the vm has no such map.
        """
        found: dict[str, SharedMap] = {}
        for spec in sample.maps:
            key: tuple[object, ...] = (spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags)
            if spec.type is MapType.PROG_ARRAY:
                key = (*key, sample.prog_type, sample.target if spec.slots else ())
            taken = sum(other.handle.spec == spec for other in found.values())
            key = (*key, spec.frozen, taken, len(spec.contents or b""), others)
            shared = self._maps.get(key)
            if shared is None:
                shared = self._maps[key] = self._make(spec, sample)
            found[spec.name] = shared
        return found

    def _make(self, spec: MapSpec, sample: Sample) -> SharedMap:
        handle = create_map(spec)
        if handle.size > MAX_MAP_BYTES:
            raise TooLargeError(spec.name)
        kept = None
        if isinstance(handle, ReferenceMap) and spec.type is MapType.PROG_ARRAY:
            handle.claim(sample.prog_type)
            if spec.slots and sample.target:
                kept = VmProgram(verify(link_target(sample)), {})
                handle.set_program(spec.slots[0].index, kept)
        return SharedMap(str(len(self._maps)), handle, ctypes.string_at(handle.address, handle.size), kept)

    def run(
        self, sample: Sample, maps: Mapping[str, SharedMap], entry: int, after: Callable[[], None] | None = None
    ) -> Outcome:
        """Run a program on its packets, on fresh maps.

        Args:
            entry: address of the program, as ``Run.program`` holds it.
            after: called after each packet; what it raises is raised here.
        """
        for spec in sample.maps:
            maps[spec.name].reset(spec.contents)
        done: list[tuple[int, bytes]] = []
        with runs().take() as run:
            run.program, run.prog_type, run.random = entry, int(sample.prog_type), _RANDOM
            for packet in sample.packets:
                done.append(self._one(run, packet))
                if after is not None:
                    after()
        return Outcome(tuple(done), tuple(maps[spec.name].image() for spec in sample.maps))

    def _one(self, run: Run, packet: bytes) -> tuple[int, bytes]:
        ctypes.memset(self._work, 0, _ROOM)
        ctypes.memmove(self._data, packet, len(packet))
        test = Test(
            work=ctypes.addressof(self._work), work_size=_ROOM, data=ctypes.addressof(self._data), length=len(packet),
            repeat=1,
        )  # fmt: skip
        if self._test_packet(ctypes.addressof(run), ctypes.addressof(test)) != 0:
            return -errno.EINVAL, b""
        return test.retval, ctypes.string_at(ctypes.addressof(self._work) + test.out_at, test.out_length)

    def elsewhere(self, depth: int, action: Callable[[], T]) -> T:
        """Do something with the C stack deeper and new memory at other places than before."""
        if depth:
            return next(self.elsewhere(depth - 1, action) for _ in (0,))  # map() calls through C
        kept = [ctypes.create_string_buffer(STACK_BYTES + 8) for _ in range(8)]
        try:
            return action()
        finally:
            kept.clear()

    def decode(self, sample: Sample, maps: Mapping[str, SharedMap], outcome: Outcome) -> Executed:
        """The outcome with what the maps hold as keys and values, as other engines say it."""
        found: dict[str, Contents] = {}
        for spec, image in zip(sample.maps, outcome.images, strict=True):
            ctypes.memmove(maps[spec.name].handle.address, image, len(image))
            found[spec.name] = read_contents(spec, maps[spec.name].handle)
        return Executed(outcome.runs, found)

"""Maglev tables: which backend each of 65,537 hash values belongs to, so that few move when backends come and go.

The turns are taken by a small eBPF program on the vm (maglev.bpf.c): a table of 100 backends takes some 10 ms.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import resources

import skep
from skep.errors import InternalError
from skep.tools.counters import write

TABLE = 65_537
NOBODY = 0xFFFF
MAX_WEIGHT = 256
_CANDIDATE = struct.Struct("=4I")
_U32 = struct.Struct("=I")
_MAX_CALLS = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend that wants entries.

    Attributes:
        name: what its permutation is made from: the same name wants the same entries on every machine.
        weight: 1 to 256.
        number: what is written into its entries.
    """

    name: str
    weight: int
    number: int


def permutation(name: str) -> tuple[int, int]:
    """Where a backend starts in the table, and how far it goes on each time."""
    first, second = struct.unpack("<QQ", blake2b(name.encode(), digest_size=16).digest())
    return first % TABLE, second % (TABLE - 1) + 1


class TableBuilder:
    """Builds tables. Close it, or use it in a with statement."""

    def __init__(self) -> None:
        with resources.as_file(resources.files("skep.tools")) as folder:
            self._object = skep.load(skep.compile(folder / "lb" / "maglev.bpf.c"))
        self._lock = threading.Lock()

    def build(self, candidates: Sequence[Candidate]) -> tuple[int, ...]:
        """The number of a candidate for each entry.

        Candidates take turns in the order of their names: all machines with the same candidates get the same table.

        Args:
            candidates: 1 to 65,535 of them.
        """
        ordered = sorted(candidates, key=lambda candidate: candidate.name)
        if not 0 < len(ordered) <= NOBODY:
            raise InternalError(f"a Maglev table of {len(ordered)} backends")
        with self._lock:
            places = self._fill([(*permutation(each.name), each.weight) for each in ordered])
        numbers = [each.number for each in ordered]
        return tuple(map(numbers.__getitem__, places))

    def _fill(self, rows: Sequence[tuple[int, int, int]]) -> tuple[int, ...]:
        """Entries as positions in ``rows`` (start, step, weight)."""
        maps, variables = self._object.maps, self._object.variables
        entries = {_U32.pack(n): _CANDIDATE.pack(*row, 0) for n, row in enumerate(rows)}
        write(maps["candidates"].handle, entries)
        table = maps["table_of"].handle
        table.update(_U32.pack(0), b"\xff" * table.spec.value_size)
        variables["candidate_count"].value = len(rows)
        variables["heaviest"].value = max(weight for _, _, weight in rows)
        variables["turn_of"].value = variables["filled"].value = 0
        for _ in range(_MAX_CALLS):
            if self._object.programs["fill"].run().retval == 1:
                return struct.unpack(f"={TABLE}H", (table.lookup(_U32.pack(0)) or b"")[: 2 * TABLE])
        raise InternalError("a Maglev table did not fill up")

    def close(self) -> None:
        """Give it back; a second call does nothing."""
        self._object.close()

    def __enter__(self) -> TableBuilder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

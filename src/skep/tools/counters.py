"""Counters of packets in per-CPU maps, and writing many elements at once."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from skep.engine import Bulk, MapHandle
from skep.errors import InternalError


@dataclass(frozen=True, slots=True)
class Count:
    """Packets and their bytes."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.packets + other.packets, self.bytes + other.bytes)

    def plain(self) -> dict[str, int]:
        """For JSON."""
        return {"packets": self.packets, "bytes": self.bytes}


def sum_fields(raw: bytes | None, fields: int) -> tuple[int, ...]:
    """The sums over all CPUs of a per-CPU value of 64-bit fields."""
    if raw is None:
        raise InternalError("a counter is not there")
    return tuple(map(sum, zip(*struct.iter_unpack(f"={fields}Q", raw), strict=True)))


def sum_count(raw: bytes | None) -> Count:
    """``struct counter { __u64 packets, bytes; }`` of all CPUs."""
    return Count(*sum_fields(raw, 2))


def write(handle: MapHandle, entries: Mapping[bytes, bytes]) -> None:
    """Set many elements, many at once where the engine can."""
    if isinstance(handle, Bulk) and len(entries) > 1:
        handle.update_many(b"".join(entries), b"".join(entries.values()))
        return
    update = handle.update
    for key, value in entries.items():
        update(key, value)


def empty(handle: MapHandle) -> int:
    """Delete all elements, also while a program adds some; how many."""
    found = 0
    while (key := handle.next_key(None)) is not None and found <= 2 * handle.spec.max_entries:
        found += handle.delete(key)
    return found


def power_of_two(number: int) -> int:
    """The smallest one that is not smaller."""
    return 1 << (number - 1).bit_length()

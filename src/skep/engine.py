"""The one protocol of both engines: ten verbs, bytes in and out.

Decoding by BTF, iteration and lifetimes sit above, in ``collection``. Powers that only some engines or maps have are
small extra protocols, asked for with isinstance().
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from skep.model.hooks import Hook
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, VerifiedProgram
from skep.model.target import Target

ANY, NOEXIST, EXIST = 0, 1, 2  # flags of MapHandle.update: BPF_ANY, BPF_NOEXIST, BPF_EXIST


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run of a program: its return value (32 bits, as the kernel reports it), what it left of data and context."""

    retval: int
    data: bytes
    ctx: bytes
    duration_ns: int


@dataclass(frozen=True, slots=True)
class PacketRun:
    """What became of the packets of a capture, or of a live hook in one run.

    Attributes:
        bytes: captured bytes that went in.
        verdicts: how often each verdict was returned, by its kernel name without prefix (``PASS``, ``DROP``; numbers
            that mean nothing as ``42``).
        passed: packets written to ``out`` (or that would have been).
        lost: packets that nobody saw: the ring was full (live hooks).
        sent, not_sent: packets that went out by a device, and that could not (device down, packet too long, no device).
        ended: why it ended: ``end`` of the capture, ``duration``, ``packets``, ``stopped``, or ``gone``, the interface.
    """

    packets: int
    bytes: int
    verdicts: Mapping[str, int]
    passed: int
    seconds: float
    lost: int = 0
    sent: int = 0
    not_sent: int = 0
    ended: str = "end"


class MapHandle(Protocol):
    """A live map. Keys and values are bytes of the exact sizes; per-CPU values are one for each CPU, padded to 8."""

    @property
    def spec(self) -> MapSpec:
        """What it was made from."""

    def lookup(self, key: bytes) -> bytes | None:
        """The value, or None. For queues and stacks (key b"") a peek."""

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Set a value; MapError (with errno) when it cannot be. For queues and stacks (key b"") a push."""

    def delete(self, key: bytes) -> bool:
        """Remove a key; False if it was not there. MapError (EINVAL) for arrays."""

    def next_key(self, key: bytes | None) -> bytes | None:
        """The key after this one (None: the first), or None at the end."""

    def records(self) -> Iterator[bytes]:
        """Take all records that are ready (ringbuf); empty for maps without records."""

    def close(self) -> None:
        """Give it back; a second call does nothing."""


class ProgramHandle(Protocol):
    """A loaded program."""

    def run(self, data: bytes, ctx: bytes | None = None, repeat: int = 1) -> RunResult:
        """Run it on one input (BPF_PROG_TEST_RUN). ``ctx`` in the layout the program sees."""

    def close(self) -> None:
        """Give it back; a second call does nothing."""


class LinkHandle(Protocol):
    """A program attached to a hook."""

    def update(self, program: ProgramHandle) -> None:
        """Replace the program atomically: no event is seen by neither."""

    def close(self) -> None:
        """Detach; a second call does nothing."""


@runtime_checkable
class PacketSource(Protocol):
    """A link whose events must be driven, such as a capture file."""

    def run(self, progress: Callable[[int, int], None] | None = None, passed: int | None = None) -> PacketRun:
        """Run the program on every packet, or until ``passed`` packets have passed.

        ``progress`` is told (bytes done, bytes in all; 0 if not known).
        """


@runtime_checkable
class Described(Protocol):
    """A link that the kernel knows by an id."""

    def info(self) -> Mapping[str, Any]:
        """What the kernel says: ``id``, ``type``, ``prog_id`` and what belongs to the kind of link."""

    def detach(self) -> None:
        """End it, pinned or not."""


@runtime_checkable
class LinkOwner(Protocol):
    """An engine whose links may pass to another engine of its kind, with the program that they run."""

    def adopt(self, link: LinkHandle) -> None:
        """Own a link: close it with this engine."""

    def release(self, link: LinkHandle) -> None:
        """Own it no more."""


@runtime_checkable
class TextSource(Protocol):
    """A link that is read: an iterator."""

    def read(self) -> bytes:
        """Run over everything once; what the program wrote."""


@runtime_checkable
class RecordSource(Protocol):
    """A map whose records can be waited for and taken many at a time: ring buffers, perf event arrays."""

    @property
    def lost(self) -> int:
        """Records that programs could not leave because there was no room, as far as the kernel tells."""

    def fileno(self) -> int:
        """A descriptor that is readable when records are ready (for epoll and asyncio)."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for records, at most ``timeout`` seconds (None: for ever); whether there are some."""

    def drain(self) -> list[bytes]:
        """Take all records that are ready."""

    def drain_fixed(self, size: int) -> FixedRecords:
        """Take records of one size, without a look at each."""


@runtime_checkable
class PagedSource(Protocol):
    """A RecordSource whose memory has a size that the reader chooses: perf event arrays."""

    def open(self, pages: int = ..., wakeup_events: int = ...) -> None:
        """Make the memory now: ``pages`` for each CPU, a power of two."""


@runtime_checkable
class RecordSink(Protocol):
    """A map that takes records for programs: user ring buffers."""

    def submit(self, record: bytes, timeout: float | None = 0) -> bool:
        """Leave a record; False if there is no room within ``timeout`` seconds (None: for ever)."""


@dataclass(frozen=True, slots=True)
class FixedRecords:
    """Records of one size in one block: record i is ``data[offset + i * stride:][:size]``.

    Attributes:
        others: records of other sizes that were met before, between or after them, in their order.
    """

    data: bytes | memoryview
    count: int
    stride: int
    offset: int
    others: tuple[bytes, ...] = ()


@runtime_checkable
class LiveSource(Protocol):
    """A link on live packets: it has no end of its own."""

    def run_live(
        self,
        progress: Callable[[int, int], None] | None = None,
        *,
        duration: float | None = None,
        packets: int | None = None,
        passed: int | None = None,
    ) -> PacketRun:
        """Run until ``duration`` seconds are over, so many packets were seen or have passed, or stop()."""

    def stop(self) -> None:
        """End run_live() after the packets that are there already; from any thread or signal handler."""

    def status(self) -> PacketRun:
        """How far the run is."""


@runtime_checkable
class Poppable(Protocol):
    """A map that can give and remove an element at once: queues and stacks (key b""), hash maps."""

    def pop(self, key: bytes) -> bytes | None:
        """Remove and return the value; None if there is none."""


@runtime_checkable
class Batched(Protocol):
    """A map whose elements can be read many at a time; ends whatever others add or remove meanwhile."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values; every key once. Empty for maps without keys."""


@runtime_checkable
class DirectMemory(Protocol):
    """A map whose memory can be seen without copying (arrays, global data)."""

    def memory(self) -> memoryview:
        """All values, in place; writes are seen by programs at once. Invalid after close()."""


@runtime_checkable
class SharedArena(DirectMemory, Protocol):
    """An arena: memory whose pointers programs and this process both understand."""

    @property
    def address(self) -> int:
        """Where it begins; pointers that programs leave in it count from there."""


@runtime_checkable
class Bulk(Protocol):
    """A map that reads and writes many elements at once; keys, and values, lie one after the other."""

    def batches(self, *, remove: bool = False) -> Iterator[tuple[int, bytes, bytes]]:
        """(count, keys, values): all elements in blocks; ``remove``: take them out (hash maps)."""

    def update_many(self, keys: bytes, values: bytes, flags: int = ANY) -> int:
        """Set many values; how many."""

    def delete_many(self, keys: bytes) -> int:
        """Remove many keys; how many were there."""


@runtime_checkable
class Pinnable(Protocol):
    """A map or program that can get a name in a bpffs, under which it outlives its owner."""

    def pin(self, path: str) -> None:
        """Give it a name."""

    def unpin(self, path: str | None = None) -> None:
        """Take a name away, or (None) all that this handle gave."""


class Engine(Protocol):
    """A place where programs run."""

    @property
    def target(self) -> Target:
        """Facts about this place, for linker and verifier."""

    def create_map(self, spec: MapSpec) -> MapHandle:
        """Make a map (its ``contents`` and ``frozen`` included; ``slots`` are filled by the caller)."""

    def load_program(self, program: VerifiedProgram, maps: Mapping[str, MapHandle]) -> ProgramHandle:
        """Turn a proved program into native code. ``maps`` holds every map that it names."""

    def attach(self, program: ProgramHandle, hook: Hook) -> LinkHandle:
        """Put a program on a hook."""

    def set_inner(self, outer: MapHandle, key: bytes, inner: MapHandle) -> None:
        """Put a map into an array_of_maps or hash_of_maps."""

    def set_program(self, array: MapHandle, index: int, program: ProgramHandle) -> None:
        """Put a program into a prog_array."""

    def close(self) -> None:
        """Give back everything the engine itself holds."""


@runtime_checkable
class JudgesItself(Protocol):
    """An engine that has a verifier of its own, whose verdict counts: Linux."""

    def load_linked(
        self, program: LinkedProgram, maps: Mapping[str, MapHandle], extends: ProgramHandle | None = None
    ) -> ProgramHandle:
        """Load a program that nobody has judged yet; RejectedError (with ``log``) when its verifier says no."""


@runtime_checkable
class HasTables(Protocol):
    """An engine where programs can stand in for functions of the kernel (struct_ops)."""

    def fill_table(self, table: MapHandle, programs: Mapping[str, ProgramHandle]) -> None:
        """Say which programs stand in for the members of a table, by their names in C."""


@runtime_checkable
class PinsByName(Protocol):
    """An engine that opens maps by the name under which they are pinned, and makes such pins."""

    def pin_by_name(self, handle: MapHandle) -> None:
        """Make the pin of a map that wants one and was not opened from it."""

    def undo_pin(self, handle: MapHandle) -> None:
        """Take it away again."""

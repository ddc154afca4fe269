"""A live map of the kernel: bytes in and out, one system call each; batches where the kernel has them."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from functools import cached_property

from skep.abi.map_facts import FACTS
from skep.diagnostics import Diagnostic
from skep.engine import ANY
from skep.errors import MapError
from skep.kernel import host
from skep.kernel.bpf import maps, objects
from skep.kernel.bpf.attr import MapInfo
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.kernel.maps import pins
from skep.kernel.refusals import ENOTSUPP, element_refused
from skep.model.maps import MapSpec

_BATCH_BYTES = 1 << 20
_LEAST_BATCH = 128
_NO_BATCH = frozenset({errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP})
RDONLY_PROG, MMAPABLE = 1 << 7, 1 << 10


class KernelMap:
    """A map in the kernel. Subclasses add the powers of some types (skep.engine: Poppable, DirectMemory).

    Attributes:
        fd: its descriptor.
        pinned: paths that this handle gave it, the newest last.
        is_new: False where an existing map was opened (a pin, an id).
    """

    def __init__(self, spec: MapSpec, fd: Fd, *, is_new: bool = True) -> None:
        self._spec = spec
        self.fd = fd
        self.is_new = is_new
        self.pinned: list[str] = []
        facts = FACTS.get(spec.type)
        self._is_per_cpu = facts is not None and facts.is_per_cpu
        self.value_bytes = spec.value_size
        if self._is_per_cpu:
            self.value_bytes = -(-spec.value_size // 8) * 8 * host.possible_cpus()

    @property
    def spec(self) -> MapSpec:
        """What it was made from."""
        return self._spec

    @cached_property
    def id(self) -> int:
        """The kernel's number for it."""
        return int(self.info().id)

    def info(self) -> MapInfo:
        """struct bpf_map_info, now."""
        return objects.read_info(self.fd.number, MapInfo())

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value, all CPUs' for per-CPU maps; None if there is none."""
        self._check_key(key)
        try:
            return maps.lookup(self.fd.number, key, self.value_bytes, flags)
        except BpfCallError as error:
            raise element_refused(error, self._spec) from None

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Set a value; see skep.engine.MapHandle."""
        self._check_key(key)
        self._check_value(value)
        try:
            maps.update(self.fd.number, key, value, flags & ((1 << 64) - 1))
        except BpfCallError as error:
            raise element_refused(error, self._spec) from None

    def delete(self, key: bytes) -> bool:
        """Remove a key; False if it was not there."""
        self._check_key(key)
        try:
            maps.delete(self.fd.number, key)
        except BpfCallError as error:
            if error.number == errno.ENOENT:
                return False
            raise element_refused(error, self._spec) from None
        return True

    def next_key(self, key: bytes | None) -> bytes | None:
        """The key after this one; after a key that is not there, the first."""
        if self._spec.key_size == 0:
            return None
        if key is not None:
            self._check_key(key)
        try:
            return maps.next_key(self.fd.number, key, self._spec.key_size)
        except BpfCallError as error:
            raise element_refused(error, self._spec) from None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values, many per system call (Linux 5.6), else one by one."""
        key_size, value_size = self._spec.key_size, self.value_bytes
        for count, keys, values in self.batches():
            for i in range(count):
                yield keys[i * key_size : (i + 1) * key_size], values[i * value_size : (i + 1) * value_size]

    def batches(self, *, remove: bool = False) -> Iterator[tuple[int, bytes, bytes]]:
        """(count, keys, values): all elements, in blocks of about a megabyte; keys and values lie one after the other.

        Args:
            remove: take them out of the map (hash maps).
        """
        if self._spec.key_size == 0:
            return
        wanted = max(_LEAST_BATCH, _BATCH_BYTES // max(self._spec.key_size + self.value_bytes, 1))
        count = max(1, min(wanted, self._spec.max_entries or 1))
        position: bytes | None = None
        is_first = True
        while True:
            try:
                batch = maps.lookup_batch(
                    self.fd.number, position, count, self._spec.key_size, self.value_bytes, remove=remove
                )
            except BpfCallError as error:
                if error.number == errno.ENOSPC:  # one bucket of a hash holds more: take more at once
                    count *= 2
                    continue
                if is_first and error.number in _NO_BATCH:
                    yield from self._one_by_one(remove)
                    return
                raise element_refused(error, self._spec) from None
            is_first = False
            if batch.count:
                yield batch.count, batch.keys, batch.values
            if batch.position is None:
                return
            position = batch.position

    def _one_by_one(self, remove: bool) -> Iterator[tuple[int, bytes, bytes]]:
        # A key that is deleted under us sends next_key back to the start: the seen set keeps the walk finite.
        seen: set[bytes] = set()
        key = self.next_key(None)
        while key is not None and len(seen) <= self._spec.max_entries:
            following = self.next_key(key)
            if key not in seen:
                seen.add(key)
                value = self.lookup(key)
                if remove:
                    self.delete(key)
                if value is not None:
                    yield 1, key, value
            elif not remove:
                return
            key = following

    def update_many(self, keys: bytes, values: bytes, flags: int = ANY) -> int:
        """Set many values (5.6), else one by one; keys and values lie one after the other. Returns how many."""
        key_size, value_size = self._spec.key_size, self.value_bytes
        count = len(keys) // key_size if key_size else 0
        if not key_size or len(keys) != count * key_size or len(values) != count * value_size:
            raise self._wrong_size(f"{len(keys)} bytes of keys and {len(values)} of values do not belong together")
        if not count:
            return 0
        try:
            return maps.update_batch(self.fd.number, keys, values, count, flags)
        except BpfCallError as error:
            if error.number not in _NO_BATCH:
                raise element_refused(error, self._spec) from None
        for i in range(count):
            self.update(keys[i * key_size : (i + 1) * key_size], values[i * value_size : (i + 1) * value_size], flags)
        return count

    def delete_many(self, keys: bytes) -> int:
        """Remove many keys (5.6), else one by one; those that are not there do not count. Returns how many."""
        key_size = self._spec.key_size
        if not key_size or len(keys) % key_size:
            raise self._wrong_size(f"{len(keys)} bytes are no whole number of keys of {key_size} bytes")
        at, removed = 0, 0
        try:
            while at < len(keys):
                done = maps.delete_batch(self.fd.number, keys[at:], (len(keys) - at) // key_size)
                removed += done
                at += (done + 1) * key_size  # it stops at a key that is not there: go on behind it
        except BpfCallError as error:
            if error.number not in _NO_BATCH:
                raise element_refused(error, self._spec) from None
            return removed + sum(self.delete(keys[i : i + key_size]) for i in range(at, len(keys), key_size))
        return removed

    def records(self) -> Iterator[bytes]:
        """No records: ring buffers are handles of their own (skep.kernel.rings)."""
        _ = self.fd.number
        return iter(())

    def freeze(self) -> None:
        """From now on only programs change it (BPF_MAP_FREEZE, 5.2)."""
        try:
            maps.freeze(self.fd.number)
        except BpfCallError as error:
            raise element_refused(error, self._spec) from None

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give it a name in a bpffs, under which it lives on. EngineError where the path is no place for it."""
        pins.pin(self.fd, path, f"map '{self._spec.name}'")
        self.pinned.append(os.fspath(path))

    def unpin(self, path: str | os.PathLike[str] | None = None) -> None:
        """Take a name away, or (None) all that this handle gave."""
        for name in [os.fspath(path)] if path is not None else list(self.pinned):
            pins.unpin(name)
            if name in self.pinned:
                self.pinned.remove(name)

    def close(self) -> None:
        """Give the descriptor back; programs that use the map, and pins, keep it. A second call does nothing."""
        self.fd.close()

    # ---- checks: the kernel reads and writes as many bytes as the map says ----

    def _check_key(self, key: bytes) -> None:
        if len(key) != self._spec.key_size:
            raise self._wrong_size(f"a key has {self._spec.key_size} bytes, not {len(key)}")

    def _check_value(self, value: bytes) -> None:
        if len(value) != self.value_bytes:
            raise self._wrong_size(f"a value has {self.value_bytes} bytes, not {len(value)}")

    def _wrong_size(self, what: str) -> MapError:
        advice = "give the sizes that the program declares; per-CPU maps take one value per CPU, each padded to 8 bytes"
        return MapError(
            Diagnostic("M0202", f"map '{self._spec.name}': {what}", help=advice, kernel="EINVAL"), errno.EINVAL
        )


class ArrayMap(KernelMap):
    """An array made with BPF_F_MMAPABLE (5.5), as global data is: its memory can be seen in place."""

    _mapping: mmap.mmap | None = None
    _view: memoryview | None = None

    def memory(self) -> memoryview:
        """All values, in place, each padded to 8 bytes; read-only if the map is frozen."""
        if self._view is None:
            stride = -(-self._spec.value_size // 8) * 8
            size = stride * self._spec.max_entries
            pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            access = mmap.PROT_READ if self._spec.frozen else mmap.PROT_READ | mmap.PROT_WRITE
            try:
                self._mapping = mmap.mmap(self.fd.number, pages, mmap.MAP_SHARED, access)
            except OSError as error:
                what = f"map '{self._spec.name}' cannot be mapped into memory: {error.strerror}"
                raise MapError(Diagnostic("M0124", what, help="use lookup() and update()"), error.errno or 0) from None
            self._view = memoryview(self._mapping)[:size]
        return self._view

    def close(self) -> None:
        """As for every map; views that somebody still holds keep the memory until they go."""
        view, self._view = self._view, None
        mapping, self._mapping = self._mapping, None
        try:
            if view is not None:
                view.release()
            if mapping is not None:
                mapping.close()
        except BufferError:
            pass  # somebody holds a view: the mapping goes with it
        super().close()


class PoppableMap(KernelMap):
    """Queues, stacks (4.20) and hashes (5.14): give and remove at once."""

    def pop(self, key: bytes) -> bytes | None:
        """Remove and return the value; None if there is none."""
        self._check_key(key)
        try:
            return maps.lookup_and_delete(self.fd.number, key, self.value_bytes)
        except BpfCallError as error:
            raise element_refused(error, self._spec) from None


class BloomMap(KernelMap):
    """bloom_filter (5.16): perhaps there, or surely not."""

    def contains(self, value: bytes) -> bool:
        """False: it was never added."""
        self._check_value(value)
        try:
            return maps.peek_value(self.fd.number, value)
        except BpfCallError as error:
            raise element_refused(error, self._spec) from None

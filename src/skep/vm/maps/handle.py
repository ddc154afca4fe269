"""A live map: Python's calls into the C functions that programs use, too."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Iterator
from typing import Protocol

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic
from skep.engine import ANY
from skep.errors import ClosedError, MapError
from skep.model.maps import MapSpec
from skep.vm.maps.header import Header
from skep.vm.maps.memory import Block
from skep.vm.maps.rules import RDONLY, WRONLY
from skep.vm.runtime import runtime

_BATCH_BYTES = 1 << 20
_RING_BYTES = 1 << 16


class TailTarget(Protocol):
    """A program, as a prog_array needs it."""

    def tail_target(self) -> tuple[int, object]:
        """Address of its native code, and what keeps that in memory."""

    @property
    def prog_type(self) -> ProgType:
        """Its type: a program can only be followed by one with the same kind of context."""


class VmMap:
    """A map of the vm. Subclasses add the powers of some types (skep.engine: Poppable, DirectMemory).

    Attributes:
        block: its memory; keep it to keep the memory.
    """

    def __init__(self, spec: MapSpec, block: Block) -> None:
        self._spec = spec
        self._block = block  # kept until the handle goes: programs that were given the handle use the memory
        self._closed = False
        self._header = Header.from_address(block.address)
        self._value_bytes = spec.value_size if self._header.ncpus == 1 else 0
        self._frozen = False
        native = runtime()
        self._functions = native.functions
        self._run = native.host_address
        if not self._value_bytes:
            self._value_bytes = self._header.value_stride * self._header.ncpus

    @property
    def spec(self) -> MapSpec:
        """What it was made from."""
        return self._spec

    @property
    def block(self) -> Block:
        """Its memory.

        Raises:
            ClosedError: the map was closed.
        """
        if self._closed:
            what = f"map '{self._spec.name}' is closed"
            raise ClosedError(Diagnostic("M0201", what, help="use it before the object that it belongs to is closed"))
        return self._block

    @property
    def address(self) -> int:
        """Where struct skep_map is."""
        return self.block.address

    @property
    def size(self) -> int:
        """Bytes of address space, from the header on."""
        return self.block.size

    @property
    def lost(self) -> int:
        """Records that did not fit (perf_event_array, trace)."""
        _ = self.block
        return int(self._header.lost)

    def freeze(self) -> None:
        """From now on only programs change it (BPF_MAP_FREEZE)."""
        self._frozen = True

    def lookup(self, key: bytes) -> bytes | None:
        """The value, all CPUs' for per-CPU maps; None if there is none."""
        self._check_access(WRONLY, "read")
        self._check_key(key)
        value = ctypes.create_string_buffer(self._value_bytes)
        if self._spec.type is MapType.BLOOM_FILTER:
            raise self._error(errno.EOPNOTSUPP, "a bloom filter gives no values back", "ask contains()")
        result = self._functions["skep_user_lookup"](self._run, self.address, key, value)
        if result == -errno.ENOENT:
            return None
        self._raise_for(result)
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Set a value; see skep.engine.MapHandle.

        Raises:
            MapError: E2BIG or ENOSPC full, EEXIST, ENOENT, EINVAL, EPERM frozen.
        """
        self._check_access(RDONLY, "written")
        self._check_key(key)
        if len(value) != self._value_bytes:
            what = f"a value has {self._value_bytes} bytes, not {len(value)}"
            raise self._error(errno.EINVAL, what, "per-CPU maps take one value per CPU, each padded to 8 bytes")
        self._raise_for(
            self._functions["skep_user_update"](self._run, self.address, key, value, flags & ((1 << 64) - 1))
        )

    def delete(self, key: bytes) -> bool:
        """Remove a key; False if it was not there."""
        self._check_access(RDONLY, "written")
        self._check_key(key)
        result = self._functions["skep_user_delete"](self._run, self.address, key, None)
        if result == -errno.ENOENT:
            return False
        self._raise_for(result)
        return True

    def next_key(self, key: bytes | None) -> bytes | None:
        """The key after this one; after a key that is not there, the first (as the kernel does)."""
        self._check_access(WRONLY, "read")
        if self._spec.key_size == 0:
            return None
        if key is not None:
            self._check_key(key)
        following = ctypes.create_string_buffer(self._spec.key_size)
        result = self._functions["skep_user_next_key"](self._run, self.address, key, following)
        if result in (-errno.ENOENT, -errno.EINVAL):
            return None
        self._raise_for(result)
        return following.raw

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values, many per call of C. Ends whatever others add or remove meanwhile; each key is seen once."""
        self._check_access(WRONLY, "read")
        key_size, value_size = self._spec.key_size, self._header.value_stride * self._header.ncpus
        if key_size == 0:
            return
        wanted = max(1, min(_BATCH_BYTES // (key_size + value_size), self._spec.max_entries))
        keys, values = ctypes.create_string_buffer(wanted * key_size), ctypes.create_string_buffer(wanted * value_size)
        cursor = ctypes.c_uint32(0)
        batch = self._functions["skep_user_batch"]
        while n := batch(self._run, self.address, ctypes.byref(cursor), wanted, keys, values):
            all_keys, all_values = keys.raw, values.raw
            for i in range(n):
                at = i * value_size
                yield all_keys[i * key_size : (i + 1) * key_size], all_values[at : at + self._value_bytes]

    def records(self) -> Iterator[bytes]:
        """No records: see RingMap."""
        _ = self.block
        return iter(())

    def set_inner(self, key: bytes, inner: VmMap) -> None:
        """Only maps of maps take maps: see ReferenceMap."""
        raise self._error(errno.EINVAL, f"a {self._spec.type.name.lower()} holds no maps", "declare a map of maps")

    def set_program(self, index: int, program: TailTarget) -> None:
        """Only prog_arrays take programs: see ReferenceMap."""
        raise self._error(errno.EINVAL, f"a {self._spec.type.name.lower()} holds no programs", "declare a prog_array")

    def close(self) -> None:
        """Give it back. Programs and views that use its memory keep that."""
        self._closed = True

    # ---- checks ----

    def _check_key(self, key: bytes) -> None:
        if len(key) != self._spec.key_size:
            what = f"a key has {self._spec.key_size} bytes, not {len(key)}"
            raise self._error(errno.EINVAL, what, "give the key with the size that the program declares")

    def _check_access(self, forbidden: int, what: str) -> None:
        if self._spec.flags & forbidden:
            raise self._error(errno.EPERM, f"it may not be {what} from outside programs", "leave out its access flags")
        if self._frozen and forbidden == RDONLY:
            raise self._error(errno.EPERM, "it is frozen: read-only since it was loaded", "set values before loading")

    def _raise_for(self, result: int) -> None:
        if result < 0:
            what, advice = _REASONS.get(-result, (os.strerror(-result), "see the kernel's documentation of this type"))
            raise self._error(-result, what.format(n=self._spec.max_entries), advice)

    def _error(self, number: int, what: str, advice: str) -> MapError:
        kernel = errno.errorcode.get(number, str(number))
        diagnostic = Diagnostic("M0202", f"map '{self._spec.name}': {what}", help=advice, kernel=kernel)
        return MapError(diagnostic, number)


_REASONS = {
    errno.E2BIG: ("it is full, or the index is not below {n}", "make max_entries larger, or delete something first"),
    errno.ENOSPC: ("it is full: it holds {n} entries", "make max_entries larger, or delete something first"),
    errno.EEXIST: ("the key is there already (NOEXIST was asked for)", "use flags=ANY to replace the value"),
    errno.ENOENT: ("the key is not there (EXIST was asked for)", "use flags=ANY to add it"),
    errno.EINVAL: ("this operation, flag or key means nothing for this map type", "see docs: map types"),
    errno.ENOMEM: ("no element could be freed", "make max_entries larger than the number of threads"),
}


class ArrayMap(VmMap):
    """array: its memory can be seen in place."""

    def memory(self) -> memoryview:
        """All values, in place, each padded to 8 bytes; read-only if the map is frozen."""
        view = self.block.view(self._header.values, self._header.value_stride * self._header.max_entries)
        return view.toreadonly() if self._frozen or self._spec.flags & RDONLY else view


class PoppableMap(VmMap):
    """Hash maps, queues, stacks: give and remove at once (BPF_MAP_LOOKUP_AND_DELETE_ELEM)."""

    def pop(self, key: bytes) -> bytes | None:
        """Remove and return the value; None if there is none."""
        self._check_access(RDONLY, "written")
        self._check_key(key)
        value = ctypes.create_string_buffer(max(self._value_bytes, self._header.value_stride * self._header.ncpus))
        result = self._functions["skep_user_delete"](self._run, self.address, key, value)
        if result == -errno.ENOENT:
            return None
        self._raise_for(result)
        return value.raw[: self._value_bytes]


class RingMap(VmMap):
    """ringbuf, perf_event_array: records."""

    def __init__(self, spec: MapSpec, block: Block) -> None:
        super().__init__(spec, block)
        self._consumer = threading.Lock()  # the ring has one reader at a time

    def lookup(self, key: bytes) -> bytes | None:
        """Rings have no values."""
        raise self._error(errno.EOPNOTSUPP, "it holds records, not values", "use records()")

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Rings have no values."""
        raise self._error(errno.EOPNOTSUPP, "it holds records, not values", "only programs write to it")

    def delete(self, key: bytes) -> bool:
        """Rings have no values."""
        raise self._error(errno.EOPNOTSUPP, "it holds records, not values", "use records() to take them")

    def next_key(self, key: bytes | None) -> bytes | None:
        """Rings have no keys."""
        return None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Rings have no items."""
        return iter(())

    def records(self) -> Iterator[bytes]:
        """Take all records that are ready. What a program is still writing (reserved) ends the iteration."""
        size = _RING_BYTES
        needed = ctypes.c_uint64(0)
        out = ctypes.create_string_buffer(size)
        while True:
            with self._consumer:
                n = self._functions["skep_ring_take"](self.address, out, size, ctypes.byref(needed))
            if not n and not needed.value:
                return
            if not n:
                size = int(needed.value)
                out = ctypes.create_string_buffer(size)
                continue
            data, at = out.raw[:n], 0
            while at < n:
                (length,) = struct.unpack_from("<I", data, at)
                yield data[at + 4 : at + 4 + length]
                at += 4 + length


class BloomMap(VmMap):
    """bloom_filter: perhaps there, or surely not."""

    def contains(self, value: bytes) -> bool:
        """False: it was never added."""
        if len(value) != self._spec.value_size:
            raise self._error(errno.EINVAL, f"a value has {self._spec.value_size} bytes, not {len(value)}", "pad it")
        result = self._functions["skep_user_lookup"](self._run, self.address, None, value)
        if result == -errno.ENOENT:
            return False
        self._raise_for(result)
        return True

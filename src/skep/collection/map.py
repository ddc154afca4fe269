"""Live maps as Python containers: one small class per way to use a map; a table says which type is used which way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar

from skep.abi.map_types import MapType
from skep.btf.types import Datasec, Struct, Typedef, Union
from skep.btf.values import codec as btf_codec
from skep.collection.arena import Arena
from skep.collection.base import Map
from skep.collection.codecs import Codec, codec_for, named_type
from skep.collection.dtypes import dtype_of, require_numpy
from skep.collection.events import Events, PolledSource
from skep.collection.tables import Table
from skep.diagnostics import Diagnostic
from skep.engine import ANY, Batched, Bulk, MapHandle, PagedSource, Poppable, RecordSink, RecordSource
from skep.errors import InternalError, MapError, UsageError
from skep.model.maps import MapSpec

if TYPE_CHECKING:
    import numpy as np

ENOENT, EINVAL = 2, 22


class MissingKeyError(MapError, KeyError):
    """The key is not in the map."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class MappingMap(Map, MutableMapping[Any, Any]):
    """Arrays and hash tables: a mutable mapping.

    Array keys are the numbers below ``max_entries``; all of them exist always. Iteration while a program adds and
    removes keys visits every key that stays for the whole time.
    """

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __getitem__(self, key: Any) -> Any:
        raw = self.handle.lookup(self._key.encode(key))
        if raw is None:
            raise _missing(self.name, key)
        return self._decode(raw)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.update_value(key, value)

    def update_value(self, key: Any, value: Any, flags: int = ANY) -> None:
        """Set a value; ``flags`` as the kernel's: engine.NOEXIST only creates, engine.EXIST only replaces.

        Raises:
            MapError: full (E2BIG), exists (EEXIST), is not there (ENOENT).
        """
        self.handle.update(self._key.encode(key), self._encode(value), flags)

    def __delitem__(self, key: Any) -> None:
        if not self.handle.delete(self._key.encode(key)):
            raise _missing(self.name, key)

    def __contains__(self, key: object) -> bool:
        return self.handle.lookup(self._key.encode(key)) is not None

    def __iter__(self) -> Iterator[Any]:
        decode = self._key.decode
        return (decode(raw) for raw in self._raw_keys())

    def __len__(self) -> int:
        return sum(1 for _ in self._raw_keys())

    def contents(self) -> Iterator[tuple[Any, Any]]:
        handle = self.handle
        if isinstance(handle, Batched):
            for key, value in handle.items():
                yield self._key.decode(key), self._decode(value)
            return
        for raw in self._raw_keys():
            found = self.handle.lookup(raw)
            if found is not None:
                yield self._key.decode(raw), self._decode(found)

    def decode_element(self, key: bytes, value: bytes) -> tuple[Any, Any]:
        """A raw element as Python values."""
        return self._key.decode(key), self._decode(value)

    def update_all(self, elements: Mapping[Any, Any] | Iterable[tuple[Any, Any]], flags: int = ANY) -> int:
        """Set many values, in few system calls where the engine can; how many.

        Raises:
            MapError: as for one value; those before the faulty one are set.
        """
        pairs = elements.items() if isinstance(elements, Mapping) else elements
        encoded = [(self._key.encode(key), self._encode(value)) for key, value in pairs]
        handle = self.handle
        if isinstance(handle, Bulk):
            return handle.update_many(b"".join(k for k, _ in encoded), b"".join(v for _, v in encoded), flags)
        for key, value in encoded:
            handle.update(key, value, flags)
        return len(encoded)

    def to_numpy(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """All elements as two NumPy arrays, keys and values, in columns: for maps of millions of elements.

        Structs become structured arrays; per-CPU values have one row for each element, one column for each CPU. What
        BTF does not describe is bytes (dtype V).

        Raises:
            UnsupportedError: U0401 NumPy is not installed, U0402 a type that it does not have.
        """
        numpy = require_numpy()
        handle = self.handle
        blocks: Iterable[tuple[int, bytes, bytes]]
        if isinstance(handle, Bulk):
            blocks = handle.batches()
        elif isinstance(handle, Batched):
            blocks = ((1, key, value) for key, value in handle.items())
        else:
            found = ((key, handle.lookup(key)) for key in self._raw_keys())
            blocks = ((1, key, value) for key, value in found if value is not None)
        keys, values = bytearray(), bytearray()
        for _, some_keys, some_values in blocks:
            keys += some_keys
            values += some_values
        columns = numpy.frombuffer(keys, self._dtype(self.spec.key_type, self.spec.key_size))
        return columns, self._value_column(numpy, values, len(columns))

    def _dtype(self, type_id: int, size: int) -> np.dtype[Any]:
        btf = self.spec.btf
        if btf is not None and type_id:
            found = dtype_of(btf, type_id)
            if found.itemsize == size:
                return found
        return require_numpy().dtype(f"V{size}")  # type: ignore[no-any-return]

    def _value_column(self, numpy: Any, values: bytearray, count: int) -> np.ndarray[Any, Any]:
        dtype = self._dtype(self.spec.value_type, self.spec.value_size)
        stride = len(values) // count if count else self.spec.value_size
        return numpy.ndarray((count,), dtype, values, strides=(stride,))  # type: ignore[no-any-return]

    def delete_all(self, keys: Iterable[Any]) -> int:
        """Remove many keys, in few system calls where the engine can; how many were there."""
        encoded = [self._key.encode(key) for key in keys]
        handle = self.handle
        if isinstance(handle, Bulk):
            return handle.delete_many(b"".join(encoded))
        return sum(handle.delete(key) for key in encoded)

    def drain(self) -> Iterator[tuple[Any, Any]]:
        """Take all elements out, (key, value) by (key, value): each is read and removed at once (hash maps)."""
        handle = self.handle
        if isinstance(handle, Bulk):
            yield from self._in_batches(handle.batches(remove=True))
            return
        if not isinstance(handle, Poppable):
            raise UsageError(Diagnostic("M0007", f"map '{self.name}' does not give and remove at once"))
        for raw in list(self._raw_keys()):
            value = handle.pop(raw)
            if value is not None:
                yield self._key.decode(raw), self._decode(value)

    def _in_batches(self, batches: Iterator[tuple[int, bytes, bytes]]) -> Iterator[tuple[Any, Any]]:
        for count, keys, values in batches:
            key_size, value_size = len(keys) // count, len(values) // count
            for i in range(count):
                key = self._key.decode(keys[i * key_size : (i + 1) * key_size])
                yield key, self._decode(values[i * value_size : (i + 1) * value_size])

    def _raw_keys(self) -> Iterator[bytes]:
        # A key that is deleted under us sends next_key back to the start: the seen set keeps the walk finite.
        seen: set[bytes] = set()
        key = self.handle.next_key(None)
        while key is not None:
            if key not in seen:
                seen.add(key)
                yield key
            elif len(seen) >= self.spec.max_entries:
                return
            key = self.handle.next_key(key)

    def _decode(self, raw: bytes) -> Any:
        return self._value.decode(raw)

    def _encode(self, value: Any) -> bytes:
        return self._value.encode(value)


class DataMap(MappingMap):
    """Global data (``.rodata``, ``.bss``, ``.data``): key 0 is the whole section. Variables are the way to use it."""

    def contents(self) -> Iterator[tuple[Any, Any]]:
        """One pair (0, {variable: value}); string literals and padding have no name and are left out."""
        raw = self.handle.lookup(self._key.encode(0))
        btf, section = self.spec.btf, self.spec.value_type
        if raw is None:
            return
        datasec = btf[section] if btf is not None and section else None
        if btf is None or not isinstance(datasec, Datasec):
            yield 0, raw
            return
        named = {}
        for entry in datasec.entries:
            variable = btf[entry.type]
            piece = raw[entry.offset : entry.offset + entry.size]
            target = getattr(variable, "type", 0)
            if variable.name and len(piece) == entry.size and target:
                named[variable.name] = codec_for(btf, target, entry.size).decode(piece)
        yield 0, named


class PerCpuMap(MappingMap):
    """Per-CPU maps: a value is a list with one item for each CPU."""

    def _decode(self, raw: bytes) -> list[Any]:
        size, stride = self._value.size, _round_up(self._value.size, 8)
        return [self._value.decode(raw[at : at + size]) for at in range(0, len(raw), stride)]

    def _value_column(self, numpy: Any, values: bytearray, count: int) -> np.ndarray[Any, Any]:
        dtype = self._dtype(self.spec.value_type, self.spec.value_size)
        step = _round_up(self._value.size, 8)
        cpus = len(values) // count // step if count else 0
        return numpy.ndarray((count, cpus), dtype, values, strides=(cpus * step, step))  # type: ignore[no-any-return]

    def _encode(self, value: Any) -> bytes:
        items = list(value)
        padding = bytes(_round_up(self._value.size, 8) - self._value.size)
        return b"".join(self._value.encode(item) + padding for item in items)


class Queue(Map):
    """Queues and stacks: push, pop, peek."""

    def push(self, value: Any, flags: int = ANY) -> None:
        """Add a value; MapError (E2BIG) when full, unless flags is EXIST: then the oldest gives way."""
        self.handle.update(b"", self._value.encode(value), flags)

    def peek(self) -> Any:
        """The next value without taking it, or None if there is none."""
        raw = self.handle.lookup(b"")
        return None if raw is None else self._value.decode(raw)

    def pop(self) -> Any:
        """Take the next value, or None if there is none."""
        handle = self.handle
        if not isinstance(handle, Poppable):
            raise InternalError(f"the handle of {self.name} cannot pop")
        raw = handle.pop(b"")
        return None if raw is None else self._value.decode(raw)


class RecordMap(Map):
    """Ring buffers: records in the order in which programs submitted them."""

    def records(self) -> Iterator[bytes]:
        """Take what is ready now, as bytes."""
        return self.handle.records()

    def events(self, type_name: str) -> Iterator[Any]:
        """Take what is ready now, decoded as the struct ``type_name`` of the object's C.

        A record shorter than the struct is given as bytes; bytes beyond the struct are left out.
        """
        codec = self._event_codec(type_name)
        for record in self.handle.records():
            yield codec.decode(record[: codec.size]) if len(record) >= codec.size else record

    def stream(
        self, type_name: str | None = None, *, lost: Callable[[], int] | None = None, pages: int | None = None
    ) -> Events:
        """Listen: an iterator that waits for records, also in asyncio, also many at a time as NumPy arrays.

        Args:
            type_name: the struct of the object's C that records are; None: bytes.
            lost: tells how many records programs could not send (ring buffers do not count; a global variable may).
            pages: for perf event arrays, memory of each CPU's ring: a power of two [default: 64].

        Raises:
            UsageError: M0004, the object has no such type. MapError: M0301, the memory cannot be mapped.
        """
        codec = self._event_codec(type_name) if type_name is not None else None
        handle = self.handle
        if pages is not None and isinstance(handle, PagedSource):
            handle.open(pages)
        source = handle if isinstance(handle, RecordSource) else PolledSource(handle)
        btf = self.spec.btf
        type_id = btf.find(type_name, Struct, Union, Typedef) if btf is not None and type_name is not None else None
        return Events(source, codec, btf, type_id or 0, lost)

    def _event_codec(self, type_name: str) -> Codec:
        return btf_codec(*named_type(self.spec.btf, type_name))


class CommandMap(Map):
    """User ring buffers: records from here to programs, which take them with bpf_user_ringbuf_drain()."""

    def submit(self, record: bytes, timeout: float | None = 0) -> bool:
        """Leave a record; False if there is no room within ``timeout`` seconds (None: wait for ever).

        Raises:
            UsageError: U0404, the engine has no such maps. MapError: M0302, it never fits.
        """
        handle = self.handle
        if not isinstance(handle, RecordSink):
            raise UsageError(
                Diagnostic("U0404", f"map '{self.name}' takes no records here", help='load it with engine="kernel"')
            )
        return handle.submit(bytes(record), timeout)


class ReferenceMap(Map):
    """Maps of maps and of programs: user space puts live maps or programs in, C reads them."""

    def __init__(
        self, spec: MapSpec, handle: MapHandle, byte_order: str, put: Callable[[MapHandle, bytes, Any], None]
    ) -> None:
        super().__init__(spec, handle, byte_order)
        self._put = put

    def __setitem__(self, key: Any, member: Any) -> None:
        """Put a Map (of the declared shape) or a Program at this key."""
        self._put(self.handle, self._key.encode(key), member)

    def __delitem__(self, key: Any) -> None:
        if not self.handle.delete(self._key.encode(key)):
            raise _missing(self.name, key)


class OpaqueMap(Map):
    """A map that only programs use."""


_WAYS: dict[MapType, type[Map]] = {
    MapType.HASH: MappingMap,
    MapType.ARRAY: MappingMap,
    MapType.LRU_HASH: MappingMap,
    MapType.LPM_TRIE: MappingMap,
    MapType.PERCPU_HASH: PerCpuMap,
    MapType.PERCPU_ARRAY: PerCpuMap,
    MapType.LRU_PERCPU_HASH: PerCpuMap,
    MapType.DEVMAP: MappingMap,
    MapType.DEVMAP_HASH: MappingMap,
    MapType.CPUMAP: MappingMap,
    MapType.QUEUE: Queue,
    MapType.STACK: Queue,
    MapType.RINGBUF: RecordMap,
    MapType.PERF_EVENT_ARRAY: RecordMap,
    MapType.USER_RINGBUF: CommandMap,
    MapType.PROG_ARRAY: ReferenceMap,
    MapType.STRUCT_OPS: Table,
    MapType.ARENA: Arena,
    MapType.ARRAY_OF_MAPS: ReferenceMap,
    MapType.HASH_OF_MAPS: ReferenceMap,
}


class MapFactory:
    """Makes the live map for a blueprint and a handle."""

    reference_types: ClassVar[frozenset[MapType]] = frozenset(t for t, way in _WAYS.items() if way is ReferenceMap)

    def __init__(self, byte_order: str, put: Callable[[MapHandle, bytes, Any], None]) -> None:
        self._byte_order = byte_order
        self._put = put

    def make(self, spec: MapSpec, handle: MapHandle) -> Map:
        """The right class for this map type; types that Python cannot look into become OpaqueMap."""
        if spec.is_data and spec.type is not MapType.ARENA:
            return DataMap(spec, handle, self._byte_order)
        way = _WAYS.get(spec.type, OpaqueMap)
        if issubclass(way, ReferenceMap):
            return way(spec, handle, self._byte_order, self._put)
        return way(spec, handle, self._byte_order)


def _missing(name: str, key: Any) -> MissingKeyError:
    return MissingKeyError(Diagnostic("M0005", f"map '{name}' has no key {key!r}"), ENOENT)


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit

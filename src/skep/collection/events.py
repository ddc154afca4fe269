"""Records that programs send, as they come: typed by BTF, one by one, many at a time, or awaited.

::

    with obj.maps["events"].stream("event") as events:
        for event in events:                 # waits for each; stop with break, or events.stop() from elsewhere
            print(event["pid"], event["comm"])
        async for event in events: ...       # the same in asyncio
        for array in events.arrays(): ...    # NumPy structured arrays, as many records at a time as there are
        print(events.lost)
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from skep.btf.types import Btf, Const, Ptr, Struct, Var
from skep.collection.codecs import Codec
from skep.collection.dtypes import dtype_of, require_numpy
from skep.diagnostics import Diagnostic
from skep.engine import FixedRecords, MapHandle, RecordSource
from skep.errors import UnsupportedError

if TYPE_CHECKING:
    import asyncio

    import numpy as np

_TURN_S = 0.2  # how long a wait takes at most before stop() is noticed
_POLL_S = 0.005


class Events:
    """The records of one map.

    Args:
        source: the engine's map.
        codec: of the records' type; None: bytes.
        btf, type_id: the same type, for arrays.
        counter: tells how many records programs could not send, where the kernel does not (a global variable).
    """

    def __init__(
        self,
        source: RecordSource,
        codec: Codec | None = None,
        btf: Btf | None = None,
        type_id: int = 0,
        counter: Callable[[], int] | None = None,
    ) -> None:
        self._source = source
        self._codec = codec
        self._btf = btf
        self._type_id = type_id
        self._counter = counter
        self._counted_before = counter() if counter is not None else 0
        self._is_stopped = False
        self.others: list[bytes] = []
        source.fileno()  # maps the memory: from here on programs find somebody who listens

    @property
    def lost(self) -> int:
        """Records that programs could not send because there was no room, since the stream began."""
        counted = self._counter() - self._counted_before if self._counter is not None else 0
        return self._source.lost + counted

    def stop(self) -> None:
        """End the iterations that wait, soon; from any thread or a signal handler."""
        self._is_stopped = True

    def decode(self, record: bytes) -> Any:
        """A record as Python value; bytes where it is shorter than the type."""
        codec = self._codec
        if codec is None or len(record) < codec.size:
            return record
        return codec.decode(record[: codec.size])

    def ready(self) -> list[Any]:
        """What is there now, without waiting."""
        records, codec = self._source.drain(), self._codec
        if codec is None:
            return list(records)
        size, decode = codec.size, codec.decode
        return [
            decode(record) if len(record) == size else decode(record[:size]) if len(record) > size else record
            for record in records
        ]

    def poll(self, timeout: float | None = None) -> list[Any]:
        """Wait until there is something, at most ``timeout`` seconds (None: for ever); [] when there was nothing."""
        return self.ready() if self._wait(timeout) else []

    def __iter__(self) -> Iterator[Any]:
        while self._wait(None):
            yield from self.ready()

    async def __aiter__(self) -> AsyncIterator[Any]:
        import asyncio  # who listens with plain `for` does not pay for it

        loop = asyncio.get_running_loop()
        number = self._source.fileno()
        while not self._is_stopped:
            for event in self.ready():
                yield event
            if number < 0:
                await asyncio.sleep(_POLL_S)
                continue
            ready = loop.create_future()
            loop.add_reader(number, _wake, ready)
            try:
                await asyncio.wait_for(asyncio.shield(ready), _TURN_S)
            except TimeoutError:
                continue
            finally:
                loop.remove_reader(number)
                ready.cancel()

    def array(self) -> np.ndarray[Any, Any]:
        """What is there now as one structured array; records of other sizes go to ``others``.

        Raises:
            UnsupportedError: U0401 no NumPy, U0402 the type has no NumPy form, U0403 the stream has no type.
        """
        numpy = require_numpy()
        dtype = self._dtype()
        records = self._source.drain_fixed(dtype.itemsize)
        self.others += records.others
        strided = numpy.dtype(
            {"names": ["record"], "formats": [dtype], "offsets": [records.offset], "itemsize": records.stride}
        )
        return numpy.frombuffer(records.data, strided, records.count)["record"]  # type: ignore[no-any-return]

    def arrays(self, timeout: float | None = None) -> Iterator[np.ndarray[Any, Any]]:
        """Arrays of what comes, until nothing came for ``timeout`` seconds (None: until stop())."""
        while self._wait(timeout):
            array = self.array()
            if len(array):
                yield array

    def _dtype(self) -> Any:
        if self._btf is None or not self._type_id:
            raise UnsupportedError(
                Diagnostic("U0403", "records without a type cannot be an array", help='name it: stream("event")')
            )
        return dtype_of(self._btf, self._type_id)

    def _wait(self, timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_stopped:
            left = _TURN_S if deadline is None else min(_TURN_S, max(0.0, deadline - time.monotonic()))
            if self._source.wait(left):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
        return False

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class PolledSource:
    """Records of a map that cannot wake anybody (the vm's): looked after every millisecond."""

    _PAUSE_S = 0.001

    def __init__(self, handle: MapHandle) -> None:
        self._handle = handle
        self._kept: list[bytes] = []

    @property
    def lost(self) -> int:
        """Not known."""
        return 0

    def fileno(self) -> int:
        """There is no descriptor: -1."""
        return -1

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for records, at most ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._kept:
            self._kept += self._handle.records()
            if self._kept or (deadline is not None and time.monotonic() >= deadline):
                break
            time.sleep(self._PAUSE_S)
        return bool(self._kept)

    def drain(self) -> list[bytes]:
        """Take all records that are ready."""
        taken, self._kept = [*self._kept, *self._handle.records()], []
        return taken

    def drain_fixed(self, size: int) -> FixedRecords:
        """Take all records that are ready; those of one size as one block."""
        records = self.drain()
        alike = [record for record in records if len(record) == size]
        others = tuple(record for record in records if len(record) != size)
        return FixedRecords(b"".join(alike), len(alike), size, 0, others)


def find_event_type(btf: Btf | None, map_name: str) -> str | None:
    """The struct that a map's records probably are, by the habits of people who write them.

    In this order: ``struct event``; the map's name or its singular; what a global ``const struct X *unused`` points to.
    """
    if btf is None:
        return None
    for name in ("event", map_name, map_name.removesuffix("s"), f"{map_name}_event"):
        if btf.find(name, Struct) is not None:
            return name
    pointed: list[str] = []
    for entry in btf:
        if isinstance(entry, Var) and entry.name.startswith("unused"):
            target = btf[btf.strip(entry.type)]
            if isinstance(target, Ptr):
                inner = btf[target.type]
                inner = btf[btf.strip(inner.type)] if isinstance(inner, Const) else inner
                if isinstance(inner, Struct):
                    pointed.append(inner.name)
    return pointed[0] if len(pointed) == 1 else None


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

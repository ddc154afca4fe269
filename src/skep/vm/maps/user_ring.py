"""user_ringbuf: records from here to programs."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator

from skep.diagnostics import Diagnostic
from skep.errors import MapError
from skep.vm.maps.handle import RingMap

_LOOK_AGAIN_SECONDS = 0.0005


class UserRingMap(RingMap):
    """A user ring buffer: we write, programs read (skep.engine.RecordSink)."""

    def submit(self, record: bytes, timeout: float | None = 0) -> bool:
        """Leave a record for programs; False if there is no room within ``timeout`` seconds (None: for ever).

        Raises:
            MapError: M0302, the record is longer than the whole ring.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            result = self._functions["skep_user_ring_submit"](self._run, self.address, record, len(record))
            if result == -errno.E2BIG:
                what = f"a record of {len(record)} bytes never fits into map '{self._spec.name}'"
                raise MapError(Diagnostic("M0302", what, help="make max_entries larger", kernel="E2BIG"), errno.E2BIG)
            if result == 0:
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_AGAIN_SECONDS)

    def records(self) -> Iterator[bytes]:
        """Programs take the records."""
        return iter(())

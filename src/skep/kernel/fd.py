"""File descriptors with an owner: closed once, at a known time. SKEP_TRACK_FDS=1 remembers who opened each."""

from __future__ import annotations

import os
import traceback
from contextlib import suppress
from types import TracebackType

from skep.diagnostics import Diagnostic
from skep.errors import ClosedError

_FRAMES = 12
_opened: dict[int, str] = {}
_tracking = bool(os.environ.get("SKEP_TRACK_FDS"))


def track(on: bool = True) -> None:
    """Start or stop remembering the stack that opened each Fd (for tests that look for leaks)."""
    global _tracking
    _tracking = on
    _opened.clear()


def opened_by(number: int) -> str | None:
    """The stack that opened a descriptor which is still open, if tracking was on then."""
    return _opened.get(number)


class Fd:
    """An owned file descriptor; it is closed at the latest when nobody refers to it."""

    def __init__(self, number: int, what: str) -> None:
        self._number: int | None = number
        self.what = what
        if _tracking:
            _opened[number] = f"{what}, opened at\n" + "".join(traceback.format_stack(limit=_FRAMES)[:-1])

    @property
    def number(self) -> int:
        """The descriptor; ClosedError after close()."""
        if self._number is None:
            raise ClosedError(Diagnostic("E0003", f"the {self.what} is closed"))
        return self._number

    @property
    def is_closed(self) -> bool:
        """Whether close() was called."""
        return self._number is None

    def fileno(self) -> int:
        """For select(), epoll and mmap."""
        return self.number

    def close(self) -> None:
        """Close it; a second call does nothing."""
        number, self._number = self._number, None
        if number is not None:
            _opened.pop(number, None)
            os.close(number)

    def __del__(self) -> None:
        # As sockets do: who drops the last reference gives the descriptor back.
        # At interpreter shutdown modules may be gone already.
        with suppress(OSError, AttributeError, TypeError):
            self.close()

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Fd {'closed' if self._number is None else self._number}: {self.what}>"

"""File descriptors with an owner: closed once, at a known time."""

from __future__ import annotations

import os
from types import TracebackType

from skep.diagnostics import Diagnostic
from skep.errors import ClosedError


class Fd:
    """An owned file descriptor."""

    def __init__(self, number: int, what: str) -> None:
        self._number: int | None = number
        self.what = what

    @property
    def number(self) -> int:
        """The descriptor; ClosedError after close()."""
        if self._number is None:
            raise ClosedError(Diagnostic("E0003", f"the {self.what} is closed"))
        return self._number

    def close(self) -> None:
        """Close it; a second call does nothing."""
        number, self._number = self._number, None
        if number is not None:
            os.close(number)

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

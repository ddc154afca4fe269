"""Who is running: run states for threads, and when code that was taken away may really go.

Per-CPU map values belong to one run at a time, so a run takes a CPU number and nobody else has it meanwhile. Code is
unmapped only when every run that might still be in it (a tail call from another program) has ended.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from skep.vm.runtime import Run, Runtime, runtime


class Runs:
    """The run states of this process, one per CPU number, and what waits for them to end."""

    def __init__(self, native: Runtime) -> None:
        self._native = native
        self._free = [native.new_run(cpu) for cpu in reversed(range(native.ncpus))]
        self._active: set[int] = set()
        self._mine = threading.local()
        self._changed = threading.Condition()
        self._retired: list[tuple[set[int], Callable[[], None]]] = []

    @contextlib.contextmanager
    def take(self) -> Iterator[Run]:
        """A run state for the length of a with block; waits while all CPU numbers are in use.

        A thread that has one already (its progress callback runs a program) goes on under the same CPU number.
        """
        outer: int | None = getattr(self._mine, "cpu", None)
        if outer is not None:
            yield self._native.new_run(outer)
            return
        with self._changed:
            while not self._free:
                self._changed.wait()
            run = self._free.pop()
            self._active.add(run.cpu)
        self._mine.cpu = run.cpu
        try:
            yield run
        finally:
            self._mine.cpu = None
            self._give_back(run)

    def _give_back(self, run: Run) -> None:
        with self._changed:
            self._active.discard(run.cpu)
            self._free.append(run)
            self._changed.notify()
            for waiting, _ in self._retired:
                waiting.discard(run.cpu)
            done = [action for waiting, action in self._retired if not waiting]
            self._retired = [entry for entry in self._retired if entry[0]]
        for action in done:
            action()

    def when_unused(self, action: Callable[[], None]) -> None:
        """Call ``action`` once every run that is going on now has ended: at once if there is none."""
        with self._changed:
            if self._active:
                self._retired.append((set(self._active), action))
                return
        action()


_runs: Runs | None = None
_lock = threading.Lock()


def runs() -> Runs:
    """The one of this process, made on first use."""
    global _runs
    with _lock:
        if _runs is None:
            _runs = Runs(runtime())
        return _runs

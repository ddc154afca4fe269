"""Order of memory accesses between this process and the kernel, from Python.

The kernel publishes a record by a store-release and expects an acquire from the reader (kernel/bpf/ringbuf.c). x86
keeps this order by itself; other machines do not. A lock that is released and taken again is a full barrier everywhere:
no access moves down past the release, none up past the acquire, and the two keep their order (POSIX, 4.15.2 Memory
Synchronization, of sem_post and sem_wait, which CPython's locks are made of).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_lock = threading.local()


def fence() -> None:
    """Everything before it is seen before everything after it."""
    try:
        own: Callable[[], None] = _lock.turn
    except AttributeError:
        own = _lock.turn = _turn()
    own()


def _turn() -> Callable[[], None]:
    lock = threading.Lock()
    acquire, release = lock.acquire, lock.release
    acquire()

    def turn() -> None:
        release()
        acquire()

    return turn

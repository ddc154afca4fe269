"""Descriptors that a test leaves open, and who opened them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def open_fds() -> dict[int, str]:
    """Open descriptors of this process and what they are."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one that listed the folder
    return found


@contextmanager
def no_leaked_fds() -> Iterator[None]:
    """Fails when a descriptor of the kernel's objects is open at the end that was not at the start."""
    from skep.kernel import fd

    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    gc.collect()
    before = open_fds()
    fd.track(True)
    try:
        yield
        left = {n: what for n, what in open_fds().items() if before.get(n) != what and "bpf" in what + "btf"}
        left = {n: what for n, what in left.items() if "anon_inode" in what}
        stories = [f"{n} -> {what}: {fd.opened_by(n) or 'opened without Fd'}" for n, what in left.items()]
        assert not left, "descriptors left open:\n" + "\n".join(stories)
    finally:
        fd.track(False)

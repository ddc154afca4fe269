"""RLIMIT_MEMLOCK: kernels before 5.11 count BPF memory against it, and its default is far too low."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from skep.abi.features import FEATURES
from skep.kernel import host
from skep.kernel.bpf.call import BpfCallError

T = TypeVar("T")


def with_memory(action: Callable[[], T]) -> T:
    """Do it; on EPERM of an old kernel raise the limit and do it again."""
    try:
        return action()
    except BpfCallError as error:
        if error.number != errno.EPERM or host.kernel_version()[:2] >= FEATURES["memcg_accounting"].since:
            raise
        if not _raise_limit():
            raise
    return action()


def _raise_limit() -> bool:
    import resource  # late: POSIX only

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited:
        return False
    for wanted in ((unlimited, unlimited), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, wanted)
        except (ValueError, OSError):
            continue
        return wanted[0] != soft
    return False

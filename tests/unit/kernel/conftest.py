"""None of these tests may leave a descriptor of the kernel open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.leaks import no_leaked_fds


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    with no_leaked_fds():
        yield


@pytest.fixture
def bpffs(kernel: None, tmp_path: Path) -> Iterator[Path]:
    """A bpffs of the test's own."""
    import ctypes

    from skep.kernel.maps.pins import mount_bpffs

    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "bpffs"
    folder.mkdir()
    mount_bpffs(folder)
    yield folder
    assert libc.umount2(bytes(folder), 2) == 0

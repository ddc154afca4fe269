"""Every test here runs on both engines; the kernel's where bpf(2) is allowed. None may leave a descriptor open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.leaks import no_leaked_fds


@pytest.fixture(params=["vm", pytest.param("kernel", marks=pytest.mark.kernel)])
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine."""
    if request.param == "kernel":
        request.getfixturevalue("kernel")
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    with no_leaked_fds():
        yield

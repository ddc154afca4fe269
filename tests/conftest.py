"""What all tests share: where the corpus lies, and honest skips."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples every time, and no deadlines: a test that fails only on a slow or unlucky day teaches nothing. New
# examples are looked for by `make fuzz`.
settings.register_profile("skep", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("SKEP_HYPOTHESIS", "skep"))

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SKEP_SHARED", ROOT.parent / "shared"))

SLOWNESS = 10 if os.environ.get("SKEP_SLOW") else 1  # emulated CPUs (make test-kernels) need longer

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """Tests neither read nor fill the user's cache, unless one is named (CI keeps one for the whole run)."""
    if "SKEP_CACHE" not in os.environ:
        shared_by_workers = (
            tmp_path_factory.getbasetemp().parent if worker_id != "master" else tmp_path_factory.getbasetemp()
        )
        os.environ["SKEP_CACHE"] = str(shared_by_workers / "skep-cache")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The corpus of programs with the kernel's verdicts; tests that need it skip where it is not."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        pytest.skip(f"no corpus at {folder} (set SKEP_SHARED)")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The examples folder."""
    return ROOT / "examples"


@pytest.fixture
def skep_cli(tmp_path: Path) -> Run:
    """Runs the command line in a process of its own, in an empty folder."""

    def run(*words: object, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "skep", *map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"NO_COLOR": "1"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout * SLOWNESS,
            check=False,
        )

    return run


@pytest.fixture
def kernel() -> None:
    """For tests that ask the running Linux: skips where bpf(2) is not allowed, fails where it should be."""
    from skep.kernel.bpf.programs import is_allowed

    if not is_allowed():
        if os.environ.get("SKEP_EXPECT_KERNEL"):
            pytest.fail("bpf(2) is refused, but SKEP_EXPECT_KERNEL says that it must work here")
        pytest.skip("bpf(2) is not allowed here: needs Linux and root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)")

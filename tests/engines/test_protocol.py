"""skep.testing.check_engine, one test for each of its checks."""

from __future__ import annotations

import pytest

from skep.kernel.engine import KernelEngine
from skep.kernel.target import kernel_target
from skep.testing import check_engine
from skep.testing.engines import CHECKS
from skep.vm.engine import VmEngine

ENGINES = {
    "vm": VmEngine,
    "kernel": lambda: KernelEngine(kernel_target(btf=False, kconfig=False, kallsyms=False)),
}


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_engine_does_what_every_engine_must(engine: str, check: str) -> None:
    assert check_engine(ENGINES[engine], only=check) == [check]

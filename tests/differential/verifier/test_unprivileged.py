"""Without CAP_PERFMON our verdicts are those of the kernel, asked by a process with CAP_BPF and CAP_NET_ADMIN alone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.differential.verifier import unprivileged

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    "words", [("--every", "16", "--seconds", "2"), ("--mutants", "60", "--seed", "7")], ids=["rows", "mutants"]
)
def test_agrees(words: tuple[str, ...], corpus: Path) -> None:
    reason = unprivileged.why_not()
    if reason:
        if os.environ.get("SKEP_EXPECT_KERNEL") and "needs" in reason:
            pytest.fail(f"SKEP_EXPECT_KERNEL says that bpf(2) works here: {reason}")
        pytest.skip(reason)
    run = subprocess.run(
        [*unprivileged.command(), "--json", *words], capture_output=True, text=True, timeout=300, check=True
    )
    found = json.loads(run.stdout)
    assert found.get("unsound", []) == []
    agree, strict = len(found["agree"]), len(found.get("strict", ()))
    assert agree >= 40
    assert agree >= 0.97 * (agree + strict), found["strict"]

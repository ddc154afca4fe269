"""Generated programs, the same ones each time: none that we accept and the kernel rejects, and no difference in what
accepted ones do. ``python scripts/fuzz_programs.py`` goes on with other seeds, for as long as one likes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from skep.testing.differential import Difference, Report, examine, listing
from skep.testing.fuzz import Counts, choose, seeds
from skep.testing.kernel_judge import KernelJudge
from skep.testing.samples import link_sample

FIRST_SEED = 1_000_000
SECONDS = float(os.environ.get("SKEP_RANDOM_SECONDS", "20"))
LEAST = 60  # programs that even a busy machine gets through


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel")
def test_generated_programs(tmp_path: Path) -> None:
    counts, bad = Counts(), []
    deadline = time.monotonic() + SECONDS
    with KernelJudge() as kernel:
        for seed, mutation in seeds(FIRST_SEED):
            if time.monotonic() > deadline and counts.generated >= LEAST:
                break
            (tmp_path / "seed").write_text(f"{seed} {mutation}")  # what was tried when the machine stopped
            report = examine(choose(seed, mutation), kernel, compare_runs=mutation is None, guard=True)
            counts.add(report)
            if is_bug(report):
                bad.append(f"{report}\n{listing(link_sample(report.sample))}")
    print(counts.text(strict=True))
    assert not bad, "\n\n".join(bad[:3])
    assert counts.accepted >= counts.generated // 4, "the generator makes too few safe programs"
    assert counts.accepted <= counts.generated * 3 // 4, "the generator makes too few unsafe programs"
    assert counts.agreed >= counts.generated * 97 // 100
    assert counts.compared > 0


def is_bug(report: Report) -> bool:
    return any(kind is not Difference.STRICT for kind, _ in report.differences)


def test_a_seed_gives_the_same_program_again() -> None:
    for seed in range(20):
        assert choose(seed, None) == choose(seed, None)
        assert choose(seed, 1) == choose(seed, 1)
    assert choose(1, None).insns != choose(2, None).insns

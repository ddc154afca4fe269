"""Generate programs for a while and compare: our verdict with the kernel's, interpreter with JIT and kernel.

    python scripts/fuzz_programs.py [--seconds 60] [--seed 0] [--jobs 1] [--no-kernel] [--save DIR]

Every seed is written to a file before it is tried, so that what stops everything can be tried again:

    python scripts/fuzz_programs.py --only SEED [--mutation N]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import sys
import time
from pathlib import Path

from skep.testing.differential import Difference, Report, examine, listing
from skep.testing.fuzz import Counts, choose, seeds
from skep.testing.generate import Sample
from skep.testing.kernel_judge import KernelJudge, is_available
from skep.testing.minimise import minimise
from skep.testing.samples import link_sample


def main() -> int:
    """Run and print counts; exit code 1 if something differs that must not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-kernel", action="store_true", help="only interpreter and JIT")
    parser.add_argument(
        "--no-guards", action="store_true", help="registers are not compared with the verifier's states"
    )
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"), help="where findings and seeds are kept")
    parser.add_argument("--strict", action="store_true", help="keep what we reject and the kernel accepts, too")
    parser.add_argument("--only", type=int, metavar="SEED", help="show one program")
    parser.add_argument("--mutation", type=int, metavar="N", help="with --only: this mutant of it")
    parser.add_argument("--minimise", action="store_true", help="with --only: make it small, as long as it fails alike")
    options = parser.parse_args()
    with_kernel = not options.no_kernel and is_available()
    if options.only is not None:
        return _show(choose(options.only, options.mutation), with_kernel, options.minimise)
    options.save.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        rows = [
            (
                job,
                options.jobs,
                options.seed,
                options.seconds,
                with_kernel,
                not options.no_guards,
                options.save,
                options.strict,
            )
            for job in range(options.jobs)
        ]
        found = list(pool.map(_work, *zip(*rows, strict=True)))
    total = Counts()
    for counts in found:
        total += counts
    print(
        f"{time.monotonic() - started:.0f} s, {options.jobs} job(s), kernel {'asked' if with_kernel else 'not asked'}"
    )
    print(total.text(strict=options.strict))
    return 1 if total.bugs else 0


def _work(
    job: int, jobs: int, first: int, seconds: float, with_kernel: bool, with_guards: bool, save: Path, strict: bool
) -> Counts:
    counts, deadline = Counts(), time.monotonic() + seconds
    current = save / f"current-{job}.txt"
    with KernelJudge() as kernel:
        for seed, mutation in seeds(first + job, jobs):
            if time.monotonic() > deadline:
                break
            current.write_text(f"--only {seed}" + (f" --mutation {mutation}" if mutation is not None else ""))
            sample = choose(seed, mutation)
            report = examine(sample, kernel if with_kernel else None, compare_runs=mutation is None, guard=with_guards)
            counts.add(report)
            _save(report, save, strict=strict)
    current.unlink(missing_ok=True)
    return counts


def _save(report: Report, save: Path, *, strict: bool) -> None:
    kinds = [kind for kind, _ in report.differences if strict or kind is not Difference.STRICT]
    if kinds:
        sample = report.sample
        name = f"{kinds[0].value}-{sample.seed}" + (f"-{sample.mutation}" if sample.mutation is not None else "")
        (save / f"{name}.txt").write_text(f"{report}\n\n{listing(link_sample(sample))}\n")
        print(report, file=sys.stderr, flush=True)


def _show(sample: Sample, with_kernel: bool, small: bool) -> int:
    with KernelJudge() as judge:
        kernel = judge if with_kernel else None
        mutated = sample.mutation is not None
        report = examine(sample, kernel, compare_runs=not mutated, guard=True)
        if small and report.differences:
            kind = report.differences[0][0]

            def fails(tried: Sample) -> bool:
                again = examine(tried, kernel, compare_runs=not mutated, guard=True)
                return any(found is kind for found, _ in again.differences)

            sample = minimise(sample, fails)
            report = examine(sample, kernel, compare_runs=not mutated, guard=True)
    print(listing(link_sample(sample)))
    print(report)
    print("ours:", report.ours.outcome.value if report.ours else "crash")
    if report.theirs is not None:
        print("kernel:", report.theirs.verdict.value, report.theirs.reason)
    return 1 if any(kind is not Difference.STRICT for kind, _ in report.differences) else 0


if __name__ == "__main__":
    raise SystemExit(main())

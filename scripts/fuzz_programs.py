"""Generate programs for a while: judge them, run the accepted ones in the interpreter and as machine code, compare.

    python -m scripts.fuzz_programs [--seconds 60] [--count N] [--seed 0] [--jobs 2] [--no-kernel] [--save DIR]

Some are given to the running kernel, too (with root's privileges). What differs is saved with the arguments that make
the same program again; a process that dies is noticed, and its program saved:

    python -m scripts.fuzz_programs --seed SEED [--mutation N | --corpus] --only [--minimise]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from skep.testing.differential import Difference, examine, listing
from skep.testing.generate import Sample
from skep.testing.kernel_judge import KernelJudge, is_available
from skep.testing.long_run.sources import Given, Plan
from skep.testing.long_run.worker import Job, supervise
from skep.testing.minimise import minimise
from skep.testing.samples import link_sample


def main() -> int:
    """Run and print counts; exit code 1 if something differs that must not."""
    options = _arguments()
    with_kernel = not options.no_kernel and is_available()
    if options.only:
        return _show(_choose(options), with_kernel, options.minimise)
    options.save.mkdir(parents=True, exist_ok=True)
    plan = Plan(_given(), options.kernel_every if with_kernel else 0, options.follow_every)
    deadline, most = time.time() + options.seconds, -(-options.count // options.jobs)
    jobs = [
        Job(plan, number, options.jobs, options.seed, deadline, most, options.save, options.strict)
        for number in range(options.jobs)
    ]
    total = supervise(jobs)
    (options.save / "report.json").write_text(total.to_json() + "\n")
    print(f"{options.jobs} processes, kernel {'asked' if with_kernel else 'not asked'}, first seed {options.seed}")
    print(total.text(strict=options.strict))
    return 1 if total.bugs else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, default=0, help="stop after this many programs")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-kernel", action="store_true", help="only interpreter and JIT")
    parser.add_argument("--kernel-every", type=int, default=25, help="each how many programs the kernel is asked")
    parser.add_argument("--follow-every", type=int, default=10, help="each how many programs guard 2 follows")
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"), help="where findings and the report go")
    parser.add_argument("--strict", action="store_true", help="keep what we reject and the kernel accepts, too")
    parser.add_argument("--only", action="store_true", help="show the program of --seed")
    parser.add_argument("--mutation", type=int, metavar="N", help="with --only: this mutant of it")
    parser.add_argument("--corpus", action="store_true", help="with --only: the mutant of the corpus with this seed")
    parser.add_argument("--minimise", action="store_true", help="with --only: make it small, as long as it fails alike")
    return parser.parse_args()


def _given() -> tuple[Given, ...]:
    """Programs of ../shared/corpus, if it is there."""
    from tests.differential.random.given import given

    return given()


def _choose(options: argparse.Namespace) -> Sample:
    if options.corpus:
        return Plan(_given()).make_given(options.seed).sample
    return Plan().make(options.seed, options.mutation).sample


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
    sys.exit(main())

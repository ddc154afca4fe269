"""`python -m scripts.kernels`: fetch, boot, test, report. Exit code 0: all passed (or nothing could be fetched and
--may-skip); 1: a test failed or a kernel died; 2: the kernels cannot be had here."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.kernels import packages, report, suite
from scripts.kernels.packages import UnavailableError

RELEASES: Final = ("6.1", "6.12")
LIVE: Final = "live"
DOCUMENT: Final = suite.ROOT / "docs" / "parity.md"


def main(words: Sequence[str] | None = None) -> int:
    options = _options(words)
    cache = packages.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    # Ended from outside, we still end our guest.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with _alone(cache):
        return _run(options, cache)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.kernels", description=__doc__)
    parser.add_argument("kernels", nargs="*", default=[LIVE, *RELEASES], help="live, 6.1, 6.12 (default: all three)")
    parser.add_argument("--quick", action="store_true", help="only engine and links, not the oracles")
    parser.add_argument("--only", action="append", metavar="PATH", help="these test files or folders instead")
    parser.add_argument("--minutes", type=float, default=90, help="for everything; default %(default)s")
    parser.add_argument("--quiet-minutes", type=float, default=6, help="a guest without a sign of life is ended")
    parser.add_argument("--may-skip", action="store_true", help="exit 0 where the kernels cannot be fetched")
    parser.add_argument(
        "--write", action="store_true", help="write the table into docs/parity.md (all tests, all kernels)"
    )
    parser.add_argument("--report", action="store_true", help="run nothing: the table from the last results")
    return parser.parse_args(words)


def _run(options: argparse.Namespace, cache: Path) -> int:
    deadline = time.monotonic() + options.minutes * 60
    runs_folder = cache / "runs"
    if options.report:
        runs = _last_runs(options.kernels, runs_folder)
    else:
        try:
            runs = _run_all(options, cache, runs_folder, deadline)
        except UnavailableError as error:
            print(f"SKIPPED: the kernels {', '.join(options.kernels)} cannot be had here: {error}")
            return 0 if options.may_skip else 2
    return _conclude(options, runs)


def _run_all(options: argparse.Namespace, cache: Path, runs_folder: Path, deadline: float) -> list[suite.Run]:
    releases = [name for name in options.kernels if name != LIVE]
    virtme, kernels = Path(), {}
    if releases:
        packages.ensure_programs(cache)
        virtme = packages.ensure_virtme(cache)
        kernels = {release: packages.get_kernel(release, cache) for release in releases}
    files = suite.find_files(options.only or (suite.QUICK if options.quick else suite.WHOLE))
    runs = []
    for name in options.kernels:
        work = runs_folder / name
        left = deadline - time.monotonic()
        print(f"Linux {name}: {len(files)} files, {left / 60:.0f} minutes left", flush=True)
        if name == LIVE:
            run = suite.run_here(files, work, left)
        else:
            run = suite.run_on(kernels[name], virtme, files, work, left, options.quiet_minutes * 60)
        print(report.totals(report.read_column(run.title, run.results)), flush=True)
        runs.append(run)
    return runs


def _last_runs(names: Sequence[str], runs_folder: Path) -> list[suite.Run]:
    found = [suite.Run(name, runs_folder / name / "results.jsonl", "") for name in names]
    return [run for run in found if run.results.exists()]


def _conclude(options: argparse.Namespace, runs: Sequence[suite.Run]) -> int:
    columns = [report.read_column(run.title, run.results) for run in runs]
    columns.sort(
        key=lambda column: [int(part) for part in column.release.split("-")[0].split(".")[:2] if part.isdigit()]
    )
    text = report.table(columns)
    print(text)
    if options.write:
        DOCUMENT.write_text(report.put_between_markers(DOCUMENT.read_text(), text))
        print(f"wrote {DOCUMENT}")
    failed = [line for column in columns for line in report.failures(column)]
    print("\n".join(["", *failed]))
    trouble = [f"{run.title}: {run.trouble}" for run in runs if run.trouble]
    empty = [column.title for column in columns if not any(r.outcome == "passed" for r in column.results)]
    for line in [*trouble, *(f"{title}: not one test passed" for title in empty)]:
        print(line)
    for column in columns:
        print(report.totals(column))
    return 1 if failed or trouble or empty else 0


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One run at a time: emulation takes all the processors there are."""
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is on; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    os.chdir(suite.ROOT)
    sys.exit(main())

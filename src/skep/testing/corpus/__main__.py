"""Compare skep's verdicts with the kernel's over a folder of judged programs.

Exit code 0: nothing is accepted that the kernel rejects, nothing crashed; 1: something did; 2: there is no corpus.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from skep.errors import SkepError
from skep.kernel.target import kernel_target
from skep.model.target import Target
from skep.testing.corpus.compare import Compared, Kind
from skep.testing.corpus.report import describe
from skep.testing.corpus.rows import Corpus
from skep.testing.corpus.run import SECONDS, run_corpus
from skep.vm.target import KERNEL_VERSION

_PROGRESS_ROWS = 250


def main(words: Sequence[str] | None = None, corpus: Corpus | None = None) -> int:
    """Print totals, tables and differences.

    Args:
        corpus: instead of the folder that is named.
    """
    options = _options(words, corpus is None)
    if corpus is None:
        corpus = Corpus(options.folder, _target())
    if not corpus.sets:
        print(f"there are no rows (*.jsonl.gz) in {corpus.folder}", file=sys.stderr)
        return 2
    shown = set(options.show)

    def told(count: int, found: Compared) -> None:
        if found.kind in shown:
            print(describe(found), flush=True)
        if not options.json and count % _PROGRESS_ROWS == 0:
            print(f"{count} rows", file=sys.stderr, flush=True)

    report = run_corpus(
        corpus, sets=options.set, every=options.every, only=options.only, seconds=options.seconds, told=told
    )
    print(json.dumps(report.to_json(), indent=1) if options.json else report.text(options.by, options.limit))
    bad = sum(found.kind in (Kind.UNSOUND, Kind.CRASH, Kind.TIMEOUT) for found in report.differences)
    return 1 if bad else 0


def _options(words: Sequence[str] | None, with_folder: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m skep.testing.corpus", description=__doc__)
    if with_folder:
        parser.add_argument("folder", type=Path, metavar="DIR", help="holds SET.jsonl.gz and btf.tar.gz")
    parser.add_argument("--set", action="append", default=[], help="only this set of rows (may be repeated)")
    parser.add_argument("--by", action="append", default=[], choices=("feature", "reason"), help="a table")
    parser.add_argument("--limit", type=int, default=60, help="lines of a table; default %(default)s")
    parser.add_argument("--show", action="append", default=[], choices=[kind.value for kind in Kind])
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose id holds TEXT")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th row")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for one row; default %(default)s")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def _target() -> Target:
    """The newest rules, with the types of the kernel that runs here: tracing programs need some."""
    try:
        known = kernel_target(kconfig=False, kallsyms=False)
    except (OSError, SkepError):
        return Target("linux", KERNEL_VERSION)
    return Target("linux", KERNEL_VERSION, btf=known.btf)


if __name__ == "__main__":
    sys.exit(main())

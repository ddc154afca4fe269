"""Compare our verdicts with the kernel's over the corpus, and print where they differ.

python -m tests.differential.verifier.compare [--set NAME] [--every N] [--seconds S] [--show KIND] [--only TEXT]
"""

from __future__ import annotations

import argparse
import collections
import signal
import time
import traceback
from dataclasses import dataclass
from types import FrameType
from typing import Any

from skep.errors import SkepError
from skep.model.programs import Outcome, Verdict
from skep.verifier import judge
from tests.differential.verifier.rows import SETS, in_scope, link, rows


@dataclass(frozen=True, slots=True)
class Compared:
    """One row: ``agree``, ``unsound`` (only we accept), ``strict`` (only the kernel accepts), ``unsupported``, ..."""

    kind: str
    row: dict[str, Any]
    verdict: Verdict | None
    seconds: float
    note: str = ""


class _TimeoutError(Exception):
    pass


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise _TimeoutError


def compare(row: dict[str, Any], seconds: int) -> Compared:
    """Judge one row, with a limit of wall-clock seconds."""
    accepted = row["kernel"]["verdict"] == "ACCEPT"
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(seconds)
    start = time.perf_counter()
    try:
        verdict = judge(link(row))
    except _TimeoutError:
        return Compared("timeout", row, None, time.perf_counter() - start)
    except SkepError as error:
        return Compared("strict" if accepted else "agree", row, None, 0, str(error))
    except Exception:
        return Compared("crash", row, None, 0, traceback.format_exc())
    finally:
        signal.alarm(0)
    took = time.perf_counter() - start
    if verdict.outcome is Outcome.UNSUPPORTED:
        return Compared("unsupported", row, verdict, took, verdict.diagnostics[0].what)
    if (verdict.outcome is Outcome.ACCEPTED) == accepted:
        return Compared("agree", row, verdict, took)
    note = "" if verdict.outcome is Outcome.ACCEPTED else str(verdict.diagnostics[0].kernel)
    return Compared("strict" if accepted else "unsound", row, verdict, took, note)


def main() -> None:
    """Print the differences and a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--show", action="append", default=[])
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    insns, seconds, theirs = 0, 0.0, 0
    for index, row in enumerate(rows(*(options.set or ()))):
        if index % options.every or not in_scope(row) or options.only not in row["id"]:
            continue
        found = compare(row, options.seconds)
        kind = found.kind
        counts[f"{kind} ({row['kernel']['verdict'].lower()})" if kind in ("agree", "unsupported") else kind] += 1
        if found.verdict is not None:
            insns += found.verdict.processed_insns
            seconds += found.seconds
        if found.kind == "agree":
            theirs += row["kernel"]["processed"] or 0
        if kind in options.show:
            slot = found.verdict.diagnostics[0].insn if found.verdict and found.verdict.diagnostics else None
            theirs_said = f"[{row['kernel'].get('error')}] @{row['kernel'].get('fail_insn')}"
            print(f"{kind}: {row['id']} {theirs_said} ours: {found.note} @{slot}")
    print(dict(counts))
    print(f"{insns} insns in {seconds:.1f} s: {insns / max(seconds, 0.001):.0f} per second; kernel processed {theirs}")


if __name__ == "__main__":
    main()

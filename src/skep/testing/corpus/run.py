"""The loop over a corpus: which rows, how long for each, who is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skep.testing.corpus.compare import Compared, compare
from skep.testing.corpus.report import Report
from skep.testing.corpus.rows import Corpus

SECONDS = 20


def run_corpus(
    corpus: Corpus,
    *,
    sets: Sequence[str] = (),
    every: int = 1,
    only: str = "",
    seconds: int = SECONDS,
    told: Callable[[int, Compared], None] = lambda count, found: None,
) -> Report:
    """Judge the rows of a corpus.

    Args:
        sets: names of sets; none: all.
        every: take each so many-th row.
        only: rows whose id holds this text.
        seconds: of wall clock for one row.
        told: called with the number of rows so far and each row's result.
    """
    report = Report()
    count = 0
    for index, row in enumerate(corpus.rows(*sets)):
        if index % every or only not in row["id"]:
            continue
        if not corpus.in_scope(row):
            report.skipped += 1
            continue
        found = compare(corpus, row, seconds)
        report.add(found)
        count += 1
        told(count, found)
    return report

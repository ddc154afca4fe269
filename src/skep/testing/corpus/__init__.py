"""A runner over programs with the kernel's verdicts: ``python -m skep.testing.corpus DIR``."""

from skep.testing.corpus.compare import Compared, Kind, compare, normalise
from skep.testing.corpus.report import Report, describe
from skep.testing.corpus.rows import Corpus
from skep.testing.corpus.run import run_corpus

__all__ = ["Compared", "Corpus", "Kind", "Report", "compare", "describe", "normalise", "run_corpus"]

"""Compare our verdicts with the kernel's over the given corpus: skep.testing.corpus on shared/corpus/verifier.

python -m tests.differential.verifier.compare [--set NAME] [--every N] [--seconds S] [--show KIND] [--only TEXT]
"""

from __future__ import annotations

import sys
from typing import Any

from skep.testing.corpus import Compared
from skep.testing.corpus import compare as compare_in
from skep.testing.corpus.__main__ import main
from tests.differential.verifier.rows import corpus

__all__ = ["Compared", "compare"]


def compare(row: dict[str, Any], seconds: int) -> Compared:
    """Judge one row, with a limit of wall-clock seconds."""
    return compare_in(corpus(), row, seconds)


if __name__ == "__main__":
    sys.exit(main(corpus=corpus()))

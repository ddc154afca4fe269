"""docs/parity-verifier.md: every row of the corpus where our verdict is another than the kernel's, with its reason.

python -m scripts.parity_verifier            writes it from the lists in tests/differential/verifier/test_verdicts.py
python -m scripts.parity_verifier --count    counts again over the whole corpus (a minute), then writes it
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.differential.verifier.test_allocated_kernel import UNSAFE_IN_LINUX
from tests.differential.verifier.test_verdicts import SHARPER, STRICTER

DATA = Path(__file__).with_suffix(".json")
DOCUMENT = Path(__file__).parent.parent / "docs" / "parity-verifier.md"
HEAD = """# Verdicts: where skep and Linux 6.18 differ

Written by `python -m scripts.parity_verifier` from the lists that tests/differential/verifier/test_verdicts.py holds
the verifier to. The corpus: 5,356 programs from the kernel's own verifier tests and mutants of them, judged by Linux
6.18.44.

{counts}

Rows out of scope: what asks for more than a linked program can say (strict alignment, type numbers of another build).
*timeout*: more than 20 s for one row, on a machine that was busy with other work: programs of up to a million steps.

`python -m skep.testing.corpus DIR --by feature --by reason` counts again; docs/other-kernels.md is about older kernels.
docs/parity-messages.md compares the texts.

## Only skep accepts ({sharper})

None of them is unsafe: a bad branch is dead, and skep sees that where 6.18 does not.

{sharper_rows}

## Only Linux accepts ({stricter})

"6.18 ..." means that the kernel is wrong to accept (it was corrected later, or nobody can rely on it). The others are
precision that skep lacks.

| reason | rows |
| --- | --- |
{stricter_rows}

## Beside the corpus

Programs of tests/differential/verifier/c/allocated.bpf.c that 6.18 accepts, and that skep refuses:

{unsafe_rows}
"""


def count() -> None:
    """Judge the whole corpus."""
    from skep.testing.corpus import run_corpus
    from tests.differential.verifier.rows import corpus

    report = run_corpus(corpus())
    DATA.write_text(json.dumps({"counts": dict(sorted(report.counts.items())), "skipped": report.skipped}) + "\n")


def document() -> str:
    """The whole text."""
    found: dict[str, Any] = json.loads(DATA.read_text())
    total = sum(found["counts"].values())
    agreed = sum(number for name, number in found["counts"].items() if name.startswith("agree"))
    table = ["| verdicts (the kernel's in brackets) | rows |", "| --- | --- |"]
    table += [f"| {name} | {number} |" for name, number in found["counts"].items()]
    table.append(f"| **agree** | **{agreed} of {total}: {100 * agreed / total:.2f} %** |")
    by_reason: dict[str, list[str]] = defaultdict(list)
    for row, reason in STRICTER.items():
        by_reason[reason].append(f"`{row}`")
    return HEAD.format(
        counts="\n".join(table),
        sharper=len(SHARPER),
        sharper_rows="\n".join(f"- `{row}`" for row in sorted(SHARPER)),
        stricter=len(STRICTER),
        stricter_rows="\n".join(f"| {reason} | {', '.join(ids)} |" for reason, ids in by_reason.items()),
        unsafe_rows="\n".join(f"- `{name}`: {reason}" for name, reason in UNSAFE_IN_LINUX.items()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", action="store_true", help="judge the corpus again")
    if parser.parse_args().count:
        count()
    DOCUMENT.write_text(document())


if __name__ == "__main__":
    main()

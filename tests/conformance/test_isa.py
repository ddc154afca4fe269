"""Every conformance case of the corpus, proved, then run on the interpreter and on the JIT."""

from __future__ import annotations

from pathlib import Path

import pytest

from skep.testing.cases import parse_case
from skep.testing.conformance import run_case

pytestmark = pytest.mark.xdist_group("conformance")
CASES = 313


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
def test_all_cases(corpus: Path, engine: str) -> None:
    files = sorted((corpus / "conformance").glob("*.data"))
    assert len(files) == CASES
    wrong = {}
    for file in files:
        case = parse_case(file.read_text(), file.stem)
        answer = run_case(case, engine)
        if answer != case.result:
            wrong[case.name] = (answer, case.result)
    assert wrong == {}

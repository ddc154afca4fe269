"""ISA conformance: every case of the corpus on the interpreter and on the JIT."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from skep.testing.cases import parse_case
from skep.testing.conformance import run_case

SHARED = Path(os.environ.get("SKEP_SHARED", Path(__file__).parent.parent.parent / "shared"))


def main(console: Console) -> None:
    files = sorted((SHARED / "corpus" / "conformance").glob("*.data"))
    if not files:
        console.print(f"no conformance cases at {SHARED} (set SKEP_SHARED)")
        return
    table = Table("engine", "passed", "of", "failures")
    for engine in ("interpreter", "jit"):
        failures = []
        for file in files:
            case = parse_case(file.read_text(), file.stem)
            answer = run_case(case, engine)
            if answer != case.result:
                failures.append(f"{case.name}: {answer} instead of {case.result}")
        table.add_row(engine, str(len(files) - len(failures)), str(len(files)), "\n".join(failures) or "none")
    console.print(table)

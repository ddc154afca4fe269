"""``skep verify``: would it be accepted, and if not, why."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from skep.api import default_target, open_object
from skep.cli.output import console, json_option, print_json, print_notes, report
from skep.cli.types import type_option, with_type
from skep.diagnostics import Diagnostic
from skep.errors import LinkError, UnsupportedError, UsageError
from skep.linker import link
from skep.model.objects import ObjectSpec
from skep.model.programs import Outcome
from skep.model.target import Target
from skep.verifier import judge

_STYLES = {Outcome.ACCEPTED: "green", Outcome.REJECTED: "bold red", Outcome.UNSUPPORTED: "yellow"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--program", "names", multiple=True, metavar="NAME", help="Only this program (may be repeated).")
@type_option
@json_option
def verify(file: Path, names: tuple[str, ...], prog_type: str | None, as_json: bool) -> int:
    """Prove the programs in FILE safe, or say why not."""
    spec = with_type(open_object(file), names, prog_type)
    print_notes(spec, as_json=as_json)
    target = default_target(spec)
    rows = [verify_one(spec, name, target) for name in _chosen(spec, names)]
    if as_json:
        print_json([row | {"diagnostics": [d.to_json() for d in row["diagnostics"]]} for row in rows])
    else:
        _print_table(rows)
        for row in rows:
            report(row["diagnostics"], as_json=False)
    return 0 if rows and all(row["verdict"] == Outcome.ACCEPTED for row in rows) else 1


def verify_one(spec: ObjectSpec, name: str, target: Target) -> dict[str, Any]:
    """One row of the answer; ``diagnostics`` are Diagnostics still."""
    program = spec.programs[name]
    started = time.perf_counter()
    insns = sum(insn.width for insn in program.function.insns)
    processed = 0
    diagnostics: tuple[Diagnostic, ...]
    try:
        linked = link(spec, name, target)
        insns = sum(insn.width for insn in linked.insns)
        verdict = judge(linked)
        outcome, diagnostics, processed = verdict.outcome, verdict.diagnostics, verdict.processed_insns
    except (UnsupportedError, UsageError) as error:  # UsageError: a section name that does not say the type
        outcome, diagnostics = Outcome.UNSUPPORTED, error.diagnostics
    except LinkError as error:
        outcome, diagnostics = Outcome.REJECTED, error.diagnostics
    return {
        "program": name,
        "section": program.section,
        "prog_type": program.prog_type.name.lower(),
        "verdict": outcome.value,
        "insns": insns,
        "processed_insns": processed,
        "seconds": round(time.perf_counter() - started, 6),
        "diagnostics": diagnostics,
    }


def _chosen(spec: ObjectSpec, names: tuple[str, ...]) -> list[str]:
    from skep.collection.object import no_such_name

    for name in names:
        if name not in spec.programs:
            raise no_such_name("program", name, spec.programs)
    return list(names) or list(spec.programs)


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table("program", "section", "type", "verdict", box=None, pad_edge=False)
    for title in ("insns", "processed", "ms"):
        table.add_column(title, justify="right")
    for row in rows:
        verdict = Outcome(row["verdict"])
        table.add_row(
            row["program"],
            row["section"],
            row["prog_type"],
            f"[{_STYLES[verdict]}]{verdict.value}[/]",
            str(row["insns"]),
            str(row["processed_insns"]),
            f"{row['seconds'] * 1000:.1f}",
        )
    console().print(table)

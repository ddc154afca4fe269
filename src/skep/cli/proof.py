"""``skep verify --explain`` and ``--log``: the proof of an accepted program, and a log like the kernel's."""

from __future__ import annotations

from typing import Any

import click

from skep.model.programs import LinkedProgram, Outcome, Verdict
from skep.verifier import Options, judge
from skep.verifier.explain.log import LogWriter
from skep.verifier.explain.proof import Recorder
from skep.verifier.flow import structure


def judge_and_tell(linked: LinkedProgram, *, explain: bool, log: bool) -> tuple[Verdict, dict[str, Any]]:
    """The verdict; with what was asked for: ``lines`` (of an accepted program), ``log``."""
    whole = not structure.check(linked.insns, {sub.name: sub.start for sub in linked.subprograms})
    if not (explain or log) or not whole:  # nothing is explored where the text itself is wrong
        verdict = judge(linked)
        said = "".join(f"{d.kernel}\n" for d in verdict.diagnostics[:1] if d.kernel)
        return verdict, {"log": said} if log else {}
    more: dict[str, Any] = {}
    written: list[str] = []
    if log:
        verdict = judge(linked, Options(listener=LogWriter(linked, written.append)))
        more["log"] = "".join(written)
    if explain:
        recorder = Recorder(linked)
        verdict = judge(linked, Options(listener=recorder))
        more["lines"] = [line.to_json() for line in recorder.lines()] if verdict.outcome is Outcome.ACCEPTED else []
    return verdict, more


def print_proof(row: dict[str, Any]) -> None:
    """The lines of one program, if it has any."""
    for line in row.get("lines", ()):
        number = f"line {line['line']}" if line["line"] is not None else f"instruction {line['insn']}"
        click.echo(f"{number}: {line['source']}")
        for subject, value in line["state"].items():
            click.echo(f"    {subject}: {value}")
        for access in line["accesses"]:
            click.echo(f"  * {access['what']}: {access['why']}")

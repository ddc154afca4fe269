"""``skep verify --kernel``: would it load on other kernels, and which is the first that takes it?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.table import Table

from skep.abi.features import Version
from skep.abi.history import NEWEST, RELEASES, since_text
from skep.cli.output import console, report
from skep.diagnostics import Diagnostic, Severity
from skep.errors import LinkError, UnsupportedError, UsageError
from skep.kernel.target import kernel_target
from skep.linker import link
from skep.model.objects import ExternKind, ObjectSpec
from skep.model.older import as_kernel
from skep.model.programs import LinkedProgram, Outcome, Verdict
from skep.model.target import Target
from skep.verifier.since.needs import find_needs, first_kernel
from skep.verifier.verify import judge_rules, older_verdict

_CELLS = {Outcome.ACCEPTED: "[green]yes[/]", Outcome.REJECTED: "[bold red]no[/]", Outcome.UNSUPPORTED: "[yellow]?[/]"}
_PRIVATE_STACKS: Version = (6, 13)  # the one rule of the newest verifier that asks for the version


@dataclass(frozen=True, slots=True)
class Answer:
    """What one kernel would say to one program; ``needs_up_to``: the newest thing that it needs."""

    kernel: Version
    outcome: Outcome
    diagnostics: tuple[Diagnostic, ...]
    needs_up_to: Version


def parse_versions(words: Sequence[str]) -> tuple[Version, ...]:
    """``("5.4", "6.1")``, or ``("all",)`` for every long-term release.

    Raises:
        UsageError: U0352 it is no kernel version.
    """
    if "all" in words:
        return RELEASES
    return tuple(dict.fromkeys(_version(word) for word in words))


def _version(word: str) -> Version:
    major, _, minor = word.partition(".")
    minor = minor.split(".")[0]
    if major.isdigit() and minor.isdigit():
        return int(major), int(minor)
    known = ", ".join(since_text(release) for release in RELEASES)
    raise UsageError(Diagnostic("U0352", f"'{word}' is no kernel version", help=f"for example: {known}; or all"))


def linux_target(spec: ObjectSpec) -> Target:
    """What is known of Linux here: the types that the verifier asks for, and what the object wants."""
    kinds = {extern.kind for extern in spec.externs.values()}
    wants_kconfig = ExternKind.KCONFIG in kinds
    return kernel_target(kconfig=wants_kconfig, kallsyms=wants_kconfig or ExternKind.KSYM in kinds)


def ask_kernels(spec: ObjectSpec, name: str, target: Target, versions: Sequence[Version]) -> tuple[Answer, ...]:
    """The program's fate on each version; equal code is verified once.

    Args:
        target: gives types, configuration and symbols; its version does not matter.
    """
    weak = [extern.name for extern in spec.externs.values() if extern.kind is ExternKind.KFUNC and extern.is_weak]
    judged: dict[Any, Verdict] = {}
    answers = []
    for version in versions:
        chosen = as_kernel(target, version, weak)
        try:
            linked = link(spec, name, chosen)
        except (UnsupportedError, UsageError) as error:
            answers.append(Answer(version, Outcome.UNSUPPORTED, error.diagnostics, version))
            continue
        except LinkError as error:
            answers.append(Answer(version, Outcome.REJECTED, error.diagnostics, version))
            continue
        key = _alike(linked)
        if key not in judged:
            judged[key] = judge_rules(linked)
        verdict = older_verdict(linked, judged[key]) if version < NEWEST else judged[key]
        newest = first_kernel(find_needs(linked, judged[key]))
        answers.append(Answer(version, verdict.outcome, verdict.diagnostics, newest))
    return tuple(answers)


def _alike(linked: LinkedProgram) -> tuple[Any, ...]:
    """What the rules look at, of all that a version may change."""
    contents = tuple((name, spec.contents) for name, spec in linked.maps.items())
    return linked.insns, contents, linked.target.kernel_version[:2] >= _PRIVATE_STACKS


def first_of(answers: Sequence[Answer]) -> Version | None:
    """The first Linux that takes the program, as far as the tables know; None: none of those asked does.

    Args:
        answers: of all releases, oldest first.
    """
    before: Version = (0, 0)
    for answer in answers:
        if answer.outcome is Outcome.ACCEPTED:
            # What it asks for there may have come between the two releases; no older one than the first was asked.
            return answer.needs_up_to if before < answer.needs_up_to <= answer.kernel else answer.kernel
        before = answer.kernel
    return None


def kernel_row(spec: ObjectSpec, name: str, target: Target, versions: Sequence[Version]) -> dict[str, Any]:
    """One program's row; ``diagnostics`` are Diagnostics still."""
    program = spec.programs[name]
    asked = sorted({*RELEASES, *versions})
    answers = {answer.kernel: answer for answer in ask_kernels(spec, name, target, asked)}
    first = first_of([answers[version] for version in asked])
    return {
        "program": name,
        "section": program.section,
        "prog_type": program.prog_type.name.lower(),
        "first_kernel": since_text(first) if first is not None else None,
        "kernels": {
            since_text(version): {
                "verdict": answers[version].outcome.value,
                "diagnostics": list(answers[version].diagnostics),
            }
            for version in versions
        },
    }


def as_json(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with diagnostics in their JSON form."""
    return [
        row
        | {
            "kernels": {
                kernel: found | {"diagnostics": [d.to_json() for d in found["diagnostics"]]}
                for kernel, found in row["kernels"].items()
            }
        }
        for row in rows
    ]


def print_kernels(rows: Sequence[dict[str, Any]], versions: Sequence[Version], borrowed: str | None) -> None:
    """The table; every blocker once, in the words for the oldest kernel that has it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("program", overflow="fold")
    for version in versions:
        table.add_column(since_text(version), justify="right")
    table.add_column("first", justify="right")
    for row in rows:
        cells = [_CELLS[Outcome(found["verdict"])] for found in row["kernels"].values()]
        table.add_row(row["program"], *cells, row["first_kernel"] or "-")
    console().print(table)
    if borrowed is not None:
        click.echo(f"note: {borrowed}", err=True)
    seen: set[Any] = set()
    for row in rows:
        for diagnostic in itertools.chain.from_iterable(found["diagnostics"] for found in row["kernels"].values()):
            place = (
                (diagnostic.span.file, diagnostic.span.line) if diagnostic.span else (row["program"], diagnostic.insn)
            )
            key = diagnostic.code, place, diagnostic.what.split(";")[0]
            if key not in seen and diagnostic.severity is Severity.ERROR:
                seen.add(key)
                report([diagnostic], as_json=False)


def borrowed_types(spec: ObjectSpec, target: Target, given: bool) -> str | None:
    """What to say where CO-RE was resolved with another kernel's types; None: it was not."""
    if given or target.btf is None or not any(f.core_relocations for f in spec.functions.values()):
        return None
    return (
        "CO-RE relocations are resolved with the types of the kernel that runs here; the other kernel's own "
        "(skep target save FILE there, --target FILE here) may differ"
    )

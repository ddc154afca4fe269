"""``skep verify``: would it be accepted, and if not, why."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from skep.abi.features import Version
from skep.abi.prog_types import ProgType
from skep.api import load, open_object, read_target, target_with_types
from skep.cli.engines import btf_option, chosen_target, engine_option, verbose_option
from skep.cli.kernels import as_json as rows_as_json
from skep.cli.kernels import borrowed_types, kernel_row, linux_target, parse_versions, print_kernels
from skep.cli.output import console, json_option, print_json, print_notes, report
from skep.cli.proof import judge_and_tell, print_proof
from skep.cli.types import type_option, with_type
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, LinkError, RejectedError, UnsupportedError, UsageError
from skep.kernel.bpf.programs import LOG_STATS
from skep.kernel.engine import KernelEngine
from skep.kernel.verifier_log import parse_log
from skep.linker import link
from skep.model.maps import Pinning
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram, Outcome, ProgramSpec
from skep.model.target import Target

_STYLES = {Outcome.ACCEPTED: "green", Outcome.REJECTED: "bold red", Outcome.UNSUPPORTED: "yellow"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--program", "names", multiple=True, metavar="NAME", help="Only this program (may be repeated).")
@engine_option
@click.option(
    "--target", "target_file", type=click.Path(path_type=Path), help="For the kernel in this file (skep target save)."
)
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    metavar="VERSION",
    help="Would it load on this Linux: 5.4, 5.10, 5.15, 6.1, 6.6, 6.12, 6.18 (may be repeated), or all.",
)
@click.option("--explain", is_flag=True, help="Show why accepted programs are safe, line by line.")
@click.option(
    "--unprivileged",
    is_flag=True,
    help="For a loader without CAP_PERFMON, which must not learn the kernel's addresses.",
)
@click.option("--log", "with_log", is_flag=True, help="Write a log in the kernel verifier's format.")
@click.option("--extends", metavar="FILE:PROGRAM", help="The program whose functions freplace programs replace.")
@btf_option
@verbose_option
@type_option
@json_option
def verify(
    file: Path,
    names: tuple[str, ...],
    engine: str,
    target_file: Path | None,
    kernels: tuple[str, ...],
    explain: bool,
    unprivileged: bool,
    with_log: bool,
    extends: str | None,
    btf_file: Path | None,
    verbose: bool,
    prog_type: str | None,
    as_json: bool,
) -> int:
    """Prove the programs in FILE safe, or say why not.

    With --engine kernel the running Linux judges (nothing is attached or kept); where it rejects, skep explains.
    With --kernel: whether other kernels would load them, and the first that does.
    """
    ours = {"--kernel": kernels, "--target": target_file, "--explain": explain, "--log": with_log, "--extends": extends}
    ours["--unprivileged"] = unprivileged
    for option in (name for name, given in ours.items() if given and engine == "kernel"):
        raise UsageError(Diagnostic("U0351", f"{option} needs skep's own verifier", help="leave out --engine kernel"))
    spec = with_type(open_object(file), names, prog_type)
    print_notes(spec, as_json=as_json)
    if target_file is not None:
        target = read_target(target_file)
    elif kernels:
        target = linux_target(spec) if btf_file is None else target_with_types(linux_target(spec), btf_file)
    else:
        target = chosen_target(spec, engine, btf_file)
    target = replace(target, privileged=not unprivileged)
    if kernels:
        return _for_kernels(
            spec, _chosen(spec, names), target, parse_versions(kernels), (target_file or btf_file) is not None, as_json
        )
    if engine == "kernel":
        rows = [ask_kernel(spec, name, target) for name in _chosen(spec, names)]
    else:
        base = _extended(extends, target) if extends else None
        chosen = _chosen(spec, names)
        rows = [verify_one(spec, name, target, explain=explain, log=with_log, base=base) for name in chosen]
    if as_json:
        print_json([row | {"diagnostics": [d.to_json() for d in row["diagnostics"]]} for row in rows])
    else:
        for row in rows:
            click.echo(row.pop("log") if with_log else "", nl=False)
        _print_table(rows)
        for row in rows:
            print_proof(row)
        for row in rows:
            report(row["diagnostics"], as_json=False)
            if verbose and row.get("log"):
                click.echo(row["log"], err=True)
    return 0 if rows and all(row["verdict"] == Outcome.ACCEPTED for row in rows) else 1


def _extended(words: str, target: Target) -> LinkedProgram:
    """The program that ``FILE:PROGRAM`` names, linked.

    Raises:
        UsageError: U0315 it is not written so, U0101 the file has no such program.
    """
    file, colon, name = words.rpartition(":")
    if not colon or not file:
        what = f"'{words}' names no program of a file"
        raise UsageError(Diagnostic("U0315", what, help="write FILE:PROGRAM, e.g. --extends firewall.bpf.c:firewall"))
    return link(open_object(Path(file)), name, target)


def _for_kernels(
    spec: ObjectSpec, names: list[str], target: Target, versions: tuple[Version, ...], given: bool, as_json: bool
) -> int:
    rows = [kernel_row(spec, name, target, versions) for name in names]
    borrowed = borrowed_types(spec, target, given)
    if as_json:
        print_json(rows_as_json(rows))
    else:
        print_kernels(rows, versions, borrowed)
    found = [answer["verdict"] for row in rows for answer in row["kernels"].values()]
    return 0 if found and all(verdict == Outcome.ACCEPTED for verdict in found) else 1


def verify_one(
    spec: ObjectSpec,
    name: str,
    target: Target,
    *,
    explain: bool = False,
    log: bool = False,
    base: LinkedProgram | None = None,
) -> dict[str, Any]:
    """One row of the answer; ``diagnostics`` are Diagnostics still.

    Args:
        explain: with ``lines``: the proof of an accepted program (explain.proof).
        log: with ``log``: what the kernel's verifier would write at log level 2.
        base: what programs of type EXT extend.
    """
    program = spec.programs[name]
    started = time.perf_counter()
    insns = sum(insn.width for insn in program.function.insns)
    processed = 0
    diagnostics: tuple[Diagnostic, ...]
    more: dict[str, Any] = {}
    try:
        linked = link(spec, name, target)
        linked = replace(linked, extends=base) if linked.prog_type is ProgType.EXT else linked
        insns = sum(insn.width for insn in linked.insns)
        verdict, more = judge_and_tell(linked, explain=explain, log=log)
        outcome, diagnostics, processed = verdict.outcome, verdict.diagnostics, verdict.processed_insns
    except (UnsupportedError, UsageError) as error:  # UsageError: a section name that does not say the type
        outcome, diagnostics = Outcome.UNSUPPORTED, error.diagnostics
    except LinkError as error:
        outcome, diagnostics = Outcome.REJECTED, error.diagnostics
    return _row(program, outcome, insns, processed, started, diagnostics) | more


def ask_kernel(spec: ObjectSpec, name: str, target: Target) -> dict[str, Any]:
    """The same row with the running kernel's verdict; ``log`` is what its verifier wrote."""
    program = spec.programs[name]
    started = time.perf_counter()
    # Only the verdict is wanted: maps get no pins, and existing pins are left alone.
    maps = {n: found.replace(pinning=Pinning.NONE) for n, found in spec.maps.items()}
    outcome, log = Outcome.ACCEPTED, ""
    diagnostics: tuple[Diagnostic, ...] = ()
    insns = sum(insn.width for insn in program.function.insns)
    try:
        with load(replace(spec, maps=maps), engine=KernelEngine(target, log_level=LOG_STATS), programs=[name]) as live:
            loaded = live.programs[name]
            log = getattr(loaded.handle, "log", "")
            insns = sum(insn.width for insn in loaded.linked.insns)
    except (UnsupportedError, UsageError, EngineError) as error:
        outcome, diagnostics = Outcome.UNSUPPORTED, error.diagnostics
    except (LinkError, RejectedError) as error:
        outcome, diagnostics, log = Outcome.REJECTED, error.diagnostics, getattr(error, "log", "")
    row = _row(program, outcome, insns, parse_log(log).processed_insns, started, diagnostics)
    return row | {"log": log}


def _row(
    program: ProgramSpec,
    outcome: Outcome,
    insns: int,
    processed: int | None,
    started: float,
    diagnostics: tuple[Diagnostic, ...],
) -> dict[str, Any]:
    return {
        "program": program.name,
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

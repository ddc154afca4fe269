"""``skep prog``: the programs in this kernel, in bpftool's shape."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from skep.abi.contexts import CONTEXTS
from skep.abi.prog_types import ProgType
from skep.cli.loaded import print_loaded
from skep.cli.output import json_option, print_json
from skep.cli.selectors import Selected, matching, number, options, select_program
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, UnsupportedError, UsageError
from skep.kernel.bpf import objects
from skep.kernel.bpf import programs as program_calls
from skep.kernel.bpf.attr import ProgInfo
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.objects import Kind
from skep.kernel.inspect.owners import Owner, find_owners, find_pins
from skep.kernel.inspect.programs import (
    DumpedInsn,
    ProgramFacts,
    dump_jited,
    dump_xlated,
    list_programs,
    read_facts,
)
from skep.kernel.maps import pins
from skep.kernel.programs import way_for
from skep.kernel.refusals import errno_name, not_permitted

_TRACE_PIPES = ("/sys/kernel/tracing/trace_pipe", "/sys/kernel/debug/tracing/trace_pipe")
_STREAMS = {"stdout": 1, "stderr": 2}
words_argument = click.argument("words", nargs=-1, metavar="[WORDS]...")


@click.group()
def prog() -> None:
    """Programs in this kernel.

    PROG is: id N | pinned FILE | tag T | name NAME
    """


@prog.command()
@words_argument
@click.option("-f", "--bpffs", is_flag=True, help="Look for pins, too.")
@json_option
def show(words: tuple[str, ...], bpffs: bool, as_json: bool) -> None:
    """Show [PROG], by default all."""
    owners = find_owners(Kind.PROGRAM)
    pinned = find_pins() if bpffs else {}
    if words and words[0] not in ("tag", "name"):
        chosen = select_program(words)
        with chosen.fd:
            found = [read_facts(chosen.fd)]
    elif words:  # several programs may have one tag or name: all are shown
        with listing_errors("programs"):
            found = matching("program", words, ((f, (f.tag, f.name)) for _, f in list_programs()))
    else:
        with listing_errors("programs"):
            found = [facts for _, facts in list_programs()]
    print_loaded(Kind.PROGRAM, found, owners, pinned, program_lines, one_if_single=bool(words), as_json=as_json)


prog.add_command(show, "list")


class listing_errors:
    """A with block in which a refused listing becomes a Diagnostic."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BpfCallError):
            raise EngineError(
                not_permitted(f"the {self.what} of this kernel cannot be listed", None, administer=True)
            ) from None


def program_lines(facts: ProgramFacts, holders: Sequence[Owner], paths: Sequence[str]) -> list[str]:
    """The lines of one program."""
    name = f"  name {facts.name}" if facts.name else ""
    runs = f" run_time_ns {facts.run_time_ns} run_cnt {facts.run_cnt}" if facts.run_cnt else ""
    missed = f" recursion_misses {facts.recursion_misses}" if facts.recursion_misses else ""
    gpl = "  gpl" if facts.gpl_compatible else ""
    lines = [f"{facts.id}: {facts.type}{name}  tag {facts.tag}{gpl}{runs}{missed}"]
    loaded = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(facts.loaded_at))
    lines.append(f"\tloaded_at {loaded}  uid {facts.uid}")
    jited = f"jited {facts.bytes_jited}B" if facts.bytes_jited else "not jited"
    maps = f"  map_ids {','.join(map(str, facts.map_ids))}" if facts.map_ids else ""
    lines.append(f"\txlated {facts.bytes_xlated}B  {jited}  memlock {facts.bytes_memlock}B{maps}")
    lines += [f"\tpinned {path}" for path in paths]
    if facts.btf_id:
        lines.append(f"\tbtf_id {facts.btf_id}")
    if holders:
        lines.append("\tpids " + ", ".join(f"{owner.comm}({owner.pid})" for owner in holders))
    return lines


@prog.command()
@click.argument("form", type=click.Choice(["xlated", "jited"]))
@words_argument
@json_option
def dump(form: str, words: tuple[str, ...], as_json: bool) -> None:
    """Show the code of PROG: xlated (after the verifier), or jited (machine code).

    After PROG: opcodes (bytes, too), linum (file, line and column, too), file FILE (raw bytes to a file).
    """
    chosen = select_program(words)
    with chosen.fd:
        rows = dump_xlated(chosen.fd) if form == "xlated" else dump_jited(chosen.fd)
    flags = set(chosen.rest)
    if "file" in flags:
        path = Path(options(chosen.rest[chosen.rest.index("file") :], ["file"])["file"])
        path.write_bytes(b"".join(row.code for row in rows))
        return
    unknown = flags - {"opcodes", "linum"}
    if unknown:
        raise UsageError(Diagnostic("U0323", f"'{min(unknown)}' means nothing here", help="opcodes, linum, file FILE"))
    if as_json:
        print_json([_row_json(row) for row in rows])
        return
    for row in rows:
        click.echo("\n".join(_row_lines(row, opcodes="opcodes" in flags, linum="linum" in flags, form=form)))


def _row_json(row: DumpedInsn) -> dict[str, Any]:
    found: dict[str, Any] = {"proto": row.function} if row.function else {}
    if row.span is not None:
        found |= {"src": row.span.text, "file": row.span.file, "line_num": row.span.line, "line_col": row.span.column}
    return found | {"at": row.at, "disasm": row.text, "opcodes": row.code.hex()}


def _row_lines(row: DumpedInsn, *, opcodes: bool, linum: bool, form: str) -> list[str]:
    lines = [f"{row.function}:"] if row.function else []
    if row.span is not None and row.span.text:
        place = f" [file:{row.span.file} line_num:{row.span.line} line_col:{row.span.column}]" if linum else ""
        lines.append(f"; {row.span.text.strip()}{place}")
    at = f"{row.at:4x}:\t" if form == "jited" else "   "
    lines.append(f"{at}{row.text}")
    if opcodes:
        lines.append("       " + row.code.hex(" "))
    return lines


@prog.command()
@words_argument
def pin(words: tuple[str, ...]) -> None:
    """Give PROG the name FILE in a bpffs: pin PROG FILE."""
    chosen = select_program(words)
    with chosen.fd:
        pins.pin(chosen.fd, one_path(chosen.rest), "the program")


def one_path(rest: Sequence[str]) -> str:
    """The single word that is left."""
    if len(rest) != 1:
        raise UsageError(Diagnostic("U0324", "name one FILE", help="in a bpffs: /sys/fs/bpf/NAME"))
    return rest[0]


@prog.command()
@words_argument
@json_option
def run(words: tuple[str, ...], as_json: bool) -> None:
    """Test run: run PROG data_in FILE [data_out FILE] [ctx_in FILE] [ctx_out FILE] [repeat N]."""
    chosen = select_program(words)
    with chosen.fd:
        given = options(chosen.rest, ["data_in", "data_out", "ctx_in", "ctx_out", "repeat"])
        kind = ProgType(int(objects.read_info(chosen.fd.number, ProgInfo()).type))
        way = way_for(kind)
        if way is None:
            what = f"the kernel has no test run for programs of type {kind.name.lower()}"
            raise UnsupportedError(Diagnostic("E0227", what, kernel="ENOTSUPP"))
        data = Path(given["data_in"]).read_bytes() if "data_in" in given else b""
        ctx = Path(given["ctx_in"]).read_bytes() if "ctx_in" in given else None
        request = way.request(kind, data, ctx, number(given.get("repeat", "1")))
        try:
            done = program_calls.test_run(chosen.fd.number, request)
        except BpfCallError as error:
            raise EngineError(
                Diagnostic("E0229", f"the test run failed: {error.reason}", help=_context_hint(kind),
                           kernel=errno_name(error.number))
            ) from None  # fmt: skip
    if "data_out" in given:
        Path(given["data_out"]).write_bytes(done.data)
    if "ctx_out" in given:
        Path(given["ctx_out"]).write_bytes(done.ctx)
    if as_json:
        print_json({"retval": done.retval, "duration": done.duration_ns, "data_out": done.data.hex()})
    else:
        click.echo(f"Return value: {done.retval}, duration (average): {done.duration_ns}ns")


def _context_hint(kind: ProgType) -> str:
    known = CONTEXTS.get(kind)
    size = f" (struct {known.name}, {known.size} bytes)" if known is not None else ""
    return f"give data_in a whole packet, or ctx_in a context{size}"


@prog.command()
@words_argument
@click.option("--seconds", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="How long to measure.")
@json_option
def stats(words: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Measure how often [PROG] runs, by default all that run, and how long a run takes (Linux 5.8)."""
    chosen = select_program(words) if words else None
    with ExitStack() as stack:
        with listing_errors("run times"):
            stack.enter_context(objects.enable_stats())
        if chosen is not None:
            stack.enter_context(chosen.fd)
        before = {facts.id: facts for facts in _measured(chosen)}
        time.sleep(seconds)
        rows = [_runs(facts, before.get(facts.id), seconds) for facts in _measured(chosen)]
    rows = sorted((row for row in rows if row["run_cnt"] or words), key=lambda row: -row["run_time_ns"])
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(
            f"{row['id']}: {row['type']}  name {row['name']}  {row['per_second']:.0f} runs/s"
            f"  {row['ns_per_run']:.0f} ns/run  {row['cpu_percent']:.2f} % of a CPU"
        )


def _measured(chosen: Selected | None) -> list[ProgramFacts]:
    return [read_facts(chosen.fd)] if chosen is not None else [facts for _, facts in list_programs()]


def _runs(now: ProgramFacts, before: ProgramFacts | None, seconds: float) -> dict[str, Any]:
    count = now.run_cnt - (before.run_cnt if before is not None else 0)
    spent = now.run_time_ns - (before.run_time_ns if before is not None else 0)
    return {
        "id": now.id,
        "type": now.type,
        "name": now.name,
        "run_cnt": count,
        "run_time_ns": spent,
        "per_second": count / seconds,
        "ns_per_run": spent / count if count else 0.0,
        "cpu_percent": spent / seconds / 1e7,
    }


@prog.command()
@words_argument
def tracelog(words: tuple[str, ...]) -> None:
    """Show what programs print: bpf_printk() until Ctrl-C.

    Or, for bpf_stream_printk() (Linux 6.17): tracelog stdout|stderr PROG
    """
    if words:
        stream = _STREAMS.get(words[0])
        if stream is None:
            raise UsageError(Diagnostic("U0323", f"'{words[0]}' is no stream", help="stdout PROG, or stderr PROG"))
        chosen = select_program(words[1:])
        with chosen.fd:
            _print_stream(chosen.fd.number, stream)
        return
    path = next((name for name in _TRACE_PIPES if os.path.exists(name)), None)
    if path is None:
        why = ("no tracefs is mounted, the kernel has no CONFIG_TRACING, or only root may look",)
        help = "mount -t tracefs nodev /sys/kernel/tracing"
        raise EngineError(Diagnostic("E0245", "the kernel's trace log is not there", why=why, help=help))
    with open(path, errors="replace") as lines:
        for line in lines:
            click.echo(line, nl=False)


def _print_stream(program: int, stream: int) -> None:
    while True:
        try:
            data = program_calls.read_stream(program, stream)
        except BpfCallError as error:
            what = f"the stream cannot be read: {error.reason}"
            raise EngineError(Diagnostic("E0246", what, help="streams came with Linux 6.17")) from None
        if not data:
            return
        click.echo(data.decode(errors="replace"), nl=False)

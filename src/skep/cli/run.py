"""``skep run``: the main job. One program over every packet of a capture, or on one input."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from skep import hooks
from skep.api import load, open_object
from skep.cli.attach import Options, run_attached
from skep.cli.engines import btf_option, chosen_target, engine_option, verbose_option
from skep.cli.live import LiveOptions, live_options, run_live
from skep.cli.output import console, error_console, json_option, json_value, print_json, print_notes
from skep.cli.stream import Wanted, stream_options
from skep.cli.types import type_option, with_type
from skep.cli.values import fill_maps, parse_fills, parse_settings
from skep.collection import Object, Program
from skep.collection.object import no_such_name
from skep.collection.program import Progress as ProgressCallback
from skep.diagnostics import Diagnostic
from skep.engine import PacketRun
from skep.errors import UsageError
from skep.model.auto_attach import attaches_itself
from skep.model.objects import ObjectSpec

REFRESH_SECONDS = 0.1
_LIVE_COUNTS = {"lost": "lost: the ring was full", "sent": "sent", "not_sent": "could not be sent"}
SHOWN_ELEMENTS = 20  # of a map, in text; JSON has all


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--program", "name", metavar="NAME", help="Which program [default: the only one].")
@click.option("--pcap", type=click.Path(path_type=Path), metavar="IN", help="Run on each packet of this capture.")
@click.option("--out", type=click.Path(path_type=Path), metavar="OUT", help="Write the packets that pass here.")
@click.option("--data", type=click.Path(path_type=Path), help="Run once on the packet in this file.")
@click.option("--ctx", type=click.Path(path_type=Path), help="Run once on the context in this file.")
@click.option("--map", "fills", multiple=True, metavar="NAME=FILE", help='Fill a map from JSON: [{"key":, "value":}].')
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a global variable before loading.")
@live_options
@stream_options
@engine_option
@btf_option
@verbose_option
@type_option
@json_option
def run(
    file: Path,
    name: str | None,
    pcap: Path | None,
    out: Path | None,
    data: Path | None,
    ctx: Path | None,
    fills: tuple[str, ...],
    settings: tuple[str, ...],
    type_name: str | None,
    count: int,
    seconds: float,
    engine: str,
    btf_file: Path | None,
    verbose: bool,
    prog_type: str | None,
    as_json: bool,
    **live_words: Any,
) -> None:
    """Run a program of FILE over the packets of a capture, and show its verdicts and maps.

    With --iface or --tap: over live packets, on the vm engine, until --count, --duration or Ctrl-C.

    With --data or --ctx instead of --pcap: run it once on that input. With --engine kernel that is a test run in the
    running Linux (root).

    Without any input: attach the programs whose sections say where (tracepoints, probes, ...) in the running Linux, and
    print the events that they send, as a table or (--json) as JSON lines, until Ctrl-C.
    """
    source = LiveOptions(**live_words)
    if pcap is None and data is None and ctx is None and not source.is_given:
        spec = with_type(open_object(file), [name] if name else [], prog_type)
        if any(attaches_itself(program.section) for program in spec.programs.values()):
            print_notes(spec, as_json=as_json)
            chosen = [choose_program(spec, name)] if name else None
            elements = parse_fills(spec, fills)
            target = chosen_target(spec, "kernel", btf_file)
            settled = parse_settings(spec, settings)
            with load(spec, engine="kernel", programs=chosen, variables=settled, target=target) as live:
                fill_maps(live, elements)
                run_attached(live, Options(), Wanted(type_name, count, seconds), as_json=as_json)
            return
    if (pcap is not None) + (data is not None or ctx is not None) + source.is_given != 1:
        raise UsageError(
            Diagnostic("U0341", "say what to run on: --pcap, --iface, or --data and --ctx", help="e.g. --pcap in.pcap")
        )
    if out is not None and pcap is None and not source.is_given:
        raise UsageError(Diagnostic("U0342", "--out needs --pcap or --iface", help="packets come from a capture"))
    if engine == "kernel" and source.is_given:
        raise UsageError(
            Diagnostic("U0311", "--iface and --tap are hooks of the vm engine", help="in Linux: skep attach --iface")
        )
    if engine == "kernel" and pcap is not None:
        raise UsageError(
            Diagnostic(
                "U0309",
                "captures are run by the vm engine: the kernel has no hook for them",
                help="leave out --engine, or give one packet with --data",
            )
        )
    spec = with_type(open_object(file), [name] if name else [], prog_type)
    print_notes(spec, as_json=as_json)
    name = choose_program(spec, name)
    programs = [name, *tail_call_targets(spec, name)]
    elements = parse_fills(spec, fills)
    target = chosen_target(spec, engine, btf_file)
    with load(spec, engine=engine, programs=programs, variables=parse_settings(spec, settings), target=target) as live:
        fill_maps(live, elements)
        program = live.programs[name]
        if source.is_given:
            _, result = run_live(program, source.hook(out), count=count, seconds=seconds, quiet=as_json)
        elif pcap is not None:
            result = _run_capture(program, hooks.Pcap(pcap, out=out), quiet=as_json)
        else:
            result = _run_once(program, data, ctx)
        maps = {map_name: [{"key": k, "value": v} for k, v in m.contents()] for map_name, m in live.maps.items()}
        if as_json:
            print_json(result | {"maps": json_value(maps)})
        else:
            _print_result(result, out)
            _print_maps(live)


def choose_program(spec: ObjectSpec, name: str | None) -> str:
    if name is not None:
        if name not in spec.programs:
            raise no_such_name("program", name, spec.programs)
        return name
    if len(spec.programs) == 1:
        return next(iter(spec.programs))
    listed = ", ".join(f"{p.name} ({p.section})" for p in spec.programs.values()) or "none"
    what = "the object has no program" if not spec.programs else "the object has several programs"
    raise UsageError(Diagnostic("U0343", f"{what}: say which", why=(f"programs: {listed}",), help="use --program NAME"))


def tail_call_targets(spec: ObjectSpec, name: str) -> list[str]:
    """Programs that C put into prog_arrays: they are needed too."""
    targets = {slot.target for blueprint in spec.maps.values() for slot in blueprint.slots}
    return [target for target in spec.programs if target in targets and target != name]


def _run_capture(program: Program, hook: hooks.Pcap, *, quiet: bool) -> dict[str, Any]:
    with program.attach(hook) as link, packet_progress(quiet) as progress:
        done: PacketRun = link.run(progress)
    per_packet = done.seconds * 1e9 / done.packets if done.packets else 0.0
    return {
        "program": program.name,
        "packets": done.packets,
        "bytes": done.bytes,
        "verdicts": dict(done.verdicts),
        "passed": done.passed,
        "seconds": round(done.seconds, 6),
        "ns_per_packet": round(per_packet, 1),
    }


def _run_once(program: Program, data: Path | None, ctx: Path | None) -> dict[str, Any]:
    result = program.run(data.read_bytes() if data else b"", ctx.read_bytes() if ctx else None)
    return {
        "program": program.name,
        "retval": result.retval,
        "data": result.data.hex(),
        "seconds": result.duration_ns / 1e9,
    }


@contextmanager
def packet_progress(quiet: bool) -> Iterator[ProgressCallback | None]:
    """A progress bar on a terminal, nothing elsewhere."""
    out = error_console()
    if quiet or not out.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # No refresh thread: it would take the interpreter's lock from the loop that feeds the packets, again and again.
    with Progress(*columns, console=out, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("packets", total=None)
        next_refresh = 0.0

        def show(done: int, total: int) -> None:
            nonlocal next_refresh
            now = time.monotonic()
            if now >= next_refresh:
                next_refresh = now + REFRESH_SECONDS
                bar.update(task, completed=done, total=total or None, refresh=True)

        yield show


def _print_result(result: dict[str, Any], out: Path | None) -> None:
    screen = console()
    if "retval" in result:
        screen.print(f"{result['program']}: returned {result['retval']} in {result['seconds'] * 1e9:.0f} ns")
        return
    rate = f", {result['ns_per_packet']:g} ns per packet" if result.get("ns_per_packet") else ""
    screen.print(f"{result['program']}: {result['packets']} packets, {result['bytes']} bytes{rate}")
    table = Table("verdict", box=None, pad_edge=False)
    table.add_column("packets", justify="right")
    for verdict, count in result["verdicts"].items():
        table.add_row(verdict, str(count))
    screen.print(table)
    for name, meaning in _LIVE_COUNTS.items():
        if result.get(name):
            screen.print(f"{result[name]} packets {meaning}")
    if out is not None:
        screen.print(f"{result['passed']} packets written to {out}")


def _print_maps(live: Object) -> None:
    screen = console()
    for name, live_map in live.maps.items():
        # The elements of an array are always there; those that nobody touched would hide the others.
        touched = [element for element in live_map.contents() if not _is_zero(element[1])]
        if not touched:
            continue
        screen.print(f"\nmap {name} ({live_map.type.name.lower()})", style="bold")
        table = Table(box=None, pad_edge=False, show_header=False)
        for key, value in touched[:SHOWN_ELEMENTS]:
            table.add_row(_text(key), _text(value))
        screen.print(table)
        if len(touched) > SHOWN_ELEMENTS:
            screen.print(f"  and {len(touched) - SHOWN_ELEMENTS} more (--json shows all)")
    sys.stdout.flush()


def _is_zero(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_zero, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_zero, value))
    return not any(value) if isinstance(value, bytes) else not value


def _text(value: Any) -> str:
    plain = json_value(value)
    if isinstance(plain, dict):
        return ", ".join(f"{key}={_text(item)}" for key, item in plain.items())
    if isinstance(plain, list):
        return "  ".join(f"{{{_text(item)}}}" if isinstance(item, dict) else _text(item) for item in plain)
    return str(plain).replace("[", r"\[")

"""``skep capture``: packets that an expression or a program chooses, live or from a file, to pcapng or the screen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from skep import hooks
from skep.api import load, open_object
from skep.cli.live import announce, announce_start, describe, stopped_by_signals
from skep.cli.output import error_console, json_option, print_json, print_notes
from skep.cli.run import choose_program, packet_progress, tail_call_targets
from skep.cli.types import type_option, with_type
from skep.cli.values import fill_maps, parse_fills, parse_settings
from skep.collection import Link, Program
from skep.collection.program import Progress
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.frontend.pcap import LinkLayer
from skep.tools import capture as tool
from skep.tools.capture import (
    CaptureFiles,
    CaptureResult,
    PacketLines,
    Rotation,
    expression_spec,
    interface_layer,
)
from skep.tools.filter import link_layer

_PCAP_ENGINE = {
    "engine": "vm (this process)",
    "guarantee": "every packet of the capture is seen once, in order",
    "privileges": "none",
}

_LIVE_GUARANTEE = "copies: nothing changes for the host; what comes while the ring is full is lost, and counted"


@dataclass(frozen=True, slots=True)
class Chooser:
    """What decides: an expression, or a program of a file."""

    expression: str = ""
    file: Path | None = None
    name: str | None = None
    prog_type: str | None = None
    fills: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


@click.command()
@click.argument("expression", nargs=-1)
@click.option("--iface", "-i", metavar="IF", help="Capture on this interface.")
@click.option("--pcap", "-r", type=click.Path(path_type=Path), metavar="IN", help="Take the packets of this capture.")
@click.option("--write", "-w", type=click.Path(path_type=Path, allow_dash=True), metavar="OUT",
              help="Write a pcapng [default: print a line per packet]; - is standard output.")  # fmt: skip
@click.option("--program", "file", type=click.Path(path_type=Path), metavar="FILE",
              help="An eBPF program decides instead of an expression: packets that pass are captured.")  # fmt: skip
@click.option("--program-name", "name", metavar="NAME", help="Which program of FILE [default: the only one].")
@click.option("--map", "fills", multiple=True, metavar="NAME=FILE", help="Fill a map of the program from JSON.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a global variable of the program.")
@click.option("--count", "-c", type=click.IntRange(min=1), metavar="N", help="Stop after so many captured packets.")
@click.option("--duration", type=click.FloatRange(min=0), metavar="S", help="Stop after so many seconds.")
@click.option("--rotate-bytes", type=click.IntRange(min=0), default=0, metavar="N", help="A new file every N bytes.")
@click.option("--rotate-seconds", type=click.FloatRange(min=0), default=0, metavar="N",
              help="A new file after N seconds.")  # fmt: skip
@click.option("--keep", type=click.IntRange(min=0), default=0, metavar="N", help="Keep the last N files [all].")
@click.option("--snaplen", "-s", type=click.IntRange(min=0), default=0, metavar="N", help="Bytes of a packet [all].")
@click.option("--flow", type=click.Choice(["in", "out", "both"]), default="both", help="Received, sent, or both.")
@click.option("--no-promiscuous", "-p", is_flag=True, help="Only packets for this station.")
@click.option("--threads", type=int, default=1, show_default=True, help="Rings with a thread each.")
@click.option("--ring-bytes", type=int, default=32 << 20, show_default=True, metavar="N", help="Of each ring.")
@type_option
@json_option
def capture(
    expression: tuple[str, ...],
    iface: str | None,
    pcap: Path | None,
    write: Path | None,
    file: Path | None,
    name: str | None,
    fills: tuple[str, ...],
    settings: tuple[str, ...],
    count: int | None,
    duration: float | None,
    rotate_bytes: int,
    rotate_seconds: float,
    keep: int,
    snaplen: int,
    flow: str,
    no_promiscuous: bool,
    threads: int,
    ring_bytes: int,
    prog_type: str | None,
    as_json: bool,
) -> None:
    """Capture packets that a pcap-filter(7) EXPRESSION matches, or that an eBPF program lets pass.

    Live from an interface until --count, --duration or Ctrl-C, or from a capture file. Files are pcapng, with times in
    nanoseconds and the numbers of lost packets; each appears whole under its name, or not at all.
    """
    chooser = Chooser(" ".join(expression), file, name, prog_type, fills, settings)
    _check(chooser, iface, pcap, duration)
    layer = interface_layer(iface) if iface is not None else (link_layer(pcap) if pcap is not None else None)
    layer = layer or LinkLayer.ETHERNET
    with ExitStack() as stack:
        program = stack.enter_context(_loaded(chooser, layer, as_json=as_json))
        writer: CaptureFiles | PacketLines
        files: CaptureFiles | None = None
        if write is None:
            if rotate_bytes or rotate_seconds or keep:
                raise UsageError(Diagnostic("U0603", "only files are rotated", help="name one: -w OUT.pcapng"))
            writer = PacketLines(sys.stdout, as_json=as_json, snaplen=snaplen)
        else:
            source = iface or str(pcap)
            rotation = Rotation(rotate_bytes, rotate_seconds, keep)
            writer = files = CaptureFiles(
                write, snaplen=snaplen, rotation=rotation, interface=source, expression=chooser.expression,
                link_type=layer.value,
            )  # fmt: skip
            stack.enter_context(files)
        hook: hooks.LiveHook | hooks.Pcap
        if pcap is not None:
            hook = hooks.Pcap(pcap, out=writer, clock="capture")
        else:
            assert iface is not None
            hook = hooks.PacketSocket(
                iface, threads=threads, direction=flow, promiscuous=not no_promiscuous, out=writer,
                ring_bytes=ring_bytes,
            )  # fmt: skip
        result = _run(program, hook, files, count, duration, quiet=as_json)
    _report(result, hook, as_json=as_json, to_stdout=write is not None and str(write) == "-", printed=write is None)


def _check(chooser: Chooser, iface: str | None, pcap: Path | None, duration: float | None) -> None:
    if (iface is None) == (pcap is None):
        raise UsageError(Diagnostic("U0603", "say where packets come from", help="--iface IF, or --pcap IN"))
    if pcap is not None and duration is not None:
        raise UsageError(Diagnostic("U0603", "--duration is for --iface", help="--count ends a capture file early"))
    if chooser.file is not None and chooser.expression:
        what = "an expression and a program cannot both decide"
        raise UsageError(Diagnostic("U0603", what, help="give an EXPRESSION or --program FILE"))
    if chooser.file is None and (chooser.name or chooser.fills or chooser.settings):
        raise UsageError(Diagnostic("U0603", "--program-name, --map and --set need --program"))


@contextmanager
def _loaded(chooser: Chooser, layer: LinkLayer, *, as_json: bool) -> Iterator[Program]:
    """The program that decides."""
    if chooser.file is None:
        with load(expression_spec(chooser.expression, layer)) as live:
            yield next(iter(live.programs.values()))
        return
    spec = with_type(open_object(chooser.file), [chooser.name] if chooser.name else [], chooser.prog_type)
    print_notes(spec, as_json=as_json)
    name = choose_program(spec, chooser.name)
    elements = parse_fills(spec, chooser.fills)
    programs = [name, *tail_call_targets(spec, name)]
    with load(spec, programs=programs, variables=parse_settings(spec, chooser.settings)) as live:
        fill_maps(live, elements)
        yield live.programs[name]


def _about(hook: hooks.LiveHook | hooks.Pcap) -> dict[str, str]:
    """Engine, guarantee, privileges."""
    return _PCAP_ENGINE if isinstance(hook, hooks.Pcap) else describe(hook) | {"guarantee": _LIVE_GUARANTEE}


def _run(
    program: Program,
    hook: hooks.LiveHook | hooks.Pcap,
    files: CaptureFiles | None,
    count: int | None,
    duration: float | None,
    *,
    quiet: bool,
) -> CaptureResult:
    with ExitStack() as stack:
        progress: Progress | None = None
        if isinstance(hook, hooks.Pcap):
            if files is not None:
                progress = stack.enter_context(packet_progress(quiet))
        elif not quiet:
            announce(_about(hook))

        def started(link: Link) -> None:
            if not isinstance(hook, hooks.Pcap):
                stack.enter_context(stopped_by_signals(link))
                if not quiet:
                    announce_start()

        return tool.capture(program, hook, files, count=count, duration=duration, progress=progress, started=started)


def _report(
    result: CaptureResult, hook: hooks.LiveHook | hooks.Pcap, *, as_json: bool, to_stdout: bool, printed: bool
) -> None:
    """Numbers at the end: on standard error, or as JSON (the last line, where packets were printed)."""
    run = result.run
    if as_json and not to_stdout:
        numbers = {
            **_about(hook), "seen": run.packets, "captured": run.passed, "lost": run.lost, "bytes": run.bytes,
            "ended": run.ended, "seconds": round(run.seconds, 6), "files": [str(path) for path in result.files],
        }  # fmt: skip
        if printed:
            print(json.dumps(numbers))
        else:
            print_json(numbers)
        return
    out = error_console()
    lost = f", {run.lost} lost: the ring was full" if run.lost else ", none lost"
    if isinstance(hook, hooks.Pcap):
        lost = ""
    out.print(f"{run.passed} of {run.packets} packets captured{lost}", markup=False)
    for path in result.files:
        out.print(f"wrote {path}", markup=False)

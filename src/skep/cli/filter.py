"""``skep filter``: pcap-filter(7) and classic BPF, listed, translated, and run over captures and live packets."""

from __future__ import annotations

import ipaddress
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skep import hooks
from skep.cli.live import announce, announce_start, describe, stopped_by_signals
from skep.cli.output import console, error_console, json_option, print_json
from skep.cli.run import packet_progress
from skep.diagnostics import Diagnostic
from skep.errors import InputError, UsageError

if TYPE_CHECKING:
    from skep.collection import Link
    from skep.frontend.pcap import ClassicProgram, LinkLayer

# The rooms of filters are entered when one is compiled, not by every `skep --help`.
LINK_TYPES = ("EN10MB", "RAW", "LINUX_SLL", "NULL", "LOOP")
SNAPLEN = 262144
_MAX_LISTING = 64 << 20  # bytes of a file for --read-ddd
_ENGINE = "engine: vm (this process, proved safe by skep's verifier before it runs; needs no privileges)"


_IN_KERNEL = {
    "engine": "kernel (socket filter, proved by both verifiers), then vm for what it lets through",
    "guarantee": "copies: nothing changes for the host; what does not match is never copied, nor counted",
    "privileges": "CAP_NET_RAW for the packet socket, CAP_BPF for the program",
}


@dataclass(frozen=True, slots=True)
class LiveFilter:
    """Where live packets come from, and when it ends."""

    iface: str
    engine: str
    flow: str
    count: int | None
    duration: float | None


@click.command()
@click.argument("expression", nargs=-1)
@click.option("--iface", "-i", metavar="IF", help="Filter live packets of this interface (copies).")
@click.option("--engine", type=click.Choice(["vm", "kernel"]), default="vm", show_default=True,
              help="With --iface: filter in this process, or in the kernel before packets are copied.")  # fmt: skip
@click.option("--flow", type=click.Choice(["in", "out", "both"]), default="both", help="With --iface: received, sent.")
@click.option("--count", "-c", type=click.IntRange(min=1), metavar="N", help="With --iface: stop after N that match.")
@click.option("--duration", type=click.FloatRange(min=0), metavar="S", help="With --iface: stop after S seconds.")
@click.option("--pcap", type=click.Path(path_type=Path), metavar="IN", help="Filter the packets of this capture.")
@click.option("--out", type=click.Path(path_type=Path), metavar="OUT", help="Write the packets that match here.")
@click.option("-d", "d", count=True, help="List the classic program: -d text, -dd C, -ddd numbers.")
@click.option("--ebpf", is_flag=True, help="List the eBPF that it is translated to.")
@click.option("--read-ddd", "given", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
              help="Take a classic program, as tcpdump -ddd (-dd, -d) printed it, for an expression.")  # fmt: skip
@click.option("-y", "--link-type", type=click.Choice(LINK_TYPES, case_sensitive=False), metavar="TYPE",
              help=f"What packets start with [the capture's, or EN10MB]: {', '.join(LINK_TYPES)}.")  # fmt: skip
@click.option("--netmask", metavar="MASK", help="Of the packets' network, for 'ip broadcast'.")
@click.option("-s", "--snaplen", type=click.IntRange(1, 0xFFFFFFFF), default=SNAPLEN, metavar="BYTES",
              help=f"Bytes to keep of a packet that matches [default: {SNAPLEN}].")  # fmt: skip
@click.option("-O", "--no-optimize", is_flag=True, help="Leave every test in.")
@json_option
def filter(
    expression: tuple[str, ...],
    iface: str | None,
    engine: str,
    flow: str,
    count: int | None,
    duration: float | None,
    pcap: Path | None,
    out: Path | None,
    d: int,
    ebpf: bool,
    given: Path | None,
    link_type: str | None,
    netmask: str | None,
    snaplen: int,
    no_optimize: bool,
    as_json: bool,
) -> None:
    """Filter packets by a pcap-filter(7) EXPRESSION, e.g. 'tcp port 443 and not host 10.0.0.1'.

    With --pcap the packets of a capture, with --iface live ones; -d and --ebpf show the program instead.
    """
    if iface is None and (engine != "vm" or flow != "both" or count or duration is not None):
        raise UsageError(Diagnostic("U0504", "--engine, --flow, --count and --duration are for --iface"))
    live = None if iface is None else LiveFilter(iface, engine, flow, count, duration)
    if live is not None and pcap is not None:
        raise UsageError(Diagnostic("U0504", "--iface and --pcap are two places", help="give one of them"))
    if out is not None and ((pcap is None and live is None) or d or ebpf):
        help = "--pcap IN or --iface IF say where packets come from"
        raise UsageError(Diagnostic("U0342", "--out needs packets, and no listing", help=help))
    if pcap is None and live is None and not d and not ebpf:
        help = "--pcap IN filters a capture, --iface IF live packets, -d lists the program"
        raise UsageError(Diagnostic("U0501", "say what to do with the filter", help=help))
    if given is not None and expression:
        raise UsageError(Diagnostic("U0502", "--read-ddd takes the place of an expression", help="give one of them"))
    from skep.frontend.pcap import LINK_NAMES, compile_expression
    from skep.tools.filter import read_classic

    if given is not None:
        program = read_classic(_text(given), str(given), LINK_NAMES[link_type.upper()] if link_type else None)
    else:
        mask = _netmask(netmask) if netmask is not None else None
        program = compile_expression(
            " ".join(expression),
            link=_layer(link_type, pcap, iface),
            keep=snaplen,
            netmask=mask,
            optimised=not no_optimize,
        )
    if d or ebpf:
        _list(program, d, ebpf=ebpf, as_json=as_json)
        return
    if live is not None:
        _run_live(program, live, out, as_json=as_json)
        return
    assert pcap is not None
    _run(program, pcap, out, as_json=as_json)


def _layer(link_type: str | None, pcap: Path | None, iface: str | None) -> LinkLayer:
    from skep.frontend.pcap import LINK_NAMES, LinkLayer
    from skep.tools.capture import interface_layer
    from skep.tools.filter import link_layer

    if iface is not None:
        return interface_layer(iface)
    if link_type is not None:
        return LINK_NAMES[link_type.upper()]
    found = link_layer(pcap) if pcap is not None else None
    return LinkLayer.ETHERNET if found is None else found  # LinkLayer.NULL is 0


def _netmask(text: str) -> int:
    try:
        return int(ipaddress.IPv4Network(f"0.0.0.0/{text}").netmask)
    except ValueError:
        raise UsageError(Diagnostic("U0503", f"'{text}' is not a netmask", help="e.g. 255.255.255.0, or 24")) from None


def _text(given: Path) -> str:
    """The listing in a file, or on standard input (``-``)."""
    if str(given) == "-":
        data = sys.stdin.buffer.read(_MAX_LISTING + 1)
    else:
        with given.open("rb") as file:
            data = file.read(_MAX_LISTING + 1)
    if len(data) > _MAX_LISTING:
        raise InputError(Diagnostic("H0504", f"{given} is longer than any program", help="give tcpdump -ddd's output"))
    return data.decode("ascii", "replace")


def _list(program: ClassicProgram, d: int, *, ebpf: bool, as_json: bool) -> None:
    from skep.frontend.pcap import translate
    from skep.isa.classic.listing import LISTINGS, listing
    from skep.isa.disassembler import disassemble

    translated = translate(program).programs["filter"].function.insns if ebpf else ()
    lines = [disassemble(insn, slot) for slot, insn in enumerate(translated)]
    if not as_json:
        if d:
            print(LISTINGS[min(d, 3)](program.insns))
        if ebpf:
            print("\n".join(lines))
        return
    texts = listing(program.insns).split("\n")
    answer: dict[str, Any] = _described(program)
    answer["insns"] = [
        {"code": insn.code, "jt": insn.jt, "jf": insn.jf, "k": insn.k, "text": text[6:].expandtabs().rstrip()}
        for insn, text in zip(program.insns, texts, strict=True)
    ]
    if ebpf:
        answer["ebpf"] = lines
    print_json(answer)


def _described(program: ClassicProgram) -> dict[str, Any]:
    from skep.frontend.pcap import LINK_NAMES

    names = {layer: name for name, layer in LINK_NAMES.items()}
    return {"expression": program.expression, "link_type": names[program.link] if program.link is not None else None}


def _run(program: ClassicProgram, pcap: Path, out: Path | None, *, as_json: bool) -> None:
    from skep.tools.filter import run_filter

    if not as_json:
        error_console().print(_ENGINE, style="dim")
    with packet_progress(as_json) as progress:
        done = run_filter(program, pcap, out, progress)
    per_packet = round(done.seconds * 1e9 / done.packets, 1) if done.packets else 0.0
    if as_json:
        print_json(
            _described(program)
            | {
                "packets": done.packets,
                "bytes": done.bytes,
                "matched": done.matched,
                "seconds": round(done.seconds, 6),
                "ns_per_packet": per_packet,
                "classic_insns": len(program.insns),
            }
        )
        return
    screen = console()
    rate = f", {per_packet:g} ns per packet" if done.packets else ""
    screen.print(f"{done.matched} of {done.packets} packets match ({done.bytes} bytes{rate})")
    if out is not None:
        screen.print(f"{done.matched} packets written to {out}")


def _run_live(program: ClassicProgram, live: LiveFilter, out: Path | None, *, as_json: bool) -> None:
    from skep.tools.filter import run_filter_live

    hook = hooks.PacketSocket(live.iface, direction=live.flow, promiscuous=True, out=out)
    in_kernel = live.engine == "kernel"
    facts = _IN_KERNEL if in_kernel else describe(hook)
    if not as_json:
        announce(facts)
    with ExitStack() as stack:

        def started(link: Link) -> None:
            stack.enter_context(stopped_by_signals(link))
            if not as_json:
                announce_start()

        done = run_filter_live(
            program, hook, in_kernel=in_kernel, count=live.count, duration=live.duration, started=started
        )
    if as_json:
        seen = {} if in_kernel else {"packets": done.packets, "bytes": done.bytes}
        counts = {"matched": done.passed, "lost": done.lost, "ended": done.ended, "seconds": round(done.seconds, 6)}
        print_json(_described(program) | facts | seen | counts)
        return
    screen = console()
    of = "" if in_kernel else f" of {done.packets}"
    lost = f", {done.lost} lost: the ring was full" if done.lost else ", none lost"
    screen.print(f"{done.passed}{of} packets match{lost}")
    if out is not None:
        screen.print(f"{done.passed} packets written to {out}")

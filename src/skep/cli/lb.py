"""``skep lb``: check a configuration, try packets on it, run it on an interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from skep.cli.lb_live import KERNEL, VERBS
from skep.cli.output import console, error_console, json_option, print_json
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.tools.lb import LoadBalancer, read_config
from skep.tools.lb.config import with_port
from skep.tools.lb.decisions import REASONS
from skep.tools.lb.frames import parse_flow, parse_packet, read_frames, write_frames
from skep.tools.lb.simulation import Outcome, pretended_devices, simulate
from skep.tools.names import protocol_name

_VM = "engine: vm (this process, proved safe by skep's verifier before it runs; needs no privileges)"
_HEX_WIDTH = 16

_config = click.argument("config", type=click.Path(path_type=Path))


@click.group()
def lb() -> None:
    """A layer-4 load balancer: virtual addresses in front of backends, by consistent hashing."""


@lb.command()
@_config
@json_option
def check(config: Path, as_json: bool) -> None:
    """Read a configuration: errors, and the share of new connections that each backend gets."""
    found = read_config(config)
    with LoadBalancer(found, devices=pretended_devices(found)) as balancer:
        shares = {service.name: balancer.shares(service.name) for service in found.services}
    if as_json:
        print_json({"services": shares})
        return
    table = Table("service", "to", "backend", box=None, pad_edge=False)
    table.add_column("share", justify="right")
    for service in found.services:
        where = f"{protocol_name(service.protocol)} {with_port(service.address, service.port)}"
        rows = shares[service.name] or {"none": 0.0}
        for number, (name, share) in enumerate(rows.items()):
            head = (service.name, f"{where}, {service.forward.name.lower()}") if not number else ("", "")
            table.add_row(Text(head[0]), Text(head[1]), Text(name), f"{share:.2%}")
    console().print(table)
    backends = sum(len(service.backends) for service in found.services)
    console().print(f"{config}: {len(found.services)} services, {backends} backends", markup=False)


@lb.command("simulate")
@_config
@click.option("--pcap", type=click.Path(path_type=Path), metavar="IN", help="Packets of a capture.")
@click.option("--packet", "packets", multiple=True, metavar="HEX", help="A frame in hexadecimal digits.")
@click.option("--flow", "flows", multiple=True, metavar="FLOW", help="e.g. 'tcp 198.51.100.7:4711 > 203.0.113.10:80'.")
@click.option("--count", type=click.IntRange(1), default=1000, show_default=True, help="Packets of the capture.")
@click.option("--out", type=click.Path(path_type=Path), metavar="OUT", help="Write what leaves to a capture.")
@click.option("--engine", type=click.Choice(["vm", "interpreter", "kernel"]), default="vm", help="Where [vm].")
@json_option
def simulate_(
    config: Path,
    pcap: Path | None,
    packets: tuple[str, ...],
    flows: tuple[str, ...],
    count: int,
    out: Path | None,
    engine: str,
    as_json: bool,
) -> None:
    """Show for packets which backend is chosen and the bytes that leave. One after the other, with connections."""
    if pcap is None and not packets and not flows:
        raise UsageError(Diagnostic("N0303", "there is no packet to try", help="give --pcap, --packet or --flow"))
    found = read_config(config)
    frames = [*map(parse_packet, packets), *map(parse_flow, flows), *(read_frames(pcap, count) if pcap else ())]
    if not as_json:
        error_console().print(KERNEL if engine == "kernel" else _VM, markup=False)
    outcomes = list(simulate(found, frames, engine))
    if out is not None:
        write_frames(out, (outcome.sent for outcome in outcomes if outcome.sent))
    if as_json:
        print_json([_plain(outcome) for outcome in outcomes])
        return
    screen = console()
    for number, outcome in enumerate(outcomes, 1):
        screen.print(f"packet {number}: {outcome.decision.flow}, {outcome.decision.length} bytes", markup=False)
        screen.print(f"  {_say(outcome)}", markup=False)
        for line in hex_lines(outcome.sent):
            screen.print(f"    {line}", markup=False, highlight=False)
    if out is not None:
        screen.print(f"{sum(bool(outcome.sent) for outcome in outcomes)} packets written to {out}", markup=False)


def _say(outcome: Outcome) -> str:
    said = REASONS[outcome.decision.reason]
    if outcome.backend is not None:
        said = f"{said}: {outcome.backend.name} of {outcome.service}"
    return f"{said}; {outcome.decision.verdict}, {len(outcome.sent)} bytes leave" if outcome.sent else said


def _plain(outcome: Outcome) -> dict[str, Any]:
    decision = outcome.decision
    return {
        "flow": decision.flow,
        "length": decision.length,
        "reason": decision.reason,
        "verdict": decision.verdict,
        "service": outcome.service,
        "backend": outcome.backend.name if outcome.backend else None,
        "sent": outcome.sent.hex(),
    }


def hex_lines(data: bytes) -> Iterator[str]:
    """``0000  02 00 ...  ..text..`` for 16 bytes each."""
    for at in range(0, len(data), _HEX_WIDTH):
        piece = data[at : at + _HEX_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        yield f"{at:04x}  {piece.hex(' '):<{3 * _HEX_WIDTH}} {text}"


for _verb in VERBS:
    lb.add_command(_verb)

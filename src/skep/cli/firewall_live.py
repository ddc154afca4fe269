"""``skep firewall run`` on an interface, and the verbs that speak to a firewall that runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from skep import hooks
from skep.cli.live import announce, describe
from skep.cli.output import console, error_console, json_option, print_json, report
from skep.cli.running import ask_running, in_background, interface_number, serve, vm_hook, where
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.tools.control import ControlServer, control_path
from skep.tools.firewall import Firewall, read_rules
from skep.tools.firewall.control import Control, counts
from skep.tools.firewall.decisions import REASONS
from skep.tools.firewall.firewall import PROGRAMS, interface_names
from skep.tools.firewall.overlaps import find_overlaps

_KERNEL = (
    "engine: kernel (the running Linux judges every packet before its stack sees it; the kernel's verifier has\n"
    "proved the program safe). It needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; what goes out needs Linux 6.6."
)
_TOP_ROWS = 20


@click.command("run")
@click.argument("rules", type=click.Path(path_type=Path))
@click.option("--iface", "interfaces", multiple=True, required=True, metavar="IF", help="Guard this interface.")
@click.option("--engine", type=click.Choice(["kernel", "vm"]), default="kernel", show_default=True, help="Where.")
@click.option("--tap", metavar="NAME", help="vm: judge what goes between this TAP device and the interface.")
@click.option("--mode", type=click.Choice([m.value for m in hooks.XdpMode]), default="auto", help="Of XDP.")
@click.option("--no-egress", is_flag=True, help="Let everything out, unseen: no replies are known then.")
@click.option("--capacity", type=click.IntRange(0, 1 << 22), default=0, help="Room for so many rules [4 times RULES].")
@click.option("--control", type=click.Path(path_type=Path), metavar="SOCKET", help="Listen there for live control.")
@json_option
def run(
    rules: Path,
    interfaces: tuple[str, ...],
    engine: str,
    tap: str | None,
    mode: str,
    no_egress: bool,
    capacity: int,
    control: Path | None,
    as_json: bool,
) -> None:
    """Guard interfaces until Ctrl-C: XDP judges what comes in, tc what goes out. SIGHUP reads RULES again.

    RULES is replaced whole: no packet sees half of it. With an error in it the rules in force stay.

    With --engine vm one interface: without --tap only copies are judged and counted; with --tap only packets that pass
    come out at the other side. Both ways count as coming in.
    """
    if engine == "vm" and (len(interfaces) != 1 or no_egress):
        help = "give one --iface, without --no-egress"
        raise UsageError(Diagnostic("F0407", "the vm engine guards one interface, both ways alike", help=help))
    if engine == "kernel" and tap is not None:
        raise UsageError(Diagnostic("F0407", "--tap is for the vm engine", help="add --engine vm"))
    found = read_rules(rules)
    if warnings := find_overlaps(found):
        report(warnings[:_TOP_ROWS], as_json=as_json)
    numbers = {name: interface_number(name) for name in {*interfaces, *interface_names((found,))}}
    live_hook = vm_hook(interfaces[0], tap) if engine == "vm" else None
    if live_hook is not None:
        announce(describe(live_hook))
    else:
        error_console().print(_KERNEL, markup=False)
    programs = PROGRAMS[:1] if no_egress or live_hook is not None else PROGRAMS
    with Firewall(found, engine=engine, programs=programs, interfaces=numbers, capacity=capacity) as live:
        path = control or control_path("firewall", interfaces[0])
        asked = Control(live, rules.absolute())
        with ControlServer(path, asked.verbs) as server:
            told = f"{len(found.rules)} rules guard {', '.join(interfaces)}; control at {path}; Ctrl-C ends"
            if live_hook is not None:
                with in_background(live.object.programs[PROGRAMS[0]].attach(live_hook)) as is_running:
                    error_console().print(told, markup=False)
                    serve(server, asked.reread, is_running, as_json=as_json)
            else:
                _attach(live, interfaces, hooks.XdpMode(mode), no_egress)
                error_console().print(told, markup=False)
                serve(server, asked.reread, lambda: True, as_json=as_json)
            result = counts(live)
    if as_json:
        print_json(result)
    else:
        _print_top(result, None)


def _attach(live: Firewall, interfaces: tuple[str, ...], mode: hooks.XdpMode, no_egress: bool) -> None:
    for name in interfaces:
        # What goes out first: a connection that starts now is known before its reply comes.
        if not no_egress:
            live.object.programs[PROGRAMS[1]].attach(hooks.Tcx(name, hooks.Direction.EGRESS))
        live.object.programs[PROGRAMS[0]].attach(hooks.Xdp(name, mode=mode))


def _changer(verb: str, help: str, said: str) -> click.Command:
    @click.command(verb, help=help)
    @click.argument("network")
    @where
    def change(network: str, iface: str | None, control: Path | None) -> None:
        answer = ask_running("firewall", iface, control, verb=verb, network=network)
        if answer is False:
            raise UsageError(Diagnostic("F0406", f"there was no live entry for {network}", help="top lists them"))
        console().print(f"{network} {said}", markup=False)

    return change


deny = _changer("deny", "From now on nothing from or to NETWORK passes, whatever the rules say.", "is denied")
allow = _changer("allow", "From now on everything from and to NETWORK passes, whatever the rules say.", "is allowed")
forget = _changer("forget", "Take back a deny or allow.", "is judged by the rules again")


@click.command()
@where
def cut(iface: str | None, control: Path | None) -> None:
    """Forget the connections that were allowed so far: their replies are judged by the rules."""
    count = ask_running("firewall", iface, control, verb="cut")
    console().print(f"{count} connections, fragments and rate limits forgotten")


@click.command()
@click.argument("rules", type=click.Path(path_type=Path), required=False)
@where
def reload(rules: Path | None, iface: str | None, control: Path | None) -> None:
    """Put RULES in force in a running firewall (default: the file it was started with, read again)."""
    file = str(rules.absolute()) if rules else None
    count = ask_running("firewall", iface, control, verb="reload", file=file)
    console().print(f"{count} rules in force")


@click.command()
@where
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Between two views.")
@click.option("--once", is_flag=True, help="One view, of everything so far.")
@json_option
def top(iface: str | None, control: Path | None, seconds: float, once: bool, as_json: bool) -> None:
    """What a running firewall does: packets by reason and by rule, the busiest first."""
    before: dict[str, Any] | None = None
    while True:
        now = ask_running("firewall", iface, control, verb="counters")
        if as_json:
            print_json(now)
        else:
            if console().is_terminal and not once:
                console().clear()
            _print_top(now, before)
        if once or as_json:
            return
        before = now
        time.sleep(seconds)


def _print_top(now: dict[str, Any], before: dict[str, Any] | None) -> None:
    table = Table("what", box=None, pad_edge=False)
    for title in ("packets", "bytes", *(("now",) if before else ())):
        table.add_column(title, justify="right")

    def add(name: str, count: dict[str, Any], earlier: dict[str, Any] | None) -> None:
        cells = [str(count["packets"]), str(count["bytes"])]
        if before is not None:
            cells.append(str(count["packets"] - (earlier or {"packets": 0})["packets"]))
        table.add_row(Text(name), *cells)

    for name, count in now["reasons"].items():
        add(REASONS[name], count, before["reasons"].get(name) if before else None)
    for entry in now["live"]:
        add(f"live: {entry['action']} {entry['network']}", entry, None)
    old = before["rules"] if before and len(before["rules"]) == len(now["rules"]) else [None] * len(now["rules"])
    busy = sorted(
        ((rule, earlier) for rule, earlier in zip(now["rules"], old, strict=True) if rule["packets"]),
        key=lambda item: -item[0]["packets"],
    )
    for rule, earlier in busy[:_TOP_ROWS]:
        add(f"line {rule['line']}: {rule['name']}", rule, earlier)
    console().print(table)

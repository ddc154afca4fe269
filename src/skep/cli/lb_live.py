"""``skep lb run`` on interfaces, and the verbs that speak to a load balancer that runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from skep import hooks
from skep.cli.live import announce, describe
from skep.cli.output import console, error_console, json_option, print_json
from skep.cli.running import ask_running, in_background, interface_number, serve, vm_hook, where
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.tools.control import ControlServer, control_path
from skep.tools.lb import LoadBalancer, read_config
from skep.tools.lb.balancer import CONNECTIONS, PROGRAM
from skep.tools.lb.control import Control, named_devices
from skep.tools.lb.decisions import EVENTS, REASONS
from skep.tools.lb.health import HealthChecks

KERNEL = (
    "engine: kernel (the running Linux runs the program on every packet before its stack sees it; the kernel's\n"
    "verifier has proved it safe). It needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON."
)


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--iface", "interfaces", multiple=True, required=True, metavar="IF", help="Where packets come in.")
@click.option("--engine", type=click.Choice(["kernel", "vm"]), default="kernel", show_default=True, help="Where.")
@click.option("--tap", metavar="NAME", help="vm: stand between this TAP device and the interface.")
@click.option("--mode", type=click.Choice([m.value for m in hooks.XdpMode]), default="auto", help="Of XDP.")
@click.option("--capacity", type=click.IntRange(0, 65534), default=0, help="Room for so many backends [4 times].")
@click.option(
    "--connections", type=click.IntRange(1024, 1 << 24), default=CONNECTIONS, show_default=True, help="Room for them."
)
@click.option("--control", type=click.Path(path_type=Path), metavar="SOCKET", help="Listen there for live control.")
@json_option
def run(
    config: Path,
    interfaces: tuple[str, ...],
    engine: str,
    tap: str | None,
    mode: str,
    capacity: int,
    connections: int,
    control: Path | None,
    as_json: bool,
) -> None:
    """Balance what comes in by interfaces until Ctrl-C. SIGHUP reads CONFIG again.

    With --engine vm one interface: the host sees the packets, too (copies are balanced); give it no address of a VIP.
    """
    if engine == "vm" and len(interfaces) != 1:
        raise UsageError(Diagnostic("F0407", "the vm engine runs on one interface", help="give one --iface"))
    if engine == "kernel" and tap is not None:
        raise UsageError(Diagnostic("F0407", "--tap is for the vm engine", help="add --engine vm"))
    found = read_config(config)
    for name in interfaces:
        interface_number(name)
    hook = vm_hook(interfaces[0], tap, transmit=True) if engine == "vm" else None
    if hook is not None:
        announce(describe(hook))
    else:
        error_console().print(KERNEL, markup=False)
    devices = named_devices(found)
    with (
        LoadBalancer(found, engine=engine, devices=devices, backends=capacity, connections=connections) as balancer,
        HealthChecks() as checks,
    ):
        path = control or control_path("lb", interfaces[0])
        asked = Control(balancer, checks, config.absolute())
        program = balancer.object.programs[PROGRAM]
        told = f"{len(found.services)} services on {', '.join(interfaces)}; control at {path}; Ctrl-C ends"

        def tick() -> None:
            for finding in asked.take_findings():
                state = "up" if finding.is_up else "down"
                text = f"{finding.backend} of {finding.service} is {state}: {finding.why}"
                error_console().print(text, markup=False)

        with ControlServer(path, asked.verbs) as server:
            if hook is not None:
                with in_background(program.attach(hook)) as is_running:
                    error_console().print(told, markup=False)
                    serve(server, asked.reread, is_running, as_json=as_json, tick=tick)
            else:
                for name in interfaces:
                    program.attach(hooks.Xdp(name, mode=hooks.XdpMode(mode)))
                error_console().print(told, markup=False)
                serve(server, asked.reread, lambda: True, as_json=as_json, tick=tick)
        result = balancer.counts()
    if as_json:
        print_json(result)
    else:
        print_view(result, None)


_service = click.argument("service")
_backend = click.argument("backend")


@click.command()
@_service
@_backend
@click.option("--weight", type=click.IntRange(1, 256), default=1, show_default=True, help="Of new connections.")
@click.option("--mac", metavar="MAC", help="Of the next hop to it [back to who sent the packet].")
@click.option("--interface", metavar="IF", help="Out by this one [the one that the packet came in by].")
@where
def add(
    service: str,
    backend: str,
    weight: int,
    mac: str | None,
    interface: str | None,
    iface: str | None,
    control: Path | None,
) -> None:
    """Add BACKEND (10.0.0.1, 10.0.0.1:8080) to SERVICE."""
    words = {"service": service, "backend": backend, "weight": weight, "mac": mac, "interface": interface}
    ask_running("lb", iface, control, verb="add", **words)
    console().print(f"{backend} takes connections of {service}", markup=False)


@click.command()
@_service
@_backend
@where
def remove(service: str, backend: str, iface: str | None, control: Path | None) -> None:
    """Take BACKEND of SERVICE away at once, with its connections."""
    ask_running("lb", iface, control, verb="remove", service=service, backend=backend)
    console().print(f"{backend} is no backend of {service} any more", markup=False)


@click.command()
@_service
@_backend
@click.option("--undo", is_flag=True, help="It takes new connections again.")
@where
def drain(service: str, backend: str, undo: bool, iface: str | None, control: Path | None) -> None:
    """Give BACKEND of SERVICE no new connections; those that it has stay."""
    ask_running("lb", iface, control, verb="drain", service=service, backend=backend, drain=not undo)
    said = "takes new connections again" if undo else "gets no new connections"
    console().print(f"{backend} of {service} {said}", markup=False)


@click.command()
@_service
@_backend
@click.argument("weight", type=click.IntRange(1, 256))
@where
def weight(service: str, backend: str, weight: int, iface: str | None, control: Path | None) -> None:
    """Change the share of new connections that BACKEND of SERVICE gets."""
    ask_running("lb", iface, control, verb="weight", service=service, backend=backend, weight=weight)
    console().print(f"{backend} of {service} has weight {weight}", markup=False)


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@where
def reload(config: Path | None, iface: str | None, control: Path | None) -> None:
    """Put CONFIG in force in a running load balancer (default: the file it was started with, read again)."""
    file = str(config.absolute()) if config else None
    count = ask_running("lb", iface, control, verb="reload", file=file)
    console().print(f"{count} services in force")


@click.command()
@where
@json_option
def show(iface: str | None, control: Path | None, as_json: bool) -> None:
    """Services and backends of a running load balancer, with states, connections and counters."""
    found = ask_running("lb", iface, control, verb="show")
    if as_json:
        print_json(found)
    else:
        print_view(found, None)


@click.command()
@where
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Between two views.")
def top(iface: str | None, control: Path | None, seconds: float) -> None:
    """What a running load balancer does, again and again: packets since the last view."""
    before: dict[str, Any] | None = None
    while True:
        now = ask_running("lb", iface, control, verb="show")
        if console().is_terminal:
            console().clear()
        print_view(now, before)
        before = now
        time.sleep(seconds)


def print_view(now: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Backends, then what became of packets; with ``before`` also the packets since then."""
    _print_backends(now, before)
    table = Table("packets", box=None, pad_edge=False)
    for title in ("packets", "bytes", *(("now",) if before else ())):
        table.add_column(title, justify="right")
    for name, count in now["reasons"].items():
        cells = [str(count["packets"]), str(count["bytes"])]
        if before:
            cells.append(str(count["packets"] - before["reasons"].get(name, {"packets": 0})["packets"]))
        table.add_row(Text(REASONS[name]), *cells)
    if table.row_count:
        console().print()
        console().print(table)
    for name, count in now["events"].items():
        console().print(f"{count} {EVENTS[name]}")


def _print_backends(now: dict[str, Any], before: dict[str, Any] | None) -> None:
    earlier = {
        (service["name"], backend["name"]): backend
        for service in (before or {"services": []})["services"]
        for backend in service["backends"]
    }
    table = Table("service", box=None, pad_edge=False)
    table.add_column("backend", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for title in ("weight", "live", "opened", "packets", "bytes", "replies", *(("now",) if before else ())):
        table.add_column(title, justify="right")
    for service in now["services"]:
        for number, backend in enumerate(service["backends"]):
            numbers = [backend[key] for key in ("weight", "connections", "opened", "packets", "bytes", "replies")]
            if before:
                old = earlier.get((service["name"], backend["name"]), {"packets": 0})
                numbers.append(backend["packets"] - old["packets"])
            name = Text("" if number else service["name"])
            table.add_row(name, Text(backend["name"]), backend["state"], *map(str, numbers))
        if not service["backends"]:
            table.add_row(Text(service["name"]), "none")
    console().print(table)


VERBS = (run, add, remove, drain, weight, reload, show, top)

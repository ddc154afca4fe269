"""``skep attach``: programs onto hooks of the running Linux, until Ctrl-C or for good (pinned)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from skep.abi.prog_types import ProgType
from skep.api import load, open_object
from skep.cli.output import error_console, json_option, print_json, print_notes
from skep.cli.stream import Wanted, check_type, print_events, stream_options
from skep.cli.types import type_option, with_type
from skep.cli.values import fill_maps, parse_fills, parse_settings
from skep.collection import Link, Object
from skep.collection.object import no_such_name
from skep.collection.tables import Table
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.model import hooks
from skep.model.auto_attach import attaches_itself, hook_for
from skep.model.hooks import Hook
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram

_CGROUP_TYPES = frozenset(
    {
        ProgType.CGROUP_SKB, ProgType.CGROUP_SOCK, ProgType.CGROUP_SOCK_ADDR, ProgType.CGROUP_SOCKOPT,
        ProgType.CGROUP_SYSCTL, ProgType.CGROUP_DEVICE, ProgType.SOCK_OPS,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """Where to attach, as the command line says."""

    iface: str | None = None
    mode: str = "auto"
    direction: str | None = None
    classic: bool = False
    netns: str | None = None
    cgroup: str | None = None
    pid: int | None = None
    frequency: int = 99


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--program", "names", multiple=True, metavar="NAME", help="Which programs [default: all].")
@click.option("--iface", metavar="NAME", help="Interface, for xdp, tc and netkit programs.")
@click.option("--mode", type=click.Choice([m.value for m in hooks.XdpMode]), default="auto", help="Of XDP.")
@click.option("--direction", type=click.Choice(["ingress", "egress"]), help="Of tc [default: as SEC() says].")
@click.option("--classic", is_flag=True, help="tc through a qdisc and filter, for kernels before 6.6.")
@click.option("--netns", metavar="PATH", help="Network namespace of the interface, e.g. /run/netns/NAME.")
@click.option("--cgroup", metavar="DIR", help="Cgroup, for cgroup and sockops programs.")
@click.option("--pid", type=int, help="Only this process, for uprobe, usdt and perf_event programs.")
@click.option("--frequency", type=int, default=99, show_default=True, help="Samples a second of perf_event programs.")
@click.option(
    "--pin", "pins", type=click.Path(path_type=Path), metavar="DIR", help="Pin the links in a bpffs and leave."
)
@stream_options
@click.option("--map", "fills", multiple=True, metavar="NAME=FILE", help='Fill a map from JSON: [{"key":, "value":}].')
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a global variable before loading.")
@type_option
@json_option
def attach(
    file: Path,
    names: tuple[str, ...],
    iface: str | None,
    mode: str,
    direction: str | None,
    classic: bool,
    netns: str | None,
    cgroup: str | None,
    pid: int | None,
    frequency: int,
    pins: Path | None,
    type_name: str | None,
    count: int,
    seconds: float,
    fills: tuple[str, ...],
    settings: tuple[str, ...],
    prog_type: str | None,
    as_json: bool,
) -> None:
    """Attach the programs of FILE in the running Linux (root), and print the events that they send.

    Programs attach where their sections say; the options say where the others go. Ctrl-C detaches. With --pin the links
    stay: `skep link show` lists them, `skep link detach` ends them.
    """
    options = Options(iface, mode, direction, classic, netns, cgroup, pid, frequency)
    spec = with_type(open_object(file), names, prog_type)
    print_notes(spec, as_json=as_json)
    chosen = _choose(spec, names)
    elements = parse_fills(spec, fills)
    with load(spec, engine="kernel", programs=chosen, variables=parse_settings(spec, settings)) as live:
        fill_maps(live, elements)
        if pins is not None:
            _pin(attach_all(live, options), pins, as_json=as_json)
            return
        run_attached(live, options, Wanted(type_name, count, seconds), as_json=as_json)


def run_attached(live: Object, options: Options, wanted: Wanted, *, as_json: bool) -> None:
    """Attach all programs, print their events, detach."""
    check_type(live, wanted.type_name)
    links = attach_all(live, options)
    if not as_json:
        error_console().print(f"attached {', '.join(links)}; Ctrl-C detaches", style="dim")
    print_events(live, wanted, as_json=as_json)


def attach_all(live: Object, options: Options) -> Mapping[str, Link]:
    """Every program of the object on its hook; programs that others call (tail calls) are left out."""
    called = {slot.target for blueprint in live.spec.maps.values() for slot in blueprint.slots}
    links: dict[str, Link] = {}
    for name, program in live.programs.items():
        linked = program.linked
        if name in called or linked.prog_type is ProgType.SYSCALL:
            continue
        links[name] = program.attach(hook_of(linked, options))
    for name, table in live.maps.items():
        if isinstance(table, Table) and table.programs:
            links[name] = table.attach()
    if not links:
        raise UsageError(Diagnostic("U0312", "the object has no program that can be attached"))
    return links


def hook_of(program: LinkedProgram, options: Options) -> Hook:
    """The hook that the section names, or the options."""
    kind = program.prog_type
    if kind is ProgType.XDP and options.iface:
        return hooks.Xdp(options.iface, hooks.XdpMode(options.mode), netns=options.netns)
    if kind is ProgType.SCHED_CLS and options.iface:
        return _traffic_control(program, options.iface, options)
    if kind in _CGROUP_TYPES and options.cgroup:
        return hooks.Cgroup(options.cgroup)
    if kind is ProgType.LSM and options.cgroup and not attaches_itself(program.section):
        return hooks.LsmCgroup(options.cgroup)
    if kind is ProgType.PERF_EVENT:
        return hooks.PerfEvent(frequency=options.frequency, pid=options.pid)
    hook = hook_for(program)
    if options.pid is not None:
        return _for_process(hook, options.pid)
    return hook


def _traffic_control(program: LinkedProgram, iface: str, options: Options) -> Hook:
    section = program.section
    if section.startswith("netkit/"):
        return hooks.Netkit(iface, peer=section.endswith("peer"), netns=options.netns)
    said = "egress" if section.endswith("egress") else "ingress"
    direction = hooks.Direction(options.direction or said)
    if options.classic:
        return hooks.TcClassic(iface, direction, netns=options.netns)
    return hooks.Tcx(iface, direction, netns=options.netns)


def _for_process(hook: Hook, pid: int) -> Hook:
    if isinstance(hook, hooks.Uprobe | hooks.Uretprobe | hooks.UprobeMulti | hooks.Usdt):
        return replace(hook, pid=pid)
    raise UsageError(
        Diagnostic(
            "U0313",
            f"{type(hook).__name__} cannot be limited to a process",
            why=("it runs for every process; only uprobes, static probes and samples can be limited",),
            help="let the program compare bpf_get_current_pid_tgid() with a variable, and set that with --set",
        )
    )


def _choose(spec: ObjectSpec, names: tuple[str, ...]) -> list[str] | None:
    for name in names:
        if name not in spec.programs:
            raise no_such_name("program", name, spec.programs)
    return list(names) or None


def _pin(links: Mapping[str, Link], folder: Path, *, as_json: bool) -> None:
    folder.mkdir(exist_ok=True)
    done: list[Link] = []
    try:
        for name, link in links.items():
            link.pin(str(folder / name))
            done.append(link)
    except BaseException:
        for link in done:
            link.unpin()
        raise
    rows = [dict(link.info()) | {"program": name, "pinned": str(folder / name)} for name, link in links.items()]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['id']}: {row['type']}  program {row['program']}  pinned {row['pinned']}")

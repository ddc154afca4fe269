"""``skep net``: programs on network interfaces, in bpftool's shape."""

from __future__ import annotations

import click

from skep.cli.output import json_option, print_json
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.kernel.inspect.network import read_network
from skep.kernel.links.places import ifindex, inside


@click.group()
def net() -> None:
    """Programs on network interfaces."""


@net.command()
@click.argument("words", nargs=-1, metavar="[dev NAME]")
@click.option("--netns", metavar="PATH", help="Another network namespace, e.g. /run/netns/NAME.")
@json_option
def show(words: tuple[str, ...], netns: str | None, as_json: bool) -> None:
    """Show the programs of all interfaces, or of one."""
    if words and (len(words) != 2 or words[0] != "dev"):
        raise UsageError(Diagnostic("U0333", f"'{' '.join(words)}' is not dev NAME", help="skep net show dev eth0"))
    with inside(netns):
        if words:
            ifindex(words[1])  # says which interfaces there are if this is none
        found = read_network(words[1] if words else None)
    if as_json:
        print_json([found])
        return
    click.echo("xdp:")
    for row in found["xdp"]:
        click.echo(f"{row['devname']}({row['ifindex']}) {row['mode']} id {row['id']}")
    click.echo("\ntc:")
    for row in found["tc"]:
        place = f"{row['devname']}({row['ifindex']}) {row['kind']} {row['name']}"
        number = f"prog_id {row['prog_id']}" if "prog_id" in row else f"id {row['id']}"
        click.echo(f"{place} {number}" + (f" link_id {row['link_id']}" if "link_id" in row else ""))
    click.echo("\nflow_dissector:")
    for row in found["flow_dissector"]:
        click.echo(f"id {row['id']}")
    click.echo("\nnetfilter:")
    for row in found["netfilter"]:
        click.echo(f"{row['pf']} {row['hook']} prio {row['prio']} prog_id {row['prog_id']}")


net.add_command(show, "list")

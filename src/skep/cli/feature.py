"""``skep feature``: what this kernel can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from skep.abi import names
from skep.abi.helpers import HELPERS
from skep.cli.output import json_option, print_json
from skep.kernel.inspect.probe import probe_kernel

_GROUPS = {
    "prog_types": names.PROG_TYPES,
    "map_types": names.MAP_TYPES,
    "attach_types": names.ATTACH_TYPES,
    "link_types": names.LINK_TYPES,
    "helpers": {helper.name: number for number, helper in HELPERS.items()},
}
_TITLES = {
    "system_config": "System configuration",
    "syscall_config": "System call",
    "program_types": "Program types",
    "map_types": "Map types",
    "helpers": "Helpers by program type",
    "misc": "Instructions",
    "skep": "What skep asks when something is refused",
}


@click.group()
def feature() -> None:
    """What this kernel can do with eBPF."""


@feature.command()
@click.argument("words", nargs=-1)
@json_option
def probe(words: tuple[str, ...], as_json: bool) -> None:
    """Find out by doing: probe [kernel] [full]. full: each helper in each program type, too."""
    answer = probe_kernel(helpers="full" in words)
    if as_json:
        print_json(answer)
        return
    for section, rows in answer.items():
        click.echo(f"{_TITLES.get(section, section)}:")
        for line in _lines(rows):
            click.echo(f"  {line}")
        click.echo()


def _lines(rows: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, value in rows.items():
        if isinstance(value, bool):
            lines.append(f"{name.removeprefix('have_')} is {'' if value else 'NOT '}available")
        elif isinstance(value, list):
            lines.append(f"{name} ({len(value)}): {', '.join(value) or 'none'}")
        else:
            lines.append(f"{name}: {'not set' if value is None else value}")
    return lines


@feature.command("list_builtins")
@click.argument("group", type=click.Choice(list(_GROUPS)))
@json_option
def list_builtins(group: str, as_json: bool) -> None:
    """List the names that skep knows, whatever this kernel has."""
    listed = list(_GROUPS[group])
    if as_json:
        print_json(listed)
    else:
        click.echo("\n".join(listed))

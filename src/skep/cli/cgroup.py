"""``skep cgroup``: programs on cgroups, in bpftool's shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from skep.cli.output import json_option, print_json
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.kernel.inspect.cgroups import read_cgroup, read_tree
from skep.kernel.links.places import cgroup_mount

_COLUMNS: Final = (("ID", "id", 8), ("AttachType", "attach_type", 24), ("AttachFlags", "attach_flags", 15))


@click.group()
def cgroup() -> None:
    """Programs on cgroups."""


@cgroup.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, metavar="[effective]")
@json_option
def show(folder: Path, words: tuple[str, ...], as_json: bool) -> None:
    """Show the programs of one cgroup; with 'effective' also those that it inherits."""
    if words not in ((), ("effective",)):
        raise UsageError(
            Diagnostic("U0334", f"'{' '.join(words)}' is not understood", help="give nothing or effective")
        )
    rows = read_cgroup(folder, effective=bool(words))
    if as_json:
        print_json(rows)
    elif rows:
        click.echo(_header())
        for line in _lines(rows):
            click.echo(line)


cgroup.add_command(show, "list")


@cgroup.command()
@click.argument("root", type=click.Path(path_type=Path), required=False)
@json_option
def tree(root: Path | None, as_json: bool) -> None:
    """Show the programs of all cgroups from ROOT on [default: where cgroup v2 is mounted]."""
    root = root or cgroup_mount()
    if root is None:
        raise UsageError(Diagnostic("U0335", "cgroup v2 is not mounted", help="mount -t cgroup2 none /sys/fs/cgroup"))
    found = list(read_tree(root))
    if as_json:
        print_json([{"cgroup": str(path), "programs": rows} for path, rows in found])
        return
    click.echo("CgroupPath")
    click.echo(_header())
    for path, rows in found:
        click.echo(path)
        for line in _lines(rows):
            click.echo(f"    {line}")


def _header() -> str:
    return " ".join(title.ljust(width) for title, _, width in _COLUMNS) + " Name"


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [" ".join(str(row[name]).ljust(width) for _, name, width in _COLUMNS) + f" {row['name']}" for row in rows]

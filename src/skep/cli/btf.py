"""``skep btf``: type information: of an object, of the running kernel, of a raw file."""

from __future__ import annotations

from pathlib import Path

import click

from skep.api import ELF_MAGIC, host_btf, open_object
from skep.btf.c_dump import dump_c
from skep.btf.reader import parse_btf
from skep.btf.types import Btf
from skep.cli.output import json_option, json_value, print_json
from skep.cli.prog import listing_errors
from skep.diagnostics import Diagnostic
from skep.errors import InputError
from skep.kernel.inspect.types import list_types


@click.group()
def btf() -> None:
    """Type information (BTF)."""


@btf.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--format", "form", type=click.Choice(["c", "raw"]), default="c", show_default=True)
@json_option
def dump(file: Path | None, form: str, as_json: bool) -> None:
    """Print the types of FILE (an object, C source or raw BTF; default: the running kernel) as C or one by one."""
    types = _read(file)
    if as_json:
        print_json(
            [
                {"id": i, "kind": type(t).__name__.lower()}
                | {f: json_value(_plain(getattr(t, f))) for f in t.__slots__}
                for i, t in enumerate(types)
            ]
        )
    elif form == "raw":
        for i, t in enumerate(types):
            click.echo(f"[{i}] {t}")
    else:
        click.echo(dump_c(types))


@btf.command()
@json_option
def show(as_json: bool) -> None:
    """Show the BTF objects that this kernel holds: its own, modules', programs' and maps'."""
    with listing_errors("types"):
        rows = list(list_types())
    if as_json:
        print_json(rows)
        return
    for row in rows:
        words = [f"{row['id']}: name [{row['name']}]" if row["kernel"] else f"{row['id']}: name {row['name']}"]
        words.append(f"size {row['size']}B")
        words += [f"{key} {','.join(map(str, row[key]))}" for key in ("prog_ids", "map_ids") if key in row]
        click.echo("  ".join(words))
        if "pids" in row:
            click.echo("\tpids " + ", ".join(f"{owner['comm']}({owner['pid']})" for owner in row["pids"]))


btf.add_command(show, "list")


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    slots = getattr(value, "__slots__", None)
    return {name: _plain(getattr(value, name)) for name in slots} if slots else value


def _read(file: Path | None) -> Btf:
    if file is None:
        data = host_btf()
        if data is None:
            raise InputError(Diagnostic("B0001", "this machine's kernel has no BTF", help="name a file"))
        return parse_btf(data)
    if file.suffix != ".c":
        data = file.read_bytes()
        if not data.startswith(ELF_MAGIC):
            return parse_btf(data)
    types = open_object(file).btf
    if types is None:
        raise InputError(Diagnostic("B0002", f"'{file}' has no BTF", help="compile it with -g"))
    return types

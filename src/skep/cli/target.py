"""``skep target``: facts of a kernel as a file, to verify for it elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from skep.abi.names import name_of
from skep.api import read_target, save_target
from skep.cli.output import console, json_option, print_json


@click.group()
def target() -> None:
    """The place where programs will run, as a file."""


@target.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def save(file: Path, as_json: bool) -> None:
    """Write the running kernel's types, features, helpers and version to FILE (for skep verify --target)."""
    save_target(file)
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size})
    else:
        console().print(f"{file}: {size:,} bytes")


@target.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what FILE says."""
    found = read_target(file)
    facts = {
        "name": found.name,
        "kernel_version": ".".join(map(str, found.kernel_version)),
        "byte_order": found.byte_order,
        "types": len(found.btf) if found.btf is not None else 0,
        "modules": sorted(found.module_btf),
        "kconfig": len(found.kconfig),
        "symbols": len(found.kallsyms),
        "map_types": sorted(name_of(t) for t in found.map_types or ()),
        "missing_helpers": sorted(found.refused_helpers),
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        console().print(f"{name}: {text}")

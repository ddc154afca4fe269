"""``skep build``: C source to an object file."""

from __future__ import annotations

from pathlib import Path

import click

from skep.api import host_btf
from skep.cli.files import write_whole
from skep.cli.output import console, json_option, print_json
from skep.frontend import compile_c
from skep.objfile import read_object


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Object file [default: SOURCE with .o].")
@click.option("--target-cpu", type=click.Choice(["v1", "v2", "v3", "v4"]), default="v3", show_default=True)
@click.option("--big-endian", is_flag=True, help="For a big-endian machine.")
@click.option("-D", "defines", multiple=True, metavar="NAME[=VALUE]", help="Define a macro.")
@click.option("-I", "includes", multiple=True, metavar="DIR", help="Look for headers here too.")
@json_option
def build(
    source: Path,
    output: Path | None,
    target_cpu: str,
    big_endian: bool,
    defines: tuple[str, ...],
    includes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compile C SOURCE to a BPF object file."""
    flags = (*(f"-D{define}" for define in defines), *(f"-I{folder}" for folder in includes))
    order = "big" if big_endian else "little"
    elf = compile_c(source, target_cpu=target_cpu, flags=flags, byte_order=order, btf=host_btf)
    target = output or source.with_suffix(".o")
    spec = read_object(elf, source.stem)
    write_whole(target, elf)
    if as_json:
        print_json({"object": str(target), "bytes": len(elf), "programs": list(spec.programs), "maps": list(spec.maps)})
        return
    console().print(f"{target}: {len(elf)} bytes, programs {_names(spec.programs)}, maps {_names(spec.maps)}")


def _names(names: object) -> str:
    return ", ".join(map(str, list(names))) or "none"  # type: ignore[call-overload]

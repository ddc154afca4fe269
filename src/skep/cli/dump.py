"""``skep dump``: what is in an object: instructions under their source lines; the JIT's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from skep.abi.helpers import HELPERS
from skep.api import default_target, load, open_object
from skep.cli.output import console, json_option, print_json, print_notes
from skep.cli.types import type_option, with_type
from skep.collection.object import no_such_name
from skep.isa.disassembler import disassemble
from skep.isa.instruction import Instruction
from skep.linker import link
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--program", "name", metavar="NAME", help="Only this program.")
@click.option("--llvm", "view", flag_value="llvm", help="The JIT's LLVM code instead.")
@click.option("--native", "view", flag_value="native", help="The JIT's machine code instead.")
@type_option
@json_option
def dump(file: Path, name: str | None, view: str | None, prog_type: str | None, as_json: bool) -> None:
    """Show the instructions of FILE under their source lines."""
    spec = with_type(open_object(file), [name] if name else [], prog_type)
    print_notes(spec, as_json=as_json)
    if name is not None and name not in spec.programs:
        raise no_such_name("program", name, spec.programs)
    names = [name] if name is not None else list(spec.programs)
    if view is not None:
        _dump_compiled(spec, names, view, as_json)
        return
    programs = [link(spec, program, default_target(spec)) for program in names]
    if as_json:
        print_json([_program_json(program) for program in programs])
        return
    screen = console()
    for program in programs:
        for line in listing(program):
            screen.print(line)


def listing(program: LinkedProgram) -> list[Text]:
    """The lines of text for one program."""
    out = [Text(f"{program.name}: {program.section}", style="bold")]
    starts = {sub.start: sub.name for sub in program.subprograms[1:]}
    slot = 0
    for insn in program.insns:
        if slot in starts:
            out.append(Text(f"{starts[slot]}:", style="bold"))
        if slot in program.lines:
            span = program.lines[slot]
            source = (span.text or "").strip()
            out.append(Text(f"; {source}  @ {span.file}:{span.line}", style="cyan"))
        out.append(Text(f"{slot:5d}: ({insn.opcode:02x}) {_text(insn)}"))
        slot += insn.width
    return out


def _text(insn: Instruction) -> str:
    return disassemble(insn, helper_names=lambda number: HELPERS[number].name if number in HELPERS else None)


def _program_json(program: LinkedProgram) -> dict[str, Any]:
    insns = []
    slot = 0
    for insn in program.insns:
        span = program.lines.get(slot)
        insns.append(
            {
                "insn": slot,
                "text": _text(insn),
                "file": span.file if span else None,
                "line": span.line if span else None,
            }
        )
        slot += insn.width
    return {
        "program": program.name,
        "section": program.section,
        "prog_type": program.prog_type.name.lower(),
        "subprograms": [{"name": sub.name, "start": sub.start, "end": sub.end} for sub in program.subprograms],
        "maps": list(program.maps),
        "insns": insns,
    }


def _dump_compiled(spec: ObjectSpec, names: list[str], view: str, as_json: bool) -> None:
    texts: dict[str, str] = {}
    with load(spec, programs=names) as live:
        for name in names:
            handle: Any = live.programs[name].handle
            texts[name] = handle.llvm_ir if view == "llvm" else handle.assembly
    if as_json:
        print_json(texts)
        return
    for text in texts.values():
        click.echo(text)

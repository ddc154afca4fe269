"""Blueprints from assembly: for tests that want one exact program without a compiler."""

from __future__ import annotations

from collections.abc import Iterable

from skep.abi.prog_types import ProgType
from skep.isa.assembler import assemble
from skep.isa.instruction import Instruction
from skep.model.maps import MapSpec
from skep.model.objects import ObjectSpec
from skep.model.programs import FunctionSpec, ProgramSpec


def make_object(
    code: str | Iterable[Instruction],
    *,
    prog_type: ProgType = ProgType.XDP,
    maps: Iterable[MapSpec] = (),
    name: str = "program",
    license: str = "GPL",
) -> ObjectSpec:
    """An object with one program, from assembly text (``r1 = map[name:hits]`` names a map) or instructions."""
    insns = assemble(code) if isinstance(code, str) else tuple(code)
    section = prog_type.name.lower()
    function = FunctionSpec(name, section, insns, is_global=True)
    program = ProgramSpec(name, function, section, prog_type)
    return ObjectSpec(
        name=name,
        byte_order="little",
        license=license,
        maps={spec.name: spec for spec in maps},
        programs={name: program},
        functions={name: function},
        variables={},
        externs={},
    )

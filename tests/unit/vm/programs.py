"""Small programs on the vm, with facts written by hand: tests of the engine need no verifier."""

from __future__ import annotations

from dataclasses import replace

from skep.abi.contexts import ContextField, FieldKind
from skep.abi.prog_types import ProgType
from skep.model.programs import Access, Region
from skep.vm.programs import VmProgram
from tests.unit.jit.builder import make_program


def load(
    code: str,
    prog_type: ProgType = ProgType.XDP,
    packet: bool = False,
    context: bool = False,
    resizes_packet: bool = False,
) -> VmProgram:
    """Make a program ready.

    Args:
        packet: slot 0 loads the packet pointer of an xdp_md, slot 1 reads a byte of the packet.
        context: slot 0 loads a 32-bit field of the context.
    """
    facts: dict[str, object] = {"resizes_packet": resizes_packet}
    if packet:
        field = ContextField("data", 0, 4, FieldKind.PACKET)
        facts["accesses"] = {0: Access(Region.CONTEXT, field=field, offset=0), 1: Access(Region.PACKET)}
        facts["pointer_results"] = frozenset({0})
    if context:
        facts["accesses"] = {0: Access(Region.CONTEXT, field=ContextField("field", 0, 4))}
    program = make_program(code, **facts)
    return VmProgram(replace(program, linked=replace(program.linked, prog_type=prog_type)), {})

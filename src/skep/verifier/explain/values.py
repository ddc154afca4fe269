"""The values that take part in a finding: registers that the failing instruction uses, with their names."""

from __future__ import annotations

from collections.abc import Sequence

from skep.abi.helpers import HELPERS
from skep.diagnostics import Known
from skep.isa import opcodes as op
from skep.isa.forms import registers_read
from skep.isa.instruction import Instruction
from skep.model.programs import LinkedProgram
from skep.verifier.explain.names import member_name, register_name
from skep.verifier.explain.slice import Code
from skep.verifier.explain.words import say
from skep.verifier.flow.structure import StructureViolation
from skep.verifier.requirements.kinds import Violation
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Pointer

_FRAME_POINTER = 10
_CALL = op.JMP | op.CALL


def find_values(
    violation: Violation | StructureViolation,
    linked: LinkedProgram,
    code: Code,
    trace: Sequence[int],
    state: MachineState,
) -> tuple[Known, ...]:
    """What is known of each register that takes part, the one that is at fault first."""
    insn = code[violation.slot] if 0 <= violation.slot < len(code) else None
    reg = violation.reg if isinstance(violation, Violation) else None
    registers = ([] if reg is None else [reg]) + sorted(_used(insn, reg))
    found = []
    for number in dict.fromkeys(registers):
        value = state.regs[number] if 0 <= number < len(state.regs) else None
        if value is None and number != reg:
            continue
        name = register_name(linked, code, trace, number)
        text = say(value)
        member = member_name(value, insn.off if insn is not None else 0) if isinstance(value, Pointer) else None
        if member is not None:
            text += f" ({member})"
        found.append(Known(name, f"r{number}", text))
    return tuple(found)


def _used(insn: Instruction | None, reg: int | None) -> frozenset[int]:
    """The registers that an instruction uses, but for the frame pointer. Of a call: the arguments up to the faulty one,
    or all of them where they say it together (memory and its size)."""
    if insn is None:
        return frozenset()
    if insn.opcode == _CALL:
        row = HELPERS.get(insn.imm) if insn.src == op.CALL_HELPER else None
        if row is None or row.args is None or reg is None:
            return frozenset()
        near = {reg, reg + 1} if reg < len(row.args) else {reg, reg - 1}
        return frozenset(number for number in near if 1 <= number <= len(row.args))
    return registers_read(insn) - {_FRAME_POINTER}

"""From a violation to a Diagnostic: look up the row of the catalogue and put in what is known of the case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skep.abi.helpers import HELPERS
from skep.diagnostics import Diagnostic
from skep.isa import opcodes as op
from skep.isa.disassembler import disassemble
from skep.isa.forms import unfit_fields
from skep.isa.instruction import Instruction, slots
from skep.model.programs import LinkedProgram
from skep.verifier.explain.catalogue import BY_RULE
from skep.verifier.explain.derived import DERIVED, place_text
from skep.verifier.explain.ended import Ending, Fate, find_ending
from skep.verifier.explain.entry import fill
from skep.verifier.explain.names import dereferenced, harmless_result, register_name
from skep.verifier.explain.path import find_path, find_span
from skep.verifier.explain.slice import makers
from skep.verifier.explain.values import find_values
from skep.verifier.explain.words import phrase
from skep.verifier.flow.structure import StructureViolation
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Kind, Pointer

_WITHOUT = "write it without, or load the program on the kernel engine, which decides itself"

_OR_NULL = "_or_null"

_FATES = {Fate.MOVED: "may move or change packet data", Fate.RELEASED: "gave it back"}
_CALL = op.JMP | op.CALL
_SOCKETS = frozenset({Kind.SOCK, Kind.SOCK_COMMON, Kind.TCP_SOCK, Kind.XDP_SOCK})


def diagnose(
    violation: Violation | StructureViolation,
    linked: LinkedProgram,
    trace: Sequence[int] = (),
    state: MachineState | None = None,
) -> Diagnostic:
    """What to tell the user about a violation.

    Args:
        linked: the program; its line information gives the place in the source.
        trace: slots of the failing path, oldest first, the last one that of the violation. Gives reasons; may be empty.
        state: what is known where it fails.
    """
    code = slots(linked.insns)
    known = _known(violation, linked, code, trace, state)
    ending = _ending(violation, linked, code, trace)
    entry = BY_RULE[(violation.rule if ending is None else Rule.POINTER_ENDED).value]
    if ending is not None:
        known |= {"function": ending.function, "ended": place_text(linked, ending.slot), "fate": _FATES[ending.fate]}
    what = next((text for text in (fill(t, known) for t in entry.what) if text is not None), entry.title)
    help_text = fill(entry.help, known) if entry.help else None
    if violation.rule is Rule.UNSUPPORTED and not known.get("instead"):
        help_text = _WITHOUT
    place = find_span(linked, violation.slot)
    shown = _instruction_text(code, violation.slot)
    label = fill(entry.label, known) if entry.label else None
    label = f"{label} ({shown})" if label and shown else label or shown
    reg = violation.reg if isinstance(violation, Violation) else None
    why = tuple(text for text in (fill(t, known) for t in entry.why) if text)
    if place is None and label is not None:  # no source line to write it under
        why = (label, *why)
    return Diagnostic(
        code=entry.code,
        what=what,
        span=place,
        label=label,
        program=linked.name,
        insn=violation.slot if violation.slot >= 0 else None,
        why=why,
        help=help_text,
        kernel=violation.kernel if entry.said_by_kernel else None,
        values=find_values(violation, linked, code, trace, state) if state is not None else (),
        path=find_path(linked, code, trace, reg, _notable(violation, ending)),
    )


def _ending(
    violation: Violation | StructureViolation,
    linked: LinkedProgram,
    code: Sequence[Instruction | None],
    trace: Sequence[int],
) -> Ending | None:
    """What made the register a number that was a pointer, if that is why it fails."""
    if violation.rule is not Rule.NOT_A_POINTER or violation.values.get("pointer") != "scalar" or not trace:
        return None
    reg = violation.reg if isinstance(violation, Violation) else None
    return None if reg is None else find_ending(linked, code, trace, reg)


def _notable(violation: Violation | StructureViolation, ending: Ending | None) -> dict[int, str]:
    """Slots that the path must show, whatever else is left out."""
    if ending is not None:
        return {ending.slot: "ends here"}
    slot = violation.values.get("acquired_at")
    return {slot: "acquired here"} if isinstance(slot, int) else {}


def _instruction_text(code: Sequence[Instruction | None], slot: int) -> str | None:
    insn = code[slot] if 0 <= slot < len(code) else None
    return None if insn is None else f"instruction {slot}: {disassemble(insn, helper_names=_helper_name)}"


def _helper_name(number: int) -> str | None:
    row = HELPERS.get(number)
    return row.name if row is not None else None


def _known(
    violation: Violation | StructureViolation,
    linked: LinkedProgram,
    code: Sequence[Instruction | None],
    trace: Sequence[int],
    state: MachineState | None,
) -> dict[str, str]:
    """Everything that texts may mention, as text."""
    values: Mapping[str, object] = violation.values
    known = {key: _as_text(value) for key, value in values.items() if value is not None and value != ""}
    known["target"] = linked.target.name
    insn = code[violation.slot] if 0 <= violation.slot < len(code) else None
    wrong = unfit_fields(insn) if insn is not None else ()
    if wrong:
        known["fields"] = ", ".join(
            f"{name} is {held}" + ("" if wanted is None else f" and must be {wanted}") for name, held, wanted in wrong
        )
    known["prog_type"] = linked.prog_type.name.lower()
    known["harmless"] = harmless_result(linked.prog_type)
    reg = violation.reg if isinstance(violation, Violation) else None
    name = dereferenced(find_span(linked, violation.slot))
    if reg is not None:
        name = name or register_name(linked, code, trace, reg)
    known["variable"] = name or "value"
    if reg is not None:
        known |= {"reg": f"r{reg}", "number": str(reg), "subject": f"{name} (r{reg})" if name else f"r{reg}"}
        value = state.regs[reg] if state is not None and 0 <= reg < len(state.regs) else None
        if isinstance(value, Pointer):
            known["fixed" if value.var is None else "varies"] = ""
            if value.kind in _SOCKETS:
                known["socket"] = phrase(value.name)
    for key, derive in DERIVED.items():
        text = derive(values, linked)
        if text is not None:
            known[key] = text
    return known | (_history(linked, code, trace, reg) if reg is not None else {})


def _as_text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(str(item) for item in value)
    return str(value)


def _history(
    linked: LinkedProgram, code: Sequence[Instruction | None], trace: Sequence[int], reg: int
) -> dict[str, str]:
    """How the register got its value on this path: texts for ``origin`` and ``clobbered``."""
    made = makers(code, trace, reg) if trace else []
    insn = code[made[-1]] if made else None
    if insn is None:
        return {}
    place = place_text(linked, made[-1])
    if insn.opcode == _CALL:
        if reg in range(1, 6) and len(made) == 1:
            return {"clobbered": place}
        row = HELPERS.get(insn.imm) if insn.src == op.CALL_HELPER else None
        if row is None:
            return {"origin": f"it is the result of the call at {place}"}
        if row.returns.value.endswith(_OR_NULL):
            when = "when the key is absent" if "lookup" in row.name else "when there is none"
            return {"origin": f"{row.name}() at {place} returns NULL {when}"}
        return {"origin": f"it is the result of {row.name}() at {place}"}
    return {"origin": f"it comes from {place}: {disassemble(insn, helper_names=_helper_name)}"}

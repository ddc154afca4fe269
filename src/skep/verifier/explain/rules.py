"""From a violation to a Diagnostic: look up the row of the catalogue and put in what is known of the case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from skep.abi.helpers import HELPERS
from skep.diagnostics import Diagnostic
from skep.isa import opcodes as op
from skep.isa.disassembler import disassemble
from skep.isa.instruction import Instruction, slots
from skep.model.programs import LinkedProgram
from skep.verifier.explain.catalogue import BY_RULE
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

_WITHOUT = "write it without, or load the program on the kernel engine, which decides itself"

_OR_NULL = "_or_null"

_USES = {
    "read": "read",
    "write": "written",
    "atomic": "changed atomically",
    "atomic_load": "read atomically",
    "atomic_store": "written atomically",
}
_EVENTS = {
    "exit": "the program ends here",
    "tail_call": "a tail call never comes back to release it",
    "ld_abs": "a legacy packet load may end the program",
    "throw": "an exception leaves the program",
}
_FATES = {Fate.MOVED: "may move or change packet data", Fate.RELEASED: "gave it back"}
_CALL = op.JMP | op.CALL


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
    known = _known(violation, linked, code, trace)
    ending = _ending(violation, linked, code, trace)
    entry = BY_RULE[(violation.rule if ending is None else Rule.POINTER_ENDED).value]
    if ending is not None:
        known |= {"function": ending.function, "ended": _place(linked, ending.slot), "fate": _FATES[ending.fate]}
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


def _place(linked: LinkedProgram, slot: int) -> str:
    """``line 15`` or, where no source is known, ``instruction 7``."""
    span = find_span(linked, slot)
    return f"line {span.line}" if span is not None else f"instruction {slot}"


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
) -> dict[str, str]:
    """Everything that texts may mention, as text."""
    values: Mapping[str, object] = violation.values
    known = {key: _as_text(value) for key, value in values.items() if value is not None and value != ""}
    known["target"] = linked.target.name
    known["prog_type"] = linked.prog_type.name.lower()
    known["harmless"] = harmless_result(linked.prog_type)
    reg = violation.reg if isinstance(violation, Violation) else None
    name = dereferenced(find_span(linked, violation.slot))
    if reg is not None:
        name = name or register_name(linked, code, trace, reg)
    known["variable"] = name or "value"
    if reg is not None:
        known |= {"reg": f"r{reg}", "number": str(reg), "subject": f"{name} (r{reg})" if name else f"r{reg}"}
        known |= _history(linked, code, trace, reg)
    for key, derive in _DERIVED.items():
        text = derive(values, linked)
        if text is not None:
            known[key] = text
    return known


def _as_text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(str(item) for item in value)
    return str(value)


def _derive_helper(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    helper = values.get("helper")
    row = HELPERS.get(helper) if isinstance(helper, int) else None
    if row is not None:
        return row.name
    return None if helper is None else str(helper)


def _derive_short_name(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    name = _derive_helper(values, linked)
    return None if name is None else name.removeprefix("bpf_")


def _derive_last(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    offset, size = values.get("offset"), values.get("size")
    return str(offset + size - 1) if isinstance(offset, int) and isinstance(size, int) else None


def _derive_bytes(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    last = _derive_last(values, linked)
    if last is None:
        return None
    return (
        f"byte {last} of the packet is"
        if values["size"] == 1
        else f"bytes {values['offset']} to {last} of the packet are"
    )


def _derive_checked(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    checked = values.get("range")
    if not isinstance(checked, int):
        return None
    return f"only {checked} were" if checked > 0 else "nothing was"


def _derive_acquired(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    slot = values.get("acquired_at")
    return _place(linked, slot) if isinstance(slot, int) else None


def _from_table(key: str, table: Mapping[str, str]) -> Callable[[Mapping[str, object], LinkedProgram], str | None]:
    def derive(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
        return table.get(str(values.get(key)))

    return derive


def _derive_pointer(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    name = values.get("pointer")
    return None if name is None else phrase(str(name))


def _derive_opcode(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    opcode = values.get("opcode")
    return f"{opcode:#04x}" if isinstance(opcode, int) else None


def _derive_limit(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    width = values.get("width")
    return str(width - 1) if isinstance(width, int) else None


def _derive_returned(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    low, high = values.get("known_low"), values.get("known_high")
    if low is None or high is None:
        return None
    return str(low) if low == high else f"{low} to {high}"


_DERIVED: dict[str, Callable[[Mapping[str, object], LinkedProgram], str | None]] = {
    "helper": _derive_helper,
    "short_name": _derive_short_name,
    "last": _derive_last,
    "bytes_used": _derive_bytes,
    "checked": _derive_checked,
    "returned": _derive_returned,
    "acquired_place": _derive_acquired,
    "pointer_phrase": _derive_pointer,
    "opcode_hex": _derive_opcode,
    "max_amount": _derive_limit,
    "use_past": _from_table("use", _USES),
    "event_phrase": _from_table("event", _EVENTS),
}


def _history(
    linked: LinkedProgram, code: Sequence[Instruction | None], trace: Sequence[int], reg: int
) -> dict[str, str]:
    """How the register got its value on this path: texts for ``origin`` and ``clobbered``."""
    made = makers(code, trace, reg) if trace else []
    insn = code[made[-1]] if made else None
    if insn is None:
        return {}
    place = _place(linked, made[-1])
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

"""The kernel's verifier said no: one Diagnostic at the user's source line; the raw log stays with the error."""

from __future__ import annotations

from skep.abi.names import name_of
from skep.diagnostics import Diagnostic, Span
from skep.errors import RejectedError
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.refusals import errno_name
from skep.kernel.verifier_log import VerifierLog, parse_log
from skep.model.programs import LinkedProgram

_SHOWN_REASONS = 4


def rejected(error: BpfCallError, linked: LinkedProgram) -> RejectedError:
    """V0900: what the kernel says, where in the source, and what it knew there."""
    parsed = parse_log(error.log)
    return RejectedError(_diagnostic(parsed, linked, error.number), log=error.log)


def _diagnostic(parsed: VerifierLog, linked: LinkedProgram, number: int) -> Diagnostic:
    why = list(parsed.reasons[-_SHOWN_REASONS:])
    help = "skep verify shows what skep's own verifier says; -v shows the kernel's whole log"
    poison = linked.core_poisoned.get(parsed.insn) if parsed.insn is not None else None
    if poison is not None:
        why.insert(0, poison)
        help = "guard it: bpf_core_field_exists(), bpf_core_type_exists() or a __weak ksym, or load on another kernel"
    elif parsed.state and parsed.processed_insns:
        why.append(f"known there: {_cut(parsed.state)}")
    return Diagnostic(
        "V0900",
        f"the kernel's verifier rejects program '{linked.name}' ({name_of(linked.prog_type)})",
        span=find_line(linked, parsed.insn),
        label=f"instruction {parsed.insn}: {parsed.insn_text}" if parsed.insn_text else None,
        program=linked.name,
        insn=parsed.insn,
        why=tuple(why),
        help=help,
        kernel=parsed.sentence or errno_name(number),
    )


def find_line(linked: LinkedProgram, slot: int | None) -> Span | None:
    """The source line that an instruction comes from."""
    if slot is None:
        return None
    start = next((sub.start for sub in linked.subprograms if sub.start <= slot < sub.end), 0)
    last = max((at for at in linked.lines if start <= at <= slot), default=None)
    return linked.lines[last] if last is not None else None


def _cut(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[:most] + " ..."

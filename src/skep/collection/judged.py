"""Loading where the engine's verifier judges: when it rejects, ours explains; when they disagree, the error says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from skep.diagnostics import Diagnostic, Severity
from skep.engine import JudgesItself, MapHandle, ProgramHandle
from skep.errors import RejectedError
from skep.model.programs import LinkedProgram, Outcome, Verdict
from skep.verifier import judge
from skep.verifier.options import Options

_EXPLAIN_INSNS = 100_000  # an explanation is not worth a minute of the user's time


def load_judged(
    engine: JudgesItself,
    program: LinkedProgram,
    maps: Mapping[str, MapHandle],
    extends: ProgramHandle | None,
    options: Options | None,
) -> ProgramHandle:
    """Load a program on an engine with a verifier of its own.

    Raises:
        RejectedError: with skep's explanation where it agrees; ``log`` is what the engine's verifier wrote.
        EngineError, UnsupportedError: as the engine.
    """
    try:
        return engine.load_linked(program, maps, extends)
    except RejectedError as error:
        raise RejectedError(explained(error, program, options), error.log) from None


def explained(error: RejectedError, program: LinkedProgram, options: Options | None = None) -> tuple[Diagnostic, ...]:
    """The engine's diagnostics with what skep's verifier has to say."""
    first, *rest = error.diagnostics
    try:
        verdict = judge(program, replace(options or Options(), max_insns=_EXPLAIN_INSNS))
    except Exception as bug:  # whatever ours does, the user wants to know what the kernel said
        why = (*first.why, f"skep's own verifier failed on this program ({type(bug).__name__}): please report it")
        return (replace(first, why=why), *rest)
    return (*_joined(first, verdict), *rest)


def _joined(theirs: Diagnostic, verdict: Verdict) -> tuple[Diagnostic, ...]:
    if verdict.outcome is Outcome.ACCEPTED:
        why = (*theirs.why, "skep's own verifier accepts this program: the two disagree")
        return (replace(theirs, why=why),)
    if verdict.outcome is Outcome.UNSUPPORTED or not verdict.diagnostics:
        return (theirs,)
    ours = verdict.diagnostics[0]
    if _same_place(theirs, ours):
        span = ours.span or theirs.span
        return (replace(ours, span=span, program=theirs.program, kernel=theirs.kernel or ours.kernel),)
    if _is_limit(ours):
        return (theirs,)
    note = replace(
        ours,
        severity=Severity.NOTE,
        what=f"skep's own verifier rejects it, too, but for another reason: {ours.what}",
    )
    return (theirs, note)


def _same_place(theirs: Diagnostic, ours: Diagnostic) -> bool:
    if theirs.insn is None or ours.insn is None:
        return theirs.kernel is not None and theirs.kernel == ours.kernel
    if theirs.insn == ours.insn:
        return True
    same_line = theirs.span is not None and ours.span is not None
    return same_line and (theirs.span.file, theirs.span.line) == (ours.span.file, ours.span.line)  # type: ignore[union-attr]


def _is_limit(ours: Diagnostic) -> bool:
    """Ours gave up at the budget of an explanation: that says nothing."""
    return "too" in (ours.kernel or "") and "large" in (ours.kernel or "")

"""How the linker says what is wrong: with the source line of the instruction, as far as the object knows it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from skep.diagnostics import Diagnostic, Span
from skep.errors import LinkError, UsageError
from skep.model.programs import FunctionSpec


def span_at(function: FunctionSpec, slot: int) -> Span | None:
    """The source line that an instruction came from: the last line that starts at or before it."""
    starts = [start for start in function.lines if start <= slot]
    return function.lines[max(starts)] if starts else None


def link_error(
    code: str,
    what: str,
    *why: str,
    help: str | None = None,
    program: str | None = None,
    function: FunctionSpec | None = None,
    slot: int | None = None,
) -> LinkError:
    """A LinkError that points into the source; ``slot`` counts from the start of ``function``."""
    span = span_at(function, slot) if function is not None and slot is not None else None
    return LinkError(Diagnostic(code, what, span=span, program=program, why=why, help=help))


def unknown_name(kind: str, name: str, known: Iterable[str], code: str) -> UsageError:
    """A UsageError for a name that is not there, with those that are like it."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3)
    if close:
        hint = f"did you mean {' or '.join(repr(match) for match in close)}?"
    elif names:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        hint = f"the object has: {shown}"
    else:
        hint = f"the object has no {kind}s"
    return UsageError(Diagnostic(code, f"there is no {kind} '{name}'", help=hint))

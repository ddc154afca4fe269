"""What skep tells people: a Diagnostic says what, where in their source, why, and how to fix it.

Text for terminals is made here (:func:`render`); JSON for machines by :meth:`Diagnostic.to_json`. Producers only fill
in data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad it is: an error stops the walk; a warning or a note does not."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A text with a name, as the user knows it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A range on one line of a source file. ``line`` and ``column`` count from 1; ``column`` 0 means the whole line.

    ``text`` is the source line itself where it is known (BTF's line info carries it), so that a diagnostic can show it
    on a machine that does not have the file.
    """

    file: str
    line: int
    column: int = 0
    length: int = 0
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a value that takes part: ``counter``, in ``r6``, ``a pointer to ... that may be NULL``."""

    name: str | None
    place: str
    value: str

    @property
    def subject(self) -> str:
        """``counter (r6)``, or ``r6``."""
        return f"{self.name} ({self.place})" if self.name else self.place


@dataclass(frozen=True, slots=True)
class Step:
    """A place on the way to a finding.

    Attributes:
        insn: instruction slot.
        span: its source line; None: not known.
        note: what happens there: ``goes on: n <= 4``; "" for nothing worth saying.
    """

    insn: int
    span: Span | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to tell the user.

    Attributes:
        code: stable identifier (``V0301``). The letter names the station: C compiler, O object file, B BTF, L linker,
            V verifier, E engine, M map, H hook and packets, U usage, F firewall and files of tools, N load balancer.
        what: the finding, one sentence, no trailing dot.
        span: where in the user's source.
        label: what to write under the marked source.
        program: the program concerned.
        insn: instruction slot, counted as the kernel counts (LD_IMM64 takes two).
        values: what is known of the values that take part.
        path: the way that leads there, shortest form, with the branch taken at each condition.
        why: reasons, one line each.
        help: what to do about it.
        kernel: the sentence that the kernel's verifier uses for it, so that a web search finds it.
    """

    code: str
    what: str
    severity: Severity = Severity.ERROR
    span: Span | None = None
    label: str | None = None
    program: str | None = None
    insn: int | None = None
    why: tuple[str, ...] = ()
    help: str | None = None
    kernel: str | None = None
    values: tuple[Known, ...] = ()
    path: tuple[Step, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The JSON form of docs/reference.md: code, severity, what, program, file, line, column, insn, why, ..."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "what": self.what,
            "program": self.program,
            "file": self.span.file if self.span else None,
            "line": self.span.line if self.span else None,
            "column": self.span.column if self.span else None,
            "insn": self.insn,
            "why": list(self.why),
            "help": self.help,
            "kernel": self.kernel,
            "values": [{"name": v.name, "place": v.place, "value": v.value} for v in self.values],
            "path": [
                {
                    "file": step.span.file if step.span else None,
                    "line": step.span.line if step.span else None,
                    "insn": step.insn,
                    "note": step.note,
                }
                for step in self.path
            ],
        }


def render(diagnostic: Diagnostic) -> str:
    """Plain text of a diagnostic, in the shape of compilers that people know; many lines, no trailing newline."""
    d = diagnostic
    lines = [f"{d.severity.value}[{d.code}]: {d.what}"]
    place = f", in program '{d.program}'" if d.program else ""
    margin = "   "
    if d.span is not None:
        column = f":{d.span.column}" if d.span.column else ""
        lines.append(f"  --> {d.span.file}:{d.span.line}{column}{place}")
        if d.span.text is not None:
            number = str(d.span.line)
            margin = " " * (len(number) + 1)
            source = d.span.text.rstrip().expandtabs(4)
            lines += [f"{margin}|", f"{number} | {source}"]
            if d.span.column or d.label:
                start = _visual_column(d.span, source)
                marks = "^" * max(1, d.span.length)
                lines.append(f"{margin}| {' ' * start}{marks} {d.label or ''}".rstrip())
    elif d.program is not None:
        at = f", instruction {d.insn}" if d.insn is not None else ""
        lines.append(f"  --> program '{d.program}'{at}")
    lines += [f"{margin}= value: {known.subject}: {known.value}" for known in d.values]
    lines += _path(d, margin)
    lines += [f"{margin}= why: {reason}" for reason in d.why]
    if d.help:
        lines.append(f"{margin}= help: {d.help}")
    if d.kernel:
        lines.append(f"{margin}= kernel says: {d.kernel}")
    return "\n".join(lines)


_SOURCE_WIDTH = 60


def _path(d: Diagnostic, margin: str) -> list[str]:
    """The way there, a line for each step, cut to what fits a terminal."""
    if len(d.path) < 2:
        return []
    lines = [f"{margin}= path:"]
    for step in d.path:
        if step.span is None:
            lines.append(f"{margin}    {step.insn}: {step.note}")
            continue
        where = f"{step.span.line}" if d.span is None or step.span.file == d.span.file else _short(step.span)
        source = (step.span.text or "").strip().expandtabs(4)
        source = source if len(source) <= _SOURCE_WIDTH else source[: _SOURCE_WIDTH - 3] + "..."
        note = f"  -- {step.note}" if step.note else ""
        lines.append(f"{margin}    {where}: {source}{note}")
    return lines


def _short(span: Span) -> str:
    return f"{span.file.rsplit('/', 1)[-1]}:{span.line}"


def _visual_column(span: Span, expanded: str) -> int:
    """Columns count characters of the raw line; the line is shown with tabs expanded."""
    raw = span.text or ""
    if span.column <= 0:
        return len(expanded) - len(expanded.lstrip())
    return len(raw[: span.column - 1].expandtabs(4))

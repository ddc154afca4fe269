"""A rule file in the making: what importers add to, with the lines that they had to leave out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from skep.diagnostics import Diagnostic, Severity, Span
from skep.errors import InputError, SkepError
from skep.tools.firewall.rulefile import parse_rules

MAX_BYTES = 1 << 28
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]*")


class CannotSayError(ValueError):
    """A part of a line has no word in skep's rule files; str() says which, and why."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The text of a rule file, how many rules it has, and a warning for each line that is not in it."""

    text: str
    rules: int
    left_out: tuple[Diagnostic, ...]


@dataclass(slots=True)
class RuleDraft:
    """One rule: its keys with their values as words."""

    keys: dict[str, list[str]] = field(default_factory=dict)
    name: str = ""

    def put(self, key: str, values: list[str]) -> None:
        """Say something, once."""
        if key in self.keys:
            raise CannotSayError(f"'{key}' is asked for twice")
        if not values:
            raise CannotSayError(f"'{key}' has no value")
        self.keys[key] = values

    def text(self, verb: str) -> str:
        """``allow: {from: 10.0.0.0/8, proto: tcp}``."""
        parts = [f"{key}: {_list(values)}" for key, values in self.keys.items()]
        if self.name:
            parts.append(f"name: {quoted(self.name)}")
        return f"{verb}: {{{', '.join(parts)}}}" if parts else f"{verb}: any"


@dataclass(slots=True)
class FileDraft:
    """The whole file. ``defaults`` by direction, ``allow`` until the source says something else."""

    file: str
    rules: list[str] = field(default_factory=list)
    left_out: list[Diagnostic] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=lambda: {"in": "allow", "out": "allow"})
    stateful: bool = False
    has_policy: bool = False

    def leave_out(self, line: int, text: str, why: str) -> None:
        """Name a line that cannot be said."""
        self.left_out.append(
            Diagnostic(
                "F0501",
                f"this line is left out: {why}",
                Severity.WARNING,
                span=Span(self.file, line, text=text),
                help="the rules around it are there; write what it should do into the rule file",
            )
        )

    def add(self, line: int, text: str, draft: RuleDraft, verb: str) -> None:
        """Take a rule, if the reader of rule files would take it."""
        rule = draft.text(verb)
        try:
            parse_rules(f"default: deny\nrules:\n  - {rule}\n")
        except SkepError as error:
            self.leave_out(line, text, error.diagnostic.what)
            return
        self.rules.append(f"  - {rule}  # line {line}")

    def done(self) -> Imported:
        """The file's text.

        Raises:
            InputError: F0502: nothing in the file says what happens to packets: it is of another kind.
        """
        if not self.has_policy:
            what = f"'{self.file}' has no chain for packets that come in or go out"
            help = "give what `nft -s list ruleset` or `iptables-save` printed, with the format's name before it"
            raise InputError(Diagnostic("F0502", what, help=help))
        lines = [
            f"# imported from {self.file}; {len(self.left_out)} lines were left out",
            f"default: {{in: {self.defaults['in']}, out: {self.defaults['out']}}}",
            f"stateful: {'true' if self.stateful else 'false'}",
            "rules:" if self.rules else "rules: []",
            *self.rules,
        ]
        return Imported("\n".join(lines) + "\n", len(self.rules), tuple(self.left_out))


def read_lines(path: Path) -> list[str]:
    """The lines of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(Diagnostic("F0103", f"'{path}' is larger than {MAX_BYTES} bytes"))
        return path.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:
        what = f"cannot read '{path}': {error.strerror}"
        raise InputError(Diagnostic("F0103", what, help="give a file that nft or iptables-save printed")) from None


def quoted(text: str) -> str:
    """A word of YAML."""
    if _PLAIN.fullmatch(text):
        return text
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return "'" + clean.replace("'", "''") + "'"


def _list(values: list[str]) -> str:
    words = [quoted(value) for value in values]
    return words[0] if len(words) == 1 else "[" + ", ".join(words) + "]"

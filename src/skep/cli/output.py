"""How the command line speaks: diagnostics on stderr, results on stdout, colour on terminals, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from skep.diagnostics import Diagnostic, render
from skep.model.objects import ObjectSpec

F = TypeVar("F", bound=Callable[..., Any])

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}


def console() -> Console:
    """Standard output; rich honours NO_COLOR and knows whether it is a terminal."""
    return Console(highlight=False, soft_wrap=True)


def error_console() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def json_option(function: F) -> F:
    """The option every verb has."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(function)


def print_json(value: Any) -> None:
    """JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, default=json_value)
    sys.stdout.write("\n")


def report(diagnostics: Iterable[Diagnostic], *, as_json: bool) -> None:
    """Diagnostics on standard error: text, or ``{"diagnostics": [...]}``."""
    if as_json:
        json.dump({"diagnostics": [d.to_json() for d in diagnostics]}, sys.stderr, indent=2)
        sys.stderr.write("\n")
        return
    out = error_console()
    for diagnostic in diagnostics:
        out.print(_coloured(diagnostic))


def print_notes(spec: ObjectSpec, *, as_json: bool) -> None:
    """What the reader noticed in the object (to stderr; machines get it from ``skep dump --json``)."""
    if not as_json:
        for note in spec.notes:
            error_console().print(Text.assemble(("note", _STYLES["note"]), f": {note}"))


def json_value(value: Any) -> Any:
    """A map's key or value as JSON: bytes as ``"0x..."``, structs as objects, the rest as it is."""
    if isinstance(value, bytes | bytearray | memoryview):
        return "0x" + bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Sequence):
        return [json_value(item) for item in value]
    return str(value)


def _coloured(diagnostic: Diagnostic) -> Text:
    """The plain rendering with colour on the parts that people look for."""
    text = Text(render(diagnostic))
    style = _STYLES[diagnostic.severity.value]
    text.highlight_regex(rf"^{diagnostic.severity.value}\[\w+\]", style)
    text.highlight_regex(r"(?m)^\s*-->", "bold blue")
    text.highlight_regex(r"(?m)^\s*\d* ?\|", "bold blue")
    text.highlight_regex(r"(?m)\^+.*$", style)
    text.highlight_regex(r"(?m)^\s*= (why|help|kernel says):", "bold")
    return text

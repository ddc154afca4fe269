"""What reads a YAML file into a tool's own types: every error names the line, and all errors of a file come at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from skep.diagnostics import Diagnostic, Span
from skep.errors import InputError
from skep.tools.words import parse_seconds, text_of
from skep.tools.yaml_text import YamlMap

MAX_ERRORS = 20
MAX_BYTES = 1 << 28
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

T = TypeVar("T")


def read_text(path: Path, kind: str) -> str:
    """The text of a file of a tool; ``kind``: what it should be, e.g. "a rule file".

    Raises:
        InputError: F0103: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(Diagnostic("F0103", f"'{path}' has {size} bytes; {kind} has at most {MAX_BYTES}"))
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(Diagnostic("F0103", f"cannot read '{path}': {error.strerror}", help=f"give {kind}")) from None
    except UnicodeDecodeError as error:
        what = f"'{path}' is not UTF-8 text (byte {error.start})"
        raise InputError(Diagnostic("F0103", what, help=f"{kind} is YAML text")) from None


class YamlReader:
    """One walk over one file; collects findings. A tool's reader is a subclass.

    Attributes:
        unknown_key, bad_value: codes of the findings that every tool has.
    """

    unknown_key = "F0112"
    bad_value = "F0113"

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.lines = text.splitlines()
        self.findings: list[Diagnostic] = []

    def find(self, code: str, what: str, line: int, help: str | None = None) -> None:
        """Write down a finding; InputError when there are enough."""
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else None
        self.findings.append(Diagnostic(code, what, span=Span(self.file, line, text=text), help=help))
        if len(self.findings) >= MAX_ERRORS:
            raise InputError(self.findings)

    def finish(self) -> None:
        """InputError if there was a finding."""
        if self.findings:
            raise InputError(self.findings)

    def known(self, mapping: YamlMap, keys: tuple[str, ...], where: str) -> None:
        """Find keys that do not belong here."""
        for key in mapping:
            if key not in keys:
                close = get_close_matches(key, keys, n=1)
                help = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(keys)}"
                self.find(self.unknown_key, f"there is no '{key}' {where}", mapping.lines[key], help)

    def value(self, mapping: YamlMap, key: str, read: Callable[[Any], T], default: T) -> T:
        """What ``read`` makes of a key's value; its ValueError becomes a finding."""
        if key not in mapping:
            return default
        try:
            return read(mapping[key])
        except ValueError as error:
            what, _, help = str(error).partition("; ")
            self.find(self.bad_value, f"{key}: {what}", mapping.lines[key], help or None)
            return default

    def timeouts(self, document: YamlMap, defaults: Mapping[str, int]) -> dict[str, int]:
        """The seconds under ``timeouts``, where given; the defaults say which there are."""
        given, result = document.get("timeouts"), dict(defaults)
        if given is None:
            return result
        if not isinstance(given, YamlMap):
            what = "timeouts: a mapping belongs here"
            self.find(self.bad_value, what, document.lines["timeouts"], "e.g. {udp: 30s}")
            return result
        self.known(given, tuple(defaults), "under timeouts")
        for key in given:
            if key in result:
                result[key] = self.value(given, key, lambda item: parse_seconds(text_of(item)), result[key])
        return result

    @staticmethod
    def word(item: Any, known: Mapping[str, T]) -> T:
        """What one of some words stands for; ValueError: it is none of them."""
        if not isinstance(item, str) or item not in known:
            shown = f"'{item}'" if isinstance(item, str) else "this"
            raise ValueError(f"{shown} is not one of: {', '.join(known)}")
        return known[item]

"""YAML with line numbers, fast: built from libyaml's events, because nodes with marks take 5 times as long.

Everything stays text: what is a number, an address or a word is decided by who reads it, so `no`, `1e3` and `22:22`
are not turned into something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from skep.diagnostics import Diagnostic, Span
from skep.errors import InputError, UnsupportedError

MAX_DEPTH = 20


class YamlMap(dict[str, Any]):
    """A mapping; ``line`` of its beginning and ``lines`` of its keys, from 1."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


class YamlList(list[Any]):
    """A sequence; ``lines`` of its items, from 1."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[int] = []


def read_yaml(text: str, file: str) -> Any:
    """The document as YamlMap, YamlList and str (None: an empty document).

    Raises:
        InputError: F0101: not YAML; a key twice; an anchor or alias.
        UnsupportedError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise UnsupportedError(
            Diagnostic("F0100", "this file is YAML, and PyYAML is not installed", help="pip install 'skep[tools]'")
        ) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        events = iter(yaml.parse(text, Loader=loader))
        return _document(events, file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem)))
        raise _bad(what, file, mark.line + 1 if mark else 1) from None
    except yaml.YAMLError as error:
        raise _bad(" ".join(str(error).split()), file, 1) from None


def _bad(what: str, file: str, line: int) -> InputError:
    help = "check indentation, brackets and colons on this line and the one before"
    return InputError(Diagnostic("F0101", f"this is not YAML: {what}", span=Span(file, line), help=help))


def _document(events: Iterator[Any], file: str) -> Any:
    """One document: events to containers, with a stack instead of recursion."""
    root: Any = None
    stack: list[YamlMap | YamlList] = []
    key: str | None = None
    keys: list[str | None] = []
    documents = 0
    for event in events:
        kind = type(event).__name__
        if kind == "ScalarEvent":
            value: Any = event.value
            if event.anchor is not None:
                raise _no_anchors(file, event)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            if event.anchor is not None:
                raise _no_anchors(file, event)
            if len(stack) >= MAX_DEPTH:
                raise _bad(f"more than {MAX_DEPTH} levels", file, event.start_mark.line + 1)
            value = YamlMap(event.start_mark.line + 1) if kind[0] == "M" else YamlList()
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            stack.pop()
            key = keys.pop()
            continue
        elif kind == "AliasEvent":
            raise _no_anchors(file, event)
        else:
            documents += kind == "DocumentStartEvent"
            if documents > 1:
                raise _bad("a second document", file, event.start_mark.line + 1)
            continue
        top = stack[-1] if stack else None
        if type(top) is YamlList:
            top.append(value)
            top.lines.append(event.start_mark.line + 1)
        elif type(top) is YamlMap:
            if key is None:
                if kind != "ScalarEvent":
                    raise _bad("a key that is not a word", file, event.start_mark.line + 1)
                if value in top:
                    raise _bad(f"'{value}' is written twice", file, event.start_mark.line + 1)
                key = value
                top.lines[value] = event.start_mark.line + 1
                top[value] = None
                continue
            top[key] = value
            key = None
        else:
            root = value
        if kind != "ScalarEvent":
            stack.append(value)
            keys.append(key)
            key = None
    return root


def _no_anchors(file: str, event: Any) -> InputError:
    what = "anchors and aliases (& and *) are not used here"
    return InputError(Diagnostic("F0102", what, span=Span(file, event.start_mark.line + 1), help="write it out"))

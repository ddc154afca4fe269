"""Which variable the source means: a guess from the text of one line, given only where there is no other candidate."""

from __future__ import annotations

import re

from skep.abi.prog_types import ProgType
from skep.diagnostics import Span

# How C goes through a pointer: p->field, p[i], *p. What follows a type in brackets is a cast's operand.
_THROUGH = re.compile(
    r"\b([A-Za-z_]\w*)\s*(?:->|\[)|(?<![\w)\]])\*\s*(?:\([^()]*\)\s*)?([A-Za-z_]\w*)\b(?!\s*(?:->|\[|\())"
)
_NOT_CODE = re.compile(r'"(?:[^"\\]|\\.)*"|//.*|/\*.*?\*/')
_CONTEXTS = frozenset({"ctx", "skb", "args"})

# What a program of the type returns to let things go on.
_HARMLESS = {ProgType.XDP: "XDP_PASS", ProgType.SCHED_CLS: "TC_ACT_OK", ProgType.CGROUP_SKB: "1"}


def dereferenced(span: Span | None) -> str | None:
    """The one variable that the line goes through, but for the context; None if there are several, or none."""
    if span is None or span.text is None:
        return None
    text = _NOT_CODE.sub("", span.text)
    names = {first or second for first, second in _THROUGH.findall(text)} - _CONTEXTS
    return names.pop() if len(names) == 1 else None


def harmless_result(prog_type: ProgType) -> str:
    """What to return when there is nothing to do: ``XDP_PASS``."""
    return _HARMLESS.get(prog_type, "0")

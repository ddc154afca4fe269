"""Reads the dependency files that clang writes (-MD): one Makefile rule."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"\\([ #\\])|\$\$")


def parse_depfile(text: str) -> tuple[str, ...]:
    """Paths on the right of the colon, unescaped, in order and without repeats."""
    joined = re.sub(r"\\\r?\n", " ", text)
    _, _, right = joined.partition(": ")
    # A space that belongs to a name is escaped by a backslash.
    words = re.findall(r"(?:\\[ #\\]|[^\s])+", right)
    return tuple(dict.fromkeys(_ESCAPED.sub(lambda match: match[1] or "$", word) for word in words))

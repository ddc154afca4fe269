"""Names of functions with ``*`` (any text) and ``?`` (any character)."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import translate
from re import compile as compile_pattern


def is_pattern(name: str) -> bool:
    """Whether a name stands for several."""
    return "*" in name or "?" in name


def select(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names that one of the patterns means, each once, in their order."""
    wanted = compile_pattern("|".join(translate(pattern.replace("[", "[[]")) for pattern in patterns))
    return list(dict.fromkeys(name for name in names if wanted.match(name)))

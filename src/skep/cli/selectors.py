"""``id N | pinned FILE | tag T | name N``: how bpftool, and so skep, names what is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.kernel.fd import Fd
from skep.kernel.inspect import maps, programs
from skep.kernel.maps import pins

F = TypeVar("F", bound="Named", covariant=True)
T = TypeVar("T")


class Named(Protocol):
    """Facts that a selector looks at."""

    @property
    def id(self) -> int:
        """The kernel's number."""

    @property
    def name(self) -> str:
        """Its name."""


@dataclass(frozen=True, slots=True)
class Selected:
    """An open object and the words that came after its selector."""

    fd: Fd
    rest: tuple[str, ...]


def select_program(words: Sequence[str]) -> Selected:
    """The one program that ``words`` start with.

    Raises:
        UsageError: U0320 no selector, U0321 not exactly one.
    """
    return _select("program", words, programs.open_program, programs.list_programs, lambda f: f.tag)


def select_map(words: Sequence[str]) -> Selected:
    """The one map that ``words`` start with."""
    return _select("map", words, maps.open_map, maps.list_maps, lambda f: "")


def _select(
    what: str,
    words: Sequence[str],
    by_id: Callable[[int], Fd],
    everything: Callable[[], Iterator[tuple[Fd, F]]],
    tag: Callable[[F], str],
) -> Selected:
    if len(words) < 2 or words[0] not in ("id", "pinned", "name", "tag"):
        raise UsageError(
            Diagnostic(
                "U0320", f"say which {what}", help="id N, pinned FILE, name NAME" + ", tag T" * (what == "program")
            )
        )
    key, value, rest = words[0], words[1], tuple(words[2:])
    if key == "id":
        return Selected(by_id(number(value)), rest)
    if key == "pinned":
        return Selected(pins.open_pin(value, f"pinned {what}"), rest)
    found = [facts.id for _, facts in everything() if value == (facts.name if key == "name" else tag(facts))]
    if len(found) != 1:
        ids = ", ".join(map(str, found))
        problem = f"{len(found)} {what}s have {key} '{value}': ids {ids}" if found else f"no {what} has {key} '{value}'"
        raise UsageError(Diagnostic("U0321", problem, help=f"skep {what[:4].strip()} show lists all; use id N"))
    return Selected(by_id(found[0]), rest)


def matching(what: str, words: Sequence[str], everything: Iterable[tuple[T, tuple[str, str]]]) -> list[T]:
    """All whose tag or name (``words`` say which) is this; ``everything`` comes with (tag, name).

    Raises:
        UsageError: U0321 there is none.
    """
    if len(words) != 2:
        raise UsageError(Diagnostic("U0320", f"say which {what}", help="tag T, or name NAME"))
    place = 0 if words[0] == "tag" else 1
    found = [facts for facts, names in everything if names[place] == words[1]]
    if not found:
        shown = "prog" if what == "program" else what
        raise UsageError(
            Diagnostic("U0321", f"no {what} has {words[0]} '{words[1]}'", help=f"skep {shown} show lists all")
        )
    return found


def number(text: str) -> int:
    """A number, decimal or 0x.

    Raises:
        UsageError: U0322.
    """
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(Diagnostic("U0322", f"'{text}' is not a number")) from None


def options(words: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """``data_in FILE repeat 10`` as a table.

    Raises:
        UsageError: U0323 a word that means nothing here.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        if words[at] not in known or at + 1 >= len(words):
            raise UsageError(
                Diagnostic("U0323", f"'{words[at]}' means nothing here", help=f"known: {', '.join(known)}")
            )
        found[words[at]] = words[at + 1]
        at += 2
    return found

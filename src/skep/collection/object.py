"""A loaded object: the owner of its programs, maps, variables and links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from types import TracebackType
from typing import Any, TypeVar

from skep.collection.base import Map
from skep.collection.program import Program
from skep.collection.variable import Variable
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.model.objects import ObjectSpec

T = TypeVar("T")


class NoSuchNameError(UsageError, KeyError):
    """A program, map or variable that the object does not have."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class Names(Mapping[str, T]):
    """A read-only mapping by name whose KeyError says what is there."""

    def __init__(self, what: str, items: Mapping[str, T]) -> None:
        self._what = what
        self._items = dict(items)

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except KeyError:
            raise no_such_name(self._what, name, self._items) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name!r}: {item!r}' for name, item in self._items.items())}}}"


def no_such_name(what: str, name: str, known: Mapping[str, Any]) -> NoSuchNameError:
    """The error for a name that is not there, with what was probably meant."""
    close = get_close_matches(name, known, n=1)
    names = ", ".join(known) or "none"
    help = f"did you mean '{close[0]}'?" if close else f"there are: {names}"
    return NoSuchNameError(Diagnostic("U0203", f"there is no {what} '{name}'", help=help))


class Object:
    """A loaded object file. Use it in a with statement: everything it owns is given back at the end.

    Attributes:
        spec: the blueprint.
        programs, maps, variables: by their names in C.
    """

    def __init__(
        self,
        spec: ObjectSpec,
        programs: Mapping[str, Program],
        maps: Mapping[str, Map],
        variables: Mapping[str, Variable],
        owned: ExitStack,
    ) -> None:
        self.spec = spec
        self.programs: Names[Program] = Names("program", programs)
        self.maps: Names[Map] = Names("map", maps)
        self.variables: Names[Variable] = Names("variable", variables)
        self._owned = owned

    def close(self) -> None:
        """Detach links, then give back programs and maps; a second call does nothing."""
        self._owned.close()

    def __enter__(self) -> Object:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Object {self.spec.name!r} programs={list(self.programs)} maps={list(self.maps)}>"

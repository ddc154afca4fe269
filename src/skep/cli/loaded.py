"""``show`` of what is loaded in the kernel: the same for programs and maps, but for the lines of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import click

from skep.cli.output import print_json
from skep.kernel.bpf.objects import Kind
from skep.kernel.inspect.owners import Owner


class Facts(Protocol):
    """Facts about a loaded object."""

    @property
    def id(self) -> int:
        """The kernel's number."""

    def to_json(self, owners: tuple[Owner, ...] = (), pinned: list[str] | None = None) -> dict[str, Any]:
        """Its row in bpftool's shape."""


F = TypeVar("F", bound=Facts)


def print_loaded(
    kind: Kind,
    found: Iterable[F],
    owners: Mapping[int, Sequence[Owner]],
    pinned: Mapping[tuple[Kind, int], list[str]],
    to_lines: Callable[[F, Sequence[Owner], Sequence[str]], list[str]],
    *,
    one_if_single: bool,
    as_json: bool,
) -> None:
    """Print the objects with who holds them (but us) and where they are pinned.

    ``one_if_single``: JSON of a single object is the object, not a list, because it was asked for by name.
    """
    own = os.getpid()
    rows = []
    for facts in found:
        holders = tuple(owner for owner in owners.get(facts.id, ()) if owner.pid != own)
        rows.append((facts, holders, pinned.get((kind, facts.id), [])))
    if as_json:
        made = [facts.to_json(holders, paths) for facts, holders, paths in rows]
        print_json(made[0] if one_if_single and len(made) == 1 else made)
        return
    for facts, holders, paths in rows:
        click.echo("\n".join(to_lines(facts, holders, paths)))

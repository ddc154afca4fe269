"""``--type``: for objects whose section names do not say what kind of program they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import click

from skep.abi.prog_types import ProgType
from skep.model.objects import ObjectSpec

F = TypeVar("F", bound=Callable[..., Any])
_NAMES = {prog_type.name.lower(): prog_type for prog_type in ProgType if prog_type is not ProgType.UNSPEC}


def type_option(function: F) -> F:
    """The option ``--type``."""
    return click.option(
        "--type",
        "prog_type",
        type=click.Choice(sorted(_NAMES)),
        metavar="TYPE",
        help="What kind of program it is, where the section name does not say (xdp, sched_cls, ...).",
    )(function)


def with_type(spec: ObjectSpec, names: Iterable[str], prog_type: str | None) -> ObjectSpec:
    """The blueprint with this type for the named programs; without names, for all whose section does not say."""
    if prog_type is None:
        return spec
    chosen = set(names) or {n for n, program in spec.programs.items() if program.prog_type is ProgType.UNSPEC}
    programs = {
        name: replace(program, prog_type=_NAMES[prog_type]) if name in chosen else program
        for name, program in spec.programs.items()
    }
    return replace(spec, programs=programs)

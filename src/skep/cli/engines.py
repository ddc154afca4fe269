"""``--engine`` and ``-v``: where a program runs, and how much the kernel's verifier may say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from skep.api import ENGINES, default_target, target_with_types
from skep.model.objects import ObjectSpec
from skep.model.target import Target

F = TypeVar("F", bound=Callable[..., Any])


def engine_option(function: F) -> F:
    """The option ``--engine``."""
    return click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default="vm",
        show_default=True,
        help="In this process, native or with every access checked; or in the running Linux.",
    )(function)


def btf_option(function: F) -> F:
    """The option ``--btf``."""
    return click.option(
        "--btf",
        "btf_file",
        type=click.Path(path_type=Path),
        help="Resolve CO-RE against the kernel types in this file (raw BTF or vmlinux).",
    )(function)


def chosen_target(spec: ObjectSpec, engine: str, btf_file: Path | None) -> Target:
    """The engine's Target, with the types of ``--btf`` if they are given."""
    target = default_target(spec, engine)
    return target_with_types(target, btf_file) if btf_file is not None else target


def verbose_option(function: F) -> F:
    """The option ``-v``; the root of the command line prints the log of an error that has one."""
    return click.option("-v", "--verbose", is_flag=True, help="Show the kernel verifier's whole log on rejection.")(
        function
    )

"""``--engine`` and ``-v``: where a program runs, and how much the kernel's verifier may say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from skep.api import ENGINES

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


def verbose_option(function: F) -> F:
    """The option ``-v``; the root of the command line prints the log of an error that has one."""
    return click.option("-v", "--verbose", is_flag=True, help="Show the kernel verifier's whole log on rejection.")(
        function
    )

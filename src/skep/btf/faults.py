"""The one way this room says that type information is broken."""

from __future__ import annotations

from skep.diagnostics import Diagnostic
from skep.errors import BtfError


def broken(code: str, what: str, *why: str, help: str | None = None) -> BtfError:
    """A BtfError to raise: ``what`` is one sentence without trailing dot, ``why`` the reasons."""
    return BtfError(Diagnostic(code, what, why=why, help=help))

"""What calls do to dynptrs."""

from __future__ import annotations

from skep.verifier.state.kfuncs import Wants
from skep.verifier.transfer.kfunc_calls import ArgumentEffect, Effect, Result

ARGUMENTS: dict[Wants, ArgumentEffect] = {}
RESULTS: dict[str, Result] = {}
AFTER: dict[str, Effect] = {}

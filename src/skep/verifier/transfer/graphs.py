"""What calls do to allocated objects, lists, trees and their nodes."""

from __future__ import annotations

from skep.verifier.state.kfuncs import Wants
from skep.verifier.transfer.kfunc_calls import ArgumentEffect, Effect, Result

ARGUMENTS: dict[Wants, ArgumentEffect] = {}
RESULTS: dict[str, Result] = {}
AFTER: dict[str, Effect] = {}

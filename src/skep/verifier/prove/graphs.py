"""Arguments that are allocated objects, lists, trees and their nodes (kernel: check_kfunc_args)."""

from __future__ import annotations

from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver
from skep.verifier.state.kfuncs import Wants

ARGUMENTS: dict[Wants, ArgumentProver] = {}
CALLS: dict[str, CallProver] = {}

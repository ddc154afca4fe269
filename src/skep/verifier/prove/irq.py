"""Arguments that are saved interrupt flags (kernel: process_irq_flag)."""

from __future__ import annotations

from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver
from skep.verifier.state.kfuncs import Wants

ARGUMENTS: dict[Wants, ArgumentProver] = {}
CALLS: dict[str, CallProver] = {}

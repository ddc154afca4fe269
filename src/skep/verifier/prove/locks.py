"""Arguments that are locks, work queues, timers (kernel: process_spin_lock, process_wq_func)."""

from __future__ import annotations

from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver
from skep.verifier.state.kfuncs import Wants

ARGUMENTS: dict[Wants, ArgumentProver] = {}
CALLS: dict[str, CallProver] = {}

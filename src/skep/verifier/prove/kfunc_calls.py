"""What a module that proves a kind of kernel function registers (prove.kfuncs.ARGUMENTS and CALLS)."""

from __future__ import annotations

from collections.abc import Callable

from skep.verifier.requirements.kfuncs import KfuncArguments
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.state.kfuncs import KfuncParam, KfuncProto
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Value, type_name
from skep.verifier.state.world import World

ArgumentProver = Callable[[KfuncArguments, KfuncProto, KfuncParam, int, Value, MachineState, World], "Violation | None"]
"""Whether the value in the register of parameter ``index`` (0 is r1) is what a kind of parameter wants."""

CallProver = Callable[[KfuncArguments, KfuncProto, MachineState, World], "Violation | None"]
"""What one function needs besides: asked after all its arguments were proved."""


def wrong(need: KfuncArguments, index: int, value: Value, expected: str, said: str) -> Violation:
    """An argument of the wrong kind. ``expected``: in our words; ``said``: in the kernel's."""
    values: dict[str, object] = {"kfunc": need.name, "expected": expected, "pointer": type_name(value)}
    return Violation(Rule.KFUNC_ARGUMENT, need, said, index + 1, values)

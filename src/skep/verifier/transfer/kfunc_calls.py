"""What a module that carries out a kind of kernel function registers (transfer.kfuncs.ARGUMENTS, RESULTS, AFTER)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skep.verifier.state.kfuncs import KfuncProto
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Value
from skep.verifier.state.world import World
from skep.verifier.transfer.branch import Fork


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is being carried out.

    Attributes:
        args: r1 to r5 as they were before.
        forks: other ways that execution may go on; a function may append to it.
    """

    proto: KfuncProto
    state: MachineState
    slot: int
    world: World
    args: tuple[Value | None, ...]
    forks: list[Fork]


ArgumentEffect = Callable[[Call, int], None]
"""What is done with argument ``index`` (0 is r1), before the result is there."""

Result = Callable[[Call], "Value | None"]
"""r0 afterwards, where the prototype does not say it."""

Effect = Callable[[Call], None]
"""What a function does besides, when r0 to r5 are set."""

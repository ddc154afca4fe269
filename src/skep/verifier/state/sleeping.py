"""Whether the code at one point of a path may sleep (kernel: in_sleepable)."""

from __future__ import annotations

from skep.verifier.state.machine import MachineState
from skep.verifier.state.world import World


def may_sleep(state: MachineState, world: World) -> bool:
    """What the program may; but callbacks of timers never may, and those of work queues and task work always may."""
    own = state.sections.sleepable
    return world.linked.sleepable if own is None else own

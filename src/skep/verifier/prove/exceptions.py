"""Exceptions: bpf_throw() and the callback that catches (kernel: check_kfunc_call, check_return_code)."""

from __future__ import annotations

from skep.verifier.prove import leaving
from skep.verifier.requirements.kfuncs import KernelVariable, Throws
from skep.verifier.requirements.kinds import Event, Rule, Violation
from skep.verifier.state.machine import MachineState
from skep.verifier.state.returns import range_at_exit
from skep.verifier.state.world import World


def throws(need: Throws, state: MachineState, world: World) -> Violation | None:
    """Nothing is open in any frame; without a callback the thrown number is what the program returns."""
    if state.refs:
        values: dict[str, object] = {"event": Event.THROW.value, "acquired_at": state.refs[0][1]}
        said = "bpf_throw would lead to reference leak"
        return Violation(Rule.REFERENCE_LEAK, need, said, None, values)
    violation = leaving.sections_closed(need, state, Event.THROW)
    if violation is not None or world.exception_callback is not None:
        return violation
    wanted = range_at_exit(world)
    if wanted is None:
        return None
    return leaving.within(need, state.regs[1], wanted, "program", "At program exit", reg=1)


def kernel_variable(need: KernelVariable, state: MachineState, world: World) -> Violation | None:
    """The kernel's BTF has it."""
    if world.variable(need.name) is not None:
        return None
    said = f"'{need.name}' not found in kernel's BTF"
    return Violation(Rule.KERNEL_VARIABLE, need, said, None, {"name": need.name})

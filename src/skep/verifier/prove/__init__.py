"""Whether a state meets a requirement: None if it does, else the Violation. Nothing here changes a state.

What a proof relied on is remembered: numbers that it looked at become precise.
"""

from __future__ import annotations

from collections.abc import Callable

from skep.verifier.prove import (
    access,
    arena,
    arguments,
    arithmetic,
    calls,
    exceptions,
    kfuncs,
    leaks,
    leaving,
    speculation,
)
from skep.verifier.requirements import arena as arenas
from skep.verifier.requirements import kfuncs as requirements
from skep.verifier.requirements import kinds, unprivileged
from skep.verifier.requirements.kinds import Requirement, Violation
from skep.verifier.state.machine import MachineState
from skep.verifier.state.world import World

Prover = Callable[..., Violation | None]

PROVERS: dict[type[Requirement], Prover] = {
    kinds.Initialised: arithmetic.initialised,
    kinds.ValidArithmetic: arithmetic.valid_arithmetic,
    kinds.ValidMove: arithmetic.valid_move,
    kinds.ValidComparison: arithmetic.valid_comparison,
    kinds.ValidAccess: access.valid_access,
    kinds.ValidMapValue: access.valid_map_value,
    kinds.LegacyPacketLoad: access.legacy_packet_load,
    kinds.HelperAvailable: calls.helper_available,
    kinds.ValidArgument: arguments.valid_argument,
    kinds.KnownHelper: calls.known_helper,
    kinds.SuitableMap: calls.suitable_map,
    kinds.ValidCall: calls.valid_call,
    kinds.NothingOpen: leaving.nothing_open,
    kinds.ResultInRange: leaving.result_in_range,
    kinds.Unreachable: leaving.unreachable,
    kinds.Supported: leaving.supported,
    requirements.KfuncAvailable: kfuncs.kfunc_available,
    requirements.KfuncArguments: kfuncs.kfunc_arguments,
    requirements.KfuncPlace: kfuncs.kfunc_place,
    requirements.Throws: exceptions.throws,
    requirements.KernelVariable: exceptions.kernel_variable,
    arenas.ValidCast: arena.valid_cast,
    unprivileged.NoAddress: leaks.no_address,
    unprivileged.MaskableArithmetic: speculation.maskable_arithmetic,
}


def prove(requirement: Requirement, state: MachineState, world: World) -> Violation | None:
    """Whether ``state`` meets the requirement."""
    return PROVERS[type(requirement)](requirement, state, world)

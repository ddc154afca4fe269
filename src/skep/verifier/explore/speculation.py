"""Where paths under speculation end (kernel: do_check, error_recoverable_with_nospec)."""

from __future__ import annotations

from skep.abi.capabilities import PERFMON_TYPES
from skep.verifier.flow.structure import Flaw, StructureViolation
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.requirements.unprivileged import SameMap
from skep.verifier.state.speculation import Speculation
from skep.verifier.state.world import World

# Broken rules that no barrier helps against: those for which the kernel has other errors than EPERM, EACCES and EINVAL.
# What is wrong with the PROGRAM is so wherever it stands.
_FATAL: frozenset[Rule | Flaw] = frozenset(
    {Flaw.OPCODE, Rule.TOO_COMPLEX, Rule.TOO_MANY_BRANCHES, Rule.CALL_DEPTH, Rule.PROGRAM, Rule.UNSUPPORTED}
)

_FIRST_LOOK = ("BPF_LDX", "BPF_LD_IMM64")  # reserved fields that the kernel looks at before anything is walked


def is_stopped(speculation: Speculation, slot: int, violation: Violation | StructureViolation) -> bool:
    """A path under speculation broke a rule: whether a barrier before the instruction is enough. It is set now."""
    if violation.rule in _FATAL or violation.kernel.startswith(_FIRST_LOOK):
        return False
    speculation.barriers.add(slot)
    speculation.windows.pop(slot, None)
    return True


def capability_violation(world: World) -> Violation | None:
    """Without CAP_PERFMON some types of programs are not loaded at all (kernel: bpf_prog_load)."""
    prog_type = world.linked.prog_type
    if world.linked.target.privileged or prog_type not in PERFMON_TYPES:
        return None
    said = "Operation not permitted"
    return Violation(Rule.PROGRAM_CAPABILITY, None, said, None, {"prog_type": prog_type.name}, 0)


def mixed_tail_calls(world: World) -> Violation | None:
    """Each tail call of a program that is masked has one map of programs (kernel: do_misc_fixups)."""
    speculation = world.speculation
    for slot in sorted(speculation.mixed) if speculation is not None else ():
        if world.notes.visited[slot]:
            values = {"reason": "without CAP_PERFMON it must name one map of programs, whichever path leads here"}
            return Violation(Rule.TAIL_CALL, SameMap(2), "tail_call abusing map_ptr", 2, values, slot)
    return None

"""may_goto: a jump that an invisible budget takes sooner or later (kernel: BPF_JCOND | BPF_MAY_GOTO)."""

from __future__ import annotations

from skep.isa.instruction import Instruction
from skep.verifier.state.machine import MachineState
from skep.verifier.state.world import World
from skep.verifier.transfer.branch import Branch, Fork


def may_goto(insn: Instruction, slot: int, world: World) -> Branch:
    """Falls through while the budget lasts, jumps when it is used up: both may happen."""
    target, after = slot + 1 + insn.off, slot + 1

    def full(state: MachineState, forks: list[Fork]) -> int:
        inside = state.copy()
        inside.may_goto_depth += 1
        forks.append((after, inside))
        return target

    return full

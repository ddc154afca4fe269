"""The walk over all paths of one function, depth first (kernel: do_check)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skep.model.programs import Region
from skep.verifier.explore.loops import widen
from skep.verifier.explore.prune import Checkpoint, Pruner, finish
from skep.verifier.explore.speculation import is_stopped
from skep.verifier.explore.steps import Steps
from skep.verifier.flow.structure import StructureViolation
from skep.verifier.prove import PROVERS
from skep.verifier.requirements.kinds import Rule, Terminates, Violation
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Pointer
from skep.verifier.state.world import World
from skep.verifier.transfer import memory
from skep.verifier.transfer.branch import Fork

MAX_PENDING = 8192  # BPF_COMPLEXITY_LIMIT_JMP_SEQ
_TRACE = 512  # slots of the failing path that are kept for the explanation


@dataclass(frozen=True, slots=True)
class Finding:
    """What stopped the walk.

    Attributes:
        trace: slots of the path that failed, oldest first.
        state: what was known there, before the instruction that fails.
    """

    violation: Violation | StructureViolation
    trace: Sequence[int]
    state: MachineState | None = None


class Walk:
    """One exploration; several entry states (the program, then its global functions) share checkpoints and budget."""

    def __init__(self, world: World, steps: Steps) -> None:
        self.world = world
        self.steps = steps
        self.pruner = Pruner(world)
        self.processed = 0
        self.jumps = 0

    def explore(self, slot: int, state: MachineState) -> Finding | None:
        """Follow every path from ``state`` at ``slot``; None if all of them are safe."""
        pending: list[tuple[int, MachineState, Checkpoint | None, list[int]]] = [(slot, state, None, [])]
        listener = self.world.options.listener
        while pending:
            if len(pending) > MAX_PENDING:
                said = f"The sequence of {MAX_PENDING + 1} jumps is too complex."
                values = {"states": len(pending)}
                return Finding(Violation(Rule.TOO_MANY_BRANCHES, Terminates(), said, None, values, slot), ())
            slot, state, parent, trace = pending.pop()
            if listener is not None and trace:
                listener.resumed(trace, slot, state)
            finding = self._follow(slot, state, parent, trace, pending)
            if finding is not None:
                return finding
        return None

    def _follow(
        self,
        slot: int,
        state: MachineState,
        parent: Checkpoint | None,
        trace: list[int],
        pending: list[tuple[int, MachineState, Checkpoint | None, list[int]]],
    ) -> Finding | None:
        """One path to its end; what branches off goes to ``pending``."""
        quick, full, jumps = self.steps.quick, self.steps.full, self.steps.jumps
        points, visit = self.pruner.points, self.pruner.visit
        visited, limit = self.world.notes.visited, self.world.options.max_insns
        speculation = self.world.speculation if state.speculative else None
        listener = self.world.options.listener
        observe = self.world.options.observe
        forks: list[Fork] = []
        processed = self.processed
        while True:
            processed += 1
            if processed > limit:
                self.processed = processed
                said = f"BPF program is too large. Processed {processed} insn"
                return Finding(Violation(Rule.TOO_COMPLEX, Terminates(), said, None, {"insns": limit}, slot), trace)
            if slot in points:
                seen = visit(slot, state, parent, processed, self.jumps)
                if seen is not False:
                    if seen is True:
                        if listener is not None:
                            listener.covered(slot, state)
                        self.processed = processed
                        finish(parent)
                        return None
                    if isinstance(seen, Violation):
                        self.processed = processed
                        return Finding(seen, trace, state)
                    parent = seen if isinstance(seen, Checkpoint) else parent
            if speculation is None:
                visited[slot] = 1
            elif slot in speculation.barriers:
                self.processed = processed
                finish(parent)
                return None
            if listener is not None:
                listener.step(slot, state)
            elif observe is not None:
                observe(slot, state, parent)
            trace.append(slot)
            step = quick[slot]
            if step is not None and step(state):
                slot += 1
                continue
            violation = self._prove(slot, state)
            if violation is not None:
                self.processed = processed
                if speculation is not None and is_stopped(speculation, slot, violation):
                    finish(parent)
                    return None
                return Finding(violation, trace, state)
            if jumps[slot]:
                self.jumps += 1
            act = full[slot]
            assert act is not None
            frames = len(state.frames)
            next_slot = act(state, forks)
            if forks:
                if slot in self.pruner.rounds and parent is not None:
                    before = self.pruner.previous(slot, state, parent.parent)
                    if before is not None:
                        widen(before, forks[-1][1])
                if len(trace) > _TRACE:
                    del trace[:-_TRACE]
                for target, other in forks:
                    whose = parent if other.async_depth == state.async_depth else None
                    if whose is not None:
                        whose.branches += 1
                    pending.append((target, other, whose, trace[:]))
                forks.clear()
                if len(pending) > MAX_PENDING:
                    self.processed = processed
                    return None
            if next_slot < 0 or (speculation is not None and slot in speculation.stores):
                self.processed = processed
                finish(parent)
                return None
            if next_slot in self.pruner.callbacks and len(state.frames) < frames:
                before = self.pruner.previous(next_slot, state, parent)
                if before is not None:
                    widen(before, state)
            slot = next_slot

    def _prove(self, slot: int, state: MachineState) -> Violation | StructureViolation | None:
        """All obligations of one instruction, in order."""
        fault = self.steps.faults.get(slot)
        if fault is not None:
            return fault
        world = self.world
        for need in self.steps.needs[slot]:
            violation: Violation | None = PROVERS[type(need)](need, state, world)
            if violation is not None:
                return Violation(
                    violation.rule, violation.requirement, violation.kernel, violation.reg, violation.values, slot
                )
        access = self.steps.access[slot]
        if access is not None:
            pointer = state.regs[access.reg]
            assert isinstance(pointer, Pointer)
            if not memory.note(world, slot, pointer, access.offset):
                said = "same insn cannot be used with different pointers"
                return Violation(Rule.MIXED_POINTERS, access, said, access.reg, {"region": Region.CONTEXT.value}, slot)
        return None

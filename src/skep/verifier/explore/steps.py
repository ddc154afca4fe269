"""Programs made ready for exploration: for each slot its obligations and the functions that carry it out.

What can be decided before the first path is walked is decided here, once: the walk itself only calls functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.verifier.flow.structure import StructureViolation, local_faults
from skep.verifier.requirements.derive import derive
from skep.verifier.requirements.kinds import Requirement, Supported, Unreachable, ValidAccess
from skep.verifier.state.machine import MachineState
from skep.verifier.state.world import World
from skep.verifier.transfer import alu, branch, calls, kfuncs, loops, memory, speculation
from skep.verifier.transfer.branch import Branch, Fork

Quick = Callable[[MachineState], bool]


@dataclass(frozen=True, slots=True)
class Steps:
    """By slot.

    Attributes:
        quick: does an instruction whose operands are all numbers; None where that is not enough.
        needs: obligations.
        full: carries it out: next slot, -1 at the end of the path.
        access: the memory obligation and its register, for the notebook; None for other instructions.
        faults: instructions that are an error wherever they run.
        jumps: whether it counts as a jump (class JMP or JMP32).
    """

    quick: tuple[Quick | None, ...]
    needs: tuple[tuple[Requirement, ...], ...]
    full: tuple[Branch | None, ...]
    access: tuple[ValidAccess | None, ...]
    faults: dict[int, StructureViolation]
    jumps: tuple[bool, ...]


_ALU = frozenset({op.ALU, op.ALU64})
_JMP = frozenset({op.JMP, op.JMP32})


def compile_steps(world: World) -> Steps:
    """Prepare every slot."""
    linked = world.linked
    faults = local_faults(linked.insns, world.options.masked_shifts)
    quick: list[Quick | None] = []
    needs: list[tuple[Requirement, ...]] = []
    full: list[Branch | None] = []
    access: list[ValidAccess | None] = []
    for slot, insn in enumerate(world.insns):
        if insn is None or slot in faults:
            quick.append(None)
            needs.append(())
            full.append(None)
            access.append(None)
            continue
        wanted = derive(insn, slot, linked)
        fast, slow = _functions(insn, slot, world)
        blocked, touches = False, None
        for need in wanted:
            if isinstance(need, ValidAccess):
                touches = touches or need
            elif isinstance(need, (Supported, Unreachable)):
                blocked = True
        quick.append(None if blocked else fast)
        needs.append(wanted)
        full.append(slow)
        access.append(touches)
    jumps = tuple(insn is not None and insn.opcode & op.CLASS_MASK in _JMP for insn in world.insns)
    return Steps(tuple(quick), tuple(needs), tuple(full), tuple(access), faults, jumps)


def _functions(insn: Instruction, slot: int, world: World) -> tuple[Quick | None, Branch]:
    kind = insn.opcode & op.CLASS_MASK
    if kind in _ALU:
        fast, slow = alu.make(insn, slot, world)
        if world.speculation is not None and insn.opcode & op.X and insn.opcode & op.CODE_MASK in (op.ADD, op.SUB):
            return None, speculation.masked(insn, slot, world, slow)
        return fast, _onward(slow, slot + 1)
    if kind == op.LD and insn.opcode != op.LD_IMM64:
        return None, calls.legacy_load(insn, slot, world)
    if kind in _JMP:
        return None, _jump(insn, slot, world)
    return None, _onward(_MEMORY[kind](insn, slot, world), slot + insn.width)


def _onward(effect: Callable[[MachineState], None], after: int) -> Branch:
    def full(state: MachineState, forks: list[Fork]) -> int:
        effect(state)
        return after

    return full


def _jump(insn: Instruction, slot: int, world: World) -> Branch:
    code = insn.opcode & op.CODE_MASK
    if code == op.JA:
        return calls.jump(insn, slot, world)
    if insn.opcode & op.CLASS_MASK == op.JMP32:
        return branch.make(insn, slot, world)
    if code == op.CALL and insn.opcode & op.X:
        return calls.indirect(insn, slot, world)
    if code == op.CALL:
        if insn.src == op.CALL_KFUNC:
            return kfuncs.call(insn, slot, world)
        return calls.local(insn, slot, world) if insn.src == op.CALL_LOCAL else calls.helper(insn, slot, world)
    if code == op.EXIT:
        return calls.leave(insn, slot, world)
    if code == op.JCOND:
        return loops.may_goto(insn, slot, world)
    return branch.make(insn, slot, world)


def _store(insn: Instruction, slot: int, world: World) -> Callable[[MachineState], None]:
    is_atomic = insn.opcode & op.CLASS_MASK == op.STX and insn.opcode & op.MODE_MASK == op.ATOMIC
    return memory.atomic(insn, slot, world) if is_atomic else memory.store(insn, slot, world)


_MEMORY = {op.LD: memory.load_immediate, op.LDX: memory.load, op.ST: _store, op.STX: _store}

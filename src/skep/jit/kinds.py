"""Which registers hold addresses: decides whether a register travels between blocks as LLVM ``ptr`` or ``i64``.

This is about speed, never about safety: either form can be made from the other, but an address that stays a ``ptr``
keeps its provenance, and LLVM's alias analysis and vectoriser live on that. Where paths disagree, ``ptr`` wins.
Kinds are bit sets: bit r set means register r holds an address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from skep.abi.contexts import FieldKind
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, MapRef, MapValueRef
from skep.jit.blocks import ARGUMENTS, R0, STACK_POINTER, Block, is_local_call
from skep.model.programs import Facts


@dataclass(slots=True)
class Routine:
    """One subprogram, with what the JIT found about it.

    Attributes:
        parameters: which of r1-r5 hold addresses at its start, over all its calls.
        returns_pointer: whether r0 holds an address at an exit.
        callback: it is called through a pointer by C: all parameters and the result are i64.
        kinds: kinds at the start of each block.
    """

    name: str
    start: int
    blocks: Mapping[int, Block]
    parameters: int = 0
    returns_pointer: bool = False
    callback: bool = False
    kinds: dict[int, int] = field(default_factory=dict)


class Kinds:
    """Forward flow of kinds over all subprograms, to the fixed point."""

    def __init__(
        self,
        table: Sequence[Instruction | None],
        facts: Facts,
        routines: Mapping[int, Routine],
        helper_returns_pointer: Callable[[int], bool],
    ) -> None:
        self.table = table
        self.facts = facts
        self.routines = routines
        self.helper_returns_pointer = helper_returns_pointer
        self._changed = False

    def solve(self) -> None:
        """Fill in ``parameters``, ``returns_pointer`` and ``kinds`` of every routine."""
        self._changed = True
        while self._changed:
            self._changed = False
            for routine in self.routines.values():
                self._solve(routine)

    def _solve(self, routine: Routine) -> None:
        entry = STACK_POINTER | (0 if routine.callback else routine.parameters)
        self._join(routine, routine.start, entry)
        work = list(routine.blocks)
        while work:
            start = work.pop(0)
            if start not in routine.kinds:
                continue
            block, kinds = routine.blocks[start], routine.kinds[start]
            for slot in block.slots:
                kinds = self.after(slot, kinds, routine)
            for target in block.successors:
                if target in routine.blocks and self._join(routine, target, kinds):
                    work.append(target)

    def _join(self, routine: Routine, start: int, kinds: int) -> bool:
        old = routine.kinds.get(start)
        new = kinds | (old or 0)
        if new == old:
            return False
        routine.kinds[start] = new
        self._changed = True
        return True

    def after(self, slot: int, kinds: int, routine: Routine) -> int:
        """Kinds after the instruction at ``slot``; what it passes to other routines is noted there."""
        insn = self.table[slot]
        assert insn is not None
        group = insn.opcode & op.CLASS_MASK
        dst = 1 << insn.dst
        if group == op.ALU64:
            return kinds | dst if is_pointer_alu(insn, kinds) else kinds & ~dst
        if group == op.ALU:
            return kinds & ~dst
        if group in (op.JMP, op.JMP32):
            return self._after_jump(insn, slot, kinds, routine)
        return self._after_memory(insn, slot, kinds, group)

    def _after_memory(self, insn: Instruction, slot: int, kinds: int, group: int) -> int:
        dst = 1 << insn.dst
        mode = insn.opcode & op.MODE_MASK
        if group == op.LD:
            if mode != op.IMM:
                return kinds & ~(R0 | ARGUMENTS)
            return kinds | dst if is_address(insn) else kinds & ~dst
        if group == op.LDX:
            return kinds | dst if self.loads_pointer(insn, slot) else kinds & ~dst
        if mode == op.ATOMIC and insn.imm != op.STORE_RELEASE:
            if insn.imm == op.LOAD_ACQUIRE:
                return kinds | dst if slot in self.facts.pointer_results else kinds & ~dst
            if insn.imm == op.CMPXCHG:
                return kinds & ~R0
            if insn.imm & op.FETCH:
                return kinds & ~(1 << insn.src)
        return kinds

    def loads_pointer(self, insn: Instruction, slot: int) -> bool:
        """Whether a load yields an address: a spilled one, or a pointer field of the context."""
        access = self.facts.accesses.get(slot)
        if access is not None and access.field is not None and access.field.kind is not FieldKind.SCALAR:
            return True
        return slot in self.facts.pointer_results and insn.opcode & op.SIZE_MASK == op.DW

    def _after_jump(self, insn: Instruction, slot: int, kinds: int, routine: Routine) -> int:
        code = insn.opcode & op.CODE_MASK
        if code == op.EXIT and kinds & R0 and not routine.returns_pointer:
            routine.returns_pointer = True
            self._changed = True
        if code != op.CALL:
            return kinds
        kept = kinds & ~(R0 | ARGUMENTS)
        if is_local_call(insn):
            callee = self.routines[slot + 1 + insn.imm]
            self._pass(callee, kinds & ARGUMENTS)
            return kept | R0 if callee.returns_pointer and not callee.callback else kept
        fact = self.facts.calls.get(slot)
        if fact is not None and fact.callback is not None and fact.callback in self.routines and kinds & (1 << 3):
            self._pass(self.routines[fact.callback], 1 << 2)  # bpf_loop hands its third argument to the callback's r2
        return kept | R0 if self.helper_returns_pointer(slot) else kept

    def _pass(self, callee: Routine, arguments: int) -> None:
        if arguments & ~callee.parameters:
            callee.parameters |= arguments
            self._changed = True


def is_address(insn: Instruction) -> bool:
    """Whether an LD_IMM64 loads the address of something, and not a number."""
    return isinstance(insn.ref, MapRef | MapValueRef) or insn.src == op.PSEUDO_FUNC


def is_pointer_alu(insn: Instruction, kinds: int) -> bool:
    """Whether a 64-bit ALU instruction yields an address: a moved one, or one with an offset added."""
    code = insn.opcode & op.CODE_MASK
    by_register = insn.opcode & op.SOURCE_MASK == op.X
    dst, src = bool(kinds >> insn.dst & 1), by_register and bool(kinds >> insn.src & 1)
    if code == op.MOV:
        return src and insn.off == 0
    if code == op.ADD:
        return dst != src
    if code == op.SUB:
        return dst and not src
    return False

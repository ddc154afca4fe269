"""The control flow of one subprogram as the JIT needs it: basic blocks, their edges, live registers.

Slots are the kernel's instruction numbers. Only slots that the verifier found reachable appear; an edge to a dead slot
is kept as such, because the branch to it must trap and not run on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction

R0 = 1
ARGUMENTS = 0b111110  # r1-r5
STACK_POINTER = 1 << 10


@dataclass(slots=True)
class Block:
    """A run of slots with one entry.

    Attributes:
        slots: slot numbers in order.
        successors: slots that control may go to: none after exit, (target,), or (target, fallthrough).
        predecessors: start slots of the blocks that come here, each once.
        live_in: bit r set: register r may be read before it is written.
    """

    start: int
    slots: list[int]
    successors: tuple[int, ...]
    predecessors: list[int] = field(default_factory=list)
    live_in: int = 0


def jump_target(insn: Instruction, slot: int) -> int:
    """Where a jump goes; gotol (JMP32 JA) has its distance in imm (RFC 9669 section 4.3)."""
    long = insn.opcode == op.JMP32 | op.JA
    return slot + 1 + (insn.imm if long else insn.off)


def is_local_call(insn: Instruction) -> bool:
    """Whether it calls a subprogram by distance."""
    return insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_LOCAL


def is_kfunc_call(insn: Instruction) -> bool:
    """Whether it calls a function by its name."""
    return insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_KFUNC


def is_helper_call(insn: Instruction) -> bool:
    """Whether it calls a helper: by number, or by a number in a register (callx), which the verifier then knows."""
    return insn.opcode == op.JMP | op.CALL | op.X or (insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_HELPER)


def is_jump(insn: Instruction) -> bool:
    """Whether it may go elsewhere than to the next slot: a branch, goto, may_goto or exit; calls are not."""
    if insn.opcode & op.CLASS_MASK not in (op.JMP, op.JMP32):
        return False
    return insn.opcode & op.CODE_MASK != op.CALL


def successors(insn: Instruction, slot: int) -> tuple[int, ...]:
    """Slots that may follow: (target, fallthrough) for a branch, (target,) for goto, () for exit."""
    following = slot + insn.width
    if not is_jump(insn):
        return (following,)
    code = insn.opcode & op.CODE_MASK
    if code == op.EXIT:
        return ()
    target = jump_target(insn, slot)
    if code == op.JA or target == following:
        return (target,)
    return (target, following)


def find_blocks(table: Sequence[Instruction | None], start: int, reachable: frozenset[int]) -> dict[int, Block]:
    """The blocks of the subprogram that starts at ``start``, in reverse postorder (its first block is first)."""
    leaders = _leaders(table, start, reachable)
    blocks = {leader: _block(table, leader, leaders, reachable) for leader in leaders}
    order = _reverse_postorder(blocks, start)
    ordered = {leader: blocks[leader] for leader in order}
    for block in ordered.values():
        for target in block.successors:
            if target in ordered:
                ordered[target].predecessors.append(block.start)
    return ordered


def _leaders(table: Sequence[Instruction | None], start: int, reachable: frozenset[int]) -> set[int]:
    leaders, seen, work = {start}, set(), [start]
    while work:
        slot = work.pop()
        if slot in seen:
            continue
        seen.add(slot)
        insn = table[slot]
        assert insn is not None
        following = [s for s in successors(insn, slot) if s in reachable]
        if is_jump(insn):
            leaders.update(following)
        work.extend(following)
    return leaders


def _block(table: Sequence[Instruction | None], leader: int, leaders: set[int], reachable: frozenset[int]) -> Block:
    slots, slot = [], leader
    while True:
        insn = table[slot]
        assert insn is not None
        slots.append(slot)
        following = successors(insn, slot)
        if is_jump(insn) or following[0] not in reachable or following[0] in leaders:
            return Block(leader, slots, following)
        slot = following[0]


def _reverse_postorder(blocks: Mapping[int, Block], start: int) -> list[int]:
    order, seen = [], {start}
    stack = [(start, iter(blocks[start].successors))]
    while stack:
        current, rest = stack[-1]
        for target in rest:
            if target in blocks and target not in seen:
                seen.add(target)
                stack.append((target, iter(blocks[target].successors)))
                break
        else:
            order.append(current)
            stack.pop()
    return order[::-1]


def uses_and_defines(insn: Instruction) -> tuple[int, int]:
    """Bit sets of the registers that an instruction reads and writes (a call: as the calling convention says)."""
    kind, code = insn.opcode & op.CLASS_MASK, insn.opcode & op.CODE_MASK
    dst, src = 1 << insn.dst, 1 << insn.src
    by_register = insn.opcode & op.SOURCE_MASK == op.X
    if kind in (op.ALU, op.ALU64):
        if code == op.MOV:
            return (src if by_register else 0), dst
        reads_src = by_register and code not in (op.END, op.NEG)
        return dst | (src if reads_src else 0), dst
    if kind in (op.JMP, op.JMP32):
        if code == op.CALL:
            return ARGUMENTS, R0 | ARGUMENTS
        if code == op.EXIT:
            return R0, 0
        if code in (op.JA, op.JCOND):
            return 0, 0
        return dst | (src if by_register else 0), 0
    return _memory_uses(insn, kind, dst, src)


def _memory_uses(insn: Instruction, kind: int, dst: int, src: int) -> tuple[int, int]:
    mode = insn.opcode & op.MODE_MASK
    if kind == op.LD:
        if mode == op.IMM:
            return 0, dst
        return (1 << 6) | (src if mode == op.IND else 0), R0 | ARGUMENTS
    if kind == op.LDX:
        return src, dst
    if kind == op.ST:
        return dst, 0
    if mode != op.ATOMIC:
        return dst | src, 0
    if insn.imm == op.LOAD_ACQUIRE:
        return src, dst
    if insn.imm == op.CMPXCHG:
        return dst | src | R0, R0
    return dst | src, (src if insn.imm & op.FETCH and insn.imm != op.STORE_RELEASE else 0)


def mark_live(table: Sequence[Instruction | None], blocks: Mapping[int, Block]) -> None:
    """Fill in ``live_in`` of every block: backward flow to the fixed point."""
    effects: dict[int, tuple[int, int]] = {}
    for block in blocks.values():
        used, defined = 0, 0
        for slot in block.slots:
            insn = table[slot]
            assert insn is not None
            reads, writes = uses_and_defines(insn)
            used |= reads & ~defined
            defined |= writes
        effects[block.start] = (used, defined)
    work = list(blocks)
    while work:
        block = blocks[work.pop()]
        live_out = 0
        for target in block.successors:
            if target in blocks:
                live_out |= blocks[target].live_in
        used, defined = effects[block.start]
        live_in = used | (live_out & ~defined)
        if live_in != block.live_in:
            block.live_in = live_in
            work.extend(block.predecessors)

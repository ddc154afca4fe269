"""Where control can go: successors, blocks, subprograms, loops, and the places where exploration compares states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skep.isa import opcodes as op
from skep.isa.instruction import FuncRef, Instruction, slots
from skep.verifier.flow.cycles import components, postorder

_EXIT = op.JMP | op.EXIT
_CALL = op.JMP | op.CALL
_GOTO = op.JMP | op.JA
_GOTO_LONG = op.JMP32 | op.JA
_MAY_GOTO = op.JMP | op.JCOND
_NO_JUMPS = frozenset({op.CALL, op.EXIT})
_IS_JUMP = tuple(
    opcode & op.CLASS_MASK in (op.JMP, op.JMP32) and opcode & op.CODE_MASK not in _NO_JUMPS for opcode in range(256)
)


def is_jump(insn: Instruction) -> bool:
    """Whether it names a place in its function to go to, always or on a condition."""
    return _IS_JUMP[insn.opcode]


def is_conditional(insn: Instruction) -> bool:
    """Whether it goes on to the next instruction or to another one (may_goto is one of these)."""
    return is_jump(insn) and insn.opcode not in (_GOTO, _GOTO_LONG)


def jump_target(insn: Instruction, slot: int) -> int:
    """The slot a jump goes to (when taken)."""
    return slot + 1 + (insn.imm if insn.opcode == _GOTO_LONG else insn.off)


def call_target(insn: Instruction, slot: int) -> int | None:
    """The first slot of the subprogram it calls; None if it calls none."""
    return slot + 1 + insn.imm if insn.opcode == _CALL and insn.src == op.CALL_LOCAL else None


def function_target(insn: Instruction, slot: int, functions: Mapping[str, int]) -> int | None:
    """The first slot of the subprogram whose address it loads; None if it loads none. -1 for a name not known."""
    if insn.opcode != op.LD_IMM64 or insn.src != op.PSEUDO_FUNC:
        return None
    if isinstance(insn.ref, FuncRef):
        return functions.get(insn.ref.name, -1)
    low = insn.imm & 0xFFFFFFFF
    return slot + 1 + ((low ^ 0x80000000) - 0x80000000)


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions that run one after the other: slots start..end (exclusive), and where control goes then."""

    start: int
    end: int
    successors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """A subprogram's slots start..end (exclusive), with its blocks in code order and postorder by start slot."""

    start: int
    end: int
    blocks: tuple[Block, ...] = field(repr=False)
    postorder: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Flow:
    """The shape of a well-formed program.

    Attributes:
        code: instructions by slot; None is the second half of an LD_IMM64.
        successors: by slot, within the subprogram: (next,) or (next, target) or (); a call goes on after the call.
        subprograms: in code order; the entry first.
        owner: by slot, index into ``subprograms``.
        calls, callbacks: slot of a call, or of an LD_IMM64 of a function's address -> the function's first slot.
        loop_heads: slots that a back edge goes to.
        loops: by slot, number of its strongly connected component if control can come back to it, else -1.
        prune_points: where the kernel compares states: conditional jumps, targets of jumps, after calls, calls of
            subprograms and their entries (check_cfg()).
        forced_points: where it must, however few instructions were seen since: may_goto.
    """

    code: tuple[Instruction | None, ...] = field(repr=False)
    successors: tuple[tuple[int, ...], ...] = field(repr=False)
    subprograms: tuple[Extent, ...] = field(repr=False)
    owner: tuple[int, ...] = field(repr=False)
    calls: Mapping[int, int]
    callbacks: Mapping[int, int]
    loop_heads: frozenset[int]
    loops: tuple[int, ...] = field(repr=False)
    prune_points: frozenset[int]
    forced_points: frozenset[int]

    def subprogram_at(self, slot: int) -> Extent:
        """The subprogram that a slot belongs to."""
        return self.subprograms[self.owner[slot]]


def build(insns: Sequence[Instruction], functions: Mapping[str, int] | None = None) -> Flow:
    """The flow of a program that structure.check() found no fault with."""
    code = slots(insns)
    names = functions or {}
    successors = tuple(_successors(insn, slot) for slot, insn in enumerate(code))
    calls: dict[int, int] = {}
    callbacks: dict[int, int] = {}
    for slot, insn in enumerate(code):
        if insn is None:
            continue
        target = call_target(insn, slot)
        if target is not None:
            calls[slot] = target
        target = function_target(insn, slot, names)
        if target is not None:
            callbacks[slot] = target
    starts = sorted({0, *names.values(), *calls.values(), *callbacks.values()})
    ends = [*starts[1:], len(code)]
    extents = tuple(_extent(start, end, code, successors) for start, end in zip(starts, ends, strict=True))
    owner = tuple(index for index, extent in enumerate(extents) for _ in range(extent.start, extent.end))
    heads, loops = _loops(extents, len(code))
    return Flow(
        code,
        successors,
        extents,
        owner,
        calls,
        callbacks,
        heads,
        loops,
        _prune_points(code, calls) | frozenset(callbacks.values()),
        frozenset(slot for slot, insn in enumerate(code) if insn is not None and insn.opcode == _MAY_GOTO),
    )


def _successors(insn: Instruction | None, slot: int) -> tuple[int, ...]:
    """Within the subprogram. The second half of an LD_IMM64 leads on, so that walks by slot need not know of it."""
    if insn is None:
        return (slot + 1,)
    if insn.opcode == _EXIT:
        return ()
    if not is_jump(insn):
        return (slot + insn.width,)
    target = jump_target(insn, slot)
    return (slot + 1, target) if is_conditional(insn) else (target,)


def _extent(
    start: int, end: int, code: tuple[Instruction | None, ...], successors: tuple[tuple[int, ...], ...]
) -> Extent:
    leaders = {start}
    for slot in range(start, end):
        insn = code[slot]
        if insn is not None and (is_jump(insn) or insn.opcode == _EXIT):
            leaders.update(successors[slot])
            leaders.add(slot + 1)
    cuts = sorted(leader for leader in leaders if start <= leader < end)
    blocks = []
    for first, after in zip(cuts, [*cuts[1:], end], strict=True):
        last = after - 1 if code[after - 1] is not None else after - 2
        blocks.append(Block(first, after, successors[last]))
    graph = {block.start: block.successors for block in blocks}
    order, _ = postorder(graph, start)
    return Extent(start, end, tuple(blocks), tuple(order))


def _loops(extents: tuple[Extent, ...], size: int) -> tuple[frozenset[int], tuple[int, ...]]:
    heads: set[int] = set()
    loops = [-1] * size
    count = 0
    for extent in extents:
        graph = {block.start: block.successors for block in extent.blocks}
        ends = {block.start: block.end for block in extent.blocks}
        heads.update(target for _, target in postorder(graph, extent.start)[1])
        for component in components(graph):
            if len(component) == 1 and component[0] not in graph[component[0]]:
                continue
            for start in component:
                loops[start : ends[start]] = [count] * (ends[start] - start)
            count += 1
    return frozenset(heads), tuple(loops)


def _prune_points(code: tuple[Instruction | None, ...], calls: Mapping[int, int]) -> frozenset[int]:
    points: set[int] = set()
    for slot, insn in enumerate(code):
        if insn is None:
            continue
        if is_jump(insn):
            points.add(jump_target(insn, slot))
            if is_conditional(insn):
                points.add(slot)
        elif insn.opcode == _CALL:
            points.add(slot + 1)
    points.update(calls)
    points.update(calls.values())
    return frozenset(points)

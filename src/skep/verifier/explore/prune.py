"""Saved states: when to save one, and whether a new state is covered by one (kernel: is_state_visited)."""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.kfuncs import KfuncFlag
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.verifier.explore.covers import Comparison, Mode
from skep.verifier.explore.digest import FrameDigest, make_digest
from skep.verifier.flow.liveness import live_registers
from skep.verifier.flow.stack_liveness import live_cells
from skep.verifier.requirements.kinds import Rule, Terminates, Violation
from skep.verifier.state.graphs import TREE_ADD
from skep.verifier.state.iterators import Iterator, depths_differ
from skep.verifier.state.machine import MachineState
from skep.verifier.state.stack import Cell, object_index, renewed_zero
from skep.verifier.state.values import Kind, Number, Pointer
from skep.verifier.state.world import World

_CALLBACK_HELPERS = frozenset({164, 180, 181, 209})


def _calls_back(insn: Instruction | None) -> bool:
    """Whether it is a call that calls a function of the program any number of times (kernel: mark_calls_callback)."""
    if insn is None or insn.opcode != op.JMP | op.CALL:
        return False
    if insn.src == op.CALL_KFUNC:
        return getattr(insn.ref, "name", "") == TREE_ADD
    return insn.src == op.CALL_HELPER and insn.imm in _CALLBACK_HELPERS


class Checkpoint:
    """A state that was seen, and how much of what follows it is still to be explored.

    Attributes:
        branches: paths from here that have not ended.
        parent: the checkpoint before it on its path; depth: how many there are.
        loop: the outermost unfinished checkpoint that a path from here was found covered by: until that one is
            finished, what proofs relied on is not all known here.
        live, cells: for each frame of the state, the registers and stack cells that matter.
        watchers: called when everything from here is explored.
    """

    __slots__ = (
        "_digest", "_waiting", "branches", "cells", "depth", "hits", "live", "loop", "misses", "parent", "state",
        "watchers",
    )  # fmt: skip

    def __init__(
        self, state: MachineState, parent: Checkpoint | None, live: tuple[int, ...], cells: tuple[int, ...]
    ) -> None:
        self.state = state
        self.parent = parent
        self.live = live
        self.cells = cells
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.branches = 1
        self.loop: Checkpoint | None = None
        self.hits = 0
        self.misses = 0
        self.watchers: list[Callable[[], None]] = []
        self._waiting: list[Checkpoint] = []
        self._digest: tuple[FrameDigest, ...] | None = None

    @property
    def unfinished_loop(self) -> Checkpoint | None:
        """The loop head that it still depends on, if any: its own, or one that this one depends on in turn."""
        head = self.loop
        while head is not None and not head.branches:
            head = head.loop
        return head

    def depend_on(self, head: Checkpoint) -> None:
        """What was relied on is not all known before this loop head is finished."""
        self.loop = head
        head._waiting.append(self)

    def digest(self) -> tuple[FrameDigest, ...]:
        """What has to be compared of it, now that everything from here is explored."""
        if self._digest is None:
            self._digest = make_digest(self.state, self.live, self.cells)
            for tell in self.watchers:
                tell()
        return self._digest

    def complete(self) -> None:
        """Write down what was relied on, here and where only this one was waited for: the sooner, the less it is."""
        pending = [self]
        while pending:
            node = pending.pop()
            if node._digest is None and not node.branches and node.unfinished_loop is None:
                node.digest()
                pending += node._waiting
                node._waiting = []


def finish(node: Checkpoint | None) -> None:
    """A path that started after this checkpoint has ended (kernel: update_branch_counts)."""
    while node is not None:
        node.branches -= 1
        if node.branches:
            return
        node.complete()
        node = node.parent


class Pruner:
    """All checkpoints of one program, by place."""

    def __init__(self, world: World) -> None:
        self.world = world
        flow = world.flow
        counts = {}
        for insn in world.insns:
            if insn is not None:
                signature = world.signature(insn.imm) if insn.opcode == 0x85 and insn.src == 0 else None
                if signature is not None and signature.args is not None:
                    counts[insn.imm] = len(signature.args)
        self.registers = live_registers(flow, counts)
        self.cells = live_cells(flow)
        self.callbacks = frozenset(slot for slot, insn in enumerate(world.insns) if _calls_back(insn))
        self.may_goto = flow.forced_points
        self.iterators = _next_calls(world)
        self.rounds = self.may_goto | self.iterators
        self.forced = self.rounds | self.callbacks
        self.points = frozenset(flow.prune_points | self.forced)
        self.saved: dict[tuple[int, ...], list[Checkpoint]] = {}
        self.total = 0
        self._last_insns = 0
        self._last_jumps = 0

    def visit(
        self, slot: int, state: MachineState, parent: Checkpoint | None, insns: int, jumps: int
    ) -> Checkpoint | bool | Violation:
        """What to do at a place where states are compared.

        Returns:
            True: covered, the path ends here. A Checkpoint: the new parent. False: go on. A Violation: it never ends.
        """
        key = (slot, *[frame.call_slot for frame in state.frames])
        saved = self.saved.get(key)
        if saved is None:
            saved = self.saved[key] = []
        forced = slot in self.forced
        new_insns, new_jumps = insns - self._last_insns, jumps - self._last_jumps
        add = forced or self.world.options.save_often or (new_jumps >= 2 and new_insns >= 8)
        live, cells = self._what_matters(slot, state)
        evict = None
        for node in reversed(saved):
            if node.branches:
                found = self._unfinished(slot, node, state, parent, live, cells)
                if found is not None:
                    return found
                if not forced and new_jumps < 20 and new_insns < 100:
                    add = False
            else:
                head = node.unfinished_loop
                mode = Mode.RELAXED if head is None else Mode.WITHIN
                if self._covered(node, state, live, cells, mode, complete=head is None):
                    if head is not None:
                        self._join_loop(parent, head)
                    return True
            if add:
                node.misses += 1
                patience = 64 if forced and node.branches else 3
                if node.misses > node.hits * patience + patience:
                    evict = node
        if evict is not None:
            saved.remove(evict)
        if not add:
            return False
        renew(state)
        made = Checkpoint(state.copy(), parent, live, cells)
        saved.append(made)
        self.total += 1
        self._last_insns, self._last_jumps = insns, jumps
        return made

    def _unfinished(
        self,
        slot: int,
        node: Checkpoint,
        state: MachineState,
        parent: Checkpoint | None,
        live: tuple[int, ...],
        cells: tuple[int, ...],
    ) -> bool | Violation | None:
        """The saved state lies on this path, or its other branches are still to come."""
        if node.state.async_depth != state.async_depth:
            return None  # another entry of a callback that runs later: neither a loop nor explored already
        if slot in self.iterators:
            if _is_active(state) and self._covered(node, state, live, cells, Mode.WITHIN, complete=False):
                self._join_loop(parent, node)
                return True
            return None
        if slot in self.callbacks or (slot in self.may_goto and node.state.may_goto_depth != state.may_goto_depth):
            if self._covered(node, state, live, cells, Mode.WITHIN, complete=False):
                self._join_loop(parent, node)
                return True
            return None
        if node.state.may_goto_depth != state.may_goto_depth:
            return None
        comparison = Comparison(Mode.EXACT, self.world)
        if (
            comparison.states(node.state, state, live, cells)
            and _depths(node.state) == _depths(state)
            and not depths_differ(node.state, state)
        ):
            said = f"infinite loop detected at insn {slot}"
            return Violation(Rule.INFINITE_LOOP, Terminates(), said, None, {}, slot)
        return None

    def _covered(
        self,
        node: Checkpoint,
        state: MachineState,
        live: tuple[int, ...],
        cells: tuple[int, ...],
        mode: Mode,
        *,
        complete: bool,
    ) -> bool:
        comparison = Comparison(mode, self.world)
        if not comparison.states(node.state, state, live, cells, node.digest() if complete else None):
            return False
        node.hits += 1
        comparison.commit(complete)
        return True

    def _join_loop(self, parent: Checkpoint | None, head: Checkpoint) -> None:
        """Everything between the loop's head and here depends on the head now."""
        outer = head.unfinished_loop
        if outer is not None and outer.depth < head.depth:
            head = outer
        node = parent
        while node is not None and node.depth > head.depth:
            known = node.unfinished_loop
            if known is None or known.depth > head.depth:
                node.depend_on(head)
            node = node.parent

    def _what_matters(self, slot: int, state: MachineState) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """By frame: live registers and stack cells. A caller's are those around its call."""
        frames = state.frames
        if len(frames) == 1:
            return (self.registers[slot],), (self.cells[slot],)
        live, cells = [], []
        for frame in frames[1:]:
            call = frame.call_slot
            live.append(self.registers[call] | self.registers[call + 1])
            cells.append(self.cells[call] | self.cells[call + 1])
        return (*live, self.registers[slot]), (*cells, self.cells[slot])

    def previous(self, slot: int, state: MachineState, parent: Checkpoint | None) -> MachineState | None:
        """The state at the last visit of this place on this path (kernel: find_prev_entry)."""
        depth = -1 if parent is None else parent.depth
        for node in reversed(self.saved.get((slot, *[frame.call_slot for frame in state.frames]), ())):
            if node.branches and node.depth <= depth:
                return node.state
        return None


def renew(state: MachineState) -> None:
    """Forget what proofs before this point relied on: a saved state is compared by what follows it.

    Numbers and cells that are marked are replaced by unmarked twins; what they came from is marked already, so the
    twins need no way back (kernel: mark_all_scalars_imprecise).
    """
    numbers: dict[int, Number] = {}
    for frame in state.frames:
        regs = frame.regs
        for index in range(10):
            value = regs[index]
            if type(value) is Number and value.precise:
                regs[index] = numbers.get(id(value)) or _renewed(value, numbers)
        stack = frame.stack
        for index, cell in enumerate(stack):
            if cell is None:
                continue
            held = cell.value
            if type(held) is Number and held.precise:
                held = numbers.get(id(held)) or _renewed(held, numbers)
            if held is not cell.value or cell.read:
                made = Cell(cell.types, held, cell.size, cell.object, renewed_zero(cell))
                made.links = () if cell.read else (cell,)
                stack[index] = made


def _renewed(value: Number, numbers: dict[int, Number]) -> Number:
    made = Number(value.range)
    if value.shared:
        made.shared, made.token, made.delta, made.wraps = True, value.token or value, value.delta, value.wraps
    numbers[id(value)] = made
    return made


def _next_calls(world: World) -> frozenset[int]:
    """Slots that ask an iterator for its next element."""
    found = set()
    for slot, insn in enumerate(world.insns):
        if insn is not None and insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_KFUNC:
            proto = world.kfunc(getattr(insn.ref, "name", ""))
            if not isinstance(proto, str) and proto.has(KfuncFlag.ITER_NEXT):
                found.add(slot)
    return frozenset(found)


def _is_active(state: MachineState) -> bool:
    """Whether r1 is an iterator that may give more."""
    pointer = state.regs[1]
    if not isinstance(pointer, Pointer) or pointer.kind is not Kind.STACK:
        return False
    index = object_index(pointer, 1)
    cell = state.frames[pointer.frame].cell(index) if index is not None else None
    held = cell.object if cell is not None else None
    return isinstance(held, Iterator) and not held.drained


def _depths(state: MachineState) -> list[int]:
    return [frame.callback_depth for frame in state.frames]

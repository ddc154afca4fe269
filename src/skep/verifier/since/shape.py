"""What the shape of the code needs: loops that older kernels refuse, frames that they count larger."""

from __future__ import annotations

from collections.abc import Iterator

from skep.abi.limits import MAX_STACK
from skep.isa import opcodes as op
from skep.model.programs import Facts
from skep.verifier.flow.cfg import Flow, is_jump
from skep.verifier.flow.cycles import postorder
from skep.verifier.since.need import Need, feature

_OLD_FRAME = 32  # round_up_stack_depth before 6.8, and one byte at least
_LEGACY_LOADS = frozenset({op.ABS, op.IND})


def entered_in_the_middle(flow: Flow) -> Iterator[Need]:
    """Back edges that are no jumps: before 6.7 check_cfg let only jumps close a loop."""
    for extent in flow.subprograms:
        graph = {slot: flow.successors[slot] for slot in range(extent.start, extent.end)}
        _, back = postorder(graph, extent.start)
        for source, goal in sorted(back):
            insn = flow.code[source]
            if insn is not None and not is_jump(insn):
                yield feature("loops_entered_in_the_middle", f"back-edge from insn {source} to {goal}", source)
                return


def callback_loads(flow: Flow, visited: frozenset[int]) -> Iterator[Need]:
    """LD_ABS and LD_IND in callbacks."""
    callbacks = set(flow.callbacks.values())
    for slot in sorted(visited):
        insn = flow.code[slot]
        if insn is None or insn.opcode & op.CLASS_MASK != op.LD or insn.opcode & op.MODE_MASK not in _LEGACY_LOADS:
            continue
        if flow.subprogram_at(slot).start in callbacks:
            yield feature("packet_loads_in_callbacks", "cannot use BPF_LD_[ABS|IND] within callback", slot)
            return


def frames(flow: Flow, facts: Facts) -> Iterator[Need]:
    """A chain of calls that fits only because frames are rounded up to less than before 6.8."""
    callees: dict[int, set[int]] = {start: set() for start in facts.stack_depth}
    for table in (flow.calls, flow.callbacks):
        for slot, target in table.items():
            if slot in facts.reachable and target in callees:
                callees[flow.subprogram_at(slot).start].add(target)
    deepest: dict[int, tuple[int, int]] = {}  # by function: bytes of the deepest chain from it, and its frames
    for start in callees:
        if start in deepest:
            continue
        order, _ = postorder(callees, start)
        for function in order:
            own = -(-max(1, facts.stack_depth[function]) // _OLD_FRAME) * _OLD_FRAME
            below = max((deepest.get(callee, (0, 0)) for callee in callees[function]), default=(0, 0))
            deepest[function] = (own + below[0], below[1] + 1)
    depth, count = max(deepest.values(), default=(0, 0))
    if depth > MAX_STACK:
        yield feature("small_frames", f"combined stack size of {count} calls is {depth}. Too large")

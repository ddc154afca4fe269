"""How deep the stack gets: all frames of a chain of calls together (kernel: check_max_stack_depth)."""

from __future__ import annotations

from skep.abi.limits import MAX_CALL_FRAMES, MAX_STACK, MAX_STACK_BEFORE_TAIL_CALL
from skep.abi.prog_types import AttachType, ProgType
from skep.isa import opcodes as op
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.state.kfuncs import THROW
from skep.verifier.state.world import World


def stack_violation(world: World) -> Violation | None:
    """The stacks of all functions on a chain of calls fit in 512 bytes together (kernel: check_max_stack_depth)."""
    callees: dict[int, set[int]] = {}
    flow, notes = world.flow, world.notes
    for table in (flow.calls, flow.callbacks):
        for slot, target in table.items():
            if table is flow.calls or target not in world.async_callbacks:
                callees.setdefault(flow.subprogram_at(slot).start, set()).add(target)
    thrown = _throws_in_callback(world, callees)
    if thrown is not None:
        return thrown
    # By chain length: for each function the most stack that may be in use when it is entered.
    private = _has_private_stacks(world)
    shared = _reachable(world.async_callbacks, callees)  # they may interrupt the program: nothing of them lies apart
    catcher = set() if world.exception_callback is None else {world.exception_callback}
    above: dict[int, int] = dict.fromkeys({0, *world.global_calls, *catcher, *world.async_callbacks}, 0)
    for length in range(1, MAX_CALL_FRAMES + 2):
        if length > MAX_CALL_FRAMES and above:
            said = f"the call stack of {length} frames is too deep !"
            return Violation(Rule.CALL_DEPTH, None, said, None, {"frames": length}, min(above))
        deeper: dict[int, int] = {}
        for start, used in above.items():
            own = -(-notes.depth.get(start, 0) // 16) * 16
            apart = private and start not in shared and _PRIVATE_MIN <= own <= MAX_STACK
            depth = used if apart else used + own
            violation = _too_deep(world, start, used, depth, length)
            if violation is not None:
                return violation
            for target in callees.get(start, ()):
                deeper[target] = max(deeper.get(target, 0), depth)
        above = deeper
    return None


def _throws_in_callback(world: World, callees: dict[int, set[int]]) -> Violation | None:
    """Nobody would catch an exception in a function that a helper calls, or in what it calls."""
    inside = _reachable(world.callbacks, callees)
    for slot, insn in enumerate(world.insns):
        extent = world.flow.owner[slot]
        if insn is None or insn.opcode != op.JMP | op.CALL or insn.src != op.CALL_KFUNC:
            continue
        if getattr(insn.ref, "name", "") == THROW and world.flow.subprograms[extent].start in inside:
            said = f"bpf_throw kfunc (insn {slot}) cannot be called from callback subprog {extent}"
            reason = "an exception cannot be thrown in a callback, nor in what it calls"
            return Violation(Rule.EXCEPTION, None, said, None, {"reason": reason}, slot)
    return None


def _reachable(starts: set[int], callees: dict[int, set[int]]) -> set[int]:
    """These functions and all that they call."""
    found: set[int] = set()
    pending = list(starts)
    while pending:
        start = pending.pop()
        if start not in found:
            found.add(start)
            pending.extend(callees.get(start, ()))
    return found


_PRIVATE = frozenset({ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.PERF_EVENT, ProgType.RAW_TRACEPOINT})
_PRIVATE_KERNEL = (6, 13)
_PRIVATE_MIN = 64  # BPF_PRIV_STACK_MIN_SIZE
_TAIL_CALL = 12


def _has_private_stacks(world: World) -> bool:
    """Whether functions with big stacks get memory of their own for them (kernel: bpf_enable_priv_stack)."""
    linked = world.linked
    if linked.target.kernel_version[:2] < _PRIVATE_KERNEL:
        return False
    if any(
        insn is not None and insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_HELPER and insn.imm == _TAIL_CALL
        for insn in world.insns
    ):
        return False
    tracing = linked.prog_type is ProgType.TRACING and linked.attach_type is not AttachType.TRACE_ITER
    return tracing or linked.prog_type in _PRIVATE


def _too_deep(world: World, start: int, used: int, depth: int, length: int) -> Violation | None:
    if length > 1 and start in world.tail_calls and used >= MAX_STACK_BEFORE_TAIL_CALL:
        said = f"tail_calls are not allowed when call stack of previous frames is {used} bytes. Too large"
        return Violation(Rule.TAIL_CALL, None, said, None, {"reason": said}, start)
    if depth > MAX_STACK:
        said = f"combined stack size of {length} calls is {depth}. Too large"
        return Violation(Rule.STACK_DEPTH, None, said, None, {"depth": depth, "frames": length}, start)
    return None

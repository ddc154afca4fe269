"""Arguments that are saved interrupt flags (kernel: process_irq_flag)."""

from __future__ import annotations

from skep.verifier.prove import stack, stack_objects
from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver, wrong
from skep.verifier.requirements.kfuncs import KfuncArguments
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.state.irq import IrqFlag
from skep.verifier.state.kfuncs import IRQ_BY_LOCK, IRQ_SAVERS, KfuncParam, KfuncProto, Wants
from skep.verifier.state.machine import MachineState
from skep.verifier.state.stack import IRQ_FLAG, object_index
from skep.verifier.state.values import Kind, Pointer, Value
from skep.verifier.state.world import World


def _argument(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    """Eight bytes of stack: free for what saves flags, and with the flags that were saved last for what restores."""
    if not isinstance(value, Pointer) or value.kind is not Kind.STACK:
        said = f"arg#{index} doesn't point to an irq flag on stack"
        return wrong(need, index, value, "saved interrupt flags on the stack", said)
    frame, place = state.frames[value.frame], object_index(value, 1)
    cell = frame.cell(place) if place is not None else None
    if need.name in IRQ_SAVERS:
        if place is None or (cell is not None and IRQ_FLAG in cell.types):
            said = f"expected uninitialized irq flag as arg#{index}"
            return wrong(need, index, value, "8 bytes of stack that hold no saved interrupt flags", said)
        off = value.off + value.low
        violation = stack.in_bounds(need, value, index + 1, value.off, 8, writes=True)
        return violation or stack_objects.overwritable(need, state, frame, off, off + 8, index + 1)
    held = cell.object if cell is not None else None
    if not isinstance(held, IrqFlag):
        said = f"expected an initialized irq flag as arg#{index}"
        return wrong(need, index, value, "saved interrupt flags", said)
    return _order(need, index, held, state)


def _order(need: KfuncArguments, index: int, held: IrqFlag, state: MachineState) -> Violation | None:
    """Flags are restored by the counterpart of what saved them, the last ones first
    (kernel: unmark_stack_slot_irq_flag).
    """
    by_lock = need.name in IRQ_BY_LOCK
    values: dict[str, object] = {"kfunc": need.name}
    if held.by_lock != by_lock:
        words = ("lock", "native") if held.by_lock else ("native", "lock")
        said = f"irq flag acquired by {words[0]} kfuncs cannot be restored with {words[1]} kfuncs"
        values["reason"] = "they were saved by another kind of function"
        return Violation(Rule.IRQ_ORDER, need, said, index + 1, values)
    last, slot = state.irqs[-1] if state.irqs else (0, 0)
    if held.ref != last:
        said = f"cannot restore irq state out of order, expected id={last} acquired at insn_idx={slot}"
        values["reason"] = f"others were saved after them, at instruction {slot}"
        return Violation(Rule.IRQ_ORDER, need, said, index + 1, values)
    return None


ARGUMENTS: dict[Wants, ArgumentProver] = {Wants.IRQ_FLAGS: _argument}
CALLS: dict[str, CallProver] = {}

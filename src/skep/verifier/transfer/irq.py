"""What calls do to saved interrupt flags (kernel: mark_stack_slot_irq_flag, unmark_stack_slot_irq_flag)."""

from __future__ import annotations

from skep.verifier.state import irq
from skep.verifier.state.kfuncs import IRQ_BY_LOCK, IRQ_SAVERS, Wants
from skep.verifier.state.stack import object_index
from skep.verifier.state.values import Pointer
from skep.verifier.transfer import stack
from skep.verifier.transfer.kfunc_calls import ArgumentEffect, Call, Effect, Result


def _argument(call: Call, index: int) -> None:
    pointer, state = call.args[index], call.state
    assert isinstance(pointer, Pointer)
    frame, place = state.frames[pointer.frame], object_index(pointer, 1)
    assert place is not None
    if call.proto.name in IRQ_SAVERS:
        stack.clobber(state, pointer, 0, 8, call.world, fills=True)
        by_lock = call.proto.name in IRQ_BY_LOCK
        irq.save(state, frame, place, call.world.next_id(), call.slot, by_lock=by_lock)
    else:
        irq.restore(state, frame, place)


ARGUMENTS: dict[Wants, ArgumentEffect] = {Wants.IRQ_FLAGS: _argument}
RESULTS: dict[str, Result] = {}
AFTER: dict[str, Effect] = {}

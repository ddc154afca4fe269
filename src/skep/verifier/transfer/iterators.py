"""What calls do to open-coded iterators (kernel: mark_stack_slots_iter, process_iter_next_call)."""

from __future__ import annotations

from dataclasses import replace

from skep.abi.kfuncs import KfuncFlag
from skep.btf.catalog import size_of
from skep.btf.types import Struct
from skep.errors import SkepError
from skep.verifier.state.iterators import Iterator
from skep.verifier.state.kfuncs import Wants
from skep.verifier.state.kptrs import in_rcu
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.objects import Object, Trust, is_struct
from skep.verifier.state.stack import ALL_INVALID, ITERATOR, Cell, object_index, part_of
from skep.verifier.state.values import Kind, Pointer, Value, constant, unknown
from skep.verifier.transfer import stack
from skep.verifier.transfer.kfunc_calls import ArgumentEffect, Call, Effect, Result


def _argument(call: Call, index: int) -> None:
    """New makes one and opens a reference; destroy closes it; all others only read."""
    proto, state = call.proto, call.state
    pointer, param = call.args[index], proto.params[index]
    struct = proto.btf[param.type]
    assert isinstance(pointer, Pointer)
    assert isinstance(struct, Struct)
    frame, cells = state.frames[pointer.frame], struct.size // 8
    place = object_index(pointer, cells)
    assert place is not None
    if proto.has(KfuncFlag.ITER_NEW):
        stack.clobber(state, pointer, 0, struct.size, call.world, fills=True)
        id = call.world.next_id()
        state.refs = (*state.refs, (id, call.slot))
        trust = _trust(call)
        for part in range(cells):
            held = Iterator(part, 0 if part else id, proto.btf, param.type, trust=trust)
            frame.set_cell(place - part, part_of(held, ITERATOR))
        return
    ref = _held(frame, place).ref
    for part in range(cells):
        cell = frame.cell(place - part)
        assert cell is not None
        cell.mark_read()
        if proto.has(KfuncFlag.ITER_DESTROY):
            frame.set_cell(place - part, Cell(ALL_INVALID))
    if proto.has(KfuncFlag.ITER_DESTROY):
        state.forget(ref)


def _trust(call: Call) -> Trust:
    """RCU protects the elements only as long as the section lasts that the iterator was made in."""
    if not call.proto.has(KfuncFlag.RCU_PROTECTED):
        return Trust.NONE
    return Trust.RCU if in_rcu(call.state, call.world) else Trust.UNTRUSTED


def _held(frame: Frame, place: int) -> Iterator:
    cell = frame.cell(place)
    assert cell is not None
    assert isinstance(cell.object, Iterator)
    return cell.object


def _place(call: Call) -> tuple[int, int]:
    """Number of the frame and index of the first cell of the iterator in r1."""
    pointer, struct = call.args[0], call.proto.btf[call.proto.params[0].type]
    assert isinstance(pointer, Pointer)
    assert isinstance(struct, Struct)
    place = object_index(pointer, struct.size // 8)
    assert place is not None
    return pointer.frame, place


def element(call: Call) -> Value:
    """What next gives, before it is known whether it is NULL."""
    proto = call.proto
    assert proto.pointee is not None
    number, place = _place(call)
    held = _held(call.state.frames[number], place)
    id = call.world.next_id()
    if is_struct(proto.btf[proto.pointee]):
        trust = Trust.RCU if held.trust & Trust.RCU else Trust.TRUSTED
        return Pointer(Kind.BTF, id=id, nullable=True, object=Object(proto.btf, proto.pointee, trust))
    try:
        size = size_of(proto.btf, proto.pointee)
    except SkepError:
        return unknown()
    return Pointer(Kind.MEMORY, id=id, nullable=True, size=size, ref=held.ref, readonly=True)


def advance(call: Call) -> None:
    """Either there is one more element, or there is none and never will be. The first is explored later."""
    state = call.state
    number, place = _place(call)
    held = _held(state.frames[number], place)
    given = state.regs[0]
    if not held.drained:
        more = state.copy()
        more.frames[number].set_cell(place, part_of(replace(held, depth=held.depth + 1), ITERATOR))
        if isinstance(given, Pointer):
            more.regs[0] = given.non_null()
        call.forks.append((call.slot + 1, more))
        state.frames[number].set_cell(place, part_of(replace(held, drained=True), ITERATOR))
    state.regs[0] = constant(0)


def leave_rcu(state: MachineState) -> None:
    """Iterators whose elements RCU protected can only be looked at no more (kernel: KF_bpf_rcu_read_unlock)."""
    for frame in state.frames:
        for index, cell in enumerate(frame.stack):
            held = cell.object if cell is not None else None
            if cell is not None and isinstance(held, Iterator) and held.trust & Trust.RCU:
                frame.stack[index] = changed = part_of(replace(held, trust=Trust.UNTRUSTED), ITERATOR)
                changed.links = (cell,)


ARGUMENTS: dict[Wants, ArgumentEffect] = {Wants.ITERATOR: _argument}
RESULTS: dict[str, Result] = {}
AFTER: dict[str, Effect] = {}

"""What calls do to dynptrs, and to memory that was taken out of them."""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.signatures import ArgKind, MemoryUse, Signature
from skep.verifier.state.dynptr_places import find, first_cell
from skep.verifier.state.dynptrs import CELLS, PACKETS, REFCOUNTED, SIZE, Dynptr, DynptrType, Slice
from skep.verifier.state.kfuncs import Wants
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import DYNPTR, Cell, part_of
from skep.verifier.state.stack_objects import StackObject
from skep.verifier.state.values import PACKET_KINDS, Kind, Number, Pointer, Value
from skep.verifier.state.world import World
from skep.verifier.transfer import stack, stack_objects
from skep.verifier.transfer.kfunc_calls import ArgumentEffect, Call, Effect, Result

_U32 = 0xFFFF_FFFF
_WRITE = 202
_MADE = {
    "bpf_dynptr_from_skb": DynptrType.SKB,
    "bpf_dynptr_from_xdp": DynptrType.XDP,
    "bpf_dynptr_from_skb_meta": DynptrType.SKB_META,
}
_CHANGES_PACKET = frozenset({DynptrType.SKB, DynptrType.SKB_META})


def make(state: MachineState, pointer: Pointer, type: DynptrType, slot: int, world: World, ref: int = 0) -> None:
    """A new dynptr on the stack (kernel: mark_stack_slots_dynptr). ``ref``: the reference that it shares."""
    stack.clobber(state, pointer, 0, SIZE, world, fills=True)
    index = first_cell(pointer)
    assert isinstance(index, int)
    if type in REFCOUNTED and not ref:
        ref = world.next_id()
        state.refs = (*state.refs, (ref, slot))
    id = world.next_id()
    for part in range(CELLS):
        state.frames[pointer.frame].set_cell(index - part, part_of(Dynptr(part, ref, type, id), DYNPTR))


def handed_in(world: World) -> Pointer:
    """What a callback or a global function gets: a dynptr that it must not change (kernel: mark_dynptr_cb_reg)."""
    return Pointer(Kind.DYNPTR, dynptr=Dynptr(0, 0, DynptrType.LOCAL, world.next_id()))


def used(state: MachineState, value: Value | None, world: World) -> None:
    """Somebody looks at it."""
    if isinstance(value, Pointer) and value.kind is Kind.STACK:
        stack.used(state.frames[value.frame], value, SIZE, world)


def helper(signature: Signature, state: MachineState, slot: int, world: World) -> None:
    """What a helper does to the dynptrs among its arguments, but for giving them back."""
    for reg, arg in enumerate(signature.args or (), start=1):
        if arg.kind is not ArgKind.DYNPTR:
            continue
        value = state.regs[reg]
        if arg.use is MemoryUse.WRITE:
            assert isinstance(value, Pointer)
            make(state, value, DynptrType(arg.dynptr or ""), slot, world)
            continue
        used(state, value, world)
        found = find(state, value)
        if signature.id == _WRITE and found is not None and found.type in _CHANGES_PACKET:
            forget_packet(state)


def memory(state: MachineState, world: World) -> Pointer:
    """What bpf_dynptr_data() gives: it dies with the dynptr."""
    found, size = find(state, state.regs[1]), state.regs[3]
    assert found is not None
    assert isinstance(size, Number)
    id, known = world.next_id(), Slice(found.id, None)
    return Pointer(Kind.MEMORY, id=id, nullable=True, size=(size.value or 0) & _U32, ref=found.ref, dynptr=known)


def release(state: MachineState, value: Value | None) -> None:
    """A dynptr is given back, and all its clones; so is their memory (kernel: unmark_stack_slots_dynptr).

    The kernel forgets neither clones in other frames nor what bpf_dynptr_slice() gave of them: here they die as well.
    """
    found = find(state, value)
    if found is None:
        return
    ref, ids = found.ref, set()
    for frame in state.frames:
        for index, cell in enumerate(frame.stack):
            if cell is not None and isinstance(cell.object, Dynptr) and cell.object.ref == ref:
                ids.add(cell.object.id)
                frame.stack[index] = Cell(bytes(8))
    state.refs = tuple(item for item in state.refs if item[0] != ref)
    _forget(state, lambda held: held.ref == ref or (isinstance(held.dynptr, Slice) and held.dynptr.id in ids))


def forget_packet(state: MachineState) -> None:
    """Packet data may have moved: pointers into it are numbers now (kernel: clear_all_pkt_pointers)."""
    _forget(state, in_packet)


def in_packet(held: Pointer) -> bool:
    """A packet pointer, or a slice of a dynptr of packet data."""
    return held.kind in PACKET_KINDS or (isinstance(held.dynptr, Slice) and held.dynptr.type in PACKETS)


def _forget(state: MachineState, dies: Callable[[Pointer], bool]) -> None:
    state.invalidate(dies)


def written(state: MachineState, pointer: Pointer, world: World) -> None:
    """Memory is written that may be a buffer on the stack: nothing is known of that any more.

    The kernel does not see this: it believes what was stored there after the slice was taken.
    """
    if isinstance(pointer.dynptr, Slice) and pointer.dynptr.buffer is not None:
        frame, low, high = pointer.dynptr.buffer
        stack.clobber(state, Pointer(Kind.STACK, off=low, frame=frame), 0, high - low, world)


def leave(state: MachineState, frame: Frame) -> None:
    """A frame ends: slices that may lie in it are numbers now, unless nobody could take one there."""
    if frame.lent:
        _forget(
            state,
            lambda held: (
                isinstance(held.dynptr, Slice)
                and held.dynptr.buffer is not None
                and held.dynptr.buffer[0] == frame.number
            ),
        )


def _displaced(state: MachineState, frame: Frame, index: int, found: StackObject) -> None:
    """A store into one cell destroys both, and what bpf_dynptr_data() gave (kernel: destroy_if_dynptr_stack_slot)."""
    assert isinstance(found, Dynptr)
    first = index + found.part
    for part in range(CELLS):
        frame.set_cell(first - part, Cell(bytes(8)))
    taken = Slice(found.id, None)
    _forget(state, lambda held: held.dynptr == taken)


stack_objects.DISPLACED[Dynptr] = _displaced


# ---- kernel functions ----


def _argument(call: Call, index: int) -> None:
    """An argument that is a dynptr: to be made, or to be looked at."""
    value, name = call.args[index], call.proto.name
    if not isinstance(value, Pointer):
        return
    if not call.proto.params[index].name.endswith("__uninit"):
        used(call.state, value, call.world)
        return
    parent = find(call.state, call.args[0])
    type = _MADE.get(name) or (parent.type if parent is not None else DynptrType.LOCAL)
    ref = parent.ref if parent is not None and type in REFCOUNTED else 0
    make(call.state, value, type, call.slot, call.world, ref)


def _slice(call: Call, *, readonly: bool) -> Value:
    """Memory of a constant size: in the dynptr, or in the buffer that was given (kernel: check_special_kfunc)."""
    found, size = find(call.state, call.args[0]), call.args[3]
    assert found is not None
    assert isinstance(size, Number)
    if not readonly:
        call.world.notes.writes_packet = True
    length = (size.value or 0) & _U32
    known = Slice(found.id, found.type, None if readonly else _buffer(call, length))
    id = call.world.next_id()
    return Pointer(Kind.MEMORY, id=id, nullable=True, size=length, readonly=readonly, dynptr=known)


def _buffer(call: Call, length: int) -> tuple[int, int, int] | None:
    """The part of the stack that a slice may lie in."""
    given = call.args[2]
    if not isinstance(given, Pointer):
        return None
    if given.kind is Kind.STACK:
        low, high = given.off + given.low, given.off + (given.var.smax if given.var is not None else 0)
        call.state.frames[given.frame].lent = True
        return given.frame, low, high + length
    return given.dynptr.buffer if isinstance(given.dynptr, Slice) else None


ARGUMENTS: dict[Wants, ArgumentEffect] = {Wants.DYNPTR: _argument}
RESULTS: dict[str, Result] = {
    "bpf_dynptr_slice": lambda call: _slice(call, readonly=True),
    "bpf_dynptr_slice_rdwr": lambda call: _slice(call, readonly=False),
}
AFTER: dict[str, Effect] = {}

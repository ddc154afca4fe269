"""Loads of pointer fields, and what bpf_kptr_xchg() does (kernel: check_map_kptr_access, check_helper_call)."""

from __future__ import annotations

from skep.verifier.state import kptrs
from skep.verifier.state.fields import KPTRS
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, Trust
from skep.verifier.state.values import Kind, Pointer, Value
from skep.verifier.state.world import World

_ALLOCATED_PERCPU = Trust.ALLOC | Trust.PERCPU


def loaded(pointer: Pointer, offset: int, state: MachineState, world: World) -> Pointer | None:
    """The pointer in a map's value; None: plain bytes are read."""
    field = kptrs.field_under(pointer, offset, world)
    return None if field is None else kptrs.read(field, state, world)


def exchanged(state: MachineState, slot: int, world: World) -> Pointer:
    """What was in the field: the program owns it now."""
    held = state.regs[1]
    assert isinstance(held, Pointer)
    field = kptrs.field_at(held, 0, KPTRS, world)
    assert field is not None
    id = world.next_id()
    state.refs = (*state.refs, (id, slot))
    return Pointer(Kind.BTF, id=id, nullable=True, ref=id, object=kptrs.owned(field, world))


def give_away(state: MachineState, value: Value | None, world: World) -> None:
    """The field owns the object now; under RCU, a per-CPU object stays readable all the same."""
    if not isinstance(value, Pointer) or not value.ref:
        return
    ref, stays = value.ref, kptrs.in_rcu(state, world)
    state.refs = tuple(item for item in state.refs if item[0] != ref)

    def is_kept(held: Pointer) -> bool:
        found = held.object
        return stays and found is not None and found.trust & _ALLOCATED_PERCPU == _ALLOCATED_PERCPU

    def change(held: Value) -> Value:
        if not isinstance(held, Pointer) or held.ref != ref or held.object is None:
            return held
        found = held.object
        return held.seen_as(Object(found.btf, found.type, (found.trust & ~Trust.ALLOC) | Trust.RCU), ref=0)

    state.invalidate(lambda held: held.ref == ref and not is_kept(held))
    state.map_values(change)

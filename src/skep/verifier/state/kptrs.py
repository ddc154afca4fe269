"""Pointers to objects that live in map values and in allocated objects (kptrs): which field is meant, and what a
pointer read from it is worth (kernel: btf_ld_kptr_type, rcu_safe_kptr, in_rcu_cs).
"""

from __future__ import annotations

from collections.abc import Iterable

from skep.btf.catalog import size_of
from skep.btf.types import Btf
from skep.verifier.state.fields import GRAPH_NODES, POINTERS, Field, Special
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, Trust
from skep.verifier.state.sleeping import may_sleep
from skep.verifier.state.values import Kind, Pointer
from skep.verifier.state.world import World

KPTR_XCHG = 194

# Structures whose memory outlives the RCU section (kernel: rcu_protected_types).
_RCU_PROTECTED = frozenset({"prog_test_ref_kfunc", "cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx"})


def constant_offset(pointer: Pointer) -> int | None:
    """Where it points to in its object, if that is known."""
    if pointer.var is None:
        return pointer.off
    return None if pointer.var.mask else pointer.off + pointer.var.smin


def field_at(pointer: Pointer, offset: int, kinds: Iterable[Special], world: World) -> Field | None:
    """The special field of one of these kinds that begins ``offset`` bytes after the pointer."""
    record = world.record(pointer)
    start = constant_offset(pointer) if record.fields else None
    return None if start is None else record.at(start + offset, kinds)


def field_under(pointer: Pointer, offset: int, world: World) -> Field | None:
    """The pointer field that a load or store of a map's value means."""
    return field_at(pointer, offset, POINTERS, world) if pointer.kind is Kind.MAP_VALUE else None


def is_local(btf: Btf, world: World) -> bool:
    """Whether types are the program's own, and not the kernel's or a module's (kernel: !btf_is_kernel)."""
    target = world.linked.target
    return btf is not target.btf and all(btf is not module for module in target.module_btf.values())


def in_rcu(state: MachineState, world: World) -> bool:
    """Whether what RCU protects cannot go away here: also wherever a program cannot sleep (kernel: in_rcu_cs)."""
    return bool(state.sections.rcu or state.locks) or not may_sleep(state, world)


def read(field: Field, state: MachineState, world: World) -> Pointer:
    """The pointer that a load of the field gives."""
    assert field.btf is not None
    id = world.next_id()
    if field.kind is Special.UPTR:
        return Pointer(Kind.MEMORY, id=id, nullable=True, size=size_of(field.btf, field.type))
    found = Object(field.btf, field.type, _trust(field, state, world))
    return Pointer(Kind.BTF, id=id, nullable=True, object=found)


def _trust(field: Field, state: MachineState, world: World) -> Trust:
    assert field.btf is not None
    local = is_local(field.btf, world)
    percpu = field.kind is Special.PERCPU_KPTR
    safe = percpu or (field.kind is Special.KPTR and (local or field.btf[field.type].name in _RCU_PROTECTED))
    if not safe or not in_rcu(state, world):
        return Trust.UNTRUSTED
    trust = Trust.RCU
    if percpu:
        trust |= Trust.PERCPU
    elif local:
        trust |= Trust.ALLOC
    if local and world.object_record(Object(field.btf, field.type)).find(*GRAPH_NODES) is not None:
        trust |= Trust.BORROWED
    return trust


def owned(field: Field, world: World) -> Object:
    """What a field with a reference owns: it comes back from an exchange."""
    assert field.btf is not None
    trust = Trust.NONE
    if is_local(field.btf, world):
        trust = Trust.ALLOC | (Trust.PERCPU if field.kind is Special.PERCPU_KPTR else Trust.NONE)
    return Object(field.btf, field.type, trust)

"""What calls of kernel functions do to a state (kernel: check_kfunc_call, check_special_kfunc)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from skep.abi.kfuncs import KfuncFlag
from skep.btf import types as t
from skep.btf.catalog import size_of
from skep.errors import SkepError
from skep.isa.instruction import Instruction
from skep.verifier.state import kfuncs
from skep.verifier.state.kfuncs import KERNEL_CONTEXTS, KfuncProto, Wants
from skep.verifier.state.machine import MachineState, Sections
from skep.verifier.state.objects import Object, Trust, is_struct
from skep.verifier.state.values import PACKET_KINDS, Kind, Number, Pointer, Value, unknown
from skep.verifier.state.world import World
from skep.verifier.transfer import allocated, dynptrs, graphs, irq, iterators, later, locks, objects, stack
from skep.verifier.transfer.branch import Branch, Fork
from skep.verifier.transfer.kfunc_calls import ArgumentEffect, Call, Effect, Result


def call(insn: Instruction, slot: int, world: World) -> Branch:
    """The function of a kfunc call."""
    name = getattr(insn.ref, "name", "")

    def full(state: MachineState, forks: list[Fork]) -> int:
        proto = world.kfunc(name)
        assert not isinstance(proto, str)
        call = Call(proto, state, slot, world, tuple(state.regs[1:6]), forks)
        _use_memory(proto, state, world)
        for index, param in enumerate(proto.params):
            act = ARGUMENTS.get(param.wants)
            if act is not None:
                act(call, index)
        change = _SECTIONS.get(name)
        if change is not None:
            state.sections = change(state.sections)
        if name == kfuncs.RCU_UNLOCK:
            _leave_rcu(state)
        if name == kfuncs.THROW:
            return -1
        result = _result(call)
        if proto.has(KfuncFlag.RELEASE):
            _release(proto, state)
        state.regs[0:6] = [None] * 6
        state.regs[0] = result
        world.notes.kinds[slot] |= 2 if isinstance(result, Pointer) else 1
        if proto.has(KfuncFlag.CHANGES_PACKET):
            dynptrs.forget_packet(state)
        after = iterators.advance if proto.has(KfuncFlag.ITER_NEXT) else AFTER.get(name)
        if after is not None:
            after(call)
        return slot + 1

    return full


_SECTIONS: dict[str, Callable[[Sections], Sections]] = {
    kfuncs.RCU_LOCK: lambda held: replace(held, rcu=held.rcu + 1),
    kfuncs.RCU_UNLOCK: lambda held: replace(held, rcu=held.rcu - 1),
    kfuncs.PREEMPT_DISABLE: lambda held: replace(held, preempt=held.preempt + 1),
    kfuncs.PREEMPT_ENABLE: lambda held: replace(held, preempt=held.preempt - 1),
}


def _leave_rcu(state: MachineState) -> None:
    """What RCU protected may go away now."""

    def change(value: Value) -> Value:
        found = value.object if isinstance(value, Pointer) else None
        if not isinstance(value, Pointer) or found is None or not found.trust & Trust.RCU:
            return value
        loose = value.non_null()
        loose.object = Object(found.btf, found.type, (found.trust & ~Trust.RCU) | Trust.UNTRUSTED)
        return loose

    state.map_values(change)
    iterators.leave_rcu(state)


def _release(proto: KfuncProto, state: MachineState) -> None:
    """The reference among the arguments is given back."""
    for index, _ in enumerate(proto.params):
        value = state.regs[index + 1]
        if isinstance(value, Pointer) and value.ref:
            state.forget(value.ref)
            return


def _use_memory(proto: KfuncProto, state: MachineState, world: World) -> None:
    """Stack and packet bytes that the function may read and write."""
    for index, param in enumerate(proto.params):
        pointer = state.regs[index + 1]
        if param.wants is not Wants.POINTER or not isinstance(pointer, Pointer):
            continue
        length = state.regs[index + 2] if param.sized_by else None
        size = length.range.umax if isinstance(length, Number) else param.size or 0
        if pointer.kind in PACKET_KINDS:
            world.notes.writes_packet = True
        dynptrs.written(state, pointer, world)
        if pointer.kind is Kind.STACK and size:
            frame = state.frames[pointer.frame]
            stack.used(frame, pointer, size, world)
            stack.clobber(state, pointer, 0, size, world)


def _result(call: Call) -> Value | None:
    proto, state, slot, world = call.proto, call.state, call.slot, call.world
    btf = proto.btf
    special = iterators.element if proto.has(KfuncFlag.ITER_NEXT) else RESULTS.get(proto.name)
    if special is not None:
        return special(call)
    returned = btf[proto.returns]
    if isinstance(returned, t.Void):
        return None
    if proto.pointee is None:
        return unknown()
    target = btf[proto.pointee]
    if isinstance(target, t.Void):
        return unknown()
    nullable = proto.has(KfuncFlag.RET_NULL)
    id = world.next_id() if nullable or proto.has(KfuncFlag.ACQUIRE) else 0
    ref = 0
    if proto.has(KfuncFlag.ACQUIRE):
        ref = id
        state.refs = (*state.refs, (id, slot))
    if is_struct(target):
        found = Object(btf, proto.pointee, _trust(proto))
        return Pointer(Kind.BTF, id=id if nullable else 0, nullable=nullable, ref=ref, object=found)
    return _memory(proto, state, id if nullable else 0, nullable=nullable)


def _trust(proto: KfuncProto) -> Trust:
    if proto.name == kfuncs.KMEM_CACHE:
        return Trust.UNTRUSTED
    return Trust.RCU if proto.has(KfuncFlag.RCU_PROTECTED) else Trust.NONE


def _memory(proto: KfuncProto, state: MachineState, id: int, *, nullable: bool) -> Pointer:
    """Memory whose size an argument says, or the type that is returned; it dies with the reference it came from."""
    size, readonly, ref = None, False, 0
    for index, param in enumerate(proto.params):
        value = state.regs[index + 1]
        if param.wants is Wants.BUFFER_SIZE and isinstance(value, Number):
            size, readonly = value.value, param.name == "rdonly_buf_size"
        if isinstance(value, Pointer) and value.ref:
            ref = value.ref
    if proto.name == kfuncs.SESSION_COOKIE:
        size = 8
    if not size:
        assert proto.pointee is not None
        try:
            size, readonly = size_of(proto.btf, proto.pointee), True
        except SkepError:
            size, readonly = 0, True
    return Pointer(Kind.MEMORY, id=id, nullable=nullable, size=size, ref=ref, readonly=readonly)


def _kernel_context(call: Call) -> Value:
    proto, world = call.proto, call.world
    name = KERNEL_CONTEXTS.get(world.linked.prog_type, "")
    found = proto.btf.find(name, t.Struct)
    if found is None:
        return unknown()
    return objects.of_object(Object(proto.btf, found, Trust.TRUSTED), world)


def _read_only_cast(call: Call) -> Value:
    wanted = call.args[1]
    assert isinstance(wanted, Number)
    assert wanted.value is not None
    id = wanted.value & 0xFFFF_FFFF
    if id == 0:
        return Pointer(Kind.PROBED, readonly=True)
    return objects.of_object(Object(call.proto.btf, id, Trust.UNTRUSTED), call.world)


ARGUMENTS: dict[Wants, ArgumentEffect] = {
    **iterators.ARGUMENTS,
    **irq.ARGUMENTS,
    **dynptrs.ARGUMENTS,
    **locks.ARGUMENTS,
    **graphs.ARGUMENTS,
}
"""By kind of parameter: what is done with the argument."""

RESULTS: dict[str, Result] = {
    kfuncs.CAST_TO_KERN_CTX: _kernel_context,
    kfuncs.RDONLY_CAST: _read_only_cast,
    **iterators.RESULTS,
    **irq.RESULTS,
    **dynptrs.RESULTS,
    **locks.RESULTS,
    **allocated.RESULTS,
    **graphs.RESULTS,
}
"""By function: r0, where the prototype does not say it."""

AFTER: dict[str, Effect] = {
    **iterators.AFTER,
    **irq.AFTER,
    **dynptrs.AFTER,
    **locks.AFTER,
    **later.AFTER,
    **graphs.AFTER,
}
"""By function: what else it does."""


def address(name: str, world: World) -> Value:
    """The address of a kernel variable or function (kernel: check_pseudo_btf_id)."""
    found = world.variable(name)
    assert found is not None
    btf, type_id = found
    variable = btf[type_id]
    if isinstance(variable, t.Func):
        return Pointer(Kind.MEMORY, size=0, readonly=True)
    assert isinstance(variable, t.Var)
    if world.is_percpu(btf, type_id):
        stripped = btf.strip(variable.type)
        return objects.of_object(Object(btf, stripped, Trust.PERCPU), world)
    return objects.variable(btf, variable.type, world)

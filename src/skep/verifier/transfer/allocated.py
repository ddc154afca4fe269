"""Results of the functions that allocate objects (kernel: check_special_kfunc, check_kfunc_call)."""

from __future__ import annotations

from skep.verifier.state.fields import LOCKS
from skep.verifier.state.objects import Object, Trust
from skep.verifier.state.values import Kind, Number, Pointer
from skep.verifier.transfer.kfunc_calls import Call, Result


def acquired(call: Call, found: Object, *, off: int = 0, nullable: bool = True) -> Pointer:
    """A reference to an allocated object. One that holds a lock keeps its id: the lock is known by it."""
    id = call.world.next_id()
    call.state.refs = (*call.state.refs, (id, call.slot))
    made = Pointer(Kind.BTF, off=off, nullable=nullable, ref=id, object=found)
    if nullable:
        made.id = id
    elif call.world.record(made).find(*LOCKS) is not None:
        made.id = call.world.next_id()
    return made


def _new(call: Call) -> Pointer:
    return acquired(call, _object(call, Trust.ALLOC))


def _new_percpu(call: Call) -> Pointer:
    return acquired(call, _object(call, Trust.ALLOC | Trust.PERCPU))


def _object(call: Call, trust: Trust) -> Object:
    number, btf = call.args[0], call.world.linked.btf
    assert isinstance(number, Number)
    assert number.value is not None
    assert btf is not None
    return Object(btf, number.value, trust)


def _counted(call: Call) -> Pointer:
    """One more reference: always, where the program has one; if it only borrows, the object may be gone already."""
    given = call.args[0]
    assert isinstance(given, Pointer)
    assert given.object is not None
    borrowed = bool(given.object.trust & Trust.BORROWED)
    return acquired(call, Object(given.object.btf, given.object.type, Trust.ALLOC), nullable=borrowed)


RESULTS: dict[str, Result] = {
    "bpf_obj_new_impl": _new,
    "bpf_percpu_obj_new_impl": _new_percpu,
    "bpf_refcount_acquire_impl": _counted,
}

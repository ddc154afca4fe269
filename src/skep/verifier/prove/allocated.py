"""Objects that a program allocates: bpf_obj_new() and its kin (kernel: check_special_kfunc, check_kfunc_args)."""

from __future__ import annotations

from skep.btf import types as t
from skep.verifier.prove import objects, regions
from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver
from skep.verifier.requirements.kfuncs import KfuncArguments
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.state.fields import Special
from skep.verifier.state.kfuncs import KfuncParam, KfuncProto, Wants, is_scalar_struct
from skep.verifier.state.kptrs import constant_offset
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, Trust
from skep.verifier.state.values import Kind, Number, Pointer, Value, type_name
from skep.verifier.state.world import World

OBJ_NEW, PERCPU_OBJ_NEW = "bpf_obj_new_impl", "bpf_percpu_obj_new_impl"
_PERCPU_OBJ_DROP = "bpf_percpu_obj_drop_impl"
_U32 = (1 << 32) - 1
_MAX_PERCPU_SIZE = 512  # BPF_GLOBAL_PERCPU_MA_MAX_SIZE
# Pointers to objects that may be passed with an offset (kernel: check_func_arg_reg_off).
_MOVABLE = frozenset(
    {
        Trust.NONE,
        Trust.TRUSTED,
        Trust.RCU,
        Trust.ALLOC,
        Trust.ALLOC | Trust.BORROWED,
        Trust.ALLOC | Trust.BORROWED | Trust.RCU,
    }
)


def is_owned(value: Value) -> bool:
    """A pointer to an allocated object, and nothing else said of it (kernel: PTR_TO_BTF_ID | MEM_ALLOC)."""
    return (
        isinstance(value, Pointer)
        and value.object is not None
        and value.object.trust is Trust.ALLOC
        and not value.nullable
    )


def _described(value: Value) -> str | None:
    """What is known of an object, in words; None: it is none."""
    found = value.object if isinstance(value, Pointer) else None
    if found is None or not isinstance(value, Pointer):
        return None
    if found.trust & Trust.UNTRUSTED:
        words = f"a struct {found.name} that may be gone"
    elif found.trust & Trust.BORROWED:
        words = f"a struct {found.name} that a list, tree or map owns"
    elif found.trust & Trust.PERCPU:
        words = f"a per-CPU struct {found.name}"
    elif found.trust & Trust.ALLOC:
        words = f"an allocated struct {found.name}" if value.ref else f"a struct {found.name} that a map owns"
    else:
        words = f"a struct {found.name} of the kernel"
    return f"{words}, or NULL" if value.nullable else words


def refused(need: KfuncArguments, index: int, value: Value, expected: str, said: str) -> Violation:
    """The argument is not the allocated object that it must be."""
    values: dict[str, object] = {"kfunc": need.name, "expected": expected, "pointer": type_name(value)}
    values["held"] = _described(value)
    return Violation(Rule.ALLOCATED_ARGUMENT, need, said, index + 1, values)


def placed(need: KfuncArguments, value: Value, reg: int, *, released: bool = False) -> Violation | None:
    """At an offset that its kind of pointer may be passed with (kernel: check_func_arg_reg_off)."""
    if not isinstance(value, Pointer):
        return None
    if released and constant_offset(value) != 0:
        said = f"R{reg} must have zero offset when passed to release func or trusted arg to kfunc"
        return Violation(Rule.OBJECT_OFFSET, need, said, reg, {"pointer": value.name, "offset": value.off})
    found = value.object
    if found is not None:
        violation = objects.unmoved(need, value, reg, fixed=found.trust in _MOVABLE and not value.nullable)
        if violation is None or not value.nullable:
            return violation
        return refused(need, reg - 1, value, "checked for NULL first", violation.kernel)
    free = value.kind in (Kind.MAP_VALUE, Kind.MAP_KEY, Kind.STACK, Kind.MEMORY, Kind.RECORD, Kind.BUFFER)
    return None if free or value.kind in (Kind.PACKET, Kind.PACKET_META) else regions.unmoved(need, value, reg)


def _released(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    """bpf_obj_drop(), bpf_percpu_obj_drop(): an object that the program owns, from its start."""
    reg = index + 1
    if not isinstance(value, Pointer) or not (value.ref or (value.object is not None and value.object.trusted)):
        said = f"R{reg} must be referenced or trusted"
        values: dict[str, object] = {"function": need.name, "pointer": type_name(value)}
        return Violation(Rule.OBJECT_TRUST, need, said, reg, {**values, "wanted": "a reference the program owns"})
    violation = placed(need, value, reg, released=bool(value.ref))
    if violation is not None:
        return violation
    percpu = need.name == _PERCPU_OBJ_DROP
    expected = "a per-CPU object that the program allocated" if percpu else "an object that the program allocated"
    trust = value.object.trust if value.object is not None and not value.nullable else Trust.NONE
    if trust not in (Trust.ALLOC, Trust.ALLOC | Trust.PERCPU):
        return refused(need, index, value, expected, f"arg#{index} expected pointer to allocated object")
    if bool(trust & Trust.PERCPU) != percpu:
        wanted = _PERCPU_OBJ_DROP if trust & Trust.PERCPU else "bpf_obj_drop_impl"
        return refused(need, index, value, expected, f"arg#{index} expected for {wanted}()")
    if not value.ref:
        return refused(need, index, value, expected, "allocated object must be referenced")
    return None


def _counted(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    """bpf_refcount_acquire(): an allocated object, owned or not, whose type counts its references."""
    violation = placed(need, value, index + 1)
    if violation is not None:
        return violation
    expected = "an allocated object that is still there"
    found = value.object if isinstance(value, Pointer) else None
    if found is None or not found.trust & Trust.ALLOC or found.trust & Trust.UNTRUSTED:
        return refused(need, index, value, expected, f"arg#{index} is neither owning or non-owning ref")
    assert isinstance(value, Pointer)
    if world.record(value).find(Special.REFCOUNT) is None:
        said = f"arg#{index} doesn't point to a type with bpf_refcount field"
        return refused(need, index, value, "an object with a bpf_refcount", said)
    return None


def _new(need: KfuncArguments, proto: KfuncProto, state: MachineState, world: World) -> Violation | None:
    """The number in r1 is that of a structure in the program's types."""
    number = state.regs[1]
    assert isinstance(number, Number)
    assert number.value is not None
    btf, id = world.linked.btf, number.value
    if id > _U32:
        return _not_allocatable(need, "local type ID argument must be in range [0, U32_MAX]", "no type has that number")
    if btf is None:
        return _not_allocatable(need, "bpf_obj_new/bpf_percpu_obj_new requires prog BTF", "the program has no types")
    problem = world.types_refused
    if problem:  # without types, nothing can be allocated: they cannot be loaded
        reason = f"the kernel does not take the program's types ({problem})"
        return _not_allocatable(need, "bpf_obj_new/bpf_percpu_obj_new requires prog BTF", reason)
    found = btf[id] if id < len(btf) else None
    if not isinstance(found, t.Struct):
        said = "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct"
        return _not_allocatable(need, said, "it is no structure")
    if need.name != PERCPU_OBJ_NEW:
        return None
    if found.size > _MAX_PERCPU_SIZE:
        said = f"bpf_percpu_obj_new type size ({found.size}) is greater than {_MAX_PERCPU_SIZE}"
        return _not_allocatable(need, said, f"it has {found.size} bytes, and at most {_MAX_PERCPU_SIZE} are possible")
    if not is_scalar_struct(btf, id):
        said = "bpf_percpu_obj_new type ID argument must be of a struct of scalars"
        return _not_allocatable(need, said, "it holds more than numbers")
    if world.object_record(Object(btf, id)).fields:
        said = "bpf_percpu_obj_new type ID argument must not contain special fields"
        return _not_allocatable(need, said, "it holds special fields")
    return None


def _not_allocatable(need: KfuncArguments, said: str, reason: str) -> Violation:
    return Violation(Rule.ALLOCATION, need, said, 1, {"kfunc": need.name, "reason": reason})


ARGUMENTS: dict[Wants, ArgumentProver] = {Wants.ALLOCATED: _released, Wants.REFCOUNTED: _counted}
CALLS: dict[str, CallProver] = {OBJ_NEW: _new, PERCPU_OBJ_NEW: _new}

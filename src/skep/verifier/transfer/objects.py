"""What loads from kernel objects and from contexts that BTF describes give (kernel: mark_btf_ld_reg)."""

from __future__ import annotations

from skep.abi.signatures import ReturnKind, Signature
from skep.btf import types as t
from skep.btf.catalog import size_of
from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.kptrs import in_rcu
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, Trust, What, is_struct, trust_of_member
from skep.verifier.state.typed_context import Holds, TypedContext
from skep.verifier.state.values import Kind, Number, Pointer, Value, unknown
from skep.verifier.state.world import World


def loaded(pointer: Pointer, offset: int, size: int, state: MachineState, world: World) -> Value:
    """The value of ``size`` bytes of an object."""
    source = pointer.object
    assert source is not None
    found = world.member(source, pointer.off + offset, size)
    assert not isinstance(found, str)
    if found.what is What.OBJECT:
        if source.trust & Trust.ALLOC:  # whatever the program wrote there
            return unknown()
        trust, nullable = trust_of_member(source, found, referenced=bool(pointer.ref), in_rcu=in_rcu(state, world))
        return of_object(Object(source.btf, found.type, trust), world, nullable=nullable)
    if found.what is What.MEMORY:
        return Pointer(Kind.PROBED, readonly=True)
    return unknown()


def of_map(pointer: Pointer, offset: int, size: int, world: World) -> Value:
    """The value of ``size`` bytes of the kernel's own structure of a map."""
    assert pointer.map is not None
    source = world.map_object(pointer.map)
    assert source is not None
    found = world.member(source, pointer.off + offset, size)
    assert not isinstance(found, str)
    if found.what is What.OBJECT:
        return of_object(Object(source.btf, found.type, found.trust), world)
    return Pointer(Kind.PROBED, readonly=True) if found.what is What.MEMORY else unknown()


def of_object(found: Object, world: World, *, nullable: bool = False, ref: int = 0) -> Pointer:
    """A pointer to an object."""
    return Pointer(Kind.BTF, id=world.next_id() if nullable else 0, nullable=nullable, ref=ref, object=found)


def argument(context: TypedContext, offset: int, size: int, world: World) -> Value:
    """An argument of what the program attaches to."""
    found = context.argument(offset, size)
    assert not isinstance(found, str)
    if found.holds is Holds.OBJECT:
        assert found.object is not None
        return of_object(found.object, world, nullable=found.nullable)
    if found.holds is Holds.BUFFER:
        return Pointer(Kind.BUFFER, id=world.next_id(), nullable=True, readonly=found.readonly)
    if found.is_result:
        return Number(Scalar.signed(*context.hook_range))
    return unknown()


#: Results of helpers that are kernel objects, or memory that BTF measures.
RETURNED = frozenset(
    {
        ReturnKind.BTF_OBJECT,
        ReturnKind.BTF_OBJECT_OR_NULL,
        ReturnKind.MEMORY_OR_BTF_OBJECT,
        ReturnKind.MEMORY_OR_BTF_OBJECT_OR_NULL,
    }
)
_OR_NULL = frozenset({ReturnKind.BTF_OBJECT_OR_NULL, ReturnKind.MEMORY_OR_BTF_OBJECT_OR_NULL})
_CURRENT_TASK = 158
# One socket seen as another type: it dies with the first (kernel: is_ptr_cast_function).
_CASTS = frozenset({136, 137, 138, 139, 140, 196})


def returned(signature: Signature, state: MachineState, world: World) -> Value:
    """The result of a helper that gives an object."""
    nullable = signature.returns in _OR_NULL
    given = state.regs[1]
    if signature.return_btf_name is None:  # bpf_per_cpu_ptr, bpf_this_cpu_ptr
        assert isinstance(given, Pointer)
        assert given.object is not None
        if given.object.trust & Trust.RCU:  # one CPU's part of a per-CPU object
            return of_object(Object(given.object.btf, given.object.type, Trust.ALLOC | Trust.RCU), world)
        return variable(given.object.btf, given.object.type, world, nullable=nullable)
    trust = Trust.TRUSTED if signature.id == _CURRENT_TASK else Trust.NONE
    ref = given.ref if signature.id in _CASTS and isinstance(given, Pointer) else 0
    return kernel_object(signature.return_btf_name, world, trust, nullable=nullable, ref=ref)


def kernel_object(
    name: str, world: World, trust: Trust = Trust.NONE, *, nullable: bool = False, ref: int = 0
) -> Pointer:
    """A pointer to a structure of the kernel by its name."""
    kernel = world.linked.target.btf
    found = kernel.find(name, t.Struct, t.Union) if kernel is not None else None
    if kernel is None or found is None:  # nothing is known of it: it may be read with care
        return Pointer(Kind.PROBED, id=world.next_id() if nullable else 0, nullable=nullable, ref=ref, readonly=True)
    return of_object(Object(kernel, found, trust), world, nullable=nullable, ref=ref)


def variable(btf: t.Btf, type_id: int, world: World, *, nullable: bool = False) -> Pointer:
    """The address of a variable: an object, or memory that is only read."""
    stripped = btf.strip(type_id)
    if is_struct(btf[stripped]):
        return of_object(Object(btf, stripped), world, nullable=nullable)
    id = world.next_id() if nullable else 0
    return Pointer(Kind.MEMORY, id=id, nullable=nullable, size=size_of(btf, stripped), readonly=True)

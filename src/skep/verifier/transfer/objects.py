"""What loads from kernel objects and from contexts that BTF describes give (kernel: mark_btf_ld_reg)."""

from __future__ import annotations

from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, What, trust_of_member
from skep.verifier.state.typed_context import Holds, TypedContext
from skep.verifier.state.values import Kind, Number, Pointer, Value, unknown
from skep.verifier.state.world import World

_MAX_ERRNO = 4095


def loaded(pointer: Pointer, offset: int, size: int, state: MachineState, world: World) -> Value:
    """The value of ``size`` bytes of an object."""
    source = pointer.object
    assert source is not None
    found = world.member(source, pointer.off + offset, size)
    assert not isinstance(found, str)
    if found.what is What.OBJECT:
        in_rcu = bool(state.sections.rcu) or not world.linked.sleepable
        trust, nullable = trust_of_member(source, found, referenced=bool(pointer.ref), in_rcu=in_rcu)
        return of_object(Object(source.btf, found.type, trust), world, nullable=nullable)
    if found.what is What.MEMORY:
        return Pointer(Kind.PROBED, readonly=True)
    return unknown()


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
        return Number(Scalar.signed(-_MAX_ERRNO, 1))
    return unknown()

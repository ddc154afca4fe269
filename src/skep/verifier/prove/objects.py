"""Kernel objects that BTF describes: their members, and contexts made of them (kernel: check_ptr_to_btf_access)."""

from __future__ import annotations

from skep.abi.struct_ops import STRUCT_OPS
from skep.btf import types as t
from skep.btf.catalog import find_member, size_of
from skep.errors import SkepError
from skep.verifier.prove import regions
from skep.verifier.requirements.kinds import Requirement, Rule, Use, ValidAccess, Violation
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, Trust
from skep.verifier.state.typed_context import TypedContext
from skep.verifier.state.values import Pointer
from skep.verifier.state.world import World

_READS = frozenset({Use.READ, Use.ATOMIC_LOAD})


def valid_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """A load or store through a pointer to an object."""
    return _access(need, need.reg, pointer, need.offset, need.size, world, writes=need.use not in _READS)


def readable(need: Requirement, reg: int, pointer: Pointer, size: int, world: World) -> Violation | None:
    """A helper reads ``size`` bytes of an object."""
    return _access(need, reg, pointer, 0, size, world, writes=False)


def _access(
    need: Requirement, reg: int, pointer: Pointer, at: int, size: int, world: World, *, writes: bool
) -> Violation | None:
    found = pointer.object
    assert found is not None
    name, offset = found.name, pointer.off + at
    linked = world.linked
    values: dict[str, object] = {"struct": name, "offset": offset, "size": size, "pointer": pointer.name}
    if not linked.target.privileged:
        said = f"'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN"
        return Violation(Rule.OBJECT_LICENSE, need, said, reg, values)
    if not linked.is_gpl_compatible and found.btf is not linked.btf:
        said = f"Cannot access kernel 'struct {name}' from non-GPL compatible program"
        return Violation(Rule.OBJECT_LICENSE, need, said, reg, values)
    if offset < 0:
        said = f"R{reg} is ptr_{name} invalid negative access: off={offset}"
        return Violation(Rule.OBJECT_OFFSET, need, said, reg, values)
    if pointer.var is not None and (pointer.var[1] or pointer.var[0]):
        bits = f"({pointer.var.value:#x}; {pointer.var.mask:#x})"
        said = f"R{reg} is ptr_{name} invalid variable offset: off={offset}, var_off={bits}"
        return Violation(Rule.OBJECT_OFFSET, need, said, reg, values)
    if found.trust & (Trust.USER | Trust.PERCPU):
        kind = "user" if found.trust & Trust.USER else "percpu"
        said = f"R{reg} is ptr_{name} access {kind} memory: off={offset}"
        return Violation(Rule.OBJECT_REGION, need, said, reg, {**values, "region": kind})
    if writes:
        return _writable(need, reg, found, offset, size, world, values)
    member = world.member(found, offset, size)
    if isinstance(member, str):
        return Violation(Rule.OBJECT_ACCESS, need, member, reg, {**values, "reason": member})
    return None


def _writable(
    need: Requirement, reg: int, found: Object, offset: int, size: int, world: World, values: dict[str, object]
) -> Violation | None:
    """Only some tables' programs write, and only some members (kernel: btf_struct_access of the program type)."""
    context = world.typed
    facts = STRUCT_OPS.get(context.table) if isinstance(context, TypedContext) else None
    if facts is None:
        return Violation(Rule.OBJECT_READ_ONLY, need, "only read is supported", reg, values)
    for path in facts.writable.get(found.name, ()):
        place = _place(found.btf, found.type, path)
        if place is not None and place[0] <= offset < place[1]:
            if offset + size <= place[1]:
                return None
            said = f"write access at off {offset} with size {size} beyond the member of {found.name} ended at {place[1]}"
            return Violation(Rule.OBJECT_READ_ONLY, need, said, reg, values)
    said = f"no write support to {found.name} at off {offset}"
    return Violation(Rule.OBJECT_READ_ONLY, need, said, reg, values)


def _place(btf: t.Btf, type_id: int, path: str) -> tuple[int, int] | None:
    """First byte and end of a member, by the names on the way to it."""
    start = 0
    for name in path.split("."):
        found = find_member(btf, type_id, name)
        if found is None:
            return None
        start += found.offset
        type_id = found.member.type
        bits = found.member.bitfield_size
    try:
        return start, start + (-(-bits // 8) or size_of(btf, type_id))
    except SkepError:
        return None


def typed_context(
    need: ValidAccess, pointer: Pointer, context: TypedContext, state: MachineState, world: World
) -> Violation | None:
    """A load of an argument of what the program attaches to."""
    violation = regions.unmoved(need, pointer, need.reg)
    if violation is not None:
        return violation
    offset, size = need.offset, need.size
    argument = context.argument(offset, size) if need.use is Use.READ else "arguments cannot be written"
    if isinstance(argument, str):
        said = f"invalid bpf_context access off={offset} size={size}"
        values: dict[str, object] = {"offset": offset, "size": size, "use": need.use.value, "reason": argument}
        return Violation(Rule.CONTEXT_ARGUMENT, need, said, need.reg, values)
    return None


def buffer(need: Requirement, reg: int, pointer: Pointer, offset: int, size: int, *, writes: bool) -> Violation | None:
    """A buffer: constant offsets; its end is checked when the program is attached (kernel: check_buffer_access)."""
    offset += pointer.off
    what = "rdonly" if pointer.readonly else "rdwr"
    values: dict[str, object] = {"offset": offset, "size": size, "pointer": pointer.name}
    if writes and pointer.readonly:
        said = f"R{reg} cannot write into rdonly_buf"
        return Violation(Rule.MEMORY_READ_ONLY, need, said, reg, values)
    if offset < 0:
        said = f"R{reg} invalid {what} buffer access: off={offset}, size={size}"
        return Violation(Rule.BUFFER_OFFSET, need, said, reg, values)
    if pointer.var is not None and (pointer.var[1] or pointer.var[0]):
        bits = f"({pointer.var.value:#x}; {pointer.var.mask:#x})"
        said = f"R{reg} invalid variable buffer offset: off={offset}, var_off={bits}"
        return Violation(Rule.BUFFER_OFFSET, need, said, reg, values)
    return None


def buffer_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """A load or store in a buffer."""
    return buffer(need, need.reg, pointer, need.offset, need.size, writes=need.use not in _READS)


def probed_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """Memory that is read with care: anywhere, but never written."""
    if need.use in _READS:
        return None
    said = f"R{need.reg} cannot write into {pointer.name}"
    return Violation(Rule.MEMORY_READ_ONLY, need, said, need.reg, {"pointer": pointer.name})

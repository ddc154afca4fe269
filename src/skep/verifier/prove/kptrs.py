"""Pointers to objects that map values and allocated objects hold: loads, stores and exchanges (kernel:
check_map_kptr_access, map_kptr_match_type, process_kptr_func).
"""

from __future__ import annotations

from skep.btf.types import Btf
from skep.verifier.prove import objects
from skep.verifier.requirements.kinds import Requirement, Rule, Use, ValidAccess, ValidArgument, Violation
from skep.verifier.state.fields import KPTRS, Field, Special
from skep.verifier.state.kptrs import constant_offset, field_under, is_local
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Trust, same_or_nested
from skep.verifier.state.values import Kind, Number, Pointer, type_name
from skep.verifier.state.world import World

_PLAIN = frozenset({Use.READ, Use.WRITE})
_OWNED = frozenset({Special.KPTR, Special.PERCPU_KPTR})
_EXPECTED = "ptr_, trusted_ptr_, rcu_ptr_"


def valid_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """A load or store of a map's value that meets a pointer field at its place and in its size."""
    field = field_under(pointer, need.offset, world) if need.use is not Use.READ else None
    if field is None:
        return None
    if need.use not in _PLAIN:
        said = "kptr in map can only be accessed using BPF_MEM instruction mode"
        return _refused(need, field, need.reg, said, "it is not read or written by a plain load or store")
    if field.kind in _OWNED:
        reason = "it owns its object: only bpf_kptr_xchg() puts another one there"
        return _refused(need, field, need.reg, "store to referenced kptr disallowed", reason)
    if field.kind is Special.UPTR:
        return _refused(need, field, need.reg, "store to uptr disallowed", "only user space sets it")
    if need.value is None:
        if not need.imm:
            return None
        said = f"BPF_ST imm must be 0 when storing to kptr at off={field.offset}"
        return _refused(need, field, need.reg, said, "the only number that can be stored there is 0")
    value = state.regs[need.value]
    if isinstance(value, Number) and value.value == 0:
        value.rely()
        return None
    return matches(need, field, value, need.value, world)


def _refused(need: Requirement, field: Field, reg: int, said: str, reason: str) -> Violation:
    values: dict[str, object] = {"field": field.kind.kernel_name, "offset": field.offset, "reason": reason}
    return Violation(Rule.KPTR_ACCESS, need, said, reg, values)


def matches(
    need: Requirement, field: Field, value: Number | Pointer | None, reg: int, world: World
) -> Violation | None:
    """The pointer may be kept in the field (kernel: map_kptr_match_type)."""
    assert field.btf is not None
    wanted = field.btf[field.type].name
    found = value.object if isinstance(value, Pointer) else None
    if isinstance(value, Pointer) and found is not None and not found.trust & ~_allowed(field, found.btf, world):
        violation = objects.unmoved(need, value, reg, fixed=True)
        if violation is not None:
            return violation
        strict = field.kind is not Special.KPTR_UNTRUSTED
        at = constant_offset(value) or 0
        if same_or_nested(found.btf, found.type, at, field.btf, field.type, strict=strict):
            return None
    name = found.name if found is not None else ""
    said = f"invalid kptr access, R{reg} type={type_name(value)}{name} expected=ptr_{wanted}"
    if field.kind is Special.KPTR_UNTRUSTED:
        said += f" or untrusted_ptr_{wanted}"
    values: dict[str, object] = {"pointer": type_name(value), "struct": name or None, "expected": wanted}
    return Violation(Rule.KPTR_TYPE, need, said, reg, {**values, "field": field.kind.kernel_name})


def _allowed(field: Field, btf: Btf, world: World) -> Trust:
    """What may be said of a pointer that is put into the field."""
    if not is_local(btf, world):
        return Trust.TRUSTED | Trust.RCU | (Trust.UNTRUSTED if field.kind is Special.KPTR_UNTRUSTED else Trust.NONE)
    return Trust.ALLOC | (Trust.PERCPU if field.kind is Special.PERCPU_KPTR else Trust.NONE)


def destination(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    """The first argument of bpf_kptr_xchg() points to a field that owns its object."""
    found = exchanged_field(need.reg, value, world)
    if isinstance(found, Field):
        return None
    values: dict[str, object] = {"helper": need.helper, "pointer": value.name, "reason": _REASONS[found[1]]}
    return Violation(Rule.KPTR_FIELD, need, found[0], need.reg, values)


_REASONS = {
    "btf": "the kernel does not know the type of the map's values: the map needs BTF",
    "variable": "the offset of the field is not a constant",
    "none": "there is no pointer field in it",
    "elsewhere": "no pointer field begins there",
    "unowned": "the field does not own what it points to: it is tagged __kptr_untrusted, not __kptr",
}


def exchanged_field(reg: int, value: Pointer, world: World) -> Field | tuple[str, str]:
    """The field, or the kernel's sentence and our reason why it is none (kernel: process_kptr_func)."""
    spec = value.map if value.kind is Kind.MAP_VALUE else None
    if spec is not None and spec.btf is None:
        return f"map '{spec.name}' has to have BTF in order to use bpf_kptr_xchg", "btf"
    at = constant_offset(value)
    if at is None:
        return f"R{reg} doesn't have constant offset. kptr has to be at the constant offset", "variable"
    record = world.record(value)
    if record.find(*KPTRS) is None:
        return f"R{reg} has no valid kptr", "none"
    field = record.at(at, KPTRS)
    if field is None:
        return f"off={at} doesn't point to kptr", "elsewhere"
    if field.kind not in _OWNED:
        return f"off={at} kptr isn't referenced kptr", "unowned"
    return field


# What may be said of a pointer that is given to bpf_kptr_xchg(), but for MEM_ALLOC (kernel: check_reg_type).
_GIVEN = frozenset({Trust.NONE, Trust.TRUSTED, Trust.RCU, Trust.ALLOC, Trust.ALLOC | Trust.PERCPU})


def given(need: ValidArgument, state: MachineState, world: World) -> Violation | None:
    """The second argument of bpf_kptr_xchg(): NULL, or a reference that the field can own."""
    reg, value = need.reg, state.regs[need.reg]
    if isinstance(value, Number) and value.value == 0:
        value.rely()
        return None
    found = value.object if isinstance(value, Pointer) else None
    values: dict[str, object] = {"helper": need.helper, "pointer": type_name(value)}
    if not isinstance(value, Pointer) or found is None or found.trust not in _GIVEN:
        said = f"R{reg} type={type_name(value)} expected={_EXPECTED}"
        return Violation(Rule.ARGUMENT_KIND, need, said, reg, {**values, "expected": _EXPECTED})
    if value.nullable:
        said = f"Possibly NULL pointer passed to helper arg{reg}"
        return Violation(Rule.ARGUMENT_NULL, need, said, reg, values)
    held = state.regs[1]
    field = exchanged_field(1, held, world) if isinstance(held, Pointer) else None
    assert isinstance(field, Field)
    violation = matches(need, field, value, reg, world)
    if violation is not None:
        return violation
    if constant_offset(value) != 0:
        said = f"R{reg} must have zero offset when passed to release func or trusted arg to kfunc"
        return Violation(Rule.ARGUMENT_OFFSET, need, said, reg, values)
    if not value.ref:
        said = f"R{reg} must be referenced when passed to release function"
        return Violation(Rule.RELEASE_UNOWNED, need, said, reg, values)
    return None

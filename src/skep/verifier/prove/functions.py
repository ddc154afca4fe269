"""Calls of global functions: verified on their own, so the call only has to match the prototype."""

from __future__ import annotations

from skep.abi.signatures import Arg, ArgKind
from skep.model.programs import Subprogram
from skep.verifier.prove import access, dynptrs, fields, objects, regions, stack
from skep.verifier.requirements.kinds import Requirement, Rule, ValidCall, Violation
from skep.verifier.state.functions import Parameter, Passed
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, Trust, same_or_nested
from skep.verifier.state.values import Kind, Number, Pointer, Value, type_name
from skep.verifier.state.world import World


def valid_global_call(need: ValidCall, sub: Subprogram, state: MachineState, world: World) -> Violation | None:
    """Every argument is what the prototype says (kernel: btf_check_func_arg_match)."""
    expected = world.parameters(sub.start)
    if isinstance(expected, str):
        if expected.startswith("unsupported"):
            feature = f"parameters of global function {sub.name}(): {expected}"
            return Violation(Rule.UNSUPPORTED, need, feature, None, {"feature": feature, "instead": ""})
        return Violation(Rule.SUBPROGRAM_SIGNATURE, need, expected, None, {"function": sub.name, "reason": expected})
    for reg, parameter in enumerate(expected, start=1):
        value = state.regs[reg]
        if value is None:
            return Violation(Rule.UNINITIALISED, need, f"R{reg} !read_ok", reg)
        if not _matches(need, parameter, value, reg, state, world):
            index = list(world.functions).index(sub.start)
            said = f"Caller passes invalid args into func#{index} ('{sub.name}')"
            values = {"function": sub.name, "expected": parameter.kind.value, "pointer": type_name(value)}
            return Violation(Rule.SUBPROGRAM_ARGUMENTS, need, said, reg, values)
    return None


def _matches(
    need: Requirement, parameter: Parameter, value: Value, reg: int, state: MachineState, world: World
) -> bool:
    if parameter.kind is Passed.NUMBER:
        return isinstance(value, Number)
    if parameter.kind is Passed.ARENA:
        return isinstance(value, Number) or value.kind is Kind.ARENA
    if parameter.kind is Passed.UNTRUSTED or (parameter.object and parameter.object.trust is Trust.UNTRUSTED):
        return True
    if parameter.object is not None:
        return _object(need, parameter, parameter.object, value, reg)
    if parameter.kind is Passed.DYNPTR:
        return dynptrs.is_global_argument(need, reg, value, state)
    if parameter.kind is Passed.CONTEXT:
        if not isinstance(value, Pointer) or value.kind is not Kind.CTX:
            return False
        return regions.unmoved(need, value, reg) is None
    if isinstance(value, Number):
        if value.value == 0 and parameter.nullable:
            value.rely()
            return True
        return False
    if value.nullable and not parameter.nullable:
        return False
    return _memory(need, parameter.size, value, reg, state, world)


def _object(need: Requirement, parameter: Parameter, wanted: Object, value: Value, reg: int) -> bool:
    """A pointer to the right kind of kernel object."""
    if isinstance(value, Number):
        if value.value == 0 and parameter.nullable:
            value.rely()
            return True
        return False
    found = value.object
    if found is None or not objects.fits_argument(Arg(ArgKind.BTF_OBJECT, nullable=parameter.nullable), value):
        return False
    if objects.unmoved(need, value, reg, fixed=True) is not None:
        return False
    return same_or_nested(found.btf, found.type, value.off, wanted.btf, wanted.type, strict=False)


def _memory(need: Requirement, size: int, value: Pointer, reg: int, state: MachineState, world: World) -> bool:
    """The function may read and write all of it (kernel: check_mem_reg)."""
    if value.kind in (Kind.PACKET, Kind.PACKET_META):
        writable = world.context is not None and world.context.packet_writable
        return writable and regions.packet(need, value, reg, value.off, size, zero_size=False) is None
    if value.readonly or value.kind is Kind.MAP_KEY:
        return False
    if value.kind is Kind.STACK:
        if stack.in_bounds(need, value, reg, value.off, size, writes=True) is not None:
            return False
        low, high = value.off + value.low, value.off + (value.var.smax if value.var else 0)
        return stack.initialised(need, state.frames[value.frame], low, high + size, reg, world) is None
    if value.kind is Kind.MAP_VALUE:
        assert value.map is not None
        if access.map_access(need, value.map, value.off, size, reads=True, writes=True) is not None:
            return False
        if regions.within(need, value, reg, value.off, size, value.map.value_size) is not None:
            return False
        return fields.untouched(need, value, reg, value.off, size, world) is None
    if value.kind in (Kind.MEMORY, Kind.RECORD):
        return regions.within(need, value, reg, value.off, size, value.size) is None
    if value.kind is Kind.CTX:
        return regions.plain_context(world, value, size)
    if value.kind is Kind.BUFFER:
        return objects.buffer(need, reg, value, 0, size, writes=True) is None
    if value.kind is Kind.BTF:
        return objects.readable(need, reg, value, size, world) is None
    return False

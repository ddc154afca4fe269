"""Calls of kernel functions (kernel: check_kfunc_call, check_kfunc_args)."""

from __future__ import annotations

from skep.abi.kfuncs import KfuncFlag, may_call
from skep.btf import types as t
from skep.verifier.prove import (
    access,
    allocated,
    dynptrs,
    fields,
    graphs,
    irq,
    iterators,
    later,
    locks,
    objects,
    regions,
    stack,
)
from skep.verifier.prove.arguments import constant_string
from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver, wrong
from skep.verifier.prove.leaving import sleeps_in
from skep.verifier.requirements.kfuncs import KfuncArguments, KfuncAvailable, KfuncPlace
from skep.verifier.requirements.kinds import Requirement, Rule, Violation
from skep.verifier.state import kfuncs
from skep.verifier.state.kfuncs import KfuncParam, KfuncProto, Wants
from skep.verifier.state.kptrs import in_rcu
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Trust, same_or_nested
from skep.verifier.state.offsets import MAX_OFFSET
from skep.verifier.state.sleeping import may_sleep
from skep.verifier.state.values import Kind, Number, Pointer, Value, type_name
from skep.verifier.state.world import World

# Pointers that stand for an object of the kernel without being one (kernel: reg2btf_ids).
STANDS_FOR = {Kind.SOCK: "sock", Kind.SOCK_COMMON: "sock_common", Kind.TCP_SOCK: "tcp_sock", Kind.MAP: "bpf_map"}
_STRICT = KfuncFlag.TRUSTED_ARGS | KfuncFlag.RCU | KfuncFlag.RELEASE  # is_kfunc_trusted_args(), is_kfunc_rcu()
_UNDER_INIT = "___init"

ARGUMENTS: dict[Wants, ArgumentProver] = {
    **iterators.ARGUMENTS,
    **irq.ARGUMENTS,
    **dynptrs.ARGUMENTS,
    **locks.ARGUMENTS,
    **later.ARGUMENTS,
    **allocated.ARGUMENTS,
    **graphs.ARGUMENTS,
}
"""By kind of parameter; the kinds that are not here are proved in this module."""

CALLS: dict[str, CallProver] = {
    **iterators.CALLS,
    **irq.CALLS,
    **dynptrs.CALLS,
    **locks.CALLS,
    **later.CALLS,
    **allocated.CALLS,
    **graphs.CALLS,
}
"""By function: what its arguments must be together, and what else it needs."""


def kfunc_available(need: KfuncAvailable, state: MachineState, world: World) -> Violation | None:
    """It exists, and programs of this type may call it."""
    name, linked = need.name, world.linked
    proto = world.kfunc(name)
    if isinstance(proto, str):
        if proto == "unknown":
            said = f"calling kernel function {name}, which is not in the kernel's BTF"
            return Violation(Rule.KFUNC_UNKNOWN, need, said, None, {"kfunc": name})
        return _unsupported(need, f"kernel function {name}()")
    held = locks.kfunc_allowed(need, name, state)
    if held is not None:
        return held
    values: dict[str, object] = {"kfunc": name, "prog_type": linked.prog_type.name}
    attached = proto.row.attach_types is None or linked.attach_type in proto.row.attach_types
    if not attached or not may_call(proto.row, linked.prog_type, linked.attach_type):
        said = f"calling kernel function {name} is not allowed"
        return Violation(Rule.KFUNC_PROG_TYPE, need, said, None, values)
    if name == kfuncs.TRAP:
        said = "unexpected __bpf_trap() due to uninitialized variable?"
        return Violation(Rule.PROGRAM, need, said, None, {"reason": "the compiler found that a variable has no value"})
    if name in _DEVICE_BOUND:
        said = "metadata kfuncs require device-bound program"
        return Violation(Rule.KFUNC_PROG_TYPE, need, said, None, values)
    if proto.has(KfuncFlag.SLEEPABLE) and not may_sleep(state, world):
        said = f"program must be sleepable to call sleepable kfunc {name}"
        return Violation(Rule.KFUNC_SLEEPS, need, said, None, values)
    if proto.special - ARGUMENTS.keys() or (name in _FOREIGN_NAMES and name not in CALLS):
        return _unsupported(need, f"kernel function {name}()")
    return None


# Only programs that are bound to a network device when they are loaded (xdp_metadata.h).
_DEVICE_BOUND = frozenset({"bpf_xdp_metadata_rx_timestamp", "bpf_xdp_metadata_rx_hash", "bpf_xdp_metadata_rx_vlan_tag"})

# Whose result or effect needs more than their prototype: P-objects' room.
_FOREIGN_NAMES = frozenset(
    {
        "bpf_stream_vprintk_impl",
    }
)


def _unsupported(need: Requirement, feature: str) -> Violation:
    return Violation(Rule.UNSUPPORTED, need, feature, None, {"feature": feature, "instead": ""})


def kfunc_place(need: KfuncPlace, state: MachineState, world: World) -> Violation | None:
    """RCU read locks and regions without preemption open and close in pairs."""
    proto, name, sections = world.kfunc(need.name), need.name, state.sections
    assert not isinstance(proto, str)
    said = section = ""
    if name == kfuncs.RCU_LOCK and sections.rcu:
        said, section = f"nested rcu read lock (kernel function {name})", "the RCU read lock is held already"
    elif name == kfuncs.RCU_UNLOCK and not sections.rcu:
        said, section = f"unmatched rcu read unlock (kernel function {name})", "the RCU read lock is not held"
    elif name == kfuncs.PREEMPT_ENABLE and not sections.preempt:
        said = f"unmatched attempt to enable preemption (kernel function {name})"
        section = "preemption is enabled already"
    if said:
        return Violation(Rule.SECTION_UNMATCHED, need, said, None, {"kfunc": name, "section": section})
    if proto.has(KfuncFlag.SLEEPABLE):
        held = sleeps_in(state, f"kernel func {name} is sleepable within")
        if held is not None:
            values: dict[str, object] = {"function": name, "section": held[1]}
            return Violation(Rule.SECTION_SLEEPS, need, held[0], None, values)
    if proto.has(KfuncFlag.RCU_PROTECTED) and not in_rcu(state, world):
        said = f"kernel func {name} requires RCU critical section protection"
        return Violation(Rule.SECTION_NEEDED, need, said, None, {"kfunc": name})
    return None


def kfunc_arguments(need: KfuncArguments, state: MachineState, world: World) -> Violation | None:
    """Each in its turn; the size of a memory argument goes with it."""
    proto = world.kfunc(need.name)
    assert not isinstance(proto, str)
    released = False
    skip = False
    for index, param in enumerate(proto.params):
        if skip:
            skip = False
            continue
        if param.wants is Wants.ANYTHING:
            continue
        value = state.regs[index + 1]
        if value is None:
            return Violation(Rule.UNINITIALISED, need, f"R{index + 1} !read_ok", index + 1)
        violation = _argument(need, proto, param, index, value, state, world)
        if violation is not None:
            return violation
        skip = _is_sized(param, state, index) and not _is_object(value)
        released = released or (isinstance(value, Pointer) and bool(value.ref))
    if proto.has(KfuncFlag.RELEASE) and not released:
        said = f"release kernel function {need.name} expects refcounted PTR_TO_BTF_ID"
        return Violation(Rule.KFUNC_ARGUMENT, need, said, 1, {"kfunc": need.name, "expected": "a reference it owns"})
    besides = CALLS.get(need.name)
    return besides(need, proto, state, world) if besides is not None else None


def _is_sized(param: KfuncParam, state: MachineState, index: int) -> bool:
    return param.sized_by and isinstance(state.regs[index + 2], Number)


def _is_null(value: Value) -> bool:
    return isinstance(value, Number) and value.value == 0


def _is_object(value: Value) -> bool:
    return isinstance(value, Pointer) and (value.object is not None or value.kind in STANDS_FOR)


def _argument(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    reg, wants = index + 1, param.wants
    if wants in (Wants.NUMBER, Wants.CONSTANT, Wants.BUFFER_SIZE):
        if not isinstance(value, Number):
            return wrong(need, index, value, wants.value, f"R{reg} is not a scalar")
        if wants is not Wants.NUMBER:
            value.rely()
            if value.value is None:
                return wrong(need, index, value, wants.value, f"R{reg} must be a known constant")
        return _type_id(need, proto, index, value)
    maybe_null = value.nullable if isinstance(value, Pointer) else value.value == 0
    if proto.row.flags & _STRICT and maybe_null and not param.nullable:
        said = f"Possibly NULL pointer passed to trusted arg{index}"
        values: dict[str, object] = {"function": need.name, "pointer": type_name(value), "wanted": "not NULL"}
        return Violation(Rule.OBJECT_TRUST, need, said, reg, values)
    prover = ARGUMENTS.get(wants)
    if prover is not None:
        return prover(need, proto, param, index, value, state, world)
    if wants is Wants.CONTEXT:
        if not isinstance(value, Pointer) or value.kind is not Kind.CTX:
            said = f"arg#{index} expected pointer to ctx, but got {type_name(value)}"
            return wrong(need, index, value, wants.value, said)
        if need.name == kfuncs.CAST_TO_KERN_CTX and world.linked.prog_type not in kfuncs.KERNEL_CONTEXTS:
            return wrong(
                need, index, value, "a context that the kernel has a structure for", "kern ctx is not a struct"
            )
        return regions.unmoved(need, value, reg)
    if param.nullable and isinstance(value, Number) and value.value == 0 and not _is_sized(param, state, index):
        value.rely()
        return None
    if wants is Wants.STRING:
        if not isinstance(value, Pointer) or value.kind is not Kind.MAP_VALUE or value.nullable:
            return wrong(need, index, value, wants.value, f"arg#{index} doesn't point to a const string")
        return constant_string(need, reg, value, {"helper": need.name, "pointer": value.name})
    if wants is Wants.CALLBACK:
        if not isinstance(value, Pointer) or value.kind is not Kind.FUNC:
            return wrong(need, index, value, wants.value, f"arg{index} expected pointer to func")
        return None
    if wants is Wants.MAP and not (isinstance(value, Pointer) and value.kind is Kind.MAP):
        return wrong(need, index, value, wants.value, f"pointer in R{reg} isn't map pointer")
    if isinstance(value, Pointer) and (value.object is not None or value.kind in STANDS_FOR):
        return _object(need, proto, param, index, value, world)
    return _memory_argument(need, param, index, value, state, world)


def _type_id(need: KfuncArguments, proto: KfuncProto, index: int, value: Number) -> Violation | None:
    """bpf_rdonly_cast() takes the id of a structure, or of void."""
    if need.name != kfuncs.RDONLY_CAST or index != 1 or value.value is None:
        return None
    id = value.value & 0xFFFF_FFFF
    found = proto.btf[id] if id < len(proto.btf) else None
    if found is None:
        said = f"Unknown type ID {value.value} passed to kfunc bpf_rdonly_cast"
        return wrong(need, index, value, "the id of a type", said)
    if not isinstance(found, (t.Struct, t.Union, t.Void)):
        said = "kfunc bpf_rdonly_cast type ID argument must be of a struct or void"
        return wrong(need, index, value, "the id of a structure", said)
    return None


def _object(
    need: KfuncArguments, proto: KfuncProto, param: KfuncParam, index: int, value: Pointer, world: World
) -> Violation | None:
    """A pointer to a kernel object: trusted enough, at the right place, of the right type."""
    reg, found = index + 1, value.object
    wanted, wanted_btf = param.type, proto.btf
    target = param.target
    if param.wants is Wants.MAP:
        wanted = proto.btf.find("bpf_map", t.Struct) or 0
        target = "bpf_map"
    elif not param.is_struct:
        said = f"kernel function {need.name} args#{index} pointer type {target} is not supported"
        return wrong(need, index, value, "a pointer to plain memory", said)
    if proto.row.flags & _STRICT and not _trusted(value):
        protected = found is not None and bool(found.trust & Trust.RCU)
        if not proto.has(KfuncFlag.RCU) or not protected:
            is_rcu = proto.has(KfuncFlag.RCU)
            said = f"R{reg} must be {'a rcu pointer' if is_rcu else 'referenced or trusted'}"
            text = "trusted, or under RCU" if is_rcu else "trusted, or a reference the program owns"
            values: dict[str, object] = {"function": need.name, "pointer": value.name, "wanted": text}
            return Violation(Rule.OBJECT_TRUST, need, said, reg, values)
    releases = proto.has(KfuncFlag.RELEASE) and bool(value.ref)
    violation = allocated.placed(need, value, reg, released=releases)
    if violation is not None:
        return violation
    if found is not None and (found.unsafe or value.nullable) and not found.trust & Trust.RCU:
        said = f"arg#{index} is {value.name} expected ptr_ or socket"
        return wrong(need, index, value, "a pointer that is safe to follow", said)
    btf = found.btf if found is not None else proto.btf
    type_id = found.type if found is not None else proto.btf.find(STANDS_FOR[value.kind], t.Struct) or 0
    name = btf[type_id].name
    strict = proto.has(KfuncFlag.ACQUIRE) or releases or _is_alias(name, target)
    if same_or_nested(btf, type_id, value.off, wanted_btf, wanted, strict=strict) or _is_projection(target, name):
        return None
    said = (
        f"kernel function {need.name} args#{index} expected pointer to STRUCT {target}"
        f" but R{reg} has a pointer to STRUCT {name}"
    )
    values = {"function": need.name, "pointer": value.name, "struct": name, "expected": target}
    return Violation(Rule.OBJECT_TYPE, need, said, reg, values)


def _trusted(value: Pointer) -> bool:
    """Kernel: is_trusted_reg."""
    if value.ref:
        return True
    if value.object is None:
        return not value.nullable
    return value.object.trusted and not value.nullable


def _is_alias(name: str, other: str) -> bool:
    """``nf_conn___init`` is not ``nf_conn`` (kernel: btf_type_ids_nocast_alias)."""
    return name.removesuffix(_UNDER_INIT) == other.removesuffix(_UNDER_INIT) and name != other


def _is_projection(wanted: str, name: str) -> bool:
    return (wanted, name) in (("__sk_buff", "sk_buff"), ("xdp_md", "xdp_buff"))


def _memory_argument(
    need: KfuncArguments, param: KfuncParam, index: int, value: Value, state: MachineState, world: World
) -> Violation | None:
    sized = _is_sized(param, state, index)
    is_void = sized and not param.type
    if not param.scalar_memory and not is_void:
        said = f"arg#{index} pointer type STRUCT {param.target} must point to scalar, or struct with scalar"
        return wrong(need, index, value, "a pointer to an object", said)
    if not sized:
        if _is_null(value):
            assert isinstance(value, Number)
            value.rely()
            return None
        return _memory(need, index, value, param.size or 0, state, world, zero_size=False)
    length = state.regs[index + 2]
    assert isinstance(length, Number)
    length.rely()
    if not (param.optional and _is_null(value)):
        violation = _sized_memory(need, index, value, length, state, world)
        if violation is not None:
            return violation
    if param.constant_size and length.value is None:
        return wrong(need, index + 1, length, Wants.CONSTANT.value, f"R{index + 2} must be a known constant")
    return None


def _sized_memory(
    need: KfuncArguments, index: int, value: Value, length: Number, state: MachineState, world: World
) -> Violation | None:
    """Memory and its size (kernel: check_kfunc_mem_size_reg)."""
    known = length.range
    said = f"arg#{index} arg#{index + 1} memory, len pair leads to invalid memory access"
    if known.smin < 0 or known.umax >= MAX_OFFSET:
        return wrong(need, index + 1, length, "a size within limits", said)
    if _is_null(value) and known.umax == 0:
        return None
    found = _memory(need, index, value, known.umax, state, world, zero_size=True)
    return None if found is None else Violation(found.rule, need, said, found.reg, found.values)


def _memory(
    need: KfuncArguments,
    index: int,
    value: Value,
    size: int,
    state: MachineState,
    world: World,
    *,
    zero_size: bool,
) -> Violation | None:
    """The function may read and write ``size`` bytes (kernel: check_mem_reg, check_helper_mem_access)."""
    reg = index + 1
    if not isinstance(value, Pointer):
        return wrong(need, index, value, "a pointer to memory", f"R{reg} type={type_name(value)} expected=fp, mem")
    kind = value.kind
    if kind in (Kind.PACKET, Kind.PACKET_META):
        return regions.packet(need, value, reg, value.off, size, zero_size=zero_size)
    if kind is Kind.STACK:
        if size == 0:
            return None
        violation = stack.in_bounds(need, value, reg, value.off, size, writes=True)
        if violation is not None:
            return violation
        low, high = value.off + value.low, value.off + (value.var.smax if value.var else 0)
        return stack.initialised(need, state.frames[value.frame], low, high + size, reg, world)
    if kind is Kind.MAP_VALUE:
        assert value.map is not None
        violation = access.map_access(need, value.map, value.off, size, reads=True, writes=True)
        if violation is not None:
            return violation
        violation = regions.within(need, value, reg, value.off, size, value.map.value_size, zero_size=zero_size)
        return violation or fields.untouched(need, value, reg, value.off, size, world)
    if kind in (Kind.MEMORY, Kind.RECORD):
        if value.readonly:
            said = f"R{reg} cannot write into {value.name}"
            return Violation(Rule.MEMORY_READ_ONLY, need, said, reg, {"pointer": value.name})
        return regions.within(need, value, reg, value.off, size, value.size, zero_size=zero_size)
    if kind is Kind.BUFFER:
        return objects.buffer(need, reg, value, 0, size, writes=True)
    if kind is Kind.CTX and regions.plain_context(world, value, size):
        return None
    return wrong(need, index, value, "a pointer to memory", f"R{reg} type={value.name} expected=fp, pkt, mem")

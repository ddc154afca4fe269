"""Arguments of helpers (kernel: check_func_arg)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from skep.abi.map_types import MapType
from skep.abi.signatures import Arg, ArgKind, MemoryUse, Signature
from skep.model.maps import MapSpec
from skep.verifier.prove import (
    access,
    dynptrs,
    fields,
    kptrs,
    later,
    leaks,
    locks,
    objects,
    regions,
    stack,
    stack_objects,
)
from skep.verifier.requirements.kinds import Requirement, Rule, Use, ValidAccess, ValidArgument, Violation
from skep.verifier.state.dynptrs import Slice
from skep.verifier.state.machine import MachineState
from skep.verifier.state.offsets import MAX_OFFSET
from skep.verifier.state.values import PACKET_KINDS, Kind, Number, Pointer, type_name
from skep.verifier.state.world import World

_RDONLY_PROG = 1 << 7

_MEMORY = frozenset(
    {
        Kind.STACK,
        Kind.PACKET,
        Kind.PACKET_META,
        Kind.MAP_KEY,
        Kind.MAP_VALUE,
        Kind.MEMORY,
        Kind.RECORD,
        Kind.BTF,
        Kind.BUFFER,
    }
)
_FIXED = _MEMORY - {Kind.MEMORY, Kind.RECORD, Kind.BTF, Kind.BUFFER}
_SOCKETS = frozenset({Kind.SOCK, Kind.SOCK_COMMON, Kind.TCP_SOCK, Kind.XDP_SOCK})

# Which kinds of pointers an argument may hold (kernel: compatible_reg_types), and how the kernel lists them.
_WANTED: dict[ArgKind, tuple[frozenset[Kind], str]] = {
    ArgKind.CONTEXT: (frozenset({Kind.CTX}), "ctx"),
    ArgKind.CONST_MAP: (frozenset({Kind.MAP}), "map_ptr"),
    ArgKind.MAP_KEY: (_MEMORY, "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"),
    ArgKind.MAP_VALUE: (_MEMORY, "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"),
    ArgKind.MEMORY: (_MEMORY, "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"),
    ArgKind.FIXED_INT: (_FIXED, "fp, pkt, pkt_meta, map_key, map_value"),
    ArgKind.FIXED_LONG: (_FIXED, "fp, pkt, pkt_meta, map_key, map_value"),
    ArgKind.RINGBUF_RECORD: (frozenset({Kind.RECORD}), "ringbuf_mem"),
    ArgKind.CALLBACK: (frozenset({Kind.FUNC}), "func"),
    ArgKind.DYNPTR: (frozenset({Kind.STACK, Kind.DYNPTR}), "fp, dynptr_ptr"),
    ArgKind.CALLBACK_CONTEXT: (frozenset({Kind.STACK}), "fp"),
    ArgKind.CONST_STRING: (frozenset({Kind.MAP_VALUE}), "map_value"),
    ArgKind.TIMER: (frozenset({Kind.MAP_VALUE}), "map_value"),
    ArgKind.SPIN_LOCK: (frozenset({Kind.MAP_VALUE, Kind.BTF}), "map_value, ptr_"),
    ArgKind.SOCKET: (frozenset({Kind.SOCK}), "sock"),
    ArgKind.SOCK_COMMON: (_SOCKETS, "sock_common, sock, tcp_sock, xdp_sock"),
    ArgKind.BTF_OBJECT: (frozenset({Kind.BTF}), "ptr_, trusted_ptr_, rcu_ptr_"),
    ArgKind.PERCPU_BTF_OBJECT: (
        frozenset({Kind.BTF}),
        "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_",
    ),
    ArgKind.KPTR: (frozenset({Kind.MAP_VALUE, Kind.BTF}), "map_value, ptr_, ptr_, rcu_ptr_"),
    ArgKind.BTF_SOCK_COMMON: (_SOCKETS | {Kind.BTF}, "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_"),
}
_OBJECTS = frozenset({ArgKind.BTF_OBJECT, ArgKind.BTF_SOCK_COMMON, ArgKind.PERCPU_BTF_OBJECT})
# The kernel takes neither read-only memory nor slices of dynptrs for these (kernel: check_reg_type).
_KEYS_AND_VALUES = frozenset({ArgKind.MAP_KEY, ArgKind.MAP_VALUE})
_NUMBERS = frozenset({ArgKind.SIZE, ArgKind.SIZE_OR_ZERO, ArgKind.ALLOC_SIZE})

# Kinds that may be passed at any offset; the others unmoved (kernel: check_func_arg_reg_off).
_ANY_OFFSET = _MEMORY | {Kind.SOCK_COMMON, Kind.MAP_VALUE}


def valid_argument(need: ValidArgument, state: MachineState, world: World) -> Violation | None:
    """The register holds what the signature wants."""
    need = _resolved(need, state, world)
    arg, reg = need.arg, need.reg
    kind = arg.kind
    value = state.regs[reg]
    if kind is ArgKind.ANYTHING:
        if isinstance(value, Pointer) and not world.linked.target.privileged:
            return Violation(
                Rule.POINTER_LEAK, need, f"R{reg} leaks addr into helper function", reg, _named(need, value)
            )
        return None
    if kind in _NUMBERS:
        return _number(need, value, state, world)
    if kind is ArgKind.KPTR_VALUE:
        return kptrs.given(need, state, world)
    wanted = _WANTED.get(kind)
    if wanted is None:
        feature = f"helper arguments of kind {kind.value}"
        return Violation(Rule.UNSUPPORTED, need, feature, reg, {"feature": feature, "instead": ""})
    signature = world.signature(need.helper)
    assert signature is not None
    if isinstance(value, Pointer) and value.kind in PACKET_KINDS and not _packet_allowed(signature, world):
        said = "helper access to the packet is not allowed"
        return Violation(Rule.ARGUMENT_REGION, need, said, reg, _named(need, value))
    if isinstance(value, Number):
        if value.value == 0 and arg.nullable:
            value.rely()
            return None
        return _wrong_kind(need, value, wanted[1])
    if value is None or value.kind not in wanted[0]:
        return _wrong_kind(need, value, wanted[1])
    if value.kind is Kind.BTF and kind is not ArgKind.SPIN_LOCK:
        if not objects.fits_argument(arg, value):
            return _wrong_kind(need, value, wanted[1])
        violation = objects.argument(need, value, signature, world)
        if violation is not None or kind in _OBJECTS:
            return violation
    if value.nullable and not arg.nullable:
        return Violation(
            Rule.ARGUMENT_NULL, need, f"R{reg} type={value.name} expected={wanted[1]}", reg, _named(need, value)
        )
    if value.readonly and (arg.use is not MemoryUse.READ or kind in _KEYS_AND_VALUES):
        return _wrong_kind(need, value, wanted[1])
    if kind in _KEYS_AND_VALUES and isinstance(value.dynptr, Slice) and value.dynptr.type is not None:
        return _wrong_kind(need, value, wanted[1])
    violation = _offset(need, value, signature)
    if violation is not None:
        return violation
    detail = _DETAILS.get(kind)
    return None if detail is None else detail(need, value, state, world)


def _resolved(need: ValidArgument, state: MachineState, world: World) -> ValidArgument:
    """What the map makes of "a value of the map": sockets in socket maps; bloom filters read what they are asked for
    (kernel: resolve_map_arg_type)."""
    if need.arg.kind is not ArgKind.MAP_VALUE:
        return need
    spec = _map_spec(need, state, world)
    if spec is not None and spec.type in (MapType.SOCKMAP, MapType.SOCKHASH):
        return replace(need, arg=replace(need.arg, kind=ArgKind.BTF_SOCK_COMMON))
    if spec is not None and spec.type is MapType.BLOOM_FILTER:
        return replace(need, arg=replace(need.arg, use=MemoryUse.READ))
    return need


def _named(need: ValidArgument, value: object) -> dict[str, object]:
    return {"helper": need.helper, "pointer": type_name(value if isinstance(value, (Number, Pointer)) else None)}


def _wrong_kind(need: ValidArgument, value: Number | Pointer | None, expected: str) -> Violation:
    said = f"R{need.reg} type={type_name(value)} expected={expected}"
    return Violation(Rule.ARGUMENT_KIND, need, said, need.reg, {**_named(need, value), "expected": expected})


def _packet_allowed(signature: Signature, world: World) -> bool:
    context = world.context
    if context is None:
        return False
    return context.packet_arguments_anywhere or (signature.packet_arguments and context.packet_arguments)


def _offset(need: ValidArgument, value: Pointer, signature: Signature) -> Violation | None:
    if need.arg.kind is ArgKind.DYNPTR and value.kind is Kind.STACK:
        return None
    if need.reg == signature.releases and (value.off or value.var is not None):
        said = f"R{need.reg} must have zero offset when passed to release func or trusted arg to kfunc"
        return Violation(Rule.ARGUMENT_OFFSET, need, said, need.reg, _named(need, value))
    if need.reg == signature.releases and not value.ref and value.kind is not Kind.DYNPTR:
        said = f"R{need.reg} must be referenced when passed to release function"
        return Violation(Rule.RELEASE_UNOWNED, need, said, need.reg, _named(need, value))
    return None if value.kind in _ANY_OFFSET else regions.unmoved(need, value, need.reg)


def map_argument(signature: Signature, state: MachineState) -> Pointer | None:
    """The map that a call is given, if its signature takes one."""
    for reg, arg in enumerate(signature.args or (), start=1):
        if arg.kind is ArgKind.CONST_MAP:
            value = state.regs[reg]
            return value if isinstance(value, Pointer) and value.kind is Kind.MAP else None
    return None


def _key(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    spec = _map_spec(need, state, world)
    return _memory(need, value, spec.key_size if spec else 0, Use.READ, state, world, zero_size=False)


def _value(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    spec = _map_spec(need, state, world)
    use = Use.READ if need.arg.use is MemoryUse.READ else Use.WRITE
    fills = need.arg.use is MemoryUse.WRITE
    return _memory(need, value, spec.value_size if spec else 0, use, state, world, zero_size=False, fills=fills)


def _map_spec(need: ValidArgument, state: MachineState, world: World) -> MapSpec | None:
    signature = world.signature(need.helper)
    found = map_argument(signature, state) if signature else None
    return found.map if found else None


def _fixed(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    size = need.arg.size
    if size is None:
        size = {ArgKind.FIXED_INT: 4, ArgKind.FIXED_LONG: 8}.get(need.arg.kind)
    if size is None:
        return None  # the size is the next argument: proved there
    use = Use.READ if need.arg.use is MemoryUse.READ else Use.WRITE
    fills = need.arg.use is MemoryUse.WRITE
    violation = _memory(need, value, size, use, state, world, zero_size=False, fills=fills)
    if violation is None and need.arg.kind in (ArgKind.FIXED_INT, ArgKind.FIXED_LONG):
        return regions.aligned(ValidAccess(need.reg, 0, size, use), value)
    return violation


def _memory(
    need: ValidArgument,
    value: Pointer,
    size: int,
    use: Use,
    state: MachineState,
    world: World,
    *,
    zero_size: bool,
    fills: bool = False,
) -> Violation | None:
    """``size`` bytes at the pointer (kernel: check_helper_mem_access). ``fills``: the helper writes all of them."""
    reg, kind = need.reg, value.kind
    if need.arg.kind in _NUMBERS:
        reg -= 1
    if kind in (Kind.PACKET, Kind.PACKET_META):
        return regions.packet(need, value, reg, value.off, size, zero_size=zero_size)
    if kind is Kind.STACK:
        if size == 0 and zero_size:  # the place must be one of the stack all the same
            return stack.in_bounds(need, value, reg, value.off, 0, writes=use is Use.WRITE)
        return _stack(need, value, reg, size, use, state, world, fills=fills)
    if kind is Kind.MAP_VALUE:
        assert value.map is not None
        violation = access.map_access(need, value.map, value.off, size, reads=use is Use.READ, writes=use is Use.WRITE)
        if violation is not None:
            return violation
        violation = regions.within(need, value, reg, value.off, size, value.map.value_size, zero_size=zero_size)
        return violation or fields.untouched(need, value, reg, value.off, size, world)
    if kind is Kind.BTF:
        return objects.readable(need, reg, value, size, world)
    if kind is Kind.BUFFER:
        return objects.buffer(need, reg, value, 0, size, writes=use is Use.WRITE)
    if use is Use.WRITE and (kind is Kind.MAP_KEY or value.readonly):
        said = f"R{reg} cannot write into {value.name}"
        return Violation(Rule.MEMORY_READ_ONLY, need, said, reg, {"pointer": value.name})
    available = value.map.key_size if kind is Kind.MAP_KEY and value.map else value.size
    return regions.within(need, value, reg, value.off, size, available, zero_size=zero_size)


def _stack(
    need: ValidArgument,
    value: Pointer,
    reg: int,
    size: int,
    use: Use,
    state: MachineState,
    world: World,
    *,
    fills: bool,
) -> Violation | None:
    violation = stack.in_bounds(need, value, reg, value.off, max(size, 1), writes=use is Use.WRITE)
    violation = violation or leaks.unvaried(need, value, reg, world)
    if violation is not None:
        return violation
    frame = state.frames[value.frame]
    low = value.off + value.low
    high = value.off + (value.var.smax if value.var else 0)
    if not fills or low != high:  # or nobody knows which bytes are written
        return stack.initialised(need, frame, low, high + size, reg, world)
    violation = dynptrs.unwritten(need, frame, low, low + size, reg)
    violation = violation or leaks.torn(need, frame, low, size, reg, world, whole=False)
    return violation or stack_objects.overwritable(need, state, frame, low, low + size, reg)


def _number(need: ValidArgument, value: Number | Pointer | None, state: MachineState, world: World) -> Violation | None:
    """Sizes: of the memory before, or of the memory that is returned."""
    reg = need.reg
    if not isinstance(value, Number):
        return _wrong_kind(need, value, "scalar")
    known = value.range
    value.rely()
    if need.arg.kind is ArgKind.ALLOC_SIZE:
        if value.value is None:
            said = f"R{reg} is not a known constant'"
            return Violation(Rule.ARGUMENT_CONSTANT, need, said, reg, _named(need, value))
        return None
    zero = need.arg.kind is ArgKind.SIZE_OR_ZERO
    values = {**_named(need, value)}
    if known.smin < 0:
        said = f"R{reg} min value is negative, either use unsigned or 'var &= const'"
        return Violation(Rule.ARGUMENT_SIZE, need, said, reg, {**values, "which": "negative"})
    if known.umin == 0 and not zero:
        said = f"R{reg} invalid zero-sized read: u64=[{known.umin},{known.umax}]"
        return Violation(Rule.ARGUMENT_SIZE, need, said, reg, {**values, "which": "zero"})
    if known.umax >= MAX_OFFSET:
        said = f"R{reg} unbounded memory access, use 'var &= const' or 'if (var < const)'"
        return Violation(Rule.ARGUMENT_SIZE, need, said, reg, {**values, "which": "unbounded"})
    signature = world.signature(need.helper)
    assert signature is not None
    assert signature.args is not None
    memory_arg: Arg = signature.args[reg - 2]
    memory = state.regs[reg - 1]
    if isinstance(memory, Number):
        if zero and known.umax == 0 and memory.value == 0:
            memory.rely()
            return None
        said = f"R{reg - 1} type=scalar expected={_WANTED[ArgKind.MEMORY][1]}"
        return Violation(Rule.ARGUMENT_KIND, need, said, reg - 1, {**_named(need, memory), "expected": "memory"})
    if memory is None:
        return Violation(Rule.UNINITIALISED, need, f"R{reg - 1} !read_ok", reg - 1)
    use = Use.READ if memory_arg.use is MemoryUse.READ else Use.WRITE
    fills = memory_arg.use is MemoryUse.WRITE and value.value is not None
    return _memory(need, memory, known.umax, use, state, world, zero_size=zero, fills=fills)


def _string(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    return constant_string(need, need.reg, value, _named(need, value))


def constant_string(need: Requirement, reg: int, value: Pointer, named: dict[str, object]) -> Violation | None:
    """A NUL-terminated string in frozen, read-only data (kernel: check_reg_const_str)."""
    spec = value.map
    assert spec is not None
    offset = value.off + (value.var.smin if value.var is not None else 0)
    if not (spec.frozen and spec.flags & _RDONLY_PROG):
        said = f"R{reg} does not point to a readonly map'"
    elif value.var is not None and value.var.mask:
        said = f"R{reg} is not a constant address'"
    elif spec.type is not MapType.ARRAY or spec.max_entries != 1 or spec.contents is None:
        said = "no direct value access support for this map type"
    elif not 0 <= offset < spec.value_size:
        return regions.within(need, value, reg, value.off, 1, spec.value_size)
    elif b"\0" not in spec.contents.ljust(spec.value_size, b"\0")[offset : spec.value_size]:
        said = "string is not zero-terminated"
    else:
        return None
    return Violation(Rule.ARGUMENT_STRING, need, said, reg, named)


def _spin_lock(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    if value.kind is Kind.BTF and not locks.is_allocated(value):
        return _wrong_kind(need, value, _WANTED[ArgKind.SPIN_LOCK][1])
    return locks.spin_lock(need, value, state, world)


_Detail = Callable[[ValidArgument, Pointer, MachineState, World], "Violation | None"]

_DETAILS: dict[ArgKind, _Detail] = {
    ArgKind.MAP_KEY: _key,
    ArgKind.MAP_VALUE: _value,
    ArgKind.MEMORY: _fixed,
    ArgKind.FIXED_INT: _fixed,
    ArgKind.FIXED_LONG: _fixed,
    ArgKind.CONST_STRING: _string,
    ArgKind.KPTR: kptrs.destination,
    ArgKind.DYNPTR: dynptrs.helper_argument,
    ArgKind.SPIN_LOCK: _spin_lock,
    ArgKind.TIMER: later.timer,
    ArgKind.CONST_MAP: later.timer_map,
}

"""Loads, stores and atomics: does every byte that is touched belong to the program? (kernel: check_mem_access)"""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.contexts import FieldKind
from skep.abi.kernel_objects import KERNEL_OBJECTS
from skep.abi.limits import ARENA_PAGE
from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.model.maps import MapSpec
from skep.verifier.prove import arena, fields, kptrs, leaks, objects, regions, stack
from skep.verifier.requirements.kinds import (
    LegacyPacketLoad,
    Requirement,
    Rule,
    Use,
    ValidAccess,
    ValidMapValue,
    Violation,
)
from skep.verifier.state.machine import MachineState
from skep.verifier.state.offsets import MAX_OFFSET
from skep.verifier.state.typed_context import TypedContext
from skep.verifier.state.values import Kind, Number, Pointer, type_name
from skep.verifier.state.world import World

# Kinds that atomics must not touch (kernel: atomic_ptr_type_ok).
_NOT_ATOMIC = frozenset(
    {
        Kind.CTX,
        Kind.PACKET,
        Kind.PACKET_META,
        Kind.FLOW_KEYS,
        Kind.SOCK,
        Kind.SOCK_COMMON,
        Kind.TCP_SOCK,
        Kind.XDP_SOCK,
    }
)

_ALIGNED_ELSEWHERE = frozenset({Kind.STACK, Kind.ARENA})  # the stack always is, arenas never
_ATOMIC = frozenset({Use.ATOMIC, Use.ATOMIC_LOAD, Use.ATOMIC_STORE})

# Pointers that a load of a context field may give.
_FIELD_KINDS = frozenset(
    {
        FieldKind.SCALAR,
        FieldKind.PACKET,
        FieldKind.PACKET_END,
        FieldKind.PACKET_META,
        FieldKind.SOCKET,
        FieldKind.SOCKET_NON_NULL,
        FieldKind.SOCK_COMMON,
        FieldKind.FLOW_KEYS,
        FieldKind.BTF_OBJECT,
        FieldKind.TRACEPOINT_BUFFER,
    }
)


def valid_access(need: ValidAccess, state: MachineState, world: World) -> Violation | None:
    """The pointer in ``need.reg`` may be used in this way."""
    pointer = state.regs[need.reg]
    if not isinstance(pointer, Pointer):
        return _no_memory(need, type_name(pointer))
    if pointer.nullable:
        said = f"R{need.reg} invalid mem access '{pointer.name}'"
        values: dict[str, object] = {"pointer": pointer.name, "map": pointer.map.name if pointer.map else None}
        return Violation(Rule.NULLABLE, need, said, need.reg, values)
    if world.options.strict_alignment and pointer.kind not in _ALIGNED_ELSEWHERE:
        violation = regions.aligned(need, pointer)
        if violation is not None:
            return violation
    if need.use in _ATOMIC:
        violation = _atomic(need, pointer)
        if violation is not None:
            return violation
    violation = leaks.stored(need, pointer, state, world) or _BY_KIND[pointer.kind](need, pointer, state, world)
    return _no_pointer_left(need) if violation is None and need.overwrites else violation


def _no_pointer_left(need: ValidAccess) -> Violation:
    """The kernel looks at the register once more, for writing, when it holds what was fetched (check_atomic_rmw)."""
    if need.size == 1:
        return _no_memory(need, "scalar")
    mask = (1 << 8 * need.size) - 1
    said = f"misaligned access off (0x0; {mask:#x})+0+{need.offset} size {need.size}"
    return Violation(Rule.NOT_A_POINTER, need, said, need.reg, {"pointer": "scalar"})


def _atomic(need: ValidAccess, pointer: Pointer) -> Violation | None:
    kind = pointer.kind
    if kind in _NOT_ATOMIC:
        verb = "loads from" if need.use is Use.ATOMIC_LOAD else "stores into"
        said = f"BPF_ATOMIC {verb} R{need.reg} {pointer.name} is not allowed"
        return Violation(Rule.ATOMIC_REGION, need, said, need.reg, {"pointer": pointer.name})
    if kind is not Kind.STACK and kind is not Kind.ARENA:
        return regions.aligned(need, pointer)
    return None


def _no_memory(need: ValidAccess, name: str) -> Violation:
    said = f"R{need.reg} invalid mem access '{name}'"
    return Violation(Rule.NOT_A_POINTER, need, said, need.reg, {"pointer": name})


def _nothing_there(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    return _no_memory(need, pointer.name)


def _context(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    if isinstance(world.typed, TypedContext):
        return objects.typed_context(need, pointer, world.typed, state, world)
    offset = need.offset
    if pointer.off or pointer.var is not None:
        violation = regions.unmoved(need, pointer, need.reg)
        if violation is not None:
            return violation
    writes = need.use is not Use.READ
    field = regions.context_field(world, offset, need.size, writes=writes, extended=need.sign_extended)
    if field is not None:
        if field.kind in _FIELD_KINDS:
            return None
        feature = f"context field {field.name}, a pointer to a kernel object"
        return Violation(Rule.UNSUPPORTED, need, feature, need.reg, {"feature": feature, "instead": ""})
    said = f"invalid bpf_context access off={offset} size={need.size}"
    values = {"offset": offset, "size": need.size, "use": need.use.value}
    return Violation(Rule.CONTEXT_ACCESS, need, said, need.reg, values)


def _packet(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    if need.use is not Use.READ and not (world.context and world.context.packet_writable):
        return Violation(Rule.PACKET_READ_ONLY, need, "cannot write into packet", need.reg)
    return regions.packet(need, pointer, need.reg, pointer.off + need.offset, need.size, zero_size=False)


def _map_value(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    spec = pointer.map
    assert spec is not None
    off = pointer.off + need.offset
    violation = map_access(need, spec, off, need.size, reads=need.use in _READS, writes=need.use in _WRITES)
    if violation is not None:
        return violation
    violation = regions.within(need, pointer, need.reg, off, need.size, spec.value_size)
    violation = violation or fields.untouched(need, pointer, need.reg, off, need.size, world, direct=True)
    return violation or kptrs.valid_access(need, pointer, state, world)


_READS = frozenset({Use.READ, Use.ATOMIC, Use.ATOMIC_LOAD})
_WRITES = frozenset({Use.WRITE, Use.ATOMIC, Use.ATOMIC_STORE})

_RDONLY_PROG, _WRONLY_PROG = 1 << 7, 1 << 8


def map_access(need: Requirement, spec: MapSpec, off: int, size: int, *, reads: bool, writes: bool) -> Violation | None:
    """The map's flags allow it (kernel: check_map_access_type)."""
    if writes and spec.flags & _RDONLY_PROG:
        said = f"write into map forbidden, value_size={spec.value_size} off={off} size={size}"
        return Violation(Rule.MAP_READ_ONLY, need, said, None, {"map": spec.name, "use": "write"})
    if reads and spec.flags & _WRONLY_PROG:
        said = f"read from map forbidden, value_size={spec.value_size} off={off} size={size}"
        return Violation(Rule.MAP_UNREADABLE, need, said, None, {"map": spec.name, "use": "read"})
    return None


def _map_key(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    if need.use is not Use.READ:
        said = f"write to change key R{need.reg} not allowed"
        return Violation(Rule.MEMORY_READ_ONLY, need, said, need.reg, {"pointer": pointer.name})
    assert pointer.map is not None
    return regions.within(need, pointer, need.reg, pointer.off + need.offset, need.size, pointer.map.key_size)


def _memory(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    if need.use in _WRITES and pointer.readonly:
        said = f"R{need.reg} cannot write into {pointer.name}"
        return Violation(Rule.MEMORY_READ_ONLY, need, said, need.reg, {"pointer": pointer.name})
    return regions.within(need, pointer, need.reg, pointer.off + need.offset, need.size, pointer.size)


def _kernel_object(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """A socket's fields may be read, each in its way; flow keys are plain bytes (kernel: check_sock_access)."""
    known = KERNEL_OBJECTS[pointer.name]
    offset = pointer.off + need.offset
    if need.use in _WRITES and not known.writable:
        said = f"R{need.reg} cannot write into {pointer.name}"
        return Violation(Rule.MEMORY_READ_ONLY, need, said, need.reg, {"pointer": pointer.name})
    if pointer.var is None and known.may_access(offset, need.size, write=need.use in _WRITES):
        return None
    said = f"R{need.reg} invalid {pointer.name} access off={offset} size={need.size}"
    if pointer.kind is Kind.FLOW_KEYS:
        said = f"invalid access to flow keys off={offset} size={need.size}"
    values = {"offset": offset, "size": need.size, "memory_size": known.size, "which": "max"}
    return Violation(Rule.MEMORY_BOUNDS, need, said, need.reg, values)


_BY_KIND: dict[Kind, Callable[[ValidAccess, Pointer, MachineState, World], Violation | None]] = {
    Kind.CTX: _context,
    Kind.STACK: stack.valid_access,
    Kind.PACKET: _packet,
    Kind.PACKET_META: _packet,
    Kind.PACKET_END: _nothing_there,
    Kind.MAP_VALUE: _map_value,
    Kind.MAP_KEY: _map_key,
    Kind.MAP: objects.map_access,
    Kind.MEMORY: _memory,
    Kind.RECORD: _memory,
    Kind.FUNC: _nothing_there,
    Kind.SOCK: _kernel_object,
    Kind.SOCK_COMMON: _kernel_object,
    Kind.TCP_SOCK: _kernel_object,
    Kind.XDP_SOCK: _kernel_object,
    Kind.FLOW_KEYS: _kernel_object,
    Kind.BTF: objects.valid_access,
    Kind.PROBED: objects.probed_access,
    Kind.BUFFER: objects.buffer_access,
    Kind.TRACEPOINT_BUFFER: objects.buffer_access,
    Kind.ARENA: arena.access,
    Kind.DYNPTR: _nothing_there,
}


def valid_map_value(need: ValidMapValue, state: MachineState, world: World) -> Violation | None:
    """Only the single value of an array map has a known address (kernel: array_map_direct_value_addr)."""
    spec = world.map(need.map)
    if spec is None:
        return Violation(
            Rule.PROGRAM, need, "fd is not pointing to valid bpf_map", None, {"reason": f"no map {need.map!r}"}
        )
    if spec.type is MapType.ARENA:
        return _arena_address(need, spec)
    if spec.type is not MapType.ARRAY or spec.max_entries != 1:
        reason = f"the address of a value of map '{spec.name}' is taken, and it is not an array of one value"
        return Violation(Rule.PROGRAM, need, "direct value access not supported by this map", None, {"reason": reason})
    if not 0 <= need.offset < spec.value_size:
        said = f"direct value offset of {need.offset} is not allowed"
        return Violation(Rule.PROGRAM, need, said, None, {"reason": said})
    return None


def _arena_address(need: ValidMapValue, spec: MapSpec) -> Violation | None:
    """Any address in the arena, and the one behind it (kernel: arena_map_direct_value_addr)."""
    size = spec.max_entries * ARENA_PAGE
    if 0 <= need.offset < MAX_OFFSET and need.offset <= size:
        return None
    said = f"direct value offset of {need.offset} is not allowed"
    if 0 <= need.offset < MAX_OFFSET:
        said = f"invalid access to map value pointer, value_size={spec.value_size} off={need.offset}"
    return Violation(Rule.PROGRAM, need, said, None, {"reason": said})


_LEGACY_TYPES = frozenset({ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.SCHED_ACT})


def legacy_packet_load(need: LegacyPacketLoad, state: MachineState, world: World) -> Violation | None:
    """r6 is the context; the index is a number (kernel: check_ld_abs)."""
    if world.linked.prog_type not in _LEGACY_TYPES:
        said = "BPF_LD_[ABS|IND] instructions not allowed for this program type"
        return Violation(
            Rule.LEGACY_LOAD, need, said, None, {"reason": "only socket filters and tc programs may use them"}
        )
    context = state.regs[6]
    if not isinstance(context, Pointer) or context.kind is not Kind.CTX:
        said = "at the time of BPF_LD_ABS|IND R6 != pointer to skb"
        return Violation(Rule.LEGACY_LOAD, need, said, 6, {"reason": "r6 must hold the context"})
    violation = regions.unmoved(need, context, 6)
    if violation is not None:
        return violation
    if (
        need.source is not None
        and not isinstance(state.regs[need.source], Number)
        and not world.linked.target.privileged
    ):
        said = f"R{need.source} leaks addr"
        return Violation(Rule.POINTER_LEAK, need, said, need.source, {"pointer": type_name(state.regs[need.source])})
    if len(state.frames) > 1 and not _returns_number(world, state):
        said = "LD_ABS is only allowed in functions that return 'int'."
        return Violation(Rule.LEGACY_LOAD, need, said, None, {"reason": "the subprogram does not return an int"})
    return None


def _returns_number(world: World, state: MachineState) -> bool:
    return world.returns_int(state.frame.start)

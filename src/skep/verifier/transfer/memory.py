"""Loads, stores and atomics: what they leave in registers and on the stack."""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.contexts import FieldKind
from skep.abi.map_types import MapType
from skep.isa import opcodes as op
from skep.isa.instruction import FuncRef, Instruction, KsymRef, MapRef, MapValueRef
from skep.model.programs import Region
from skep.verifier.domains import alu
from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Trust
from skep.verifier.state.typed_context import TypedContext
from skep.verifier.state.values import Kind, Number, Pointer, Value, constant, unknown
from skep.verifier.state.world import World
from skep.verifier.transfer import dynptrs, kfuncs, kptrs, objects, stack

Full = Callable[[MachineState], None]

_RDONLY_PROG = 1 << 7

REGIONS: dict[Kind, Region] = {
    Kind.CTX: Region.CONTEXT,
    Kind.STACK: Region.STACK,
    Kind.PACKET: Region.PACKET,
    Kind.PACKET_META: Region.PACKET,
    Kind.MAP_VALUE: Region.MAP_VALUE,
    Kind.MAP_KEY: Region.MAP_KEY,
    Kind.MEMORY: Region.MEMORY,
    Kind.RECORD: Region.MEMORY,
    Kind.SOCK: Region.KERNEL,
    Kind.SOCK_COMMON: Region.KERNEL,
    Kind.TCP_SOCK: Region.KERNEL,
    Kind.XDP_SOCK: Region.KERNEL,
    Kind.FLOW_KEYS: Region.KERNEL,
    Kind.BTF: Region.KERNEL,
    Kind.MAP: Region.KERNEL,
    Kind.PROBED: Region.KERNEL,
    Kind.BUFFER: Region.KERNEL,
    Kind.TRACEPOINT_BUFFER: Region.KERNEL,
    Kind.ARENA: Region.ARENA,
    Kind.DYNPTR: Region.KERNEL,
}

_FIELDS: dict[FieldKind, Callable[[World], Value]] = {
    FieldKind.SCALAR: lambda world: unknown(),
    FieldKind.PACKET: lambda world: Pointer(Kind.PACKET),
    FieldKind.PACKET_END: lambda world: Pointer(Kind.PACKET_END),
    FieldKind.PACKET_META: lambda world: Pointer(Kind.PACKET_META),
    FieldKind.SOCKET: lambda world: Pointer(Kind.SOCK, id=world.next_id(), nullable=True),
    FieldKind.SOCKET_NON_NULL: lambda world: Pointer(Kind.SOCK),
    FieldKind.SOCK_COMMON: lambda world: Pointer(Kind.SOCK_COMMON, id=world.next_id(), nullable=True),
    FieldKind.TRACEPOINT_BUFFER: lambda world: Pointer(Kind.TRACEPOINT_BUFFER),
    FieldKind.FLOW_KEYS: lambda world: Pointer(Kind.FLOW_KEYS),
}


def note(world: World, slot: int, pointer: Pointer, offset: int) -> bool:
    """Record where an access lands; False if it clashes with another path."""
    kind = pointer.kind
    fixed = None if pointer.var is not None and pointer.var.mask else pointer.off + offset
    if fixed is not None and pointer.var is not None:
        fixed += pointer.var.smin
    if kind is Kind.CTX:
        context = world.context
        size = op.SIZE_BYTES[world.insn(slot).opcode & op.SIZE_MASK]
        writes = world.insn(slot).opcode & op.CLASS_MASK != op.LDX
        field = context.field_at(offset, size, writes, world.linked.attach_type) if context is not None else None
        return world.notes.access(slot, Region.CONTEXT, None, field, offset)
    if kind is Kind.PACKET and (pointer.id or pointer.var is not None):
        fixed = None
    insn = world.insn(slot)
    loads = insn.opcode & op.CLASS_MASK == op.LDX
    if not _is_read_modify_write(insn) and not world.notes.through(slot, _group(pointer), loads=loads):
        return False
    name = world.map_name(pointer.map) if kind is Kind.MAP_VALUE else None
    return world.notes.access(slot, REGIONS[kind], name, None, fixed)


def _is_read_modify_write(insn: Instruction) -> bool:
    """Atomics that are no plain load or store: the kernel lets them mix pointers (check_atomic_rmw)."""
    is_atomic = insn.opcode & op.CLASS_MASK == op.STX and insn.opcode & op.MODE_MASK == op.ATOMIC
    return is_atomic and insn.imm not in (op.LOAD_ACQUIRE, op.STORE_RELEASE)


_SOCKETS = frozenset({Kind.SOCK, Kind.SOCK_COMMON, Kind.TCP_SOCK, Kind.XDP_SOCK})
_MEMORY = frozenset({Kind.MEMORY, Kind.RECORD, Kind.PROBED})


def _group(pointer: Pointer) -> str:
    """What one instruction must not mix (kernel: reg_type_mismatch_ok)."""
    if pointer.object is not None:
        return f"object {pointer.object.trust.value}"
    if pointer.kind in _SOCKETS:
        return pointer.name
    return "arena" if pointer.kind is Kind.ARENA else "memory" if pointer.kind in _MEMORY else ""


def load(insn: Instruction, slot: int, world: World) -> Full:
    """LDX, plain and sign-extending."""
    dst, src, offset = insn.dst, insn.src, insn.off
    size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
    signed = insn.opcode & op.MODE_MASK == op.MEMSX
    notes = world.notes
    context = world.context
    typed = world.typed
    attach = world.linked.attach_type

    def full(state: MachineState) -> None:
        pointer = state.regs[src]
        assert isinstance(pointer, Pointer)
        kind = pointer.kind
        value: Value
        if kind is Kind.STACK:
            value = stack.read(state.frames[pointer.frame], pointer, offset, size, world)
        elif kind is Kind.MAP:
            value = objects.of_map(pointer, offset, size, world)
        elif kind is Kind.BTF:
            value = objects.loaded(pointer, offset, size, state, world)
        elif kind is Kind.CTX and isinstance(typed, TypedContext):
            value = objects.argument(typed, offset, size, world)
        elif kind is Kind.CTX:
            field = context.field_at(offset, size, False, attach) if context is not None else None
            assert field is not None
            if field.kind is FieldKind.BTF_OBJECT:
                value = objects.kernel_object(field.btf_name or "", world, Trust.TRUSTED)
            else:
                value = _FIELDS[field.kind](world)
        else:
            value = (
                kptrs.loaded(pointer, offset, state, world)
                or _constant_data(pointer, offset, size, signed)
                or unknown()
            )
        if isinstance(value, Number) and size < 8:
            value = _narrow(value, size, signed)
        state.regs[dst] = value
        notes.kinds[slot] |= 2 if isinstance(value, Pointer) else 1

    return full


def _narrow(value: Number, size: int, signed: bool) -> Number:
    known = alu.sign_extend(value.range, 8 * size) if signed else alu.truncate(value.range, size)
    if known is value.range or known == value.range:
        return value
    return Number(known, () if value.precise else (value,))


def _constant_data(pointer: Pointer, offset: int, size: int, signed: bool) -> Number | None:
    """Frozen read-only data is known (kernel: bpf_map_direct_read)."""
    spec = pointer.map
    if pointer.kind is not Kind.MAP_VALUE or spec is None or spec.contents is None or not spec.frozen:
        return None
    if not spec.flags & _RDONLY_PROG or spec.type is not MapType.ARRAY or spec.max_entries != 1:
        return None
    if pointer.var is not None and pointer.var.mask:
        return None
    start = pointer.off + offset + (pointer.var.smin if pointer.var is not None else 0)
    data = spec.contents[start : start + size]
    if len(data) < size:
        data = data.ljust(size, b"\0")
    return constant(int.from_bytes(data, "little", signed=signed))


def store(insn: Instruction, slot: int, world: World) -> Full:
    """ST and STX."""
    dst, offset = insn.dst, insn.off
    size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
    src = insn.src if insn.opcode & op.CLASS_MASK == op.STX else None
    known = Scalar.constant(insn.imm)
    notes = world.notes

    def full(state: MachineState) -> None:
        pointer = state.regs[dst]
        assert isinstance(pointer, Pointer)
        if pointer.kind is Kind.STACK:
            value = state.regs[src] if src is not None else Number(known)
            assert value is not None
            stack.write(state, pointer, offset, size, value, world, slot)
        elif pointer.kind in (Kind.PACKET, Kind.PACKET_META):
            notes.writes_packet = True
        elif pointer.dynptr is not None:
            dynptrs.written(state, pointer, world)

    return full


def atomic(insn: Instruction, slot: int, world: World) -> Full:
    """Atomic operations: fetch what was there, leave something unknown; acquire and release are loads and stores."""
    if insn.imm == op.LOAD_ACQUIRE:
        return load(insn, slot, world)
    if insn.imm == op.STORE_RELEASE:
        return store(insn, slot, world)
    offset, dst = insn.off, insn.dst
    size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
    target = (0 if insn.imm == op.CMPXCHG else insn.src) if insn.imm & op.FETCH else None
    notes = world.notes

    def full(state: MachineState) -> None:
        pointer = state.regs[dst]
        assert isinstance(pointer, Pointer)
        fetched: Value = unknown()
        if pointer.kind is Kind.STACK:
            frame = state.frames[pointer.frame]
            fetched = stack.read(frame, pointer, offset, size, world)
            stack.clobber(state, pointer, offset, size, world, fills=True)
        elif pointer.dynptr is not None:
            dynptrs.written(state, pointer, world)
        if target is not None:
            if isinstance(fetched, Number) and size < 8:
                fetched = _narrow(fetched, size, False)
            state.regs[target] = fetched
            notes.kinds[slot] |= 2 if isinstance(fetched, Pointer) else 1

    return full


def load_immediate(insn: Instruction, slot: int, world: World) -> Full:
    """LD_IMM64: a number, a map, an address in a map's value, a function."""
    dst, ref = insn.dst, insn.ref
    notes = world.notes

    def full(state: MachineState) -> None:
        value: Value
        if isinstance(ref, MapRef):
            value = Pointer(Kind.MAP, map=world.map(ref.name))
        elif isinstance(ref, KsymRef):
            value = kfuncs.address(ref.name, world)
        elif isinstance(ref, MapValueRef):
            spec = world.map(ref.name)
            is_arena = spec is not None and spec.type is MapType.ARENA
            value = unknown() if is_arena else Pointer(Kind.MAP_VALUE, off=ref.offset, map=spec)
        elif isinstance(ref, FuncRef) or insn.src == op.PSEUDO_FUNC:
            value = Pointer(Kind.FUNC, slot=function_slot(insn, slot, world))
        else:
            value = constant(insn.imm)
        state.regs[dst] = value
        notes.kinds[slot] |= 2 if isinstance(value, Pointer) else 1

    return full


def function_slot(insn: Instruction, slot: int, world: World) -> int:
    """The first slot of the function whose address an LD_IMM64 takes."""
    if isinstance(insn.ref, FuncRef):
        name = insn.ref.name
        return next((sub.start for sub in world.functions.values() if sub.name == name), -1)
    distance = insn.imm & 0xFFFF_FFFF
    return slot + 1 + ((distance ^ (1 << 31)) - (1 << 31))

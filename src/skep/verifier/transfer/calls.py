"""Calls of helpers, callbacks and subprograms, and the way back (kernel: check_helper_call, check_func_call)."""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.map_types import MapType
from skep.abi.signatures import ArgKind, MemoryUse, ReturnKind, Signature
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.model.maps import MapSpec
from skep.model.programs import CallFact
from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.fields import LOCKS
from skep.verifier.state.functions import Passed
from skep.verifier.state.kptrs import KPTR_XCHG
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import SPILL, ZERO
from skep.verifier.state.values import PACKET_KINDS, Kind, Number, Pointer, Value, constant, unknown
from skep.verifier.state.world import World
from skep.verifier.transfer import dynptrs, kptrs, later, locks, objects, stack
from skep.verifier.transfer.branch import Branch, Fork
from skep.verifier.transfer.dynptrs import forget_packet

_TAIL_CALL, _SMP_PROCESSOR_ID, _FOR_EACH, _LOOP, _FIND_VMA = 12, 8, 164, 181, 180
_USER_RINGBUF_DRAIN = 209
_MAX_ERRNO = 4095
_SOCKETS = {
    ReturnKind.SOCKET_OR_NULL: Kind.SOCK,
    ReturnKind.SOCK_COMMON_OR_NULL: Kind.SOCK_COMMON,
    ReturnKind.TCP_SOCK_OR_NULL: Kind.TCP_SOCK,
}
_SOCKET_MAPS = frozenset({MapType.SOCKMAP, MapType.SOCKHASH})
_CASTS = frozenset({95, 96})  # bpf_sk_fullsock, bpf_tcp_sock (kernel: is_ptr_cast_function)
_MAPS_OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
_ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
_PRECISE_ARGS = frozenset({ArgKind.SIZE, ArgKind.SIZE_OR_ZERO, ArgKind.ALLOC_SIZE})


def helper(insn: Instruction, slot: int, world: World) -> Branch:
    """The function of a helper call."""
    number = insn.imm
    signature = world.signature(number)
    enter = _CALLBACKS.get(number)

    def full(state: MachineState, forks: list[Fork]) -> int:
        assert signature is not None
        regs = state.regs
        spec = _map_of(signature, state)
        callback = _callback_of(signature, state)
        _note(signature, slot, state, spec, callback, world)
        if enter is not None and callback is not None and _may_iterate(number, state):
            forks.append(entered(state, slot, callback, enter, world))
        if number == later.TIMER_SET_CALLBACK:
            forks.append(later.entered(state, regs[2], regs[1], world, sleepable=False))
        act = locks.HELPERS.get(number)
        if act is not None:
            act(state, slot)
        result = _result(signature, state, spec, slot, world)
        _use_memory(signature, state, spec, world)
        dynptrs.helper(signature, state, slot, world)
        if number == KPTR_XCHG:
            kptrs.give_away(state, regs[2], world)
        elif signature.releases is not None:
            _release(state, regs[signature.releases])
        if number == _TAIL_CALL:
            world.tail_calls.add(state.frame.start)
            if world.speculation is not None:
                world.speculation.tail_call(slot, state.regs[2])
            if len(state.frames) > 1:
                forks.append(_returned(state))
        regs[1:6] = [None] * 5
        regs[0] = result
        world.notes.kinds[slot] |= 2 if isinstance(result, Pointer) else 1
        if signature.resizes_packet and number != _TAIL_CALL:
            world.notes.resizes_packet = True
            forget_packet(state)
        return slot + 1

    return full


def indirect(insn: Instruction, slot: int, world: World) -> Branch:
    """The function of a helper call through a register."""

    def full(state: MachineState, forks: list[Fork]) -> int:
        value = state.regs[insn.dst]
        assert isinstance(value, Number)
        assert value.value is not None
        return helper(Instruction(op.JMP | op.CALL, imm=value.value), slot, world)(state, forks)

    return full


def _map_of(signature: Signature, state: MachineState) -> MapSpec | None:
    for reg, arg in enumerate(signature.args or (), start=1):
        if arg.kind is ArgKind.CONST_MAP:
            value = state.regs[reg]
            return value.map if isinstance(value, Pointer) else None
    return None


def _callback_of(signature: Signature, state: MachineState) -> int | None:
    for reg, arg in enumerate(signature.args or (), start=1):
        if arg.kind is ArgKind.CALLBACK:
            value = state.regs[reg]
            return value.slot if isinstance(value, Pointer) else None
    return None


def _note(
    signature: Signature, slot: int, state: MachineState, spec: MapSpec | None, callback: int | None, world: World
) -> None:
    constants = {}
    for reg, arg in enumerate(signature.args or (), start=1):
        value = state.regs[reg]
        if arg.kind in _PRECISE_ARGS and isinstance(value, Number) and value.value is not None:
            constants[reg] = value.value
    world.notes.call(slot, CallFact(signature.id, world.map_name(spec), spec, callback, constants))


def _result(signature: Signature, state: MachineState, spec: MapSpec | None, slot: int, world: World) -> Value | None:
    """What r0 holds afterwards."""
    returns = signature.returns
    if returns is ReturnKind.VOID:
        return None
    if returns is ReturnKind.MAP_VALUE_OR_NULL or returns is ReturnKind.MAP_VALUE:
        nullable = returns is ReturnKind.MAP_VALUE_OR_NULL
        if spec is not None and spec.type in _MAPS_OF_MAPS:
            return Pointer(Kind.MAP, id=world.next_id(), nullable=True, map=spec.inner)
        if spec is not None and spec.type in _SOCKET_MAPS:
            return _acquired(Kind.SOCK, state, slot, world)
        if spec is not None and spec.type is MapType.XSKMAP:
            return Pointer(Kind.XDP_SOCK, id=world.next_id(), nullable=True)
        if nullable and spec is not None and spec.type in _ARRAYS:
            key = _constant_key(signature, state)
            if key is not None and key < spec.max_entries:
                nullable = False
        apart = nullable or (spec is not None and world.map_record(spec).find(*LOCKS) is not None)
        given = state.regs[1]
        uid = given.uid if isinstance(given, Pointer) and given.kind is Kind.MAP else 0
        return Pointer(Kind.MAP_VALUE, id=world.next_id() if apart else 0, nullable=nullable, map=spec, uid=uid)
    if returns is ReturnKind.RINGBUF_RECORD_OR_NULL:
        size = state.regs[2]
        assert isinstance(size, Number)
        id = world.next_id()
        state.refs = (*state.refs, (id, slot))
        return Pointer(Kind.RECORD, id=id, nullable=True, size=size.value or 0, ref=id)
    if returns is ReturnKind.DYNPTR_MEMORY_OR_NULL:
        return dynptrs.memory(state, world)
    socket = _SOCKETS.get(returns)
    if socket is not None:
        return _socket(signature, state, socket, slot, world)
    if signature.id == KPTR_XCHG:
        return kptrs.exchanged(state, slot, world)
    if returns in objects.RETURNED:
        return objects.returned(signature, state, world)
    if signature.return_limit_arg is not None:
        limit = state.regs[signature.return_limit_arg]
        if isinstance(limit, Number):
            return Number(Scalar.signed(-_MAX_ERRNO, min(limit.range.umax, (1 << 31) - 1)))
    return unknown()


def _acquired(kind: Kind, state: MachineState, slot: int, world: World) -> Pointer:
    """A pointer that must be released, unless it is NULL."""
    id = world.next_id()
    state.refs = (*state.refs, (id, slot))
    return Pointer(kind, id=id, nullable=True, ref=id)


def _socket(signature: Signature, state: MachineState, kind: Kind, slot: int, world: World) -> Pointer:
    """A socket that was looked up; or the same one seen as another type: it dies with the first."""
    if signature.acquires:
        return _acquired(kind, state, slot, world)
    given = state.regs[1]
    shared = signature.id in _CASTS and isinstance(given, Pointer)
    return Pointer(
        kind, id=world.next_id(), nullable=True, ref=given.ref if shared and isinstance(given, Pointer) else 0
    )


def _constant_key(signature: Signature, state: MachineState) -> int | None:
    """The key of a lookup, where it is a known constant on the stack (kernel: get_constant_map_key)."""
    pointer = state.regs[2]
    if not isinstance(pointer, Pointer) or pointer.kind is not Kind.STACK:
        return None
    if pointer.var is not None and pointer.var.mask:
        return None
    off = pointer.off + (pointer.var.smin if pointer.var is not None else 0)
    index, rest = divmod(-off - 1, 8)
    first = 7 - rest
    cell = state.frames[pointer.frame].cell(index)
    if cell is None or first > 4:
        return None
    kinds = cell.types[first : first + 4]
    if kinds == bytes([ZERO] * 4):
        cell.zero.rely()
        return 0
    value = cell.value
    if first == 0 and kinds == bytes([SPILL] * 4) and isinstance(value, Number) and value.value is not None:
        if cell.size != 4:
            return None
        value.rely()
        return value.value & 0xFFFF_FFFF
    return None


def _use_memory(signature: Signature, state: MachineState, spec: MapSpec | None, world: World) -> None:
    """Stack bytes that the helper reads and writes; packet bytes that it writes."""
    args = signature.args or ()
    for reg, arg in enumerate(args, start=1):
        pointer = state.regs[reg]
        if not isinstance(pointer, Pointer):
            continue
        size: int | None
        exact = True
        if arg.kind is ArgKind.MAP_KEY:
            size = spec.key_size if spec else None
        elif arg.kind is ArgKind.MAP_VALUE:
            size = spec.value_size if spec else None
        elif arg.kind is ArgKind.MEMORY and arg.size is None:
            length = state.regs[reg + 1]
            size = length.range.umax if isinstance(length, Number) else None
            exact = isinstance(length, Number) and length.value is not None
        else:
            size = arg.size or {ArgKind.FIXED_INT: 4, ArgKind.FIXED_LONG: 8}.get(arg.kind)
        if size is None:
            continue
        if arg.use is not MemoryUse.READ and pointer.kind in PACKET_KINDS:
            world.notes.writes_packet = True
        if arg.use is not MemoryUse.READ and pointer.dynptr is not None:
            dynptrs.written(state, pointer, world)
        if pointer.kind is not Kind.STACK:
            continue
        frame = state.frames[pointer.frame]
        if arg.use is not MemoryUse.WRITE or not exact:
            stack.used(frame, pointer, size, world)
        if arg.use is not MemoryUse.READ:
            stack.clobber(state, pointer, 0, size, world, fills=exact and arg.use is MemoryUse.WRITE)


def _release(state: MachineState, value: Value | None) -> None:
    """A reference is given back: what belongs to it is no pointer any more."""
    if isinstance(value, Pointer) and value.kind is Kind.STACK:
        dynptrs.release(state, value)
    if not isinstance(value, Pointer) or not value.ref:
        return
    state.forget(value.ref)


# Callbacks: how the callee's registers are filled from the caller's.
Enter = Callable[[Frame, list[Value | None], World], None]


def _enter_loop(frame: Frame, regs: list[Value | None], world: World) -> None:
    frame.regs[1] = unknown()
    frame.regs[2] = regs[3]


def _enter_for_each(frame: Frame, regs: list[Value | None], world: World) -> None:
    map_pointer = regs[1]
    assert isinstance(map_pointer, Pointer)
    frame.regs[1] = map_pointer
    frame.regs[2] = Pointer(Kind.MAP_KEY, map=map_pointer.map)
    frame.regs[3] = Pointer(Kind.MAP_VALUE, map=map_pointer.map)
    frame.regs[4] = regs[3]


def _enter_find_vma(frame: Frame, regs: list[Value | None], world: World) -> None:
    frame.regs[1] = regs[1]
    frame.regs[2] = objects.kernel_object("vm_area_struct", world)
    frame.regs[3] = regs[4]


def _enter_drain(frame: Frame, regs: list[Value | None], world: World) -> None:
    frame.regs[1] = dynptrs.handed_in(world)
    frame.regs[2] = regs[3]


_CALLBACKS: dict[int, Enter] = {
    _FOR_EACH: _enter_for_each,
    _LOOP: _enter_loop,
    _FIND_VMA: _enter_find_vma,
    _USER_RINGBUF_DRAIN: _enter_drain,
}


def _may_iterate(number: int, state: MachineState) -> bool:
    """Whether one more iteration is possible: bpf_loop counts, where the count is known."""
    if number != _LOOP:
        return True
    count = state.regs[1]
    if not isinstance(count, Number):
        return True
    count.rely()
    frame = state.frame
    if frame.callback_depth < count.range.umax:
        return True
    frame.callback_depth = 0
    return False


def entered(state: MachineState, slot: int, start: int, enter: Enter, world: World) -> Fork:
    """A copy of the state inside the callback's frame."""
    world.callbacks.add(start)
    twin = state.copy()
    frame = Frame(len(twin.frames), start, slot)
    frame.callback = (0, 1)
    frame.refs_before = max((ref[0] for ref in twin.refs), default=0)
    enter(frame, twin.regs, world)
    _share(frame.regs)
    twin.frame.callback_depth += 1
    state.frame.callback_depth = 0
    twin.push(frame)
    return start, twin


def _share(regs: list[Value | None]) -> None:
    for value in regs[1:6]:
        if isinstance(value, Number):
            value.shared = True


def local(insn: Instruction, slot: int, world: World) -> Branch:
    """The function of a call of a subprogram: static ones are entered, global ones are believed."""
    start = slot + 1 + insn.imm
    sub = world.functions.get(start)

    def enter(state: MachineState, forks: list[Fork]) -> int:
        frame = Frame(len(state.frames), start, slot)
        regs = state.regs
        frame.regs[1:6] = regs[1:6]
        _share(frame.regs)
        regs[0:6] = [None] * 6
        state.push(frame)
        return start

    def believe(state: MachineState, forks: list[Fork]) -> int:
        assert sub is not None
        expected = world.parameters(start)
        assert not isinstance(expected, str)
        regs = state.regs
        for reg, parameter in enumerate(expected, start=1):
            value = regs[reg]
            if parameter.kind is Passed.DYNPTR:
                dynptrs.used(state, value, world)
            if parameter.kind is not Passed.MEMORY or not isinstance(value, Pointer):
                continue
            if value.kind in PACKET_KINDS:
                world.notes.writes_packet = True
            dynptrs.written(state, value, world)
            if value.kind is Kind.STACK:
                frame = state.frames[value.frame]
                stack.used(frame, value, parameter.size, world)
                stack.clobber(state, value, 0, parameter.size, world)
        world.global_calls.add(start)
        regs[1:6] = [None] * 5
        regs[0] = unknown()
        world.notes.kinds[slot] |= 1
        if world.changes_packet(start):
            forget_packet(state)
        return slot + 1

    return believe if sub is not None and sub.is_global else enter


def _returned(state: MachineState) -> Fork:
    """A tail call inside a subprogram succeeded: the other program ran and returned to this one's caller."""
    twin = state.copy()
    frame = twin.pop()
    forget_packet(twin)
    dynptrs.leave(twin, frame)
    twin.regs[0] = unknown()
    return frame.call_slot + 1, twin


def legacy_load(insn: Instruction, slot: int, world: World) -> Branch:
    """LD_ABS and LD_IND: r0 is the packet's bytes, r1 to r5 are lost; where the packet ends, the function returns 0."""

    def full(state: MachineState, forks: list[Fork]) -> int:
        if len(state.frames) > 1:
            twin = state.copy()
            frame = twin.pop()
            twin.regs[0] = constant(0)
            dynptrs.leave(twin, frame)
            forks.append((frame.call_slot + 1, twin))
        state.regs[0:6] = [None] * 6
        state.regs[0] = unknown()
        world.notes.kinds[slot] |= 1
        return slot + 1

    return full


def leave(insn: Instruction, slot: int, world: World) -> Branch:
    """The function of EXIT: -1 at the end of the path, else the slot to go on at."""

    def full(state: MachineState, forks: list[Fork]) -> int:
        if len(state.frames) == 1:
            return -1
        frame = state.pop()
        if frame.callback is not None:
            dynptrs.leave(state, frame)
            return frame.call_slot
        state.regs[0] = frame.regs[0]
        dynptrs.leave(state, frame)
        return frame.call_slot + 1

    return full


def jump(insn: Instruction, slot: int, world: World) -> Branch:
    """JA, near and far."""
    target = slot + 1 + (insn.imm if insn.opcode & op.CLASS_MASK == op.JMP32 else insn.off)
    return lambda state, forks: target

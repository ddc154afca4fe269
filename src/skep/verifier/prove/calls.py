"""Calls of helpers and subprograms (kernel: check_helper_call, check_map_func_compatibility, check_func_call)."""

from __future__ import annotations

from skep.abi.capabilities import needs_perfmon
from skep.abi.helpers import HELPERS, may_call
from skep.abi.map_facts import may_use
from skep.abi.map_types import MapType
from skep.abi.signatures import ReturnKind
from skep.verifier.options import MemoryEntry
from skep.verifier.prove import dynptrs, locks, objects
from skep.verifier.prove.arguments import map_argument
from skep.verifier.prove.functions import valid_global_call
from skep.verifier.prove.leaving import sleeps_in
from skep.verifier.requirements.kinds import (
    HelperAvailable,
    KnownHelper,
    Rule,
    SuitableMap,
    ValidCall,
    Violation,
)
from skep.verifier.state.machine import MachineState
from skep.verifier.state.sleeping import may_sleep
from skep.verifier.state.values import Number, Pointer, type_name
from skep.verifier.state.world import World

MAX_CALL_FRAMES = 8

# What a program may do with r0 of these is not written yet.
_RESULTS = frozenset(
    {
        ReturnKind.INTEGER,
        ReturnKind.VOID,
        ReturnKind.MAP_VALUE_OR_NULL,
        ReturnKind.MAP_VALUE,
        ReturnKind.RINGBUF_RECORD_OR_NULL,
        ReturnKind.DYNPTR_MEMORY_OR_NULL,
        ReturnKind.SOCKET_OR_NULL,
        ReturnKind.SOCK_COMMON_OR_NULL,
        ReturnKind.TCP_SOCK_OR_NULL,
        ReturnKind.BTF_OBJECT,
        ReturnKind.BTF_OBJECT_OR_NULL,
        ReturnKind.MEMORY_OR_BTF_OBJECT,
        ReturnKind.MEMORY_OR_BTF_OBJECT_OR_NULL,
    }
)


def helper_available(need: HelperAvailable, state: MachineState, world: World) -> Violation | None:
    """The helper exists, and this program on this engine may call it."""
    number, linked = need.helper, world.linked
    row = HELPERS.get(number)
    if row is None:
        return Violation(Rule.HELPER_UNKNOWN, need, f"invalid func unknown#{number}", None, {"helper": number})
    held_lock = locks.helper_allowed(need, number, row.name, state)
    if held_lock is not None:
        return held_lock
    values: dict[str, object] = {"helper": row.name, "prog_type": linked.prog_type.name}
    if not may_call(row, linked.prog_type, linked.attach_type):
        said = f"program of this type cannot use helper {row.name}#{number}"
        return Violation(Rule.HELPER_PROG_TYPE, need, said, None, values)
    if objects.refused_helper(number, world):
        said = f"program of this type cannot use helper {row.name}#{number}"
        return Violation(Rule.HELPER_PROG_TYPE, need, said, None, values)
    if not linked.target.privileged and needs_perfmon(number, linked.prog_type):
        said = f"program of this type cannot use helper {row.name}#{number}"
        return Violation(Rule.HELPER_CAPABILITY, need, said, None, values)
    if row.gpl_only and not linked.is_gpl_compatible:
        said = "cannot call GPL-restricted function from non-GPL compatible program"
        return Violation(Rule.HELPER_GPL, need, said, None, values)
    if row.may_sleep and not may_sleep(state, world):
        said = "helper call might sleep in a non-sleepable prog"
        return Violation(Rule.HELPER_SLEEPS, need, said, None, values)
    held = sleeps_in(state, f"sleepable helper {row.name}#{number} in") if row.may_sleep else None
    if held is not None:
        return Violation(Rule.SECTION_SLEEPS, need, held[0], None, {"function": row.name, "section": held[1]})
    reason = linked.target.refused_helpers.get(number)
    if reason is not None:
        said = f"{row.name}() cannot be called on {linked.target.name}: {reason}"
        return Violation(
            Rule.HELPER_REFUSED, need, said, None, {**values, "reason": reason, "engine": linked.target.name}
        )
    if row.args is None or row.returns not in _RESULTS:
        feature = f"helper {row.name}()"
        return Violation(Rule.UNSUPPORTED, need, feature, None, {"feature": feature, "instead": ""})
    return None


def known_helper(need: KnownHelper, state: MachineState, world: World) -> Violation | None:
    """A call through a register: of one helper without arguments, and only where Linux does not decide."""
    if not isinstance(world.options.entry, MemoryEntry):
        return Violation(Rule.UNKNOWN_OPCODE, need, "unknown opcode 8d", None, {"opcode": 0x8D})
    value = state.regs[need.reg]
    signature = None
    if isinstance(value, Number) and value.value is not None:
        value.rely()
        signature = world.signature(value.value)
    if signature is None or signature.args != ():
        feature = "calls through a register, but for helpers without arguments"
        return Violation(Rule.UNSUPPORTED, need, feature, need.reg, {"feature": feature, "instead": ""})
    return helper_available(HelperAvailable(signature.id), state, world)


def suitable_map(need: SuitableMap, state: MachineState, world: World) -> Violation | None:
    """The type of the map and the helper fit."""
    signature = world.signature(need.helper)
    pointer = map_argument(signature, state) if signature is not None else None
    if pointer is None or pointer.map is None or signature is None:
        return _special(need, state, world)
    spec = pointer.map
    values: dict[str, object] = {"helper": signature.name, "map": spec.name, "map_type": spec.type.name}
    if not may_use(need.helper, spec.type, world.linked.prog_type, world.linked.attach_type):
        said = f"cannot pass map_type {int(spec.type)} into func {signature.name}#{need.helper}"
        return Violation(Rule.HELPER_MAP, need, said, None, values)
    if spec.type is MapType.PROG_ARRAY and len(state.frames) > 1 and _in_callback(state):
        said = "tail_call is not allowed in callbacks"
        return Violation(Rule.TAIL_CALL, need, said, None, {"reason": "tail calls cannot leave a callback"})
    violation = _writes_read_only(need, pointer, values)
    return violation if violation is not None else _special(need, state, world)


def _in_callback(state: MachineState) -> bool:
    return any(frame.callback is not None for frame in state.frames)


_RDONLY_PROG = 1 << 7
_UPDATES = frozenset({2, 3, 87, 88})


def _writes_read_only(need: SuitableMap, pointer: Pointer, values: dict[str, object]) -> Violation | None:
    """Helpers respect the program's rights to a map (kernel: record_func_map)."""
    assert pointer.map is not None
    flags = pointer.map.flags
    if flags & _RDONLY_PROG and need.helper in _UPDATES:
        return Violation(Rule.MAP_READ_ONLY, need, "write into map forbidden", None, {**values, "use": "write"})
    return None


def _special(need: SuitableMap, state: MachineState, world: World) -> Violation | None:
    """Rules of single helpers."""
    if need.helper == 181 and not isinstance(state.regs[1], Number):  # bpf_loop: Linux fails, "backtracking misuse"
        count = type_name(state.regs[1])
        said = f"R1 type={count} expected=scalar"
        values: dict[str, object] = {"helper": "bpf_loop", "pointer": count, "expected": "scalar"}
        return Violation(Rule.ARGUMENT_KIND, need, said, 1, values)
    if need.helper == 81:  # bpf_get_local_storage
        flags = state.regs[2]
        if not isinstance(flags, Number) or flags.value != 0:
            said = "get_local_storage() doesn't support non-zero flags"
            return Violation(Rule.ARGUMENT_VALUE, need, said, 2, {"helper": "bpf_get_local_storage"})
    if need.helper == 197:  # bpf_dynptr_from_mem
        return dynptrs.of_map_value(need, state)
    return None


def valid_call(need: ValidCall, state: MachineState, world: World) -> Violation | None:
    """A subprogram can be entered."""
    sub = world.functions.get(need.target)
    if sub is None:
        said = f"function calls: no subprogram starts at instruction {need.target}"
        return Violation(Rule.PROGRAM, need, said, None, {"reason": said})
    if len(state.frames) >= MAX_CALL_FRAMES:
        said = f"the call stack of {len(state.frames) + 1} frames is too deep"
        return Violation(Rule.CALL_DEPTH, need, said, None, {"frames": len(state.frames) + 1})
    if need.target == world.exception_callback:
        said = f"insn {world.exception_callback} cannot call exception cb directly"
        return Violation(Rule.EXCEPTION, need, said, None, {"reason": "the exception callback is called directly"})
    if sub.is_global:
        held = locks.global_allowed(need, sub.name, state)
        if held is not None:
            return held
        if world.may_sleep(need.target):
            said = f"sleepable global function {sub.name}() called in"
            where = sleeps_in(state, said)
            if where is None and not may_sleep(state, world):
                where = (f"{said} a non-sleepable BPF program context", "this program must not")
            if where is not None:
                return Violation(Rule.SECTION_SLEEPS, need, where[0], None, {"function": sub.name, "section": where[1]})
        return valid_global_call(need, sub, state, world)
    return None

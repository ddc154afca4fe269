"""Arguments that are dynptrs (kernel: process_dynptr_func), and what functions need of them besides."""

from __future__ import annotations

from skep.abi.prog_types import ProgType
from skep.abi.signatures import MemoryUse
from skep.verifier.prove import regions, stack, stack_objects
from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver, wrong
from skep.verifier.requirements.kfuncs import KfuncArguments
from skep.verifier.requirements.kinds import Requirement, Rule, SuitableMap, ValidArgument, Violation
from skep.verifier.state.dynptr_places import find, first_cell
from skep.verifier.state.dynptrs import REFCOUNTED, SIZE, Dynptr
from skep.verifier.state.kfuncs import KfuncParam, KfuncProto, Wants
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import DYNPTR
from skep.verifier.state.stack_objects import StackObject
from skep.verifier.state.values import Kind, Number, Pointer, Value, type_name
from skep.verifier.state.world import World

_UNINIT = "__uninit"
_PLACES = frozenset({Kind.STACK, Kind.DYNPTR})

# Program types that may write packet data directly (kernel: may_access_direct_pkt_data).
_WRITERS = frozenset(
    {
        ProgType.SCHED_CLS,
        ProgType.SCHED_ACT,
        ProgType.XDP,
        ProgType.LWT_XMIT,
        ProgType.SK_SKB,
        ProgType.SK_MSG,
        ProgType.CGROUP_SOCKOPT,
    }
)


def makeable(need: Requirement, reg: int, pointer: Pointer, state: MachineState) -> Violation | None:
    """A dynptr can be made here: 16 aligned bytes of stack that hold none that must be given back first."""
    values: dict[str, object] = {"pointer": pointer.name, "offset": pointer.off}
    reason = first_cell(pointer) if pointer.kind is Kind.STACK else "a dynptr that was handed in does not change"
    if isinstance(reason, str):
        said = "Dynptr has to be an uninitialized dynptr"
        return Violation(Rule.DYNPTR_PLACE, need, said, reg, {**values, "reason": reason})
    frame = state.frames[pointer.frame]
    low = -8 * (reason + 1)
    for part in range(0, SIZE, 8):
        violation = stack.in_bounds(need, pointer, reg, pointer.off + part, 8, writes=True)
        if violation is None:
            violation = stack_objects.overwritable(need, state, frame, low + part, low + part + 8, reg)
        if violation is not None:
            return violation
    return None


def initialised(need: Requirement, reg: int, pointer: Pointer, state: MachineState) -> Violation | None:
    """The register points to a dynptr.

    Only submit and discard want one of a type, and what they can release is of that type (is_dynptr_type_expected).
    """
    if find(state, pointer) is not None:
        return None
    values: dict[str, object] = {"pointer": pointer.name, "argument": reg}
    said = f"Expected an initialized dynptr as arg #{reg - 1}"
    return Violation(Rule.DYNPTR_UNINITIALISED, need, said, reg, values)


def helper_argument(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    """Of a helper; the kind and the offset of the pointer are proved."""
    reg, arg = need.reg, need.arg
    if arg.use is MemoryUse.WRITE:
        return makeable(need, reg, value, state)
    signature = world.signature(need.helper)
    if signature is not None and signature.releases == reg:
        values: dict[str, object] = {"helper": need.helper, "pointer": value.name}
        if value.kind is Kind.DYNPTR:
            return Violation(Rule.RELEASE_UNOWNED, need, "cannot release unowned const bpf_dynptr", reg, values)
        if not _owns(state, value):
            return Violation(Rule.RELEASE_UNOWNED, need, f"arg {reg} is an unacquired reference", reg, values)
    return initialised(need, reg, value, state)


def _owns(state: MachineState, pointer: Pointer) -> bool:
    """Whether the cell at the address belongs to something acquired."""
    index = first_cell(pointer)
    cell = state.frames[pointer.frame].cell(index) if isinstance(index, int) else None
    if cell is None:
        return False
    held = cell.value
    return bool(cell.object.ref if cell.object is not None else isinstance(held, Pointer) and held.ref)


def is_global_argument(need: Requirement, reg: int, value: Value, state: MachineState) -> bool:
    """Whether a global function that takes a dynptr may be given this one (kernel: btf_check_func_arg_match)."""
    if not isinstance(value, Pointer) or value.kind not in _PLACES:
        return False
    if value.kind is Kind.DYNPTR and regions.unmoved(need, value, reg) is not None:
        return False
    return initialised(need, reg, value, state) is None


def _kfunc_argument(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    if param.nullable and isinstance(value, Number) and value.value == 0:
        value.rely()
        return None
    if not isinstance(value, Pointer) or value.kind not in _PLACES:
        said = f"arg#{index} expected pointer to stack or const struct bpf_dynptr"
        return wrong(need, index, value, Wants.DYNPTR.value, said)
    if value.kind is Kind.DYNPTR:
        violation = regions.unmoved(need, value, index + 1)
        if violation is not None:
            return violation
    if param.name.endswith(_UNINIT):
        return makeable(need, index + 1, value, state)
    return initialised(need, index + 1, value, state)


def _writable_packet(need: KfuncArguments, proto: KfuncProto, state: MachineState, world: World) -> Violation | None:
    """Memory that can be written is given only where packets can be (kernel: check_special_kfunc)."""
    if world.linked.prog_type in _WRITERS:
        return None
    said = "the prog does not allow writes to packet data"
    return Violation(Rule.PACKET_READ_ONLY, need, said, 1, {"pointer": type_name(state.regs[1])})


def of_map_value(need: SuitableMap, state: MachineState) -> Violation | None:
    """bpf_dynptr_from_mem() takes values of maps, and no other memory."""
    given = state.regs[1]
    if isinstance(given, Pointer) and given.kind is Kind.MAP_VALUE:
        return None
    said = f"Unsupported reg type {type_name(given)} for bpf_dynptr_from_mem data"
    return Violation(Rule.DYNPTR_MEMORY, need, said, 1, {"pointer": type_name(given)})


def unwritten(need: Requirement, frame: Frame, low: int, high: int, reg: int) -> Violation | None:
    """A helper that fills bytes low..high (offsets from r10) hits no dynptr (kernel: check_stack_range_initialized)."""
    for off in range(low, high):
        index, rest = divmod(-off - 1, 8)
        cell = frame.cell(index)
        if cell is not None and cell.types[7 - rest] == DYNPTR:
            said = f"potential write to dynptr at off={off} disallowed"
            return Violation(Rule.DYNPTR_OVERWRITTEN, need, said, reg, {"offset": off, "size": high - low})
    return None


def _overwritable(
    need: Requirement, state: MachineState, frame: Frame, index: int, reg: int, found: StackObject
) -> Violation | None:
    """A dynptr that must be given back stays (kernel: destroy_if_dynptr_stack_slot)."""
    if isinstance(found, Dynptr) and found.type in REFCOUNTED:
        values: dict[str, object] = {"offset": -8 * (index + 1), "size": 8}
        return Violation(Rule.DYNPTR_LOST, need, "cannot overwrite referenced dynptr", reg, values)
    return None


stack_objects.OVERWRITE[Dynptr] = _overwritable

ARGUMENTS: dict[Wants, ArgumentProver] = {Wants.DYNPTR: _kfunc_argument}
CALLS: dict[str, CallProver] = {"bpf_dynptr_slice_rdwr": _writable_packet}

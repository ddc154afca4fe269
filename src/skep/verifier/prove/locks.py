"""Locks: which argument is one, in which order they are taken and released, what may be done while one is held
(kernel: process_spin_lock, check_map_prog_compatibility).
"""

from __future__ import annotations

from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver, wrong
from skep.verifier.requirements.kfuncs import KfuncArguments
from skep.verifier.requirements.kinds import Requirement, Rule, ValidArgument, Violation
from skep.verifier.state.fields import Record, Special
from skep.verifier.state.kfuncs import KfuncParam, KfuncProto, Wants
from skep.verifier.state.locks import RES_LOCKS, SAVES_INTERRUPTS, SPIN_LOCK, SPIN_UNLOCK, Lock, find_lock
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Trust
from skep.verifier.state.values import Kind, Pointer, Value
from skep.verifier.state.world import World

# Kernel functions that may be called while a lock is held (kernel: kfunc_spin_allowed).
_ALLOWED = frozenset(
    {
        "bpf_list_push_front_impl",
        "bpf_list_push_back_impl",
        "bpf_list_pop_front",
        "bpf_list_pop_back",
        "bpf_list_front",
        "bpf_list_back",
        "bpf_rbtree_add_impl",
        "bpf_rbtree_remove",
        "bpf_rbtree_first",
        "bpf_rbtree_root",
        "bpf_rbtree_left",
        "bpf_rbtree_right",
        "bpf_refcount_acquire_impl",
        "bpf_iter_num_new",
        "bpf_iter_num_next",
        "bpf_iter_num_destroy",
        "bpf_res_spin_lock",
        "bpf_res_spin_unlock",
        "bpf_res_spin_lock_irqsave",
        "bpf_res_spin_unlock_irqrestore",
    }
)


def helper_allowed(need: Requirement, helper: int, name: str, state: MachineState) -> Violation | None:
    """While a lock is held the only helper is the one that releases it (kernel: do_check)."""
    return None if not state.locks or helper == SPIN_UNLOCK else _held(need, name, state)


def kfunc_allowed(need: Requirement, name: str, state: MachineState) -> Violation | None:
    """While a lock is held only some kernel functions may be called (kernel: kfunc_spin_allowed)."""
    return None if not state.locks or name in _ALLOWED else _held(need, name, state)


def global_allowed(need: Requirement, name: str, state: MachineState) -> Violation | None:
    """Global functions are verified on their own: nobody knows what they call (kernel: check_func_call)."""
    if not state.locks:
        return None
    said = "global function calls are not allowed while holding a lock, use static function instead"
    return _held(need, name, state, said)


def _held(
    need: Requirement,
    name: str,
    state: MachineState,
    said: str = "function calls are not allowed while holding a lock",
) -> Violation:
    values = {"function": name, "acquired_at": state.locks[-1].slot}
    return Violation(Rule.LOCK_HELD, need, said, None, values)


def spin_lock(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    """The argument of bpf_spin_lock() and bpf_spin_unlock()."""
    violation = field_at(need, value, need.reg, Special.SPIN_LOCK, world)
    if violation is not None:
        return violation
    if need.helper == SPIN_LOCK:
        return None  # no lock is held, or the call would not be allowed
    return _released(need, value, Special.SPIN_LOCK, state, saved=False)


def _res_spin_lock(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    """The argument of bpf_res_spin_lock() and its kin."""
    in_map = isinstance(value, Pointer) and value.kind is Kind.MAP_VALUE and not value.nullable
    if not isinstance(value, Pointer) or not (in_map or is_allocated(value)):
        return wrong(
            need, index, value, Wants.SPIN_LOCK.value, f"arg#{index} doesn't point to map value or allocated object"
        )
    violation = field_at(need, value, index + 1, Special.RES_SPIN_LOCK, world)
    if violation is not None:
        return violation
    saved = need.name in SAVES_INTERRUPTS
    if need.name not in RES_LOCKS:
        return _released(need, value, Special.RES_SPIN_LOCK, state, saved=saved)
    held = find_lock(state.locks, Special.RES_SPIN_LOCK, value)
    if held is None:
        return None
    said = "Acquiring the same lock again, AA deadlock detected"
    return _order(need, said, "it is held already: it would wait for itself", held)


def is_allocated(value: Pointer) -> bool:
    """A pointer to an object that the program allocated and owns, and nothing else is said of it."""
    return value.object is not None and value.object.trust is Trust.ALLOC and not value.nullable


def field_at(need: Requirement, value: Pointer, reg: int, kind: Special, world: World) -> Violation | None:
    """The pointer points to the one field of the kind in its value or object."""
    name = kind.kernel_name
    values: dict[str, object] = {"field": name, "map": value.map.name if value.map is not None else None}
    offset = value.off + value.low
    record = world.record(value)
    field = record.find(kind)
    if value.var is not None and value.var.mask:
        said = f"R{reg} doesn't have constant offset. {name} has to be at the constant offset"
        reason = f"it points somewhere into the value: the place of '{name}' must be a constant"
    elif value.map is not None and (value.map.btf is None or not value.map.value_type):
        said = f"map '{value.map.name}' has to have BTF in order to use {name}"
        reason = "nothing is known of the type of the map's values"
    elif field is None:
        what = f"map '{value.map.name}'" if value.map is not None else "local 'kptr'"
        said = f"{what} has no valid {name}"
        reason = _none_there(name, record)
    elif field.offset != offset:
        said = f"off {offset} doesn't point to 'struct {name}' that is at {field.offset}"
        reason = f"it points to offset {offset}; 'struct {name}' is at {field.offset}"
    else:
        return None
    return Violation(Rule.FIELD_ARGUMENT, need, said, reg, {**values, "reason": reason})


def _none_there(name: str, record: Record) -> str:
    problem = f": the kernel does not take the type ({record.problem})" if record.problem else ""
    return f"what it points to has no 'struct {name}'{problem}"


def _released(
    need: Requirement, value: Pointer, kind: Special, state: MachineState, *, saved: bool
) -> Violation | None:
    name = kind.kernel_name.removesuffix("_lock")
    if not state.locks:
        return _order(need, f"{name}_unlock without taking a lock", "no lock is held here", None)
    last = state.locks[-1]
    if find_lock(state.locks, kind, value, saved) is None:
        return _order(need, f"{name}_unlock of different lock", "another lock is held here", last)
    if not last.lies_in(value):
        return _order(need, f"{name}_unlock cannot be out of order", "the last lock taken is released first", last)
    return None


def _order(need: Requirement, said: str, reason: str, held: Lock | None) -> Violation:
    values = {"reason": reason, "acquired_at": held.slot if held is not None else None}
    return Violation(Rule.LOCK_ORDER, need, said, None, values)


ARGUMENTS: dict[Wants, ArgumentProver] = {Wants.SPIN_LOCK: _res_spin_lock}
CALLS: dict[str, CallProver] = {}

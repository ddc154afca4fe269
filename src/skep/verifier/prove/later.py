"""Timers, work queues and task work in map values: the argument is one, and the map is the one that it lies in
(kernel: check_map_field_pointer, process_timer_func, process_wq_func, process_task_work_func).
"""

from __future__ import annotations

from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver, wrong
from skep.verifier.prove.locks import field_at
from skep.verifier.requirements.kfuncs import KfuncArguments
from skep.verifier.requirements.kinds import Requirement, Rule, ValidArgument, Violation
from skep.verifier.state.fields import Special
from skep.verifier.state.kfuncs import KfuncParam, KfuncProto, Wants
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Kind, Pointer, Value
from skep.verifier.state.world import World

_TIMER_INIT = 169
_KINDS = {Wants.WORK_QUEUE: Special.WORK_QUEUE, Wants.TASK_WORK: Special.TASK_WORK}


def timer(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    """The first argument of every bpf_timer helper."""
    return field_at(need, value, need.reg, Special.TIMER, world)


def timer_map(need: ValidArgument, value: Pointer, state: MachineState, world: World) -> Violation | None:
    """The map that bpf_timer_init() is given."""
    field = state.regs[1]
    if need.helper != _TIMER_INIT or not isinstance(field, Pointer):
        return None
    said = f"timer pointer in R1 map_uid={field.uid} doesn't match map pointer in R2 map_uid={value.uid}"
    return _same_map(need, field, value, 2, Special.TIMER, said)


def _same_map(
    need: Requirement, field: Pointer, given: Pointer, reg: int, kind: Special, said: str
) -> Violation | None:
    if field.map is given.map and field.uid == given.uid:
        return None
    values = {"field": kind.kernel_name, "map": field.map.name if field.map is not None else None}
    return Violation(Rule.FIELD_MAP, need, said, reg, values)


def _field(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    if not isinstance(value, Pointer) or value.kind is not Kind.MAP_VALUE or value.nullable:
        return wrong(need, index, value, param.wants.value, f"arg#{index} doesn't point to a map value")
    return field_at(need, value, index + 1, _KINDS[param.wants], world)


def _maps_match(kind: Special, said: str) -> CallProver:
    """``said`` about registers of the field and of the map, which follows it."""

    def prove(need: KfuncArguments, proto: KfuncProto, state: MachineState, world: World) -> Violation | None:
        index = next(at for at, param in enumerate(proto.params) if param.wants in _KINDS)
        field, given = state.regs[index + 1], state.regs[index + 2]
        assert isinstance(field, Pointer)
        assert isinstance(given, Pointer)
        text = said.format(field.uid, given.uid)
        return _same_map(need, field, given, index + 2, kind, text)

    return prove


_TASK_WORK = _maps_match(
    Special.TASK_WORK, "bpf_task_work pointer in R2 map_uid={} doesn't match map pointer in R3 map_uid={}"
)

ARGUMENTS: dict[Wants, ArgumentProver] = {Wants.WORK_QUEUE: _field, Wants.TASK_WORK: _field}
CALLS: dict[str, CallProver] = {
    "bpf_wq_init": _maps_match(
        Special.WORK_QUEUE, "workqueue pointer in R1 map_uid={} doesn't match map pointer in R2 map_uid={}"
    ),
    "bpf_task_work_schedule_signal_impl": _TASK_WORK,
    "bpf_task_work_schedule_resume_impl": _TASK_WORK,
}

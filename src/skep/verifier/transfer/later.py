"""Callbacks that run later, on their own: of timers, work queues and task work (kernel: push_async_cb,
set_timer_callback_state, set_task_work_schedule_callback_state).
"""

from __future__ import annotations

from dataclasses import replace

from skep.abi.return_ranges import ASYNC_CALLBACK
from skep.verifier.state.machine import NO_SECTIONS, Frame, MachineState
from skep.verifier.state.values import Kind, Pointer, Value
from skep.verifier.state.world import World
from skep.verifier.transfer.branch import Fork
from skep.verifier.transfer.kfunc_calls import Call, Effect

TIMER_SET_CALLBACK = 170
_ANY_INT = (-(1 << 31), (1 << 31) - 1)


def entered(
    state: MachineState,
    callback: Value | None,
    field: Value | None,
    world: World,
    *,
    sleepable: bool,
    returns: tuple[int, int] = (ASYNC_CALLBACK.low, ASYNC_CALLBACK.high),
) -> Fork:
    """A state that begins in the callback, with a stack of its own: the map, a key and a value are all it knows.

    Args:
        field: the timer or work (or the map): its map is the callback's.
    """
    assert isinstance(callback, Pointer)
    assert isinstance(field, Pointer)
    frame = Frame(0, callback.slot, -1)
    frame.callback = returns
    for reg, kind in enumerate((Kind.MAP, Kind.MAP_KEY, Kind.MAP_VALUE), start=1):
        frame.regs[reg] = Pointer(kind, map=field.map)
    later = MachineState([frame])
    later.secret = state.secret
    later.async_depth = state.async_depth + 1
    later.sections = replace(NO_SECTIONS, sleepable=sleepable)
    world.callbacks.add(callback.slot)
    world.async_callbacks.add(callback.slot)
    return callback.slot, later


def _work_queue(call: Call) -> None:
    wq, callback = call.args[0], call.args[1]
    call.forks.append(entered(call.state, callback, wq, call.world, sleepable=True))


def _task_work(call: Call) -> None:
    map_pointer, callback = call.args[2], call.args[3]
    call.forks.append(entered(call.state, callback, map_pointer, call.world, sleepable=True, returns=_ANY_INT))


AFTER: dict[str, Effect] = {
    "bpf_wq_set_callback_impl": _work_queue,
    "bpf_task_work_schedule_signal_impl": _task_work,
    "bpf_task_work_schedule_resume_impl": _task_work,
}

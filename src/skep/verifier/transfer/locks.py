"""What calls do to locks (kernel: process_spin_lock, acquire_lock_state, release_lock_state)."""

from __future__ import annotations

from collections.abc import Callable

from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.fields import Special
from skep.verifier.state.kfuncs import Wants
from skep.verifier.state.locks import (
    RES_LOCKS,
    SAVES_INTERRUPTS,
    SPIN_LOCK,
    SPIN_UNLOCK,
    Lock,
    find_lock,
    holder_of,
)
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Trust
from skep.verifier.state.values import Number, Pointer, constant
from skep.verifier.transfer.kfunc_calls import ArgumentEffect, Call, Effect, Result

_MAX_ERRNO = 4095


def spin_lock(state: MachineState, slot: int) -> None:
    """bpf_spin_lock(): the lock that r1 points to is held."""
    value = state.regs[1]
    assert isinstance(value, Pointer)
    state.locks = (*state.locks, Lock(Special.SPIN_LOCK, False, value.id, holder_of(value), slot))


def spin_unlock(state: MachineState, slot: int) -> None:
    """bpf_spin_unlock(): the lock that r1 points to is not held any more."""
    value = state.regs[1]
    assert isinstance(value, Pointer)
    _release(state, Special.SPIN_LOCK, value, saved=False)


HELPERS: dict[int, Callable[[MachineState, int], None]] = {SPIN_LOCK: spin_lock, SPIN_UNLOCK: spin_unlock}
"""By number: what the helper does besides its result, at which slot."""


def _release(state: MachineState, kind: Special, value: Pointer, *, saved: bool) -> None:
    held = find_lock(state.locks, kind, value, saved)
    assert held is not None
    state.locks = tuple(lock for lock in state.locks if lock is not held)
    state.invalidate(_is_borrowed)


def _is_borrowed(value: Pointer) -> bool:
    """Nodes that a list or tree owns may go away once nobody holds its lock (kernel: invalidate_non_owning_refs)."""
    return value.object is not None and bool(value.object.trust & Trust.BORROWED)


def _res_spin_lock(call: Call, index: int) -> None:
    """It may fail: then nothing is held, and r0 is an error number."""
    value, name, state = call.args[index], call.proto.name, call.state
    assert isinstance(value, Pointer)
    saved = name in SAVES_INTERRUPTS
    if name not in RES_LOCKS:
        _release(state, Special.RES_SPIN_LOCK, value, saved=saved)
        return
    failed = state.copy()
    failed.regs[0:6] = [None] * 6
    failed.regs[0] = Number(Scalar.signed(-_MAX_ERRNO, -1))
    call.forks.append((call.slot + 1, failed))
    taken = Lock(Special.RES_SPIN_LOCK, saved, value.id, holder_of(value), call.slot)
    state.locks = (*state.locks, taken)


ARGUMENTS: dict[Wants, ArgumentEffect] = {Wants.SPIN_LOCK: _res_spin_lock}
RESULTS: dict[str, Result] = {name: lambda call: constant(0) for name in RES_LOCKS}
AFTER: dict[str, Effect] = {}

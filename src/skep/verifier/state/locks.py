"""Locks that a path holds (kernel: REF_TYPE_LOCK, REF_TYPE_RES_LOCK and REF_TYPE_RES_LOCK_IRQ in the references)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skep.verifier.state.fields import Special
from skep.verifier.state.values import Pointer

SPIN_LOCK, SPIN_UNLOCK = 93, 94  # helpers
RES_LOCKS = frozenset({"bpf_res_spin_lock", "bpf_res_spin_lock_irqsave"})
SAVES_INTERRUPTS = frozenset({"bpf_res_spin_lock_irqsave", "bpf_res_spin_unlock_irqrestore"})


@dataclass(frozen=True, slots=True, eq=False)
class Lock:
    """A lock that was taken. Which one it is, the id of its value and what that lies in say together.

    Attributes:
        kind: SPIN_LOCK or RES_SPIN_LOCK.
        saved: interrupts were switched off with it.
        id: of the pointer to the value or object that it lies in; 0: the one value of a map.
        holder: the map, or the types of the program that the object is of.
        slot: the instruction that took it.
    """

    kind: Special
    saved: bool
    id: int
    holder: object
    slot: int

    def lies_in(self, pointer: Pointer) -> bool:
        """Whether it lies in what the pointer points to."""
        return self.id == pointer.id and self.holder is holder_of(pointer)

    def covers(self, new: Lock, same_id: Callable[[int, int], bool]) -> bool:
        """Whether ``new`` stands in a new state where this one stands in a saved state (kernel: refsafe)."""
        alike = self.kind is new.kind and self.saved == new.saved and self.holder is new.holder
        return alike and same_id(self.id, new.id)


def holder_of(pointer: Pointer) -> object:
    """What tells locks with one id apart (kernel: active_lock_ptr)."""
    return pointer.map if pointer.map is not None else pointer.object and pointer.object.btf


def find_lock(locks: tuple[Lock, ...], kind: Special, pointer: Pointer, saved: bool | None = None) -> Lock | None:
    """The held lock that lies in what ``pointer`` points to (kernel: find_lock_state)."""
    return next(
        (lock for lock in locks if lock.kind is kind and lock.lies_in(pointer) and saved in (None, lock.saved)), None
    )

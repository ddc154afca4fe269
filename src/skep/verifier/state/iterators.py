"""Iterators that a program drives itself: new, next until NULL, destroy (kernel: struct bpf_iter_* on the stack)."""

from __future__ import annotations

from dataclasses import dataclass

from skep.btf.types import Btf, Struct
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Trust
from skep.verifier.state.stack_objects import SameId, StackObject

_PREFIX = "bpf_iter_"


@dataclass(frozen=True, slots=True)
class Iterator(StackObject):
    """One cell of an iterator; what changes is in the first one.

    Attributes:
        type: id of its structure in ``btf``.
        drained: it gave NULL; it will not give anything else.
        depth: how often it gave something on this path. Progress, but nothing that a proof needs.
        trust: RCU: its elements are protected by the RCU section it was made in; UNTRUSTED: that section has ended.
    """

    btf: Btf
    type: int
    drained: bool = False
    depth: int = 0
    trust: Trust = Trust.NONE

    def covers(self, new: StackObject, same_id: SameId) -> bool:
        """The same kind in the same phase."""
        return (
            isinstance(new, Iterator)
            and self.btf is new.btf
            and self.type == new.type
            and self.part == new.part
            and self.drained == new.drained
            and self.trust == new.trust
            and same_id(self.ref, new.ref)
        )


def iterator_struct(btf: Btf, type_id: int) -> Struct | None:
    """The structure of an iterator; None: it is none (kernel: btf_check_iter_arg)."""
    found = btf[type_id]
    if isinstance(found, Struct) and found.name.startswith(_PREFIX) and found.size and found.size % 8 == 0:
        return found
    return None


def depths_differ(old: MachineState, new: MachineState) -> bool:
    """Whether an iterator of the old state has made progress (kernel: iter_active_depths_differ)."""
    for a, b in zip(old.frames, new.frames, strict=False):
        for index, cell in enumerate(a.stack):
            held = cell.object if cell is not None else None
            if not isinstance(held, Iterator) or held.drained:
                continue
            twin = b.cell(index)
            now = twin.object if twin is not None else None
            if not isinstance(now, Iterator) or now.depth != held.depth:
                return True
    return False

"""Objects that live on the stack and that only the kernel touches: iterators, dynptrs, saved interrupt flags.

Each fills whole cells. A cell says of each byte that it belongs to one (stack.ITERATOR, DYNPTR, IRQ_FLAG) and carries
the payload, one per cell: a frozen subclass of :class:`StackObject` (kernel: ``iter``, ``dynptr`` and ``irq`` of the
bpf_reg_state in a slot). The rules for all of them:

- Loads, and helpers and kernel functions that read memory, may not touch such bytes (prove.stack_objects).
- A store turns the whole cell into plain bytes; what the object owned stays open and is a leak at the end. A kind with
  other rules registers them: in prove.stack_objects.OVERWRITE, and in transfer.stack_objects.DISPLACED.
- A saved state covers another only with the same kinds at the same places: :meth:`StackObject.covers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SameId = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class StackObject:
    """One cell of an object.

    Attributes:
        part: number of the cell, from the object's lowest address.
        ref: the reference that it is or owns; 0: none.
    """

    part: int
    ref: int

    def covers(self, new: StackObject, same_id: SameId) -> bool:
        """Whether what is safe with this one in a saved state is safe with ``new`` (kernel: stacksafe).

        Args:
            same_id: whether an id of the saved state means the same as one of the new state.
        """
        return type(self) is type(new) and self.part == new.part and same_id(self.ref, new.ref)

"""Dynptrs: memory whose size is known at run time only, behind 16 bytes of stack (kernel: struct bpf_dynptr_kern)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from skep.verifier.state.stack_objects import SameId, StackObject


class DynptrType(StrEnum):
    """What the memory is (enum bpf_dynptr_type); the values are the kernel's words in messages."""

    LOCAL = "local"
    RINGBUF = "ringbuf"
    SKB = "skb"
    XDP = "xdp"
    SKB_META = "skb_meta"


REFCOUNTED = frozenset({DynptrType.RINGBUF})
"""Must be given back (kernel: dynptr_type_refcounted)."""

PACKETS = frozenset({DynptrType.SKB, DynptrType.XDP, DynptrType.SKB_META})
"""Slices of these lie in packet data (kernel: reg_is_dynptr_slice_pkt)."""

CELLS = 2
SIZE = 16


@dataclass(frozen=True, slots=True)
class Dynptr(StackObject):
    """One of the two cells of a dynptr; or (part 0) the one that a register of kind DYNPTR points to.

    Attributes:
        id: names it; what was taken out of it carries the same. A clone has one of its own.
    """

    type: DynptrType
    id: int

    def covers(self, new: StackObject, same_id: SameId) -> bool:
        """Same type, reference and identity."""
        if not isinstance(new, Dynptr) or self.type is not new.type:
            return False
        return StackObject.covers(self, new, same_id) and same_id(self.id, new.id)


@dataclass(frozen=True, slots=True)
class Slice:
    """What a pointer to memory of a dynptr remembers of it.

    Attributes:
        id: the dynptr's.
        type: of the dynptr, for what bpf_dynptr_slice() gave; None: bpf_dynptr_data() gave it.
        buffer: (frame, first offset from r10, end) of the stack that it may be instead, if it can be written.
    """

    id: int
    type: DynptrType | None
    buffer: tuple[int, int, int] | None = None

    def covers(self, new: Slice, same_id: SameId) -> bool:
        """Whether memory of a dynptr in a saved state stands for ``new``."""
        return self.type is new.type and self.buffer == new.buffer and same_id(self.id, new.id)

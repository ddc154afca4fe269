"""Comparisons with pointers: which have one outcome, and which tell how much of a packet there is."""

from __future__ import annotations

from skep.isa import opcodes as op
from skep.verifier.state.values import BEYOND_END, Kind, Pointer

# Kinds that are never NULL, so that a comparison with 0 has one outcome (kernel: reg_not_null).
_NOT_NULL = frozenset(
    {Kind.SOCK, Kind.TCP_SOCK, Kind.SOCK_COMMON, Kind.MAP_VALUE, Kind.MAP_KEY, Kind.MEMORY, Kind.RECORD, Kind.MAP}
)

# For a comparison of packet pointer a with packet end b: the side that knows a <= b or a < b.
# code -> (side that learns: True for taken, whether the end itself is excluded: a < b)
PACKET_FIRST: dict[int, tuple[bool, bool]] = {
    op.JGT: (False, False),  # !(a > b): a <= b
    op.JLT: (True, True),
    op.JGE: (False, True),  # !(a >= b): a < b
    op.JLE: (True, False),
}
# The same with the operands exchanged: end code packet.
END_FIRST: dict[int, tuple[bool, bool]] = {
    op.JGT: (True, True),  # b > a
    op.JLT: (False, False),  # !(b < a): a <= b
    op.JGE: (True, False),
    op.JLE: (False, True),  # !(b <= a): a < b
}

# code -> with the packet pointer first: the outcome, if it lies beyond the end; if it lies at the end or beyond.
_BEYOND: dict[int, tuple[bool, bool | None]] = {
    op.JGT: (True, None),
    op.JLE: (False, None),
    op.JGE: (True, True),
    op.JLT: (False, False),
}
_FLIPPED = {op.JGT: op.JLT, op.JLT: op.JGT, op.JGE: op.JLE, op.JLE: op.JGE}


def is_known(a: Pointer) -> bool:
    """It is certain that the pointer is not NULL (kernel: reg_not_null)."""
    return not a.nullable and (a.kind in _NOT_NULL or _is_trusted(a))


def _is_trusted(a: Pointer) -> bool:
    return a.object is not None and (bool(a.ref) or a.object.trusted)


def pointers_decided(a: Pointer, b: Pointer, code: int) -> bool | None:
    """Whether the jump is taken, where an earlier comparison tells (kernel: is_pkt_ptr_branch_taken)."""
    if a.kind is Kind.PACKET_END:
        a, b, code = b, a, _FLIPPED.get(code, code)
    if b.kind is not Kind.PACKET_END or a.range >= 0 or code not in _BEYOND:
        return None
    return _BEYOND[code][0 if a.range == BEYOND_END else 1]


def are_packet_and_end(a: Pointer, b: Pointer) -> bool:
    """A packet pointer with data_end, or a metadata pointer with the packet's very first byte."""
    if a.kind is Kind.PACKET:
        return b.kind is Kind.PACKET_END
    starts = b.kind is Kind.PACKET and b.id == 0 and b.off == 0 and b.var is None
    return a.kind is Kind.PACKET_META and starts


def tells_reach(a: Pointer, b: Pointer, code: int) -> bool:
    """Whether the comparison is one that shows where a packet ends (kernel: try_match_pkt_pointers)."""
    return code in PACKET_FIRST and (are_packet_and_end(a, b) or are_packet_and_end(b, a))

"""Moving pointers: the offset of ``pointer + number`` (kernel: adjust_ptr_min_max_vals)."""

from __future__ import annotations

from skep.isa.opcodes import ADD
from skep.verifier.domains import alu
from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.values import Kind, Pointer

MAX_OFFSET = 1 << 29  # BPF_MAX_VAR_OFF
MAX_PACKET_OFFSET = 0xFFFF
_S32 = 1 << 31


def moved(pointer: Pointer, by: Scalar, code: int, new_id: int) -> Pointer:
    """``pointer + by`` or ``pointer - by``; ``new_id`` names the new variable part of a packet pointer."""
    if pointer.kind is Kind.PROBED:
        return pointer  # read with care wherever it points: offsets do not matter
    if not by[1]:
        off = pointer.off + by.smin if code == ADD else pointer.off - by.smin
        if -_S32 <= off < _S32:
            return pointer.moved(
                off, pointer.var, pointer.id, pointer.range if off >= pointer.off else max(pointer.range, 0)
            )
    var = alu.apply(code, Scalar.ZERO if pointer.var is None else pointer.var, by)
    if pointer.kind in (Kind.PACKET, Kind.PACKET_META):
        keeps_range = code != ADD and by.smin >= 0
        return pointer.moved(pointer.off, var, new_id, max(pointer.range, 0) if keeps_range else 0)
    return pointer.moved(pointer.off, var, pointer.id, pointer.range)

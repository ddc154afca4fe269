"""Pointers that are none any more: which call on the path ended what they pointed to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Flag, auto

from skep.abi.contexts import FieldKind, context_for
from skep.abi.helpers import HELPERS, signature_for
from skep.abi.kfuncs import KfuncFlag, find_kfunc
from skep.abi.signatures import ReturnKind, Signature
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, KfuncRef
from skep.model.programs import LinkedProgram
from skep.verifier.explain.slice import find_origin

_CALL = op.JMP | op.CALL
_DYNPTR_WRITE = 202
_PACKET_FIELDS = frozenset({FieldKind.PACKET, FieldKind.PACKET_END, FieldKind.PACKET_META})
_OWNED = frozenset(
    {
        ReturnKind.RINGBUF_RECORD_OR_NULL,
        ReturnKind.DYNPTR_MEMORY_OR_NULL,
        ReturnKind.SOCKET_OR_NULL,
        ReturnKind.SOCK_COMMON_OR_NULL,
        ReturnKind.TCP_SOCK_OR_NULL,
    }
)
_SLICES = frozenset({"bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"})


class Fate(Flag):
    """What can happen to what a pointer points to."""

    NOTHING = 0
    MOVED = auto()  # packet data may have moved
    RELEASED = auto()


@dataclass(frozen=True, slots=True)
class Ending:
    """The call that ended a pointer: its slot, and the function's name."""

    slot: int
    function: str
    fate: Fate


def find_ending(
    linked: LinkedProgram, code: Sequence[Instruction | None], trace: Sequence[int], reg: int
) -> Ending | None:
    """What ended the pointer that ``reg`` held; None: it was no pointer, or nothing on the path ended it."""
    made = find_origin(code, trace, reg).makers
    origin = code[made[-1]] if made else None
    if origin is None:
        return None
    feared = _may_suffer(linked, origin)
    start = max(index for index, slot in enumerate(trace) if slot == made[-1])
    for index in range(start + 1, len(trace) - 1):
        insn = code[trace[index]]
        if insn is None or insn.opcode != _CALL:
            continue
        function, fate = _does(linked, insn)
        if fate & feared and (fate is Fate.MOVED or _is_given(code, trace[: index + 1], insn, made[-1])):
            return Ending(trace[index], function, fate & feared)
    return None


def _may_suffer(linked: LinkedProgram, origin: Instruction) -> Fate:
    """What can end the pointer that an instruction gives."""
    if origin.opcode & op.CLASS_MASK == op.LDX:
        context = context_for(linked.prog_type)
        field = context.field_at(origin.off, 4, False, linked.attach_type) if context is not None else None
        return Fate.MOVED if field is not None and field.kind in _PACKET_FIELDS else Fate.NOTHING
    if origin.opcode != _CALL:
        return Fate.NOTHING
    if isinstance(origin.ref, KfuncRef):
        if origin.ref.name in _SLICES:
            return Fate.MOVED | Fate.RELEASED
        row = find_kfunc(origin.ref.name)
        return Fate.RELEASED if row is not None and row.flags & KfuncFlag.ACQUIRE else Fate.NOTHING
    signature = _signature(linked, origin)
    return Fate.RELEASED if signature is not None and signature.returns in _OWNED else Fate.NOTHING


def _does(linked: LinkedProgram, insn: Instruction) -> tuple[str, Fate]:
    """What a call may end."""
    if isinstance(insn.ref, KfuncRef):
        row = find_kfunc(insn.ref.name)
        flags = row.flags if row is not None else KfuncFlag.NONE
        fate = Fate.MOVED if flags & KfuncFlag.CHANGES_PACKET else Fate.NOTHING
        return insn.ref.name, fate | (Fate.RELEASED if flags & KfuncFlag.RELEASE else Fate.NOTHING)
    signature = _signature(linked, insn)
    if signature is None:
        return "", Fate.NOTHING
    fate = Fate.MOVED if signature.resizes_packet or signature.id == _DYNPTR_WRITE else Fate.NOTHING
    return signature.name, fate | (Fate.RELEASED if signature.releases is not None else Fate.NOTHING)


def _signature(linked: LinkedProgram, insn: Instruction) -> Signature | None:
    if insn.src != op.CALL_HELPER:
        return None
    return signature_for(insn.imm, linked.prog_type) or HELPERS.get(insn.imm)


def _is_given(code: Sequence[Instruction | None], trace: Sequence[int], insn: Instruction, origin: int) -> bool:
    """Whether the function releases the same thing: it is given it, or a dynptr, which owns its memory."""
    given = find_origin(code, trace, 1).makers
    maker = code[given[-1]] if given else None
    by_address = maker is not None and maker.opcode & op.CLASS_MASK in (op.ALU, op.ALU64)
    return bool(given) and (given[-1] == origin or by_address)

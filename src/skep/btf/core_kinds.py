"""CO-RE, compile once, run everywhere: what a relocation asks, and what its answer is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class CoreKind(IntEnum):
    """What a relocation asks (enum bpf_core_relo_kind)."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


@dataclass(frozen=True, slots=True)
class CoreRelocation:
    """One record of .BTF.ext: ``access`` is the accessor string (``0:1:2``) from local type ``type``."""

    kind: CoreKind
    type: int
    access: str


@dataclass(frozen=True, slots=True)
class CoreResult:
    """What the linker needs to patch one instruction.

    Attributes:
        value: the new number for ``off``, ``imm`` or an LD_IMM64 (may be negative: an enumerator); None: the target
            does not have the thing, so the instruction must never be reached (poison it).
        exists: whether the target has the thing (for TYPE_ID_LOCAL always).
        local_value: what the compiler put into the instruction; None when that must not be checked (bitfields,
            type ids).
        load_size: bytes that an LDX, ST or STX must access in the target; None when its size need not change.
        load_is_safe: False when the sizes differ and a load would need a sign extension or worse: poison the
            instruction if it is an LDX, ST or STX (and keep ``value`` otherwise).
        what: the thing, for messages: ``task_struct.mm.pgd``.
        reason: why ``value`` is None or the load is not safe.
        target_type: id of the target's type that was chosen, 0 for none; ``module`` says whose, None: the kernel's own.
    """

    value: int | None
    exists: bool
    local_value: int | None = None
    load_size: int | None = None
    load_is_safe: bool = True
    what: str = ""
    reason: str | None = None
    target_type: int = 0
    module: str | None = None

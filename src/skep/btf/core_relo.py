"""CO-RE: compile once, run everywhere. One relocation of a program against a Target's types."""

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

"""Classic programs as bytes: arrays of struct sock_filter, as setsockopt(SO_ATTACH_FILTER) takes them."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from skep.diagnostics import Diagnostic
from skep.errors import InputError
from skep.isa.classic.instruction import ClassicInstruction

SIZE = 8


def encode(program: Iterable[ClassicInstruction], byte_order: str = "little") -> bytes:
    """8 bytes per instruction, in the machine's byte order."""
    layout = struct.Struct("<HBBI" if byte_order == "little" else ">HBBI")
    return b"".join(layout.pack(insn.code, insn.jt, insn.jf, insn.k) for insn in program)


def decode(data: bytes, byte_order: str = "little") -> tuple[ClassicInstruction, ...]:
    """The inverse of :func:`encode`; nothing is checked but the length.

    Raises:
        InputError: H0502: not a multiple of 8 bytes.
    """
    if len(data) % SIZE:
        raise InputError(
            Diagnostic("H0502", f"{len(data)} bytes are no classic BPF program", why=("an instruction has 8 bytes",))
        )
    layout = struct.Struct("<HBBI" if byte_order == "little" else ">HBBI")
    return tuple(ClassicInstruction(*fields) for fields in layout.iter_unpack(data))

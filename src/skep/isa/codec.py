"""Bytes to instructions and back, in both byte orders (RFC 9669 section 3)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Literal

from skep.diagnostics import Diagnostic
from skep.errors import InputError, InternalError
from skep.isa.instruction import Instruction
from skep.isa.opcodes import LD_IMM64

ByteOrder = Literal["little", "big"]

SLOT_BYTES = 8
_SLOT = {"little": struct.Struct("<BBhi"), "big": struct.Struct(">BBhi")}


def decode(data: bytes, byte_order: str = "little") -> tuple[Instruction, ...]:
    """Decode instruction bytes. Unknown opcodes and reserved fields come through as they are: whether they are legal is
    for `forms.find_form` to say. Only what has no Instruction at all is an error.

    Raises:
        InputError: O0201 length is no multiple of 8; O0202 a 64-bit immediate load is cut off; O0203 its second slot
            holds more than an immediate.
    """
    if len(data) % SLOT_BYTES:
        raise _broken(
            "O0201", f"instruction bytes must come in slots of 8, but there are {len(data)}", len(data) // SLOT_BYTES
        )
    big = byte_order == "big"
    raw = list(_SLOT[byte_order].iter_unpack(data))
    insns: list[Instruction] = []
    slot = 0
    while slot < len(raw):
        opcode, registers, off, imm = raw[slot]
        # The two register nibbles are a bit field of C: they swap with the byte order.
        low, high = registers & 0xF, registers >> 4
        dst, src = (high, low) if big else (low, high)
        if opcode == LD_IMM64:
            imm = _wide_immediate(raw, slot)
            slot += 1
        insns.append(Instruction(opcode, dst, src, off, imm))
        slot += 1
    return tuple(insns)


def _wide_immediate(raw: list[tuple[int, int, int, int]], slot: int) -> int:
    if slot + 1 >= len(raw):
        raise _broken("O0202", "a 64-bit immediate load is cut off: its second slot is missing", slot)
    opcode, registers, off, high = raw[slot + 1]
    if opcode or registers or off:
        raise _broken("O0203", "the second slot of a 64-bit immediate load holds more than an immediate", slot)
    return (raw[slot][3] & 0xFFFFFFFF) | (high & 0xFFFFFFFF) << 32


def _broken(code: str, what: str, slot: int) -> InputError:
    kernel = "invalid bpf_ld_imm64 insn" if code != "O0201" else None
    return InputError(Diagnostic(code, what, insn=slot, kernel=kernel))


def encode(insns: Iterable[Instruction], byte_order: str = "little") -> bytes:
    """Encode instructions; ``ref`` is not looked at: what it stands for must be in the numbers already."""
    pack = _SLOT[byte_order].pack
    big = byte_order == "big"
    out = bytearray()
    try:
        for insn in insns:
            registers = insn.dst << 4 | insn.src if big else insn.src << 4 | insn.dst
            if insn.opcode == LD_IMM64:
                out += pack(insn.opcode, registers, insn.off, _signed32(insn.imm))
                out += pack(0, 0, 0, _signed32(insn.imm >> 32))
            else:
                out += pack(insn.opcode, registers, insn.off, insn.imm)
    except struct.error as error:
        raise InternalError(f"{insn} does not fit its encoding: {error}") from error
    return bytes(out)


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value

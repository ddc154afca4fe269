"""One frozen instruction, and the symbolic operands it may carry until an engine turns names into numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from skep.isa.opcodes import LD_IMM64


class Reg(IntEnum):
    """The eleven registers (RFC 9669 section 4.1.1... and R11 (AX), which only loaders use)."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


@dataclass(frozen=True, slots=True)
class MapRef:
    """LD_IMM64 of a map (src = BPF_PSEUDO_MAP_FD)."""

    name: str


@dataclass(frozen=True, slots=True)
class MapValueRef:
    """LD_IMM64 of an address inside the first value of an array map (src = BPF_PSEUDO_MAP_VALUE): global variables."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class FuncRef:
    """A subprogram: a call of it (src = BPF_PSEUDO_CALL) or its address (LD_IMM64, src = BPF_PSEUDO_FUNC)."""

    name: str


@dataclass(frozen=True, slots=True)
class KfuncRef:
    """A call of a kernel function (src = BPF_PSEUDO_KFUNC_CALL)."""

    name: str


@dataclass(frozen=True, slots=True)
class KsymRef:
    """LD_IMM64 of a kernel variable (src = BPF_PSEUDO_BTF_ID, or its address from kallsyms)."""

    name: str


Ref = MapRef | MapValueRef | FuncRef | KfuncRef | KsymRef


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction (RFC 9669 section 3).

    Attributes:
        opcode: the first byte.
        dst, src: register numbers, or what the form puts in those fields (src 1 of a CALL is a bpf-to-bpf call).
        off: signed 16-bit offset: a jump distance in slots, or a memory displacement in bytes.
        imm: signed 32-bit immediate; for LD_IMM64 the unsigned 64-bit value (low word | high word << 32).
        ref: a name that stands for the number in ``imm`` until an engine resolves it.
    """

    opcode: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
    ref: Ref | None = None

    @property
    def width(self) -> int:
        """Slots of 8 bytes it takes: 2 for LD_IMM64, else 1."""
        return 2 if self.opcode == LD_IMM64 else 1


def slots(insns: Iterable[Instruction]) -> tuple[Instruction | None, ...]:
    """Instructions by slot number, the kernel's way to count: the second slot of an LD_IMM64 is None."""
    table: list[Instruction | None] = []
    for insn in insns:
        table.append(insn)
        if insn.opcode == LD_IMM64:
            table.append(None)
    return tuple(table)

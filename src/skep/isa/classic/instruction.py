"""One classic instruction, and THE table of legal ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from skep.isa.classic import opcodes as op


@dataclass(frozen=True, slots=True)
class ClassicInstruction:
    """One instruction (struct sock_filter).

    Attributes:
        code: 16-bit opcode.
        jt, jf: instructions to skip when a conditional jump holds, or does not (0-255).
        k: unsigned 32-bit operand.
    """

    code: int
    jt: int = 0
    jf: int = 0
    k: int = 0


class Operand(StrEnum):
    """What an instruction's operand is, and so how it is written."""

    NONE = ""
    X = "x"
    HEX = "#0x{k:x}"
    DECIMAL = "#{k}"
    LENGTH = "#pktlen"
    PACKET = "[{k}]"
    INDEXED = "[x + {k}]"
    MEMORY = "M[{k}]"
    HEADER = "4*([{k}]&0xf)"
    TARGET = "{k}"


@dataclass(frozen=True, slots=True)
class ClassicForm:
    """One legal instruction: opcode, mnemonic and operand as tcpdump writes them."""

    code: int
    mnemonic: str
    operand: Operand


_SIZES = ((op.W, ""), (op.H, "h"), (op.B, "b"))
_ALU = (
    (op.ADD, "add", Operand.DECIMAL), (op.SUB, "sub", Operand.DECIMAL), (op.MUL, "mul", Operand.DECIMAL),
    (op.DIV, "div", Operand.DECIMAL), (op.OR, "or", Operand.HEX), (op.AND, "and", Operand.HEX),
    (op.LSH, "lsh", Operand.DECIMAL), (op.RSH, "rsh", Operand.DECIMAL), (op.MOD, "mod", Operand.DECIMAL),
    (op.XOR, "xor", Operand.HEX),
)  # fmt: skip
_JUMPS = ((op.JEQ, "jeq"), (op.JGT, "jgt"), (op.JGE, "jge"), (op.JSET, "jset"))

_FORMS = (
    ClassicForm(op.LD | op.IMM, "ld", Operand.HEX),
    *(ClassicForm(op.LD | op.ABS | size, f"ld{suffix}", Operand.PACKET) for size, suffix in _SIZES),
    *(ClassicForm(op.LD | op.IND | size, f"ld{suffix}", Operand.INDEXED) for size, suffix in _SIZES),
    ClassicForm(op.LD | op.MEM, "ld", Operand.MEMORY),
    ClassicForm(op.LD | op.LEN, "ld", Operand.LENGTH),
    ClassicForm(op.LDX | op.IMM, "ldx", Operand.HEX),
    ClassicForm(op.LDX | op.MEM, "ldx", Operand.MEMORY),
    ClassicForm(op.LDX | op.LEN, "ldx", Operand.LENGTH),
    ClassicForm(op.LDX | op.MSH | op.B, "ldxb", Operand.HEADER),
    ClassicForm(op.ST, "st", Operand.MEMORY),
    ClassicForm(op.STX, "stx", Operand.MEMORY),
    *(ClassicForm(op.ALU | code | op.K, name, operand) for code, name, operand in _ALU),
    *(ClassicForm(op.ALU | code | op.X, name, Operand.X) for code, name, _ in _ALU),
    ClassicForm(op.ALU | op.NEG, "neg", Operand.NONE),
    ClassicForm(op.JMP | op.JA, "ja", Operand.TARGET),
    *(ClassicForm(op.JMP | code | op.K, name, Operand.HEX) for code, name in _JUMPS),
    *(ClassicForm(op.JMP | code | op.X, name, Operand.X) for code, name in _JUMPS),
    ClassicForm(op.RET | op.K, "ret", Operand.DECIMAL),
    ClassicForm(op.RET | op.RET_A, "ret", Operand.NONE),
    ClassicForm(op.MISC | op.TAX, "tax", Operand.NONE),
    ClassicForm(op.MISC | op.TXA, "txa", Operand.NONE),
)

#: THE table, by opcode.
FORMS: Mapping[int, ClassicForm] = {form.code: form for form in _FORMS}


def is_conditional(code: int) -> bool:
    """Is it a jump with two ways?"""
    return code & op.CLASS_MASK == op.JMP and code & op.OP_MASK != op.JA

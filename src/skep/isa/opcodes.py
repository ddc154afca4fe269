"""Bit fields of the opcode byte, with RFC 9669's numbers. Plain ints: they are or-ed together and compared all day."""

from __future__ import annotations

# Instruction class (RFC 9669 section 3.2), bits 0-2.
CLASS_MASK = 0x07
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)

# Source operand of ALU and JMP: the immediate or the source register, bit 3.
SOURCE_MASK = 0x08
K, X = 0x00, 0x08

# Operation, bits 4-7.
CODE_MASK = 0xF0
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV, ARSH, END = (code << 4 for code in range(14))
JA, JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, CALL, EXIT, JLT, JLE, JSLT, JSLE, JCOND = (code << 4 for code in range(15))

# Size of a load or store (bits 3-4) and its mode (bits 5-7).
SIZE_MASK = 0x18
W, H, B, DW = 0x00, 0x08, 0x10, 0x18
MODE_MASK = 0xE0
IMM, ABS, IND, MEM, MEMSX, ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0

SIZE_BYTES = {W: 4, H: 2, B: 1, DW: 8}

LD_IMM64 = LD | IMM | DW

# imm of an atomic instruction (RFC 9669 section 5.3; acquire and release: Linux 6.15).
FETCH = 0x01
ATOMIC_ADD, ATOMIC_OR, ATOMIC_AND, ATOMIC_XOR = ADD, OR, AND, XOR
XCHG = 0xE0 | FETCH
CMPXCHG = 0xF0 | FETCH
LOAD_ACQUIRE = 0x100
STORE_RELEASE = 0x110

# src of LD_IMM64: what the 64-bit immediate stands for (RFC 9669 section 5.4).
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_BTF_ID, PSEUDO_FUNC, PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE = range(1, 7)

# src of CALL (RFC 9669 section 4.3.1).
CALL_HELPER, CALL_LOCAL, CALL_KFUNC = range(3)

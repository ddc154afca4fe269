"""Arithmetic of RFC 9669 section 4.1 and 4.2 as LLVM IR."""

from __future__ import annotations

from skep.errors import InternalError
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.jit.kinds import is_pointer_alu
from skep.jit.values import Body, Value, signed

PLAIN = {op.ADD: "add", op.SUB: "sub", op.MUL: "mul", op.OR: "or", op.AND: "and", op.XOR: "xor"}
SHIFTS = {op.LSH: "shl", op.RSH: "lshr", op.ARSH: "ashr"}


def emit_alu(body: Body, insn: Instruction, kinds: int, little_endian: bool) -> None:
    """One ALU or ALU64 instruction. ``kinds``: which registers hold addresses before it."""
    wide = insn.opcode & op.CLASS_MASK == op.ALU64
    code = insn.opcode & op.CODE_MASK
    if code == op.END:
        _emit_end(body, insn, wide, little_endian)
    elif wide and is_pointer_alu(insn, kinds):
        _emit_pointer(body, insn, code, kinds)
    elif code == op.MOV:
        _emit_mov(body, insn, 64 if wide else 32)
    else:
        _emit_number(body, insn, code, 64 if wide else 32)


def _emit_pointer(body: Body, insn: Instruction, code: int, kinds: int) -> None:
    """A moved address, or an address with an offset: provenance is kept by a getelementptr."""
    by_register = insn.opcode & op.SOURCE_MASK == op.X
    if code == op.MOV:
        body.pointer(insn.src)
        body.registers[insn.dst] = body.registers.get(insn.src, Value("0", "null")).copy()
        return
    if not by_register:
        distance = str(insn.imm if code == op.ADD else -insn.imm)
        body.set_pointer(insn.dst, body.offset(body.pointer(insn.dst), distance))
        return
    base, other = (insn.dst, insn.src) if kinds >> insn.dst & 1 else (insn.src, insn.dst)
    distance = body.integer(other)
    if code == op.SUB:
        distance = body.assign(f"sub i64 0, {distance}")
    body.set_pointer(insn.dst, body.offset(body.pointer(base), distance))


def _emit_mov(body: Body, insn: Instruction, bits: int) -> None:
    if insn.opcode & op.SOURCE_MASK == op.K:
        body.set_integer(insn.dst, str(insn.imm if bits == 64 else insn.imm & 0xFFFFFFFF))
        return
    if insn.off in (8, 16, 32):
        low = body.narrow(insn.src, insn.off)
        if bits == 64:
            body.set_integer(insn.dst, body.widen(low, insn.off, "sext"))
        else:
            middle = body.assign(f"sext i{insn.off} {low} to i32")
            body.set_integer(insn.dst, body.widen(middle, 32))
    elif insn.off == 0:
        body.set_integer(insn.dst, body.widen(body.narrow(insn.src, bits), bits))
    else:
        raise InternalError(f"mov with offset {insn.off} reached the JIT")


def _emit_number(body: Body, insn: Instruction, code: int, bits: int) -> None:
    left = body.narrow(insn.dst, bits)
    if code == op.NEG:
        body.set_integer(insn.dst, body.widen(body.assign(f"sub i{bits} 0, {left}"), bits))
        return
    by_register = insn.opcode & op.SOURCE_MASK == op.X
    right = body.narrow(insn.src, bits) if by_register else str(signed(insn.imm, bits))
    if code in PLAIN:
        result = body.assign(f"{PLAIN[code]} i{bits} {left}, {right}")
    elif code in SHIFTS:
        result = _shift(body, SHIFTS[code], left, right, bits, by_register)
    elif code in (op.DIV, op.MOD):
        result = (_signed_divide if insn.off == 1 else _divide)(body, code, left, right, bits)
    else:
        raise InternalError(f"ALU operation {code:#x} reached the JIT")
    body.set_integer(insn.dst, body.widen(result, bits))


def _shift(body: Body, name: str, left: str, right: str, bits: int, by_register: bool) -> str:
    """Shift amounts are masked to the width (RFC 9669 section 4.1); LLVM would call more than that poison."""
    amount = body.assign(f"and i{bits} {right}, {bits - 1}") if by_register else str(int(right) & (bits - 1))
    return body.assign(f"{name} i{bits} {left}, {amount}")


def _divide(body: Body, code: int, left: str, right: str, bits: int) -> str:
    """Division by zero gives 0, modulo by zero leaves the dividend (RFC 9669 section 4.1)."""
    name, by_zero = ("udiv", "0") if code == op.DIV else ("urem", left)
    if right != "0" and right[0] != "%":
        return body.assign(f"{name} i{bits} {left}, {right}")
    is_zero = body.assign(f"icmp eq i{bits} {right}, 0")
    divisor = body.assign(f"select i1 {is_zero}, i{bits} 1, i{bits} {right}")
    result = body.assign(f"{name} i{bits} {left}, {divisor}")
    return body.assign(f"select i1 {is_zero}, i{bits} {by_zero}, i{bits} {result}")


def _signed_divide(body: Body, code: int, left: str, right: str, bits: int) -> str:
    """As above; and the lowest number divided by -1 wraps, where LLVM's sdiv is undefined."""
    minus = body.assign(f"sub i{bits} 0, {left}")
    name, by_zero, by_minus = ("sdiv", "0", minus) if code == op.DIV else ("srem", left, "0")
    is_zero = body.assign(f"icmp eq i{bits} {right}, 0")
    is_minus = body.assign(f"icmp eq i{bits} {right}, -1")
    special = body.assign(f"or i1 {is_zero}, {is_minus}")
    divisor = body.assign(f"select i1 {special}, i{bits} 1, i{bits} {right}")
    result = body.assign(f"{name} i{bits} {left}, {divisor}")
    result = body.assign(f"select i1 {is_minus}, i{bits} {by_minus}, i{bits} {result}")
    return body.assign(f"select i1 {is_zero}, i{bits} {by_zero}, i{bits} {result}")


def _emit_end(body: Body, insn: Instruction, wide: bool, little_endian: bool) -> None:
    """Byte swaps (RFC 9669 section 4.2): ALU64 always swaps; ALU converts to the named order, and cuts either way."""
    bits = insn.imm
    to_big = insn.opcode & op.SOURCE_MASK == op.X
    low = body.narrow(insn.dst, bits)
    if wide or to_big == little_endian:
        low = body.assign(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {low})")
    body.set_integer(insn.dst, body.widen(low, bits))

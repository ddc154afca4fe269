"""Registers, arithmetic and comparisons of pointers (kernel: adjust_ptr_min_max_vals, check_cond_jmp_op)."""

from __future__ import annotations

from skep.isa import opcodes as op
from skep.verifier.domains.scalar import Scalar
from skep.verifier.requirements.kinds import (
    Initialised,
    Rule,
    ValidArithmetic,
    ValidComparison,
    ValidMove,
    Violation,
)
from skep.verifier.state.comparisons import is_known, pointers_decided, tells_reach
from skep.verifier.state.machine import MachineState
from skep.verifier.state.offsets import MAX_OFFSET, moved
from skep.verifier.state.values import PACKET_KINDS, Kind, Number, Pointer
from skep.verifier.state.world import World

_S64_MIN = -(1 << 63)

_OPERATORS = {
    op.ADD: "+=",
    op.SUB: "-=",
    op.MUL: "*=",
    op.DIV: "/=",
    op.OR: "|=",
    op.AND: "&=",
    op.LSH: "<<=",
    op.RSH: ">>=",
    op.MOD: "%=",
    op.XOR: "^=",
    op.ARSH: "s>>=",
}

# Kinds that may be moved; MAP only by 0, FLOW_KEYS only by a constant.
_MOVABLE = frozenset(
    {
        Kind.CTX,
        Kind.MAP_VALUE,
        Kind.MAP_KEY,
        Kind.STACK,
        Kind.PACKET_META,
        Kind.PACKET,
        Kind.MEMORY,
        Kind.RECORD,
        Kind.FUNC,
        Kind.BTF,
        Kind.BUFFER,
        Kind.TRACEPOINT_BUFFER,
        Kind.DYNPTR,
    }
)


def initialised(need: Initialised, state: MachineState, world: World) -> Violation | None:
    """The register holds something."""
    if state.regs[need.reg] is None:
        return Violation(Rule.UNINITIALISED, need, f"R{need.reg} !read_ok", need.reg)
    return None


def valid_move(need: ValidMove, state: MachineState, world: World) -> Violation | None:
    """A pointer may lose its meaning only where pointer values may leak."""
    value = state.regs[need.reg]
    if isinstance(value, Pointer) and not world.linked.target.privileged:
        if need.how == "32 bits":
            said = f"R{need.reg} partial copy of pointer"
        elif need.how == "sign-extended":
            said = f"R{need.reg} sign-extension part of pointer"
        else:
            return Violation(
                Rule.POINTER_BYTESWAP,
                need,
                f"R{need.reg} pointer arithmetic prohibited",
                need.reg,
                {"pointer": value.name},
            )
        return Violation(Rule.POINTER_PARTIAL_COPY, need, said, need.reg, {"pointer": value.name})
    return None


def valid_arithmetic(need: ValidArithmetic, state: MachineState, world: World) -> Violation | None:
    """Two numbers always; pointer and number within limits; two pointers never but for their difference."""
    dst = state.regs[need.dst]
    src = state.regs[need.src] if need.src is not None else None
    if _is_arena(dst) or _is_arena(src):
        return None  # any arithmetic is allowed: an access stays in the arena whatever it points to
    if isinstance(dst, Pointer):
        if isinstance(src, Pointer):
            if need.code == op.SUB and world.linked.target.privileged:
                return None
            operator = _OPERATORS[need.code]
            said = f"R{need.dst} pointer {operator} pointer prohibited"
            return Violation(Rule.POINTER_MATH_PAIR, need, said, need.dst, {"pointer": dst.name, "operator": operator})
        if src is None:
            return _moves(need, dst, Scalar.constant(need.imm), world, reversed_operands=False)
        src.rely()
        return _moves(need, dst, src.range, world, reversed_operands=False)
    if isinstance(src, Pointer) and isinstance(dst, Number):
        dst.rely()
        return _moves(need, src, dst.range, world, reversed_operands=True)
    return None


def _is_arena(value: Number | Pointer | None) -> bool:
    return isinstance(value, Pointer) and value.kind is Kind.ARENA


def _moves(
    need: ValidArithmetic, pointer: Pointer, by: Scalar, world: World, *, reversed_operands: bool
) -> Violation | None:
    """``pointer OP number`` (or ``number OP pointer``)."""
    reg, name = need.dst, pointer.name
    values: dict[str, object] = {"pointer": name, "operator": _OPERATORS[need.code]}
    if need.width == 32:
        if need.code == op.SUB and world.linked.target.privileged:
            return None
        return Violation(
            Rule.POINTER_MATH_32, need, f"R{reg} 32-bit pointer arithmetic prohibited", reg, {"pointer": name}
        )
    if pointer.nullable:
        said = f"R{reg} pointer arithmetic on {name} prohibited, null-check it first"
        return Violation(Rule.POINTER_MATH_NULLABLE, need, said, reg, {"pointer": name})
    kind = pointer.kind
    if kind is Kind.PROBED:
        return None
    if kind not in _MOVABLE:
        constant = not by[1]
        moves_nothing = kind is Kind.MAP and constant and by.smin == 0 and need.code == op.ADD
        if not moves_nothing and not (kind is Kind.FLOW_KEYS and constant):
            said = f"R{reg} pointer arithmetic on {name} prohibited"
            return Violation(Rule.POINTER_MATH_FORBIDDEN, need, said, reg, {"pointer": name})
    for amount, off in ((by, 0), (pointer.var or Scalar.ZERO, pointer.off)):
        violation = _sane(need, pointer, amount, off)
        if violation is not None:
            return violation
    if need.code == op.SUB:
        if reversed_operands:
            return Violation(Rule.POINTER_SUBTRACT, need, f"R{reg} tried to subtract pointer from scalar", reg, values)
        if kind is Kind.STACK:
            said = f"R{reg} subtraction from stack pointer prohibited"
            return Violation(Rule.POINTER_SUBTRACT, need, said, reg, values)
    elif need.code != op.ADD:
        if need.code in (op.AND, op.OR, op.XOR):
            said = f"R{reg} bitwise operator {_OPERATORS[need.code]} on pointer prohibited"
        else:
            said = f"R{reg} pointer arithmetic with {_OPERATORS[need.code]} operator prohibited"
        return Violation(Rule.POINTER_MATH_OPERATOR, need, said, reg, values)
    result = moved(pointer, by, need.code, 0)
    return _sane(need, result, result.var or Scalar.ZERO, result.off)


def _sane(need: ValidArithmetic, pointer: Pointer, amount: Scalar, off: int) -> Violation | None:
    """Offsets stay within +-2^29 (kernel: check_reg_sane_offset)."""
    name, low = pointer.name, amount.smin
    values: dict[str, object] = {"pointer": name, "value": low}
    if not amount[1] and not -MAX_OFFSET < low < MAX_OFFSET:
        said = f"math between {name} pointer and {low} is not allowed"
        return Violation(Rule.POINTER_MATH_RANGE, need, said, need.dst, values)
    if not -MAX_OFFSET < off < MAX_OFFSET:
        said = f"{name} pointer offset {off} is not allowed"
        return Violation(Rule.POINTER_MATH_RANGE, need, said, need.dst, {"pointer": name, "value": off})
    if low == _S64_MIN:
        said = f"math between {name} pointer and register with unbounded min value is not allowed"
        return Violation(Rule.POINTER_MATH_UNBOUNDED, need, said, need.dst, values)
    if not -MAX_OFFSET < low < MAX_OFFSET:
        said = f"value {low} makes {name} pointer be out of bounds"
        return Violation(Rule.POINTER_MATH_RANGE, need, said, need.dst, values)
    return None


def valid_comparison(need: ValidComparison, state: MachineState, world: World) -> Violation | None:
    """Only a program that must not learn addresses is held back."""
    if world.linked.target.privileged:
        return None
    dst = state.regs[need.dst]
    src = state.regs[need.src] if need.src is not None else None
    both_packet = isinstance(src, Pointer) and isinstance(dst, Pointer) and {src.kind, dst.kind} <= PACKET_KINDS
    if isinstance(src, Pointer) and need.src is not None and not both_packet:
        return _compared(need, need.src, src)
    if not isinstance(dst, Pointer):
        return None
    if both_packet:
        assert isinstance(src, Pointer)
        is_told = need.width == 64 and (
            pointers_decided(dst, src, need.code) is not None or tells_reach(dst, src, need.code)
        )
        return None if is_told else _compared(need, need.dst, dst)
    is_null_check = (
        need.width == 64 and need.code in (op.JEQ, op.JNE) and (need.imm == 0 if src is None else _is_zero(src))
    )
    if is_null_check and (is_known(dst) or (dst.nullable and src is None)):
        return None
    return _compared(need, need.dst, dst)


def _is_zero(value: Number | Pointer) -> bool:
    return isinstance(value, Number) and value.value == 0


def _compared(need: ValidComparison, reg: int, value: Pointer) -> Violation:
    said = f"R{reg} pointer comparison prohibited"
    return Violation(Rule.POINTER_COMPARE, need, said, reg, {"pointer": value.name})

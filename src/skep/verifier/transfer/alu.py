"""Arithmetic and moves.

For each instruction two functions are made beforehand: ``quick`` does it if all operands are numbers, which is all the
proof that it needs (and most of the work of a verifier), and says whether it did; ``full`` does everything else.
"""

from __future__ import annotations

from collections.abc import Callable

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.verifier.domains import alu
from skep.verifier.domains.scalar import U32, Scalar
from skep.verifier.state.machine import MachineState
from skep.verifier.state.offsets import moved
from skep.verifier.state.values import Kind, Number, Pointer, unknown
from skep.verifier.state.world import World
from skep.verifier.transfer import arena

Quick = Callable[[MachineState], bool]
Full = Callable[[MachineState], None]

_UNKNOWN = Scalar.UNKNOWN
_S32 = 1 << 31


_CAST = op.ALU64 | op.MOV | op.X


def _never(state: MachineState) -> bool:
    return False


def make(insn: Instruction, slot: int, world: World) -> tuple[Quick, Full]:
    """The two functions of an ALU or ALU64 instruction."""
    code = insn.opcode & op.CODE_MASK
    if code == op.MOV:
        if insn.opcode == _CAST and insn.off == 1:
            return _never, arena.cast(insn, slot, world)
        return _move_register(insn, slot, world) if insn.opcode & op.X else _move_constant(insn, slot, world)
    if code == op.NEG:
        return _negation(insn, slot, world)
    if code == op.END:
        return _byte_order(insn, slot, world)
    return _binary(insn, slot, world, code)


def parents_of(a: Number, b: Number) -> tuple[Number, ...]:
    """The operands that are not marked yet."""
    if a.precise:
        return () if b.precise else (b,)
    return (a,) if b.precise or b is a else (a, b)


def _move_constant(insn: Instruction, slot: int, world: World) -> tuple[Quick, Full]:
    dst = insn.dst
    wide = insn.opcode & op.CLASS_MASK == op.ALU64
    known = Scalar.constant(insn.imm if wide else insn.imm & U32)
    kinds = world.notes.kinds

    def quick(state: MachineState) -> bool:
        state.regs[dst] = Number(known)
        kinds[slot] |= 1
        return True

    def full(state: MachineState) -> None:
        quick(state)

    return quick, full


def _move_register(insn: Instruction, slot: int, world: World) -> tuple[Quick, Full]:
    """``dst = src``. A number that is linked at a distance starts a family of its own (assign_scalar_id_before_mov)."""
    dst, src, bits = insn.dst, insn.src, insn.off
    width = 64 if insn.opcode & op.CLASS_MASK == op.ALU64 else 32
    notes = world.notes
    kinds = notes.kinds

    def copied(value: Number) -> Number:
        known = value.range
        if bits:
            extended = alu.sign_extend(known, bits, width)
            if extended == known:
                value.shared = True
                return value
            return Number(extended, () if value.precise else (value,))
        if width == 64 or known[3] <= U32:
            value.shared = True
            return value
        return Number(known.zext32(), () if value.precise else (value,))

    def quick(state: MachineState) -> bool:
        regs = state.regs
        value = regs[src]
        if type(value) is Number:
            if value.delta:
                value = regs[src] = Number(value.range, (value,))
            regs[dst] = copied(value)
            kinds[slot] |= 1
            return True
        return False

    def full(state: MachineState) -> None:
        value = state.regs[src]
        if isinstance(value, Number):
            quick(state)
            return
        if bits or width == 32:
            state.regs[dst] = Number(_UNKNOWN if width == 64 else Scalar.of_size(4))
            notes.result(slot, False)
        else:
            state.regs[dst] = value
            notes.result(slot, True)

    return quick, full


def _negation(insn: Instruction, slot: int, world: World) -> tuple[Quick, Full]:
    dst = insn.dst
    width = 64 if insn.opcode & op.CLASS_MASK == op.ALU64 else 32
    kinds = world.notes.kinds

    def quick(state: MachineState) -> bool:
        value = state.regs[dst]
        if type(value) is Number:
            state.regs[dst] = Number(alu.negate(value.range, width), () if value.precise else (value,))
            kinds[slot] |= 1
            return True
        return False

    def full(state: MachineState) -> None:
        if not quick(state):
            state.regs[dst] = unknown()
            kinds[slot] |= 1

    return quick, full


def _byte_order(insn: Instruction, slot: int, world: World) -> tuple[Quick, Full]:
    dst, bits = insn.dst, insn.imm
    swaps = insn.opcode & op.CLASS_MASK == op.ALU64
    kind = "bswap" if swaps else "be" if insn.opcode & op.X else "le"
    order = world.linked.target.byte_order
    kinds = world.notes.kinds

    def quick(state: MachineState) -> bool:
        value = state.regs[dst]
        if type(value) is Number:
            known = alu.byteswap(value.range, bits, kind, byte_order=order, tracked=True)
            state.regs[dst] = Number(known, () if value.precise else (value,))
            kinds[slot] |= 1
            return True
        return False

    def full(state: MachineState) -> None:
        if not quick(state):
            state.regs[dst] = unknown()
            kinds[slot] |= 1

    return quick, full


def _binary(insn: Instruction, slot: int, world: World, code: int) -> tuple[Quick, Full]:
    dst, src = insn.dst, insn.src
    width = 64 if insn.opcode & op.CLASS_MASK == op.ALU64 else 32
    signed = insn.off == 1 and code in (op.DIV, op.MOD)
    by_register = bool(insn.opcode & op.X)
    fixed = Number(Scalar.constant(insn.imm & ((1 << 64) - 1 if width == 64 else U32)))
    fixed.precise = True
    step = insn.imm if not by_register and code == op.ADD else 0
    if not by_register and code == op.SUB:
        step = -insn.imm
    wraps = width == 32
    apply = alu.apply
    notes = world.notes
    kinds = notes.kinds

    def quick(state: MachineState) -> bool:
        regs = state.regs
        a = regs[dst]
        b = regs[src] if by_register else fixed
        if type(a) is not Number or type(b) is not Number:
            return False
        known = apply(code, a.range, b.range, width, signed)
        parents = () if known is _UNKNOWN else parents_of(a, b)
        if step and a.shared and not a.delta and known[1] and step < _S32 and not (wraps and a.range[3] > U32):
            regs[dst] = a.linked(known, parents or (a,), step, wraps=wraps)
        else:
            regs[dst] = Number(known, parents)
        kinds[slot] |= 1
        return True

    def full(state: MachineState) -> None:
        if quick(state):
            return
        regs = state.regs
        a = regs[dst]
        b = regs[src] if by_register else fixed
        result: Number | Pointer
        if arena.is_arena(a) or arena.is_arena(b):
            regs[dst] = arena.POINTER
            notes.result(slot, True)
            return
        if isinstance(a, Pointer) and isinstance(b, Number) and width == 64:
            result = moved(a, b.range, code, world.next_id())
        elif isinstance(a, Number) and isinstance(b, Pointer) and width == 64 and b.kind is not Kind.PROBED:
            result = moved(b, a.range, code, world.next_id())
        else:
            result = unknown() if width == 64 else Number(Scalar.of_size(4))
        regs[dst] = result
        notes.result(slot, isinstance(result, Pointer))

    return quick, full

"""Conditional jumps: which sides are possible, and what each side learns (kernel: check_cond_jmp_op)."""

from __future__ import annotations

from collections.abc import Callable

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.verifier.domains import alu, branch
from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.comparisons import END_FIRST, PACKET_FIRST, are_packet_and_end, is_known, pointers_decided
from skep.verifier.state.fields import LATER, LOCKS
from skep.verifier.state.machine import MachineState
from skep.verifier.state.offsets import MAX_PACKET_OFFSET
from skep.verifier.state.speculation import mispredicted
from skep.verifier.state.values import AT_END, BEYOND_END, Kind, Number, Pointer, Value, constant
from skep.verifier.state.world import World

Fork = tuple[int, MachineState]
Branch = Callable[[MachineState, list[Fork]], int]


def make(insn: Instruction, slot: int, world: World) -> Branch:
    """The function of a conditional jump: next slot; the other side, if both are possible, is appended to the forks."""
    code = insn.opcode & op.CODE_MASK
    width = 64 if insn.opcode & op.CLASS_MASK == op.JMP else 32
    dst, src = insn.dst, insn.src
    by_register = bool(insn.opcode & op.X)
    target, after = slot + 1 + insn.off, slot + 1
    refine = branch.refine
    imm = Scalar.constant(insn.imm)
    compared = (dst, src if by_register else None)
    looks_ahead = world.speculation is not None

    def decided(state: MachineState, forks: list[Fork], to: int) -> int:
        if looks_ahead:
            forks.append((after if to == target else target, mispredicted(state, *compared)))
        return to

    def full(state: MachineState, forks: list[Fork]) -> int:
        regs = state.regs
        a = regs[dst]
        b = regs[src] if by_register else None
        if type(a) is Number and (type(b) is Number or not by_register):
            known = b.range if type(b) is Number else imm
            taken, fallthrough = refine(code, a.range, known, width)
            if taken is None or fallthrough is None:
                a.rely()
                if type(b) is Number:
                    b.rely()
                return decided(state, forks, after if taken is None else target)
            other = state.copy()
            forks.append((target, other))
            number = b if type(b) is Number else None
            _learn(other, a, number, taken)
            _learn(state, a, number, fallthrough)
            return after
        return _with_pointer(state, forks, a, b)

    def _with_pointer(state: MachineState, forks: list[Fork], a: Value | None, b: Value | None) -> int:
        if isinstance(a, Pointer):
            if width == 64 and _is_zero(b, by_register, insn.imm) and code in (op.JEQ, op.JNE):
                if a.nullable and not by_register:
                    return _null_check(state, forks, a, (target, after), world, equal=code == op.JEQ)
                if is_known(a):
                    if isinstance(b, Number):
                        b.rely()
                    return decided(state, forks, after if code == op.JEQ else target)
            if isinstance(b, Pointer) and width == 64:
                known = pointers_decided(a, b, code)
                if known is not None:
                    return decided(state, forks, target if known else after)
                return _two_pointers(state, forks, (insn.dst, insn.src), code, (target, after), world)
        forks.append((target, state.copy()))
        return after

    return full


def _is_zero(b: Value | None, by_register: bool, imm: int) -> bool:
    if not by_register:
        return imm == 0
    return isinstance(b, Number) and b.value == 0


def _learn(state: MachineState, a: Number, b: Number | None, known: tuple[Scalar, Scalar]) -> None:
    """Both operands are known better; so are all values that are linked with them."""
    parents = (a,) if b is None or b is a else (a, b)
    if a is b:
        both = known[0].meet(known[1])
        if both is not None and both != a.range:
            _replace(state, a, both, parents)
        return
    if known[0] is not a.range and known[0] != a.range:
        _replace(state, a, known[0], parents)
    if b is not None and known[1] is not b.range and known[1] != b.range:
        _replace(state, b, known[1], parents)


def _replace(state: MachineState, old: Number, known: Scalar, parents: tuple[Number, ...]) -> None:
    """Put a better known number in place of ``old``, and move what is linked with it along."""
    token = old.token or old
    new = Number(known, parents)
    if not old.shared:
        regs = state.regs
        for index in range(10):
            if regs[index] is old:
                regs[index] = new
        return
    new.token, new.delta, new.shared, new.wraps = token, old.delta, True, old.wraps

    def change(value: Value) -> Value:
        if value is old:
            return new
        if type(value) is not Number or (value is not token and value.token is not token):
            return value
        if value.delta and old.delta and value.wraps != old.wraps:
            return value
        if value.delta == old.delta:
            better = value.range.meet(known)
        else:
            width = 32 if value.wraps or old.wraps else 64
            better = value.range.meet(alu.apply(op.ADD, known, Scalar.constant(value.delta - old.delta), width))
        if better is None or better == value.range:
            return value
        made = Number(better, (value, new))
        made.token, made.delta, made.shared, made.wraps = token, value.delta, True, value.wraps
        return made

    state.map_values(change)


def _null_check(
    state: MachineState, forks: list[Fork], pointer: Pointer, places: tuple[int, int], world: World, *, equal: bool
) -> int:
    """One side has NULL, the other a pointer; so have all copies of it."""
    target, after = places
    other = state.copy()
    forks.append((target, other))
    null_side, pointer_side = (other, state) if equal else (state, other)
    set_null(null_side, pointer)
    set_non_null(pointer_side, pointer, world)
    return after


def set_null(state: MachineState, pointer: Pointer) -> None:
    """The pointer and its copies are NULL: numbers 0; what it had acquired is nothing."""

    def change(value: Value) -> Value:
        if isinstance(value, Pointer) and value.nullable and value.id == pointer.id:
            return constant(0)
        return value

    state.map_values(change)
    if pointer.ref and pointer.ref == pointer.id:  # a socket seen as another type may be NULL without being gone
        state.refs = tuple(ref for ref in state.refs if ref[0] != pointer.ref)


def set_non_null(state: MachineState, pointer: Pointer, world: World) -> None:
    """The pointer and its copies are not NULL. Pointers to what a lock may lie in keep the id that tells them apart
    (kernel: mark_ptr_or_null_reg).
    """

    def change(value: Value) -> Value:
        if isinstance(value, Pointer) and value.nullable and value.id == pointer.id:
            known = value.non_null()
            if world.record(value).find(*LOCKS) is not None:
                known.id = value.id
            elif value.kind is Kind.MAP and value.map is not None and world.map_record(value.map).find(*LATER):
                known.uid = value.id
            return known
        return value

    state.map_values(change)


def _two_pointers(
    state: MachineState, forks: list[Fork], regs: tuple[int, int], code: int, places: tuple[int, int], world: World
) -> int:
    target, after = places
    a, b = state.regs[regs[0]], state.regs[regs[1]]
    assert isinstance(a, Pointer)
    assert isinstance(b, Pointer)
    other = state.copy()
    forks.append((target, other))
    if are_packet_and_end(a, b):
        row, reg = PACKET_FIRST.get(code), regs[0]
    elif are_packet_and_end(b, a):
        row, reg = END_FIRST.get(code), regs[1]
    else:
        if code in (op.JEQ, op.JNE) and a.nullable != b.nullable and Kind.BTF not in (a.kind, b.kind):
            set_non_null(other if code == op.JEQ else state, a if a.nullable else b, world)
        return after
    if row is not None:
        on_taken, open_end = row
        pointer = state.regs[reg]
        assert isinstance(pointer, Pointer)
        _extend(other if on_taken else state, pointer, open_end=open_end)
        if pointer.kind is Kind.PACKET and Kind.PACKET_END in (a.kind, b.kind):
            end = AT_END if open_end else BEYOND_END
            beyond = pointer.moved(pointer.off, pointer.var, pointer.id, end)
            (state if on_taken else other).regs[reg] = beyond
    return after


def _extend(state: MachineState, pointer: Pointer, *, open_end: bool) -> None:
    """Everything before the pointer is readable, for all pointers with its base (kernel: find_good_pkt_pointers)."""
    if pointer.off < 0 or (pointer.off == 0 and not open_end):
        return
    if pointer.high > MAX_PACKET_OFFSET or pointer.high + pointer.off > MAX_PACKET_OFFSET:
        return
    reach = pointer.off + (1 if open_end else 0)
    kind, id = pointer.kind, pointer.id

    def change(value: Value) -> Value:
        if isinstance(value, Pointer) and value.kind is kind and value.id == id and value.range < reach:
            return value.moved(value.off, value.var, id, reach)
        return value

    state.map_values(change)

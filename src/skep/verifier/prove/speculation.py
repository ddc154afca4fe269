"""Pointer arithmetic that cannot be led out of its object under speculation (kernel: sanitize_ptr_alu, Spectre v1).

The kernel masks the number that is added so that it stays in a window, which it writes into the program: so the window
must be known, and the same on every path.
"""

from __future__ import annotations

from skep.isa import opcodes as op
from skep.verifier.domains.scalar import Scalar
from skep.verifier.prove import fields, regions
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.requirements.unprivileged import MaskableArithmetic
from skep.verifier.state.machine import MachineState
from skep.verifier.state.offsets import moved
from skep.verifier.state.speculation import SCALAR_WINDOW, Speculation
from skep.verifier.state.values import Kind, Number, Pointer
from skep.verifier.state.world import World

_MAX_STACK = 512
_U32 = (1 << 32) - 1
_FROM_SOURCE, _FROM_TARGET, _NEGATIVE, _IMMEDIATE = 1 << 0, 1 << 1, 1 << 2, 1 << 4  # BPF_ALU_SANITIZE_SRC and so on
_VERBS = {op.ADD: "add", op.SUB: "sub"}
_PROHIBITED = "pointer arithmetic with it prohibited for !root"


def maskable_arithmetic(need: MaskableArithmetic, state: MachineState, world: World) -> Violation | None:
    """Pointer and number: the result is in the object, and the window is that of all paths. Numbers alone: no path
    has a pointer here. The window is noted.
    """
    speculation = world.speculation
    assert speculation is not None
    math = need.math
    dst = state.regs[math.dst]
    src = Number(Scalar.constant(math.imm)) if math.src is None else state.regs[math.src]
    if isinstance(dst, Number) and isinstance(src, Number):
        if _is_exempt(need, speculation) or math.code not in _VERBS:
            return None
        return _agreed(need, SCALAR_WINDOW, None, speculation)
    pointer, by = (dst, src) if isinstance(dst, Pointer) else (src, dst)
    if not isinstance(pointer, Pointer) or not isinstance(by, Number) or pointer.kind is Kind.PROBED:
        return None  # two pointers are no arithmetic; probed memory has no offsets
    if math.code not in _VERBS or math.width == 32:
        return None
    after = moved(pointer, by.range, math.code, 0)
    outside = _stays_inside(need, after, world)
    if _is_exempt(need, speculation) or state.speculative:
        return outside
    return _window(need, (pointer, after), by, speculation, outside, swapped=pointer is src)


def _is_exempt(need: MaskableArithmetic, speculation: Speculation) -> bool:
    """Immediates are not masked, nor is what a barrier precedes (kernel: can_skip_alu_sanitation)."""
    return need.math.src is None or need.slot in speculation.barriers


def _stays_inside(need: MaskableArithmetic, after: Pointer, world: World) -> Violation | None:
    """(kernel: sanitize_check_bounds)"""
    reg = need.math.dst
    if after.kind is Kind.STACK:
        return _inside_stack(need, after, reg)
    if after.kind is not Kind.MAP_VALUE or after.map is None:
        return None
    violation = regions.within(need, after, reg, after.off, 1, after.map.value_size)
    violation = violation or fields.untouched(need, after, reg, after.off, 1, world)
    if violation is None:
        return None
    said = f"R{reg} pointer arithmetic of map value goes out of range, prohibited for !root"
    values = {"pointer": after.name, "reason": f"it may leave the map's value, which has {after.map.value_size} bytes"}
    return Violation(Rule.SPECULATIVE_BOUNDS, need, said, reg, values)


def _signed(value: int) -> int:
    """The low 32 bits, as an int of C."""
    return ((value + (1 << 31)) & _U32) - (1 << 31)


def _inside_stack(need: MaskableArithmetic, after: Pointer, reg: int) -> Violation | None:
    """(kernel: check_stack_access_for_ptr_arithmetic)"""
    var = after.var
    where = "it is not known to which byte of the stack" if var is not None and var.mask else "it leaves the stack"
    values = {"pointer": after.name, "reason": where}
    if var is not None and var.mask:
        bits = f"({var.value:#x}; {var.mask:#x})"
        said = f"R{reg} variable stack access prohibited for !root, var_off={bits} off={_signed(after.off + var.value)}"
        return Violation(Rule.SPECULATIVE_BOUNDS, need, said, reg, values)
    off = after.off + after.low
    if -_MAX_STACK <= off < 0:
        return None
    said = f"R{reg} stack pointer arithmetic goes out of range, prohibited for !root; off={off}"
    return Violation(Rule.SPECULATIVE_BOUNDS, need, said, reg, values)


def _window(
    need: MaskableArithmetic,
    pointers: tuple[Pointer, Pointer],
    by: Number,
    speculation: Speculation,
    outside: Violation | None,
    *,
    swapped: bool,
) -> Violation | None:
    """How far the number moves the pointer, and to which side (kernel: sanitize_ptr_alu, retrieve_ptr_limit).

    ``pointers``: before and after; ``outside``: it leaves its memory; ``swapped``: ``number += pointer``.
    """
    math, known = need.math, by.range
    pointer_reg, number_reg = (math.src, math.dst) if swapped else (math.dst, math.src)
    assert pointer_reg is not None
    assert number_reg is not None
    negative = known.smin < 0
    to_left = negative == (math.code == op.ADD)
    if by.value is None and negative != (known.smax < 0):
        said = f"R{number_reg} has unknown scalar with mixed signed bounds"
        return _unmaskable(need, number_reg, said, pointers[0], "it may be negative as well as positive")
    limits = []
    for pointer in pointers:
        found = _limit(pointer, to_left=to_left)
        if found is None:
            said = f"R{pointer_reg} has pointer with unsupported alu operation"
            reason = "only pointers to the stack and to values of maps may be moved by a register"
            return _unmaskable(need, pointer_reg, said, pointer, reason)
        limit, size = found
        if limit >= size:
            said = f"R{math.dst} tried to {_VERBS[math.code]} beyond pointer bounds"
            return _unmaskable(need, math.dst, said, pointer, "it may lead out of the memory")
        limits.append(limit)
        if outside is not None:
            return outside
    flags = (_NEGATIVE if negative else 0) | (0 if by.value is None else _IMMEDIATE)
    flags |= _FROM_TARGET if swapped else _FROM_SOURCE
    if by.value is None:
        speculation.strict = True
    return _agreed(need, (flags, abs(limits[0] - limits[1])), pointers[0], speculation)


def _limit(pointer: Pointer, *, to_left: bool) -> tuple[int, int] | None:
    """How far the pointer is from the end to which it does not move, and what is too far; None: no such memory."""
    if pointer.kind is Kind.STACK:
        base = pointer.var.value if pointer.var is not None else 0
        return -(base + pointer.off) & _U32, _MAX_STACK + to_left
    if pointer.kind is Kind.MAP_VALUE and pointer.map is not None:
        return (pointer.low if to_left else pointer.high) + pointer.off & _U32, pointer.map.value_size
    return None


def _agreed(
    need: MaskableArithmetic, window: tuple[int, int], pointer: Pointer | None, speculation: Speculation
) -> Violation | None:
    """Every path that comes here has the same window (kernel: update_alu_sanitation_state)."""
    if speculation.windows.setdefault(need.slot, window) == window:
        return None
    reg = need.math.dst
    said = f"R{reg} tried to {_VERBS[need.math.code]} from different maps, paths or scalars"
    reason = "paths that lead here move different pointers, or by numbers with different limits"
    return _unmaskable(need, reg, said, pointer, reason)


def _unmaskable(need: MaskableArithmetic, reg: int, said: str, pointer: Pointer | None, reason: str) -> Violation:
    values: dict[str, object] = {"pointer": pointer.name if pointer is not None else "scalar", "reason": reason}
    return Violation(Rule.SPECULATIVE_MATH, need, f"{said}, {_PROHIBITED}", reg, values)

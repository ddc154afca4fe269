"""Accesses to the stack: 512 bytes below r10 of each frame (kernel: check_stack_read, check_stack_write)."""

from __future__ import annotations

from skep.verifier.prove import leaks, stack_objects
from skep.verifier.requirements.kinds import Requirement, Rule, Use, ValidAccess, Violation
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.offsets import MAX_OFFSET
from skep.verifier.state.stack import INVALID, SPILL
from skep.verifier.state.values import Kind, Pointer
from skep.verifier.state.world import World

MAX_STACK = 512  # MAX_BPF_STACK


def valid_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """Aligned, inside the frame, and no pointer is torn apart."""
    size, reg = need.size, need.reg
    violation = _aligned(need, pointer)
    if violation is not None:
        return violation
    writes = need.use is not Use.READ and need.use is not Use.ATOMIC_LOAD
    off = pointer.off + need.offset
    violation = in_bounds(need, pointer, reg, off, size, writes=writes)
    if violation is not None:
        return violation
    frame = state.frames[pointer.frame]
    if need.use is not Use.WRITE and need.use is not Use.ATOMIC_STORE:
        violation = _readable(need, pointer, frame, off, world)
        if violation is not None:
            return violation
    if writes:
        low, high = off + pointer.low, off + (pointer.var.smax if pointer.var else 0)
        violation = leaks.torn(need, frame, low, size, reg, world, whole=True) if low == high else None
        violation = violation or stack_objects.overwritable(need, state, frame, low, high + size, reg)
        if violation is not None:
            return violation
    if need.value is not None and pointer.var is None:
        return _spillable(need, pointer, state, off)
    return None


def _aligned(need: ValidAccess, pointer: Pointer) -> Violation | None:
    """The stack is always strict: spills must not straddle cells."""
    size = need.size
    var = pointer.var
    base = var.value if var is not None else 0
    if size == 1 or (
        (base + pointer.off + need.offset) & (size - 1) == 0 and not (var is not None and var.mask & (size - 1))
    ):
        return None
    shown = str(base) if var is None or not var.mask else f"({var.value:#x}; {var.mask:#x})"
    said = f"misaligned stack access off {shown}+{pointer.off}+{need.offset} size {size}"
    return Violation(Rule.STACK_ALIGNMENT, need, said, need.reg, {"offset": pointer.off + need.offset, "size": size})


def in_bounds(need: Requirement, pointer: Pointer, reg: int, off: int, size: int, *, writes: bool) -> Violation | None:
    """All of it lies in -512 .. 0 (kernel: check_stack_access_within_bounds)."""
    var = pointer.var
    how = "write to" if writes else "read from"
    values: dict[str, object] = {"offset": off, "size": size, "use": "write" if writes else "read"}
    if var is None or not var.mask:
        low = high = off + (var.smin if var is not None else 0)
    else:
        if var.smax >= MAX_OFFSET or var.smin <= -MAX_OFFSET:
            said = f"invalid unbounded variable-offset {how} stack R{reg}"
            return Violation(Rule.STACK_UNBOUNDED, need, said, reg, values)
        low, high = off + var.smin, off + var.smax
    if low >= -MAX_STACK and low <= -1 and high + size <= 0:
        return None
    if low == high:
        said = f"invalid {how} stack R{reg} off={low} size={size}"
    else:
        assert var is not None
        bits = f"({var.value:#x}; {var.mask:#x})"
        said = f"invalid variable-offset {how} stack R{reg} var_off={bits} off={off} size={size}"
    return Violation(Rule.STACK_BOUNDS, need, said, reg, {**values, "offset": low})


def _readable(need: ValidAccess, pointer: Pointer, frame: Frame, off: int, world: World) -> Violation | None:
    """Pointers are filled whole; unprivileged programs read only what was written."""
    var = pointer.var
    if var is not None and var.mask:
        if need.use is Use.ATOMIC:
            said = "variable offset stack pointer cannot be passed into helper function"
            return Violation(Rule.STACK_UNBOUNDED, need, said, need.reg, {"use": need.use.value})
        return initialised(need, frame, off + var.smin, off + var.smax + need.size, need.reg, world)
    off += var.smin if var is not None else 0
    index, _ = divmod(-off - 1, 8)
    cell = frame.cell(index)
    if cell is None:
        return initialised(need, frame, off, off + need.size, need.reg, world, alone=True)
    if cell.value is not None and cell.types[0] == SPILL and isinstance(cell.value, Pointer):
        if need.size != 8:
            values: dict[str, object] = {"offset": off, "size": need.size}
            return Violation(Rule.STACK_SPILL_SIZE, need, "invalid size of register fill", need.reg, values)
        return leaks.fetched(need, frame, off, need.reg, world) if need.use is Use.ATOMIC else None
    violation = stack_objects.unreadable(need, frame, off, off + need.size, need.reg)
    return violation or initialised(need, frame, off, off + need.size, need.reg, world, alone=True)


def initialised(
    need: Requirement, frame: Frame, low: int, high: int, reg: int, world: World, *, alone: bool = False
) -> Violation | None:
    """Bytes low..high were written, as plain bytes. A privileged program may read what was not written, and pointers
    (kernel: check_stack_range_initialized, allow_uninit_stack). ``alone``: it is one load (check_stack_read_fixed_off).
    """
    violation = stack_objects.unreadable(need, frame, low, high, reg, f"R{reg} ")
    if violation is not None or world.linked.target.privileged:
        return violation
    for off in range(low, high):
        index, rest = divmod(-off - 1, 8)
        cell = frame.cell(index)
        if cell is None or cell.types[7 - rest] == INVALID or leaks.spilled_pointer(frame, off) is not None:
            said = f"invalid read from stack {'' if alone else f'R{reg} '}off {low}+{off - low} size {high - low}"
            return Violation(Rule.STACK_UNINITIALISED, need, said, reg, {"offset": off, "size": high - low})
    return None


def _spillable(need: ValidAccess, pointer: Pointer, state: MachineState, off: int) -> Violation | None:
    """A pointer is spilled whole, and a pointer to a frame not into an older frame."""
    assert need.value is not None
    value = state.regs[need.value]
    if not isinstance(value, Pointer):
        return None
    if need.size != 8 and value.kind is not Kind.DYNPTR:
        values: dict[str, object] = {"offset": off, "size": need.size}
        return Violation(Rule.STACK_SPILL_SIZE, need, "invalid size of register spill", need.reg, values)
    if value.kind is Kind.STACK and pointer.frame != len(state.frames) - 1:
        said = "cannot spill pointers to stack into stack frame of the caller"
        return Violation(Rule.STACK_ESCAPE, need, said, need.value, {"pointer": value.name})
    return None

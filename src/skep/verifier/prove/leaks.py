"""Addresses that would leave a program without CAP_PERFMON (kernel: is_pointer_value, allow_ptr_leaks)."""

from __future__ import annotations

from skep.verifier.requirements.kinds import Requirement, Rule, ValidAccess, Violation
from skep.verifier.requirements.unprivileged import NoAddress
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import SPILL
from skep.verifier.state.values import Kind, Pointer
from skep.verifier.state.world import World

# Memory that others can read, as the kernel names it. The stack is the program's own; the other kinds of memory take
# pointers, or no stores at all (kernel: check_mem_access).
_READ_BY_OTHERS = {
    Kind.CTX: "ctx",
    Kind.MAP_VALUE: "map",
    Kind.MEMORY: "mem",
    Kind.RECORD: "mem",
    Kind.PACKET: "packet",
    Kind.PACKET_META: "packet",
    Kind.FLOW_KEYS: "flow keys",
}


def no_address(need: NoAddress, state: MachineState, world: World) -> Violation | None:
    """What an atomic operation stores or compares with is a number."""
    value = state.regs[need.reg]
    return leak(need, need.reg, value, need.where) if isinstance(value, Pointer) else None


def stored(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """A store puts no address where others can read it."""
    if need.value is None or world.linked.target.privileged:
        return None
    value = state.regs[need.value]
    where = _READ_BY_OTHERS.get(pointer.kind)
    if where is None or not isinstance(value, Pointer) or pointer.readonly:
        return None
    if where == "packet" and not (world.context and world.context.packet_writable):
        return None  # which is what the kernel says first
    return leak(need, need.value, value, where)


def leak(need: Requirement, reg: int, value: Pointer, where: str) -> Violation:
    """The address in ``reg`` would get to ``where``."""
    return Violation(Rule.POINTER_LEAK, need, f"R{reg} leaks addr into {where}", reg, {"pointer": value.name})


def spilled_pointer(frame: Frame, off: int) -> Pointer | None:
    """The pointer that was spilled over the byte at ``off`` from r10."""
    index, rest = divmod(-off - 1, 8)
    cell = frame.cell(index)
    if cell is None or cell.types[7 - rest] != SPILL or not isinstance(cell.value, Pointer):
        return None
    return cell.value


def torn(
    need: Requirement, frame: Frame, off: int, size: int, reg: int, world: World, *, whole: bool
) -> Violation | None:
    """A write of ``size`` bytes leaves no part of a spilled pointer, which would be a number then (kernel:
    check_stack_write_fixed_off). ``whole``: it is one store; helpers write byte by byte.
    """
    if world.linked.target.privileged or (whole and size == 8):
        return None
    for at in range(off, off + size):
        value = spilled_pointer(frame, at)
        if value is not None:
            said = "attempt to corrupt spilled pointer on stack"
            values: dict[str, object] = {"pointer": value.name, "offset": at, "size": size}
            return Violation(Rule.POINTER_TORN, need, said, reg, values)
    return None


def fetched(need: Requirement, frame: Frame, off: int, reg: int, world: World) -> Violation | None:
    """An atomic operation takes a spilled pointer for a number (kernel: check_stack_read_fixed_off)."""
    value = spilled_pointer(frame, off)
    if value is None or world.linked.target.privileged:
        return None
    said = f"leaking pointer from stack off {off}"
    return Violation(Rule.POINTER_LEAK, need, said, reg, {"pointer": value.name})


def unvaried(need: Requirement, pointer: Pointer, reg: int, world: World) -> Violation | None:
    """Helpers get stack memory at a known place (kernel: check_stack_range_initialized)."""
    if world.linked.target.privileged or pointer.var is None or not pointer.var.mask:
        return None
    bits = f"({pointer.var.value:#x}; {pointer.var.mask:#x})"
    said = f"R{reg} variable offset stack access prohibited for !root, var_off={bits}"
    values = {"pointer": pointer.name, "reason": "it is not known to which byte of the stack"}
    return Violation(Rule.SPECULATIVE_BOUNDS, need, said, reg, values)

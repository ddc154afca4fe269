"""Bounds of every kind of memory but the stack."""

from __future__ import annotations

from skep.abi.contexts import ContextField, FieldKind
from skep.abi.prog_types import AttachType, ProgType
from skep.verifier.requirements.kinds import Requirement, Rule, ValidAccess, Violation
from skep.verifier.state.offsets import MAX_OFFSET
from skep.verifier.state.values import Kind, Pointer
from skep.verifier.state.world import World

_S64_MIN = -(1 << 63)


def within(
    need: Requirement,
    pointer: Pointer,
    reg: int,
    off: int,
    size: int,
    available: int,
    *,
    zero_size: bool = False,
) -> Violation | None:
    """``size`` bytes at ``pointer.var + off`` lie in 0 .. ``available`` (kernel: check_mem_region_access)."""
    low, high = pointer.low, pointer.high
    is_map = pointer.kind is Kind.MAP_VALUE
    rule = Rule.MAP_VALUE_BOUNDS if is_map else Rule.MEMORY_BOUNDS
    what = "value_size" if is_map else "memory_size"
    if low < 0 and (low == _S64_MIN or low + off < 0):
        said = f"R{reg} min value is negative, either use unsigned index or do a if (index >=0) check."
        return Violation(Rule.NEGATIVE_OFFSET, need, said, reg, {"pointer": pointer.name})
    fits = size > 0 or zero_size
    if not (fits and low + off >= 0 and low + off + size <= available):
        said = f"R{reg} min value is outside of the allowed memory range"
        if pointer.var is None:
            said = _outside(pointer, available, off, size)
        return Violation(rule, need, said, reg, {"offset": low + off, "size": size, what: available, "which": "min"})
    if high >= MAX_OFFSET:
        said = f"R{reg} unbounded memory access, make sure to bounds check any such access"
        return Violation(Rule.UNBOUNDED_OFFSET, need, said, reg, {"pointer": pointer.name})
    if high + off + size > available:
        said = f"R{reg} max value is outside of the allowed memory range"
        return Violation(rule, need, said, reg, {"offset": high + off, "size": size, what: available, "which": "max"})
    return None


def _outside(pointer: Pointer, available: int, off: int, size: int) -> str:
    if pointer.kind is Kind.MAP_VALUE:
        return f"invalid access to map value, value_size={available} off={off} size={size}"
    if pointer.kind is Kind.MAP_KEY:
        return f"invalid access to map key, key_size={available} off={off} size={size}"
    return f"invalid access to memory, mem_size={available} off={off} size={size}"


def packet(need: Requirement, pointer: Pointer, reg: int, off: int, size: int, *, zero_size: bool) -> Violation | None:
    """``size`` bytes at ``off`` from the pointer's base were compared with data_end (kernel: check_packet_access)."""
    if pointer.low < 0:
        said = f"R{reg} min value is negative, either use unsigned index or do a if (index >=0) check."
        return Violation(Rule.NEGATIVE_OFFSET, need, said, reg, {"pointer": pointer.name})
    if (size > 0 or zero_size) and off >= 0 and off + size <= pointer.range:
        return None
    said = (
        f"invalid access to packet, off={off} size={size}, R{reg}(id={pointer.id},off={pointer.off},r={pointer.range})"
        f" R{reg} offset is outside of the packet"
    )
    return Violation(Rule.PACKET_BOUNDS, need, said, reg, {"offset": off, "size": size, "range": pointer.range})


def unmoved(need: Requirement, pointer: Pointer, reg: int) -> Violation | None:
    """The pointer still points to the start of its object (kernel: __check_ptr_off_reg)."""
    name = pointer.name
    if pointer.off < 0:
        said = f"negative offset {name} ptr R{reg} off={pointer.off} disallowed"
    elif pointer.off:
        said = f"dereference of modified {name} ptr R{reg} off={pointer.off} disallowed"
    elif pointer.var is not None and (pointer.var[1] or pointer.var[0]):
        bits = pointer.var.bits
        said = f"variable {name} access var_off=({bits.value:#x}; {bits.mask:#x}) disallowed"
    else:
        return None
    return Violation(Rule.CONTEXT_MODIFIED, need, said, reg, {"pointer": name, "offset": pointer.off})


def aligned(need: ValidAccess, pointer: Pointer) -> Violation | None:
    """Strict alignment, as atomics need it (kernel: check_generic_ptr_alignment).

    Packets start 2 bytes after an aligned address, so that the headers after Ethernet's are (check_pkt_ptr_alignment).
    """
    size = need.size
    extra = NET_IP_ALIGN if pointer.kind in (Kind.PACKET, Kind.PACKET_META) else 0
    off = pointer.off + need.offset
    low_bits = size - 1
    unknown = pointer.var is not None and pointer.var.mask & low_bits
    base = pointer.var.value if pointer.var is not None else 0
    if size == 1 or (not unknown and (base + extra + off) & low_bits == 0):
        return None
    shown = f"{base}" if pointer.var is None or not pointer.var.mask else f"({base:#x}; {pointer.var.mask:#x})"
    shown = f"{extra}+{shown}" if extra else shown
    said = f"misaligned {_ALIGN_NAMES.get(pointer.kind, '')}access off {shown}+{pointer.off}+{need.offset} size {size}"
    return Violation(Rule.MISALIGNED, need, said, need.reg, {"offset": off, "size": size})


NET_IP_ALIGN = 2
_ALIGN_NAMES = {
    Kind.STACK: "stack ",
    Kind.MAP_VALUE: "value ",
    Kind.MAP_KEY: "key ",
    Kind.CTX: "context ",
    Kind.PACKET: "packet ",
    Kind.PACKET_META: "packet ",
    Kind.FLOW_KEYS: "flow keys ",
    Kind.SOCK: "sock ",
    Kind.SOCK_COMMON: "sock_common ",
    Kind.TCP_SOCK: "tcp_sock ",
    Kind.XDP_SOCK: "xdp_sock ",
}


#: What Linux takes a program for whose attach type is not said, where fields depend on it.
_UNSAID = {ProgType.XDP: AttachType.XDP, ProgType.CGROUP_SOCK: AttachType.CGROUP_INET_SOCK_CREATE}


def plain_context(world: World, pointer: Pointer, size: int) -> bool:
    """Whether the context is plain memory that may be handed on: that of syscall programs (check_helper_mem_access)."""
    if world.linked.prog_type is not ProgType.SYSCALL or pointer.off or pointer.var is not None:
        return False
    return size == 0 or context_field(world, size - 1, 1, writes=True) is not None


def context_field(world: World, offset: int, size: int, *, writes: bool, extended: bool = False) -> ContextField | None:
    """The field that an access of the context touches, if it may be touched so; None if not."""
    context = world.context
    if context is None:
        return None
    linked = world.linked
    attach_type = linked.attach_type or _UNSAID.get(linked.prog_type)
    field = context.field_at(offset, size, writes, attach_type)
    if field is not None and extended and field.kind is not FieldKind.SCALAR:
        return None
    return field

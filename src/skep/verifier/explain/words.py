"""What the verifier knows of a value, in words: ``0 to 255``, ``a pointer to a value of map 'hits' (8 bytes)``."""

from __future__ import annotations

from skep.btf import types as t
from skep.verifier.domains.scalar import S64, U64, Scalar
from skep.verifier.state.values import KIND_NAMES, Kind, Number, Pointer, Value

#: The kernel's names of values (reg_type_str), as people say them.
PHRASES = {
    "scalar": "a number",
    "not_init": "not set",
    "ctx": "the context",
    "fp": "an address in the stack",
    "pkt": "a pointer into the packet",
    "pkt_meta": "a pointer to the packet's metadata",
    "pkt_end": "the end of the packet",
    "map_value": "a pointer to a map's value",
    "map_key": "a pointer to a map's key",
    "map_ptr": "a map",
    "mem": "a pointer to memory",
    "rdonly_mem": "a pointer to memory that is only read",
    "ringbuf_mem": "a ring buffer record",
    "func": "the address of a function",
    "sock": "a socket",
    "sock_common": "a socket",
    "tcp_sock": "a TCP socket",
    "xdp_sock": "an XDP socket",
    "flow_keys": "the flow keys",
    "rdonly_untrusted_mem": "a pointer to kernel memory of unknown size",
    "buf": "a buffer of the iterator",
    "tp_buffer": "the tracepoint's buffer",
    "arena": "an address in an arena",
    "dynptr_ptr": "a dynptr that was handed in",
    "ptr_": "a pointer to a kernel object",
    "trusted_ptr_": "a trusted pointer to a kernel object",
    "rcu_ptr_": "a pointer to a kernel object under RCU",
    "untrusted_ptr_": "an untrusted pointer to a kernel object",
    "user_ptr_": "a pointer to user memory",
    "percpu_ptr_": "a pointer to per-CPU memory",
}
_OR_NULL = "_or_null"
_SIZED = frozenset({Kind.MEMORY, Kind.RECORD})
_PACKET = frozenset({Kind.PACKET, Kind.PACKET_META})
_SIGNED32 = (-(1 << 31), (1 << 31) - 1)
_U32 = 0xFFFFFFFF


def phrase(name: str) -> str:
    """The kernel's name of a kind of value, in words: ``map_value_or_null`` is a pointer that may be NULL."""
    if name.endswith("ptr_or_null_"):
        return f"{PHRASES.get(name.removesuffix('or_null_'), 'a pointer to a kernel object')} that may be NULL"
    if name.endswith("ptr_"):
        return PHRASES.get(name, "a pointer to a kernel object")
    if name.endswith(_OR_NULL):
        return f"{PHRASES.get(name.removesuffix(_OR_NULL), name)} that may be NULL"
    return PHRASES.get(name, name)


def say(value: Value | None) -> str:
    """All that is known of a value."""
    if value is None:
        return "not set"
    if isinstance(value, Number):
        return say_number(value.range)
    return _say_pointer(value)


def say_number(known: Scalar) -> str:
    """``7``, ``-1``, ``0 to 255``, ``any number``, ``0 to 255, a multiple of 4``."""
    if known.is_const:
        return _plain(known.value)
    parts = [_bounds(known)]
    step = _step(known)
    if step > 1:
        parts.append(f"a multiple of {step}")
    return ", ".join(parts)


def _bounds(known: Scalar) -> str:
    if (known.umin, known.umax) == (0, _U32):
        return "any 32-bit number"
    if known.smin >= 0 or (known.umax != U64 and known.smin == -S64 and known.smax == S64 - 1):
        return f"{known.umin} to {known.umax}"
    if known.smin > -S64 or known.smax < S64 - 1:
        return f"{known.smin} to {known.smax}"
    if known.umin:
        return f"at least {known.umin} (unsigned)"
    if (known.u32min, known.u32max) != (0, _U32):
        return f"any number whose low 32 bits are {known.u32min} to {known.u32max}"
    if (known.s32min, known.s32max) != _SIGNED32:
        return f"any number whose low 32 bits are {known.s32min} to {known.s32max}"
    return "any number"


def _step(known: Scalar) -> int:
    """The largest power of two that divides all of them, as far as the known bits tell."""
    low = known.mask & -known.mask
    return low if low and not known.value & (low - 1) else 1


def _plain(number: int) -> str:
    signed = (number ^ S64) - S64
    return str(signed) if -4096 <= signed < 0 else hex(number) if number > 1 << 32 else str(number)


def _say_pointer(pointer: Pointer) -> str:
    parts = [_what(pointer)]
    if pointer.nullable:
        parts.append("that may be NULL")
    offset = _offset(pointer)
    text = " ".join(parts)
    if offset:
        text += f", {offset}"
    if pointer.kind in _PACKET:
        text += f", {pointer.range} bytes checked" if pointer.range else ", nothing checked"
    return text


def _what(pointer: Pointer) -> str:
    if pointer.object is not None:
        return f"{phrase(pointer.object.prefix + 'ptr_')} ({struct_name(pointer)})"
    if pointer.kind is Kind.MAP_VALUE and pointer.map is not None:
        return f"a pointer to a value of map '{pointer.map.name}' ({pointer.map.value_size} bytes)"
    if pointer.kind is Kind.MAP and pointer.map is not None:
        return f"map '{pointer.map.name}'"
    name = KIND_NAMES[pointer.kind]
    if pointer.kind in _SIZED:
        return f"{phrase(name)} ({pointer.size} bytes)"
    return phrase(name)


def struct_name(pointer: Pointer) -> str:
    """``struct task_struct``; "" where it is none."""
    found = pointer.object
    if found is None:
        return ""
    kind = found.btf[found.type]
    word = "union " if isinstance(kind, t.Union) else "struct " if isinstance(kind, t.Struct) else ""
    return f"{word}{kind.name or 'without a name'}"


def _offset(pointer: Pointer) -> str:
    if pointer.kind is Kind.STACK and pointer.var is None:
        return f"{pointer.off} from the frame pointer"
    if pointer.var is None:
        return f"offset {pointer.off}" if pointer.off else ""
    low, high = pointer.var.smin + pointer.off, pointer.var.smax + pointer.off
    if pointer.var.smin <= -(1 << 29) or pointer.var.smax >= 1 << 32:
        fixed = f"{pointer.off} + " if pointer.off else ""
        return f"offset {fixed}{say_number(pointer.var)}"
    return f"offset {low} to {high}"

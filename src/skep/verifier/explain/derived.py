"""Texts that are made from a violation's values: names instead of numbers, words instead of the kernel's kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from skep.abi.contexts import CONTEXTS
from skep.abi.helpers import HELPERS
from skep.abi.kfuncs import KFUNCS
from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.isa.instruction import slots
from skep.model.programs import LinkedProgram
from skep.verifier.explain.path import find_span
from skep.verifier.explain.words import phrase

_MOST_TYPES = 8

_USES = {
    "read": "read",
    "write": "written",
    "atomic": "changed atomically",
    "atomic_load": "read atomically",
    "atomic_store": "written atomically",
}
_EVENTS = {
    "exit": "the program ends here",
    "tail_call": "a tail call never comes back to release it",
    "ld_abs": "a legacy packet load may end the program",
    "throw": "an exception leaves the program",
}

# Kinds that together mean: any memory of the program's own.
_MEMORY = frozenset({"fp", "map_value", "mem"})
_WANTED = {
    "ctx": "the program's context, as it was handed in",
    "map_ptr": "a map",
    "fp": "the address of a variable on the stack",
    "func": "a static function",
    "memory": "memory: a variable on the stack, checked bytes of a packet, a map's key or value, or a buffer",
    "ringbuf_mem": "what bpf_ringbuf_reserve() returned",
    "kptr_": "a kernel pointer",
}
_ADVICE = {
    "map_ptr": "give the map itself: `&map_name`",
    "ctx": "give the program's own parameter, unchanged: `ctx`",
    "func": "give the name of a static function",
    "fp": "give the address of a variable: `&key`, not `key`; check the order of the arguments",
    "memory": "give the address of a variable: `&key`, not `key`; check the order of the arguments",
    "sock_common": "give what bpf_sk_lookup_tcp() and its like returned, after a check for NULL; or `ctx->sk`",
    "ringbuf_mem": "give the pointer that bpf_ringbuf_reserve() returned",
}
_ANY_ADVICE = "check the order of the arguments, and that pointers are passed as pointers (`&key`, not `key`)"
_KFUNC_ADVICE = {
    "iterator": "declare it on the stack and give its address: `struct bpf_iter_num it; bpf_iter_num_new(&it, 0, n);`",
    "dynptr": "declare it on the stack and give its address: `struct bpf_dynptr d;`, `&d`",
}
_PROGRAM_HELP = {
    "can be sleepable": "take the `.s` out of the section's name, or attach to a place where programs may sleep",
}
_RELEASERS = {
    "bpf_ringbuf_reserve": "bpf_ringbuf_submit() or bpf_ringbuf_discard()",
    "bpf_ringbuf_reserve_dynptr": "bpf_ringbuf_submit_dynptr() or bpf_ringbuf_discard_dynptr(), also where it failed",
    "bpf_obj_new_impl": "bpf_obj_drop(), or put it into a list or tree",
    "bpf_percpu_obj_new_impl": "bpf_percpu_obj_drop(), or bpf_kptr_xchg() it into a map",
    "bpf_refcount_acquire_impl": "bpf_obj_drop(), or put it into a list or tree",
    "bpf_list_pop_front": "bpf_obj_drop()",
    "bpf_list_pop_back": "bpf_obj_drop()",
    "bpf_rbtree_remove": "bpf_obj_drop()",
    "bpf_kptr_xchg": "the release function of its type, or bpf_kptr_xchg() it into a map",
    "bpf_lookup_user_key": "bpf_key_put()",
    "bpf_lookup_system_key": "bpf_key_put()",
}


def place_text(linked: LinkedProgram, slot: int) -> str:
    """``line 15`` or, where no source is known, ``instruction 7``."""
    span = find_span(linked, slot)
    return f"line {span.line}" if span is not None else f"instruction {slot}"


def _derive_helper(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    helper = values.get("helper")
    row = HELPERS.get(helper) if isinstance(helper, int) else None
    if row is not None:
        return row.name
    return None if helper is None else str(helper)


def _derive_short_name(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    name = _derive_helper(values, linked)
    return None if name is None else name.removeprefix("bpf_")


def _derive_last(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    offset, size = values.get("offset"), values.get("size")
    return str(offset + size - 1) if isinstance(offset, int) and isinstance(size, int) else None


def _derive_bytes(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    last = _derive_last(values, linked)
    if last is None:
        return None
    return (
        f"byte {last} of the packet is"
        if values["size"] == 1
        else f"bytes {values['offset']} to {last} of the packet are"
    )


def _derive_checked(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    checked = values.get("range")
    if not isinstance(checked, int):
        return None
    return f"only {checked} were" if checked > 0 else "nothing was"


def _derive_acquired(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    slot = values.get("acquired_at")
    return place_text(linked, slot) if isinstance(slot, int) else None


def _from_table(key: str, table: Mapping[str, str]) -> Callable[[Mapping[str, object], LinkedProgram], str | None]:
    def derive(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
        return table.get(str(values.get(key)))

    return derive


def _derive_pointer(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    name = values.get("pointer")
    return None if name is None else phrase(str(name))


def _derive_opcode(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    opcode = values.get("opcode")
    return f"{opcode:#04x}" if isinstance(opcode, int) else None


def _derive_limit(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    width = values.get("width")
    return str(width - 1) if isinstance(width, int) else None


def _derive_returned(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    low, high = values.get("known_low"), values.get("known_high")
    if low is None or high is None:
        return None
    return str(low) if low == high else f"{low} to {high}"


def _derive_amount(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    size = values.get("size")
    return f"{size} byte{'' if size == 1 else 's'}" if isinstance(size, int) else None


def _derive_expected(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    """What an argument must be, in words: any kind of memory is one thing to people."""
    expected = values.get("expected")
    if expected is None:
        return None
    names = [str(name) for name in expected] if isinstance(expected, (tuple, list)) else str(expected).split(", ")
    if set(names) >= _MEMORY:
        return "memory: a variable on the stack, checked bytes of a packet, a map's key or value, or a buffer"
    if "sock_common" in names:
        return "a socket"
    words = [_WANTED.get(name, phrase(name)) for name in names]
    return ", or ".join(dict.fromkeys(words))


def _derive_advice(values: Mapping[str, object], _linked: LinkedProgram) -> str:
    """How such an argument is written in C."""
    expected = values.get("expected") or ""
    names = {str(name) for name in expected} if isinstance(expected, (tuple, list)) else {str(expected).split(", ")[0]}
    return next((text for name, text in _ADVICE.items() if name in names), _ANY_ADVICE)


def _derive_kfunc_advice(values: Mapping[str, object], _linked: LinkedProgram) -> str:
    """How an argument of a kernel function is written in C."""
    expected = str(values.get("expected") or "")
    found = next((text for word, text in _KFUNC_ADVICE.items() if word in expected), None)
    return found or "compare the call with the function's declaration in the kernel"


def _derive_program_help(values: Mapping[str, object], _linked: LinkedProgram) -> str:
    """What to do about a program that cannot be loaded as it is."""
    reason = str(values.get("reason") or "")
    found = next((text for word, text in _PROGRAM_HELP.items() if word in reason), None)
    return found or "see the reason; the section name decides the program's type"


def _derive_callers(values: Mapping[str, object], _linked: LinkedProgram) -> str | None:
    """The program types that may call the helper."""
    helper = values.get("helper")
    row = HELPERS.get(helper) if isinstance(helper, int) else None
    if row is None or row.prog_types is None:
        return None
    names = sorted(kind.name.lower() for kind in row.prog_types if kind is not ProgType.EXT)
    more = f" and {len(names) - _MOST_TYPES} more" if len(names) > _MOST_TYPES else ""
    return ", ".join(names[:_MOST_TYPES]) + more


def _derive_field(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    """The field of the context's structure that lies at the offset, whoever may see it."""
    offset = values.get("offset")
    own = CONTEXTS.get(linked.prog_type)
    if not isinstance(offset, int) or own is None:
        return None
    same = [context for context in CONTEXTS.values() if context.name == own.name]
    for context in (own, *same):
        for field in context.fields:
            if field.offset <= offset < field.offset + field.size:
                return f"`{field.name}` of struct {own.name}"
    return None


def _acquirer(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    """The name of the call that acquired what is open."""
    slot = values.get("acquired_at")
    code = slots(linked.insns)
    insn = code[slot] if isinstance(slot, int) and 0 <= slot < len(code) else None
    if insn is None or insn.opcode != op.JMP | op.CALL:
        return None
    if insn.src == op.CALL_KFUNC:
        return str(getattr(insn.ref, "name", "")) or None
    row = HELPERS.get(insn.imm) if insn.src == op.CALL_HELPER else None
    return row.name if row is not None else None


def _derive_acquirer(values: Mapping[str, object], linked: LinkedProgram) -> str | None:
    name = _acquirer(values, linked)
    return f"{name}()" if name is not None else None


def _derive_releaser(values: Mapping[str, object], linked: LinkedProgram) -> str:
    """The calls that give it back."""
    name = _acquirer(values, linked) or ""
    if name in _RELEASERS:
        return _RELEASERS[name]
    twin = re.sub(r"_(acquire|from_p?v?p?id|from_id|create|new)(_impl)?$", "_release", name)
    if name and twin != name and twin in KFUNCS:
        return f"{twin}()"
    if name.startswith(("bpf_sk_lookup", "bpf_skc_lookup")):
        return "bpf_sk_release()"
    return "the function that goes with it (release, drop, put, submit)"


DERIVED: dict[str, Callable[[Mapping[str, object], LinkedProgram], str | None]] = {
    "helper": _derive_helper,
    "short_name": _derive_short_name,
    "last": _derive_last,
    "bytes_used": _derive_bytes,
    "checked": _derive_checked,
    "returned": _derive_returned,
    "acquired_place": _derive_acquired,
    "pointer_phrase": _derive_pointer,
    "opcode_hex": _derive_opcode,
    "max_amount": _derive_limit,
    "use_past": _from_table("use", _USES),
    "event_phrase": _from_table("event", _EVENTS),
    "kfunc_advice": _derive_kfunc_advice,
    "program_help": _derive_program_help,
    "amount": _derive_amount,
    "expected_words": _derive_expected,
    "advice": _derive_advice,
    "callers": _derive_callers,
    "context_field": _derive_field,
    "acquirer": _derive_acquirer,
    "releaser": _derive_releaser,
}

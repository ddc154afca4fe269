"""Arguments of global functions, from their BTF prototypes (kernel: btf_prepare_func_args)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from skep.abi.contexts import CONTEXTS
from skep.abi.prog_types import ProgType
from skep.btf import types as t
from skep.btf.catalog import size_of
from skep.errors import SkepError
from skep.model.programs import LinkedProgram, Subprogram
from skep.verifier.state.objects import Object, Trust, is_struct


class Passed(StrEnum):
    """What a global function may be given."""

    NUMBER = "number"
    CONTEXT = "ctx"
    MEMORY = "mem"
    OBJECT = "a kernel object"
    ARENA = "an address in an arena"  # or a number
    DYNPTR = "a dynptr"
    UNTRUSTED = "untrusted memory"  # anything: it is read with care


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: a number, the context, or memory of ``size`` bytes that may be NULL unless tagged."""

    kind: Passed
    size: int = 0
    nullable: bool = True
    object: Object | None = None


# Names of contexts that differ from the structure's own name, or have several.
_CONTEXT_NAMES: dict[ProgType, frozenset[str]] = {
    ProgType.KPROBE: frozenset({"bpf_user_pt_regs_t", "pt_regs", "user_pt_regs"}),
    ProgType.PERF_EVENT: frozenset({"bpf_perf_event_data", "bpf_user_pt_regs_t", "pt_regs"}),
    ProgType.RAW_TRACEPOINT: frozenset({"bpf_raw_tracepoint_args"}),
    ProgType.RAW_TRACEPOINT_WRITABLE: frozenset({"bpf_raw_tracepoint_args"}),
}


def _context_names(prog_type: ProgType) -> frozenset[str]:
    """What a pointer to the context is called in C."""
    context = CONTEXTS.get(prog_type)
    return _CONTEXT_NAMES.get(prog_type, frozenset({context.name} if context is not None else ()))


def parameters(linked: LinkedProgram, sub: Subprogram) -> tuple[Parameter, ...] | str:
    """The parameters of a global function, or why it cannot be one."""
    btf = linked.btf
    func = btf[sub.btf_id] if btf is not None and 0 < sub.btf_id < len(btf) else None
    if btf is None or not isinstance(func, t.Func):
        return f"global function {sub.name}() has no BTF prototype"
    proto = btf[func.type]
    if not isinstance(proto, t.FuncProto):
        return f"global function {sub.name}() has no BTF prototype"
    if len(proto.params) > 5:
        return f"global function {sub.name}() has more than 5 parameters"
    if not isinstance(btf[btf.strip(proto.ret)], (t.Int, t.Enum, t.Enum64)):
        return f"Global function {sub.name}() doesn't return scalar. Only those are supported."
    tags = _tags(btf, sub.btf_id)
    found: list[Parameter] = []
    for index, param in enumerate(proto.params):
        row = _parameter(linked, btf, param.type, tags.get(index, frozenset()), index)
        if isinstance(row, str):
            return f"{row} (function {sub.name}())"
        found.append(row)
    return tuple(found)


def _tags(btf: t.Btf, func_id: int) -> dict[int, frozenset[str]]:
    found: dict[int, frozenset[str]] = {}
    for item in btf:
        if isinstance(item, t.DeclTag) and item.type == func_id and item.name.startswith("arg:"):
            found[item.component] = found.get(item.component, frozenset()) | {item.name[4:]}
    return found


def _parameter(linked: LinkedProgram, btf: t.Btf, type_id: int, tags: frozenset[str], index: int) -> Parameter | str:
    stripped = btf[btf.strip(type_id)]
    if isinstance(stripped, (t.Int, t.Enum, t.Enum64)):
        return Parameter(Passed.NUMBER) if not tags else f"arg#{index} has a pointer tag on a number"
    if not isinstance(stripped, t.Ptr):
        return f"Arg#{index} type is neither scalar nor pointer"
    if tags & {"trusted", "untrusted"}:
        return _object(linked, btf, stripped, tags, index)
    if "arena" in tags:
        if len(tags) > 1:
            return f"arg#{index} arena cannot be combined with any other tags"
        return Parameter(Passed.ARENA)
    unknown = tags - {"ctx", "nonnull", "nullable"}
    if unknown:
        return f"unsupported: arg#{index} is tagged arg:{min(unknown)}"
    names = set()
    target = stripped.type
    while isinstance(btf[target], t.MODIFIERS):
        if btf[target].name:
            names.add(btf[target].name)
        target = btf[target].type  # type: ignore[union-attr]
    pointee = btf[target]
    names.add(pointee.name)
    if "ctx" in tags or names & _context_names(linked.prog_type):
        return Parameter(Passed.CONTEXT, nullable=False)
    if isinstance(pointee, (t.Struct, t.Fwd)) and pointee.name == "bpf_dynptr":
        if "nullable" in tags:
            return f"arg#{index} has invalid combination of tags"
        return Parameter(Passed.DYNPTR, nullable=False)
    if isinstance(pointee, (t.Void, t.Fwd)):
        return f"arg#{index} reference type('{pointee.name or 'void'}') size cannot be determined"
    try:
        size = size_of(btf, target)
    except SkepError:
        return f"arg#{index} size cannot be determined"
    return Parameter(Passed.MEMORY, size=size, nullable="nonnull" not in tags)


def _object(linked: LinkedProgram, btf: t.Btf, pointer: t.Ptr, tags: frozenset[str], index: int) -> Parameter | str:
    """A pointer to a kernel structure, by its name (kernel: btf_get_ptr_to_btf_id)."""
    target = btf[btf.strip(pointer.type)]
    if "untrusted" in tags:
        if len(tags) > 1:
            return f"arg#{index} untrusted cannot be combined with any other tags"
        if isinstance(target, (t.Void, t.Int, t.Enum, t.Enum64, t.Float)):
            return Parameter(Passed.UNTRUSTED)
    elif tags - {"trusted", "nullable"}:
        return f"arg#{index} has invalid combination of tags"
    if not isinstance(target, (t.Struct, t.Union, t.Fwd)):
        return f"arg#{index} has a type of which only struct or primitive types are allowed"
    kernel = linked.target.btf
    name = t.essential_name(target.name)
    found = kernel.find(name, t.Struct, t.Union) if kernel is not None else None
    if kernel is None or found is None or not is_struct(kernel[found]):
        return f"arg#{index} reference type('{name}') has no matches"
    if "untrusted" in tags:
        return Parameter(Passed.OBJECT, nullable=False, object=Object(kernel, found, Trust.UNTRUSTED))
    return Parameter(Passed.OBJECT, nullable="nullable" in tags, object=Object(kernel, found, Trust.TRUSTED))

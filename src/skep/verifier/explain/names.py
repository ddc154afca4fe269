"""Which variable the source means: from BTF where it says so, else from one line's text where there is no doubt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skep.abi.prog_types import ProgType
from skep.btf import types as t
from skep.diagnostics import Span
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.model.programs import LinkedProgram, Subprogram
from skep.verifier.explain.slice import Code, find_origin
from skep.verifier.state.values import Kind, Pointer, Value

# How C goes through a pointer: p->field, p[i], *p. What follows a type in brackets is a cast's operand.
_THROUGH = re.compile(
    r"\b([A-Za-z_]\w*)\s*(?:->|\[)|(?<![\w)\]])\*\s*(?:\([^()]*\)\s*)?([A-Za-z_]\w*)\b(?!\s*(?:->|\[|\())"
)
# What a line assigns to: `x = ...`, `int *x = ...`, `x += ...`; not `x == y`, `*x = y`, `p->x = y`, `a[i] = y`.
_ASSIGNED = re.compile(
    r"(?:^|[;{(]|,[\s*]*|\b(?!return\b)\w+[\s*]+)\s*([A-Za-z_]\w*)\s*(?:[-+*/%&|^]|<<|>>)?=(?![=])", re.MULTILINE
)
_NOT_CODE = re.compile(r'"(?:[^"\\]|\\.)*"|//.*|/\*.*?\*/')
_CONSTANTS = frozenset({op.ALU64 | op.MOV | op.K, op.ALU | op.MOV | op.K})
_CONTEXTS = frozenset({"ctx", "skb", "args"})

# What a program of the type returns to let things go on.
_HARMLESS = {ProgType.XDP: "XDP_PASS", ProgType.SCHED_CLS: "TC_ACT_OK", ProgType.CGROUP_SKB: "1"}


def dereferenced(span: Span | None) -> str | None:
    """The one variable that the line goes through, but for the context; None if there are several, or none."""
    if span is None or span.text is None:
        return None
    text = _NOT_CODE.sub("", span.text)
    names = {first or second for first, second in _THROUGH.findall(text)} - _CONTEXTS
    return names.pop() if len(names) == 1 else None


def assigned(span: Span | None) -> str | None:
    """The one variable that the line gives a value to; None if there are several, or none."""
    if span is None or span.text is None:
        return None
    names = set(_ASSIGNED.findall(_NOT_CODE.sub("", span.text)))
    return names.pop() if len(names) == 1 else None


def register_name(linked: LinkedProgram, code: Code, trace: Sequence[int], reg: int) -> str | None:
    """What the source calls the value that a register holds at the end of a path.

    The parameter that it is (BTF), or the variable that the line where it was made assigns to.
    """
    if not trace:
        return None
    origin = find_origin(code, trace, reg)
    if origin.parameter is not None:
        return parameter_name(linked, *origin.parameter)
    if origin.makers and not (len(origin.makers) == 1 and origin.makers[0] == trace[-1]):
        for slot in origin.makers:
            span = linked.lines.get(slot) or _line_of(linked, slot)
            name = assigned(span)
            if name is not None and not _is_strange_constant(code[slot], span):
                return name
    return None


def _is_strange_constant(insn: Instruction | None, span: Span | None) -> bool:
    """A constant that the line does not write: the compiler moved it here from elsewhere."""
    if insn is None or insn.opcode not in _CONSTANTS:
        return False
    return span is None or str(insn.imm) not in (span.text or "")


def _line_of(linked: LinkedProgram, slot: int) -> Span | None:
    """The line that an instruction belongs to."""
    start = max((sub.start for sub in linked.subprograms if sub.start <= slot), default=0)
    return next((linked.lines[at] for at in range(slot, start - 1, -1) if at in linked.lines), None)


def parameter_name(linked: LinkedProgram, slot: int, number: int) -> str | None:
    """The name of parameter 1 to 5 of the function at this slot, as BTF has it."""
    sub = _function_at(linked, slot)
    btf = linked.btf
    if sub is None or btf is None or not 0 < sub.btf_id < len(btf):
        return None
    func = btf[sub.btf_id]
    proto = btf[func.type] if isinstance(func, t.Func) and 0 < func.type < len(btf) else None
    if not isinstance(proto, t.FuncProto) or number > len(proto.params):
        return None
    return proto.params[number - 1].name or None


def _function_at(linked: LinkedProgram, slot: int) -> Subprogram | None:
    return next((sub for sub in linked.subprograms if sub.start <= slot < sub.end), None)


def member_name(value: Value | None, offset: int) -> str | None:
    """What BTF calls the bytes at an offset of what a pointer points to: a global variable, a map value's member."""
    if not isinstance(value, Pointer) or value.kind is not Kind.MAP_VALUE or value.map is None or value.var is not None:
        return None
    spec, at = value.map, value.off + offset
    if spec.btf is None or not 0 < spec.value_type < len(spec.btf):
        return None
    return _member(spec.btf, spec.value_type, at)


def _member(btf: t.Btf, type_id: int, offset: int) -> str | None:
    """``packets``, ``head.next``, ``counters[3]``; None: there is no name."""
    words = ""
    for _ in range(16):  # as deep as structures nest
        kind = btf[btf.strip(type_id)]
        if isinstance(kind, t.Datasec):
            entry = next((e for e in kind.entries if e.offset <= offset < e.offset + max(e.size, 1)), None)
            variable = btf[entry.type] if entry is not None else None
            if entry is None or not isinstance(variable, t.Var):
                break
            words, type_id, offset = variable.name, variable.type, offset - entry.offset
        elif isinstance(kind, (t.Struct, t.Union)):
            member = next((m for m in reversed(kind.members) if m.bit_offset // 8 <= offset), None)
            if member is None:
                break
            words += ("." if words and member.name else "") + member.name
            type_id, offset = member.type, offset - member.bit_offset // 8
        elif isinstance(kind, t.Array):
            size = _size(btf, kind.type)
            if not size:
                break
            words += f"[{offset // size}]"
            type_id, offset = kind.type, offset % size
        else:
            break
    return words or None


def _size(btf: t.Btf, type_id: int) -> int:
    kind = btf[btf.strip(type_id)]
    if isinstance(kind, t.Array):
        return kind.nelems * _size(btf, kind.type)
    return 8 if isinstance(kind, t.Ptr) else int(getattr(kind, "size", 0))


def harmless_result(prog_type: ProgType) -> str:
    """What to return when there is nothing to do: ``XDP_PASS``."""
    return _HARMLESS.get(prog_type, "0")

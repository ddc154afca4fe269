"""Which check makes one access safe: found on the path that leads to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from skep.abi.helpers import HELPERS
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.model.programs import LinkedProgram
from skep.verifier.explain.names import member_name, register_name
from skep.verifier.explain.path import find_span
from skep.verifier.explain.slice import Code, find_origin
from skep.verifier.explain.words import say_number, struct_name
from skep.verifier.flow.cfg import is_conditional
from skep.verifier.state.values import Kind, Pointer

_SIZES = {op.B: 1, op.H: 2, op.W: 4, op.DW: 8}
_CALL = op.JMP | op.CALL
_ADD = op.ALU64 | op.ADD | op.X


@dataclass(frozen=True, slots=True)
class Access:
    """One access: what it touches, why that is safe, and the line of the check (None: no check is needed)."""

    slot: int
    what: str
    why: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    linked: LinkedProgram
    code: Code
    trace: Sequence[int]
    insn: Instruction
    base: int
    pointer: Pointer
    size: int

    def place(self, slot: int | None) -> tuple[str, int | None]:
        """`` at line 18`` and the number, as far as known."""
        if slot is None:
            return "", None
        span = find_span(self.linked, slot)
        return (f" at line {span.line}", span.line) if span is not None else (f" at instruction {slot}", None)


def explain_access(
    linked: LinkedProgram, code: Code, trace: Sequence[int], slot: int, insn: Instruction, pointer: Pointer
) -> Access:
    """What an accepted load, store or atomic relies on.

    Args:
        trace: a path that ends at ``slot``.
        pointer: its base register there; the one with the least known of it.
    """
    klass = insn.opcode & op.CLASS_MASK
    base = insn.src if klass == op.LDX else insn.dst
    size = _SIZES[insn.opcode & op.SIZE_MASK]
    case = _Case(linked, code, trace, insn, base, pointer, size)
    atomic = klass == op.STX and insn.opcode & op.MODE_MASK == op.ATOMIC
    verb = "changes" if atomic else "reads" if klass == op.LDX else "writes"
    name = register_name(linked, code, trace, base)
    through = f" through {name}" if name else ""
    where, why, line = _EXPLAINERS.get(pointer.kind, _other)(case)
    return Access(slot, f"{verb} {size} byte{'s' if size > 1 else ''} {where}{through}", why, line)


_Explained = tuple[str, str, int | None]


def _stack(case: _Case) -> _Explained:
    at = case.pointer.off + case.insn.off
    if case.pointer.var is not None:
        low, high = case.pointer.var.smin + at, case.pointer.var.smax + at + case.size - 1
        place, line = case.place(_bound(case))
        return "of the stack", f"offsets {low} to {high} are in the frame{_checked(place)}", line
    return f"of the stack at {at}", "the offset is constant and in the frame", None


def _context(case: _Case) -> _Explained:
    return f"of the context at offset {case.pointer.off + case.insn.off}", "the program type has such a field", None


def _packet(case: _Case) -> _Explained:
    offset = case.pointer.off + case.insn.off
    place, line = case.place(_last(case, _compares_packet))
    return f"of the packet at offset {offset}", f"{case.pointer.range} bytes of packet checked{place}", line


def _map_value(case: _Case) -> _Explained:
    spec = case.pointer.map
    assert spec is not None
    member = member_name(case.pointer, case.insn.off)
    where = f"of a value of map '{spec.name}'" + (f" ({member})" if member else "")
    place, line = case.place(_null_check(case))
    reasons = [f"not NULL, checked{place}"] if line is not None or place else []
    at = case.pointer.off + case.insn.off
    if case.pointer.var is None:
        reasons.append(f"bytes {at} to {at + case.size - 1} of {spec.value_size}")
        return where, "; ".join(reasons), line
    index, index_line = case.place(_bound(case))
    low, high = case.pointer.var.smin + at, case.pointer.var.smax + at + case.size - 1
    reasons.append(f"bytes {low} to {high} of {spec.value_size}: index {say_number(case.pointer.var)}{_checked(index)}")
    return where, "; ".join(reasons), index_line if index_line is not None else line


def _memory(case: _Case) -> _Explained:
    place, line = case.place(_null_check(case))
    what = "of a ring buffer record" if case.pointer.kind is Kind.RECORD else "of memory"
    at = case.pointer.off + case.insn.off
    known = f"bytes {at} to {at + case.size - 1} of {case.pointer.size}"
    if case.pointer.var is not None:
        known = f"offset {say_number(case.pointer.var)} of {case.pointer.size} bytes"
    return what, f"not NULL, checked{place}; {known}" if place else known, line


def _object(case: _Case) -> _Explained:
    name = struct_name(case.pointer) or "kernel object"
    if not case.pointer.name.startswith(("trusted_", "rcu_")):
        return f"of {name}", "a load that faults gives 0 (exception table)", None
    place, line = case.place(_null_check(case))
    return f"of {name}", f"a trusted pointer{', not NULL, checked' + place if place else ''}", line


def _other(case: _Case) -> _Explained:
    place, line = case.place(_null_check(case))
    return f"of {case.pointer.name}", f"not NULL, checked{place}" if place else "the pointer's type allows it", line


_EXPLAINERS: Mapping[Kind, Callable[[_Case], _Explained]] = {
    Kind.STACK: _stack,
    Kind.CTX: _context,
    Kind.PACKET: _packet,
    Kind.PACKET_META: _packet,
    Kind.MAP_VALUE: _map_value,
    Kind.MEMORY: _memory,
    Kind.RECORD: _memory,
    Kind.BTF: _object,
}


def _checked(place: str) -> str:
    return f", checked{place}" if place else ""


def _conditions(case: _Case) -> Iterator[tuple[int, Instruction]]:
    """Conditions on the path, the latest first: position in the trace, instruction."""
    for index in range(len(case.trace) - 2, -1, -1):
        insn = case.code[case.trace[index]]
        if insn is not None and is_conditional(insn):
            yield index, insn


def _last(case: _Case, matches: Callable[[_Case, int, Instruction], bool]) -> int | None:
    return next((case.trace[index] for index, insn in _conditions(case) if matches(case, index, insn)), None)


def _compares_packet(case: _Case, index: int, insn: Instruction) -> bool:
    """Two registers, one of which was loaded from data_end: the one whose origin the access' base has not."""
    if insn.opcode & op.X != op.X:
        return False
    ours = set(find_origin(case.code, case.trace, case.base).makers[-1:])
    sides = [set(find_origin(case.code, case.trace[: index + 1], reg).makers[-1:]) for reg in (insn.dst, insn.src)]
    loads = [{slot for slot in side if _is_load(case.code[slot])} for side in sides]
    return all(loads) and bool(ours & (loads[0] | loads[1])) and loads[0] != loads[1]


def _is_load(insn: Instruction | None) -> bool:
    return insn is not None and insn.opcode & op.CLASS_MASK == op.LDX


def _null_check(case: _Case) -> int | None:
    """The comparison with 0 of what the call returned that made the pointer."""
    origin = find_origin(case.code, case.trace, case.base).makers
    made = case.code[origin[-1]] if origin else None
    if made is None or made.opcode != _CALL:
        return None
    row = HELPERS.get(made.imm) if made.src == op.CALL_HELPER else None
    if row is not None and not row.returns.value.endswith("_or_null"):
        return None

    def matches(case: _Case, index: int, insn: Instruction) -> bool:
        if insn.opcode & op.X == op.X or insn.imm:
            return False
        return find_origin(case.code, case.trace[: index + 1], insn.dst).makers[-1:] == origin[-1:]

    return _last(case, matches)


def _bound(case: _Case) -> int | None:
    """The condition on the index that was added to the pointer."""
    adds = [slot for slot in find_origin(case.code, case.trace, case.base).makers if _is_add(case.code[slot])]
    if not adds:
        return None
    at = max(index for index, slot in enumerate(case.trace) if slot == adds[0])
    added = case.code[adds[0]]
    assert added is not None
    index_origin = set(find_origin(case.code, case.trace[: at + 1], added.src).makers)

    def matches(case: _Case, index: int, insn: Instruction) -> bool:
        found = find_origin(case.code, case.trace[: index + 1], insn.dst)
        return bool(set(found.makers) & index_origin) or bool(
            insn.opcode & op.X == op.X
            and set(find_origin(case.code, case.trace[: index + 1], insn.src).makers) & index_origin
        )

    return _last(case, matches)


def _is_add(insn: Instruction | None) -> bool:
    return insn is not None and insn.opcode == _ADD

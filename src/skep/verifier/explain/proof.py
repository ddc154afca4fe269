"""Why an accepted program is safe: what is known at each source line, and which check makes each access safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from skep.abi.helpers import HELPERS
from skep.diagnostics import Span
from skep.isa import opcodes as op
from skep.isa.disassembler import disassemble
from skep.isa.instruction import Instruction, slots
from skep.model.programs import LinkedProgram
from skep.verifier.explain.access import Access, explain_access
from skep.verifier.explain.names import register_name
from skep.verifier.explain.path import find_span
from skep.verifier.explain.words import say
from skep.verifier.flow import cfg
from skep.verifier.flow.liveness import live_registers
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Kind, Number, Pointer, Value

_MOST_VALUES = 4  # different values of one register that are shown at one line
_MOST_TRACE = 2048
_MEMORY = frozenset({op.LDX, op.ST, op.STX})
_FRAME_POINTER = 10


@dataclass(slots=True)
class _Seen:
    """What was seen at one slot: how often, values by register, and the first path that came."""

    visits: int = 0
    values: dict[int, list[Value]] = field(default_factory=dict)
    trace: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One source line of a function, or (without line information) one instruction.

    Attributes:
        insn: the first instruction of it.
        visits: how often the exploration came there.
        state: subject (``eth (r1)``) and what is known before the line.
        accesses: memory that it touches.
    """

    insn: int
    span: Span | None
    text: str
    visits: int
    state: tuple[tuple[str, str], ...]
    accesses: tuple[Access, ...]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "file": self.span.file if self.span else None,
            "line": self.span.line if self.span else None,
            "source": self.text,
            "insn": self.insn,
            "visits": self.visits,
            "state": dict(self.state),
            "accesses": [{"insn": a.slot, "what": a.what, "why": a.why, "checked_at": a.line} for a in self.accesses],
        }


class Recorder:
    """A Listener that keeps what the exploration saw; :meth:`lines` is the proof."""

    def __init__(self, linked: LinkedProgram) -> None:
        """``linked`` must have passed the structural checks."""
        self._linked = linked
        self._code = slots(linked.insns)
        self._seen: dict[int, _Seen] = {}
        self._trace: list[int] = []
        flow = cfg.build(linked.insns, {sub.name: sub.start for sub in linked.subprograms})
        counts = {number: len(row.args) for number, row in HELPERS.items() if row.args is not None}
        self._live = live_registers(flow, counts)

    def step(self, slot: int, state: MachineState) -> None:
        """Note what is known before an instruction."""
        seen = self._seen.setdefault(slot, _Seen())
        seen.visits += 1
        self._trace.append(slot)
        if len(self._trace) > 2 * _MOST_TRACE:
            del self._trace[:-_MOST_TRACE]
        if not seen.trace:
            seen.trace = tuple(self._trace[-_MOST_TRACE:])
        live = self._live[slot]
        for number in range(_FRAME_POINTER):
            value = state.regs[number] if live >> number & 1 else None
            if value is not None:
                _add(seen.values.setdefault(number, []), value)

    def resumed(self, trace: Sequence[int], slot: int, state: MachineState) -> None:
        """Another path."""
        self._trace = list(trace)

    def covered(self, slot: int, state: MachineState) -> None:
        """Nothing new."""

    def finished(self, processed: int, states: int, sentence: str) -> None:
        """Nothing to do."""

    def lines(self) -> tuple[Line, ...]:
        """The proof, in code order; lines that are never reached are left out."""
        found = []
        slots_of = self._by_line()
        for first, members in slots_of:
            span = find_span(self._linked, first)
            accesses = [made for slot in members if (made := self._access(slot)) is not None]
            insn = self._code[first]
            text = (span.text or "").strip() if span is not None else disassemble(insn) if insn is not None else ""
            seen = self._seen[first]
            found.append(Line(first, span, text, seen.visits, self._state(first, seen), tuple(accesses)))
        return tuple(found)

    def _by_line(self) -> list[tuple[int, list[int]]]:
        """Reached slots, together where consecutive ones are of one line."""
        groups: list[tuple[int, list[int]]] = []
        last: object = None
        for slot in sorted(self._seen):
            span = find_span(self._linked, slot)
            key = (span.file, span.line) if span is not None else slot
            if key != last:
                groups.append((slot, []))
            groups[-1][1].append(slot)
            last = key
        return groups

    def _state(self, slot: int, seen: _Seen) -> tuple[tuple[str, str], ...]:
        rows = []
        for number, values in sorted(seen.values.items()):
            name = register_name(self._linked, self._code, seen.trace, number)
            subject = f"{name} (r{number})" if name else f"r{number}"
            rows.append((subject, "; or ".join(dict.fromkeys(say(value) for value in values))))
        return tuple(rows)

    def _access(self, slot: int) -> Access | None:
        insn = self._code[slot]
        if insn is None or not _touches_memory(insn):
            return None
        base = insn.src if insn.opcode & op.CLASS_MASK == op.LDX else insn.dst
        seen = self._seen[slot]
        pointers = [value for value in seen.values.get(base, ()) if isinstance(value, Pointer)]
        if base == _FRAME_POINTER:
            pointers = [Pointer(Kind.STACK)]
        if not pointers:
            return None
        worst = min(pointers, key=lambda pointer: pointer.range)
        return explain_access(self._linked, self._code, seen.trace, slot, insn, worst)


def _touches_memory(insn: Instruction) -> bool:
    return insn.opcode & op.CLASS_MASK in _MEMORY


def _add(values: list[Value], new: Value) -> None:
    """Keep a value if it is news: numbers are joined, pointers that read alike are one."""
    for index, old in enumerate(values):
        if isinstance(old, Number) and isinstance(new, Number):
            if old.range != new.range:
                values[index] = Number(old.range.join(new.range))
            return
        if isinstance(old, Pointer) and isinstance(new, Pointer) and (old is new or say(old) == say(new)):
            return
    if len(values) < _MOST_VALUES:
        values.append(new)

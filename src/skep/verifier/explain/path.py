"""The way to a finding, as people read it: source lines, which way each condition went, where the value was made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from skep.diagnostics import Span, Step
from skep.isa import opcodes as op
from skep.isa.disassembler import disassemble
from skep.isa.instruction import Instruction
from skep.model.programs import LinkedProgram
from skep.verifier.explain.names import register_name
from skep.verifier.explain.slice import Code, depths, find_origin, simple_path
from skep.verifier.flow.cfg import is_conditional, jump_target

MOST_STEPS = 8
_MOST_NAMED = 512  # steps of a path whose registers get names; the search is linear in them
_CONDITION = re.compile(r"if (?P<left>[rw]\d+) (?P<sign>\S+) (?P<right>\S+) goto")
_OPPOSITE = {
    "==": "!=",
    "!=": "==",
    ">": "<=",
    "<=": ">",
    ">=": "<",
    "<": ">=",
    "s>": "s<=",
    "s<=": "s>",
    "s>=": "s<",
    "s<": "s>=",
}
_CALL = op.JMP | op.CALL


def find_span(linked: LinkedProgram, slot: int) -> Span | None:
    """The source line an instruction was compiled from: the last that starts at or before it, in its function."""
    start = max((sub.start for sub in linked.subprograms if sub.start <= slot), default=0)
    for candidate in range(slot, start - 1, -1):
        span = linked.lines.get(candidate)
        if span is not None:
            return span
    return None


def find_path(
    linked: LinkedProgram, code: Code, trace: Sequence[int], reg: int | None, notable: Mapping[int, str]
) -> tuple[Step, ...]:
    """The shortest form of a failing path: conditions, calls that it is in, and what made the register's value.

    Args:
        trace: slots executed, oldest first; the last one is where it fails.
        reg: the register that the finding is about.
        notable: slots that belong to the finding, and what happened there.
    """
    if not trace:
        return ()
    made = set(find_origin(code, trace, reg).makers) if reg is not None else set[int]()
    rounds = _rounds(code, trace)
    steps: list[Step] = []
    positions = simple_path(code, trace)
    for index, following in zip(positions, [*positions[1:], None], strict=True):
        slot, insn = trace[index], code[trace[index]]
        if insn is None:
            continue
        last = following is None
        note = "" if last else notable.get(slot) or _note(linked, code, trace, index, insn)
        if last or note or slot in made:
            count = rounds.get(slot, 1) if note else 1
            note = f"{note} (round {count})" if count > 1 else note
            span = find_span(linked, slot)
            if span is None:  # without a source line the instruction says what happens
                note = "  -- ".join(filter(None, (disassemble(insn), note)))
            steps.append(Step(slot, span, note))
    return tuple(_merged(steps)[-MOST_STEPS:])


def _rounds(code: Code, trace: Sequence[int]) -> dict[int, int]:
    """How often each condition was met on the path."""
    counts: dict[int, int] = {}
    for slot in trace:
        insn = code[slot]
        if insn is not None and is_conditional(insn):
            counts[slot] = counts.get(slot, 0) + 1
    return counts


def _note(linked: LinkedProgram, code: Code, trace: Sequence[int], index: int, insn: Instruction) -> str:
    """What happens at a step that matters: which way a condition goes, which function is entered."""
    slot, after = trace[index], trace[index + 1]
    if is_conditional(insn):
        taken = after == jump_target(insn, slot)
        if taken and after == slot + 1:
            return ""
        return _condition(linked, code, trace[: index + 1], insn, taken)
    if insn.opcode == _CALL and depths(code, trace[index : index + 2])[-1] > 0:
        name = next((sub.name for sub in linked.subprograms if sub.start == after), None)
        return f"enters {name}()" if name else "enters the function"
    return ""


def _condition(linked: LinkedProgram, code: Code, trace: Sequence[int], insn: Instruction, taken: bool) -> str:
    """``goes on: n <= 4``: what holds after the condition, on the way that was taken."""
    text = disassemble(insn)
    found = _CONDITION.match(text)
    if found is None:
        return f"{text.split(' goto')[0]}: {'taken' if taken else 'not taken'}"
    sign = found["sign"] if taken else _OPPOSITE.get(found["sign"])
    if sign is None:  # a test of bits
        sides = f"{_side(linked, code, trace, found['left'])} & {_side(linked, code, trace, found['right'])}"
        return f"{sides} is {'not 0' if taken else '0'}"
    left = _side(linked, code, trace, found["left"])
    right = _side(linked, code, trace, found["right"])
    signed = " (signed)" if sign.startswith("s") else ""
    return f"{left} {sign.removeprefix('s')} {right}{signed}"


def _side(linked: LinkedProgram, code: Code, trace: Sequence[int], text: str) -> str:
    """A register with its name in the source, or a number."""
    if text[0] not in "rw":
        try:
            number = int(text, 0)
        except ValueError:
            return text
        return str(number - (1 << 32) if number >= 1 << 31 else number)
    name = register_name(linked, code, trace[-_MOST_NAMED:], int(text[1:]))
    return f"{name} ({text})" if name else text


def _merged(steps: list[Step]) -> list[Step]:
    """Without steps that only repeat the line before."""
    kept: list[Step] = []
    for step in steps:
        same = kept and step.span is not None and kept[-1].span is not None and _line(kept[-1]) == _line(step)
        if same and not step.note:
            continue
        if same and not kept[-1].note:
            kept.pop()
        kept.append(step)
    return kept


def _line(step: Step) -> tuple[str, int]:
    assert step.span is not None
    return step.span.file, step.span.line

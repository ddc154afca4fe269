"""Classic programs as text, the three ways of tcpdump: ``-d`` for people, ``-dd`` for C, ``-ddd`` for other tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from skep.diagnostics import Diagnostic, Span
from skep.errors import InputError
from skep.isa.classic.check import LIMIT, check
from skep.isa.classic.instruction import FORMS, ClassicInstruction, Operand, is_conditional


def listing(program: Sequence[ClassicInstruction]) -> str:
    """``tcpdump -d``: one numbered line per instruction, jump targets absolute; no trailing newline."""
    return "\n".join(_line(insn, at) for at, insn in enumerate(program))


def c_listing(program: Sequence[ClassicInstruction]) -> str:
    """``tcpdump -dd``: initialisers of struct sock_filter."""
    return "\n".join(f"{{ 0x{insn.code:x}, {insn.jt}, {insn.jf}, 0x{insn.k:08x} }}," for insn in program)


def number_listing(program: Sequence[ClassicInstruction]) -> str:
    """``tcpdump -ddd``: the number of instructions, then four decimal numbers for each."""
    lines = [str(len(program)), *(f"{insn.code} {insn.jt} {insn.jf} {insn.k}" for insn in program)]
    return "\n".join(lines)


#: By the number of d's.
LISTINGS: Mapping[int, Callable[[Sequence[ClassicInstruction]], str]] = {1: listing, 2: c_listing, 3: number_listing}


def _line(insn: ClassicInstruction, at: int) -> str:
    form = FORMS.get(insn.code)
    if form is None:
        return f"({at:03d}) unimp    0x{insn.code:x}"
    k = at + 1 + insn.k if form.operand is Operand.TARGET else insn.k
    text = f"({at:03d}) {form.mnemonic:<8} {form.operand.value.format(k=k)}"
    if is_conditional(insn.code):
        return f"{text:<31} jt {at + 1 + insn.jt}\tjf {at + 1 + insn.jf}"
    return text  # "tax      ": tcpdump pads too


# ---- reading ----

_INTEGER = r"(0[xX][0-9a-fA-F]+|\d+)"
_C_LINE = re.compile(rf"\{{\s*{_INTEGER}\s*,\s*{_INTEGER}\s*,\s*{_INTEGER}\s*,\s*{_INTEGER}\s*\}}\s*,?")
_TEXT_LINE = re.compile(r"\((\d+)\)\s+(\w+)(?:\s+(.*?))?(?:\s+jt\s+(\d+)\s+jf\s+(\d+))?\s*")
_OPERANDS: Mapping[Operand, re.Pattern[str]] = {
    operand: re.compile(
        re.escape(operand.value)
        .replace(r"\{k:x\}", "([0-9a-fA-F]+)")
        .replace(r"\{k\}", r"(\d+)")
        .replace(r"\ ", r"\s*")
    )
    for operand in Operand
}


def parse(text: str, name: str = "<filter>") -> tuple[ClassicInstruction, ...]:
    """Read any of the three listings, and check the program.

    Args:
        text: output of ``tcpdump -d``, ``-dd`` or ``-ddd`` (with or without the count; commas instead of newlines too,
            as iptables' xt_bpf wants them).
        name: of the file, for diagnostics.

    Raises:
        InputError: H0504: a line that is none of these; H0501: not a legal program.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) == 1 and "{" not in text:
        lines = [(lines[0][0], part.strip()) for part in lines[0][1].split(",") if part.strip()]
    if not lines:
        raise InputError(Diagnostic("H0504", f"{name} holds no instructions", help="give the output of tcpdump -ddd"))
    if len(lines) > LIMIT:
        raise InputError(Diagnostic("H0504", f"{name} holds more than {LIMIT} instructions"))
    declared = int(lines[0][1]) if re.fullmatch(r"\d{1,9}", lines[0][1]) else None
    body = lines if declared is None else lines[1:]
    program = tuple(_parse_line(line, at, number, name) for at, (number, line) in enumerate(body))
    if declared is not None and declared != len(program):
        what = f"it says {declared} instructions, but {len(program)} follow"
        raise InputError(Diagnostic("H0504", what, span=Span(name, lines[0][0], text=lines[0][1])))
    check(program)
    return program


def _parse_line(line: str, at: int, number: int, name: str) -> ClassicInstruction:
    fields: Sequence[int] | None = None
    if c_line := _C_LINE.fullmatch(line):
        fields = [int(field, 0) if field[:2] in ("0x", "0X") else int(field) for field in c_line.groups()]
    elif re.fullmatch(r"\d{1,5}( +\d{1,10}){3}", line):
        fields = [int(field) for field in line.split()]
    elif text_line := _TEXT_LINE.fullmatch(line):
        fields = _parse_text(text_line, at)
    if fields is None or fields[0] > 0xFFFF or max(fields[1:3]) > 255 or fields[3] > 0xFFFFFFFF:
        raise InputError(
            Diagnostic(
                "H0504",
                "this is not an instruction of a tcpdump listing",
                span=Span(name, number, text=line[:200]),
                help="give what tcpdump -d, -dd or -ddd prints, e.g. 40 0 0 12",
            )
        )
    return ClassicInstruction(*fields)


def _parse_text(match: re.Match[str], at: int) -> Sequence[int] | None:
    """The fields of a line of ``-d``; None: there is no such instruction."""
    number, mnemonic, operand, jt, jf = match.groups()
    if int(number) != at:
        return None
    for form in FORMS.values():
        found = _OPERANDS[form.operand].fullmatch((operand or "").strip()) if form.mnemonic == mnemonic else None
        if found is None:
            continue
        k = int(found[1], 16 if form.operand is Operand.HEX else 10) if found.groups() else 0
        if form.operand is Operand.TARGET:
            k -= at + 1
        ways = (int(jt) - at - 1, int(jf) - at - 1) if jt and jf else (0, 0)
        if is_conditional(form.code) != bool(jt) or min(*ways, k) < 0:
            return None
        return form.code, *ways, k
    return None

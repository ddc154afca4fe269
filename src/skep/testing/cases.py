"""Reader of conformance cases in the ``.data`` form: assembly, memory for r1, and the value r0 must have in the end."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from skep.diagnostics import Diagnostic, Span
from skep.errors import InputError
from skep.isa.assembler import assemble
from skep.isa.codec import decode
from skep.isa.instruction import Instruction


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        name: of the file, without its ending.
        insns: from the ``asm`` section, or from ``raw`` where there is none.
        memory: bytes that r1 points to (r2 holds their number); None: the case has none.
        result: r0 at the end; None: it is expected to fail with `error`.
        error: the text of the ``error`` section.
        raw: the encoding that the case demands (``raw`` section), where it says so.
        sections: all of its text by section name, comments removed.
    """

    name: str
    insns: tuple[Instruction, ...]
    memory: bytes | None
    result: int | None
    error: str | None = None
    raw: bytes | None = None
    sections: dict[str, str] = field(default_factory=dict, repr=False)


def parse_case(text: str, name: str = "<case>") -> Case:
    """Parse one ``.data`` file.

    Raises:
        InputError: U0310 it has no program, or a section that cannot be read.
        AssemblerError: its assembly is wrong.
    """
    sections = _split(text)
    raw = _raw(sections["raw"], name) if "raw" in sections else None
    if "asm" in sections:
        insns = assemble(sections["asm"], name=name)
    elif raw is not None:
        insns = decode(raw)
    else:
        raise _broken(name, "it has neither an asm nor a raw section")
    result = _number(sections["result"], name) if "result" in sections else None
    error = sections["error"].strip() if "error" in sections else None
    if result is None and error is None:
        raise _broken(name, "it has neither a result nor an error section")
    memory = _memory(sections["mem"], name) if "mem" in sections else None
    return Case(name, insns, memory, result, error, raw, sections)


def _split(text: str) -> dict[str, str]:
    """Text by section. Comment lines go, except in C source; assembly keeps its line count for diagnostics."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("-- "):
            current = sections.setdefault(line[3:].strip(), [])
        elif not line.lstrip().startswith("#"):
            current.append(line)
        else:
            current.append("")
    return {name: "\n".join(lines) for name, lines in sections.items()}


def _raw(text: str, name: str) -> bytes:
    try:
        return b"".join(struct.pack("<Q", int(word, 16)) for word in text.split())
    except (ValueError, struct.error):
        raise _broken(name, "its raw section is not a list of 64-bit hexadecimal numbers") from None


def _memory(text: str, name: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise _broken(name, "its mem section is not hexadecimal bytes") from None


def _number(text: str, name: str) -> int:
    try:
        return int(text.strip(), 0) & (1 << 64) - 1
    except ValueError:
        raise _broken(name, f"its result '{text.strip()[:40]}' is not a number") from None


def _broken(name: str, why: str) -> InputError:
    return InputError(Diagnostic("U0310", "this is not a conformance case", span=Span(name, 1), why=(why,)))

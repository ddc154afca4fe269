"""The kernel verifier's log: where it stopped, what it said, what it knew there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_INSN: Final = re.compile(r"^\s*(\d+): \([0-9a-f]{2}\) (.*?)(?:\s+; (.*))?$")
_STATE: Final = re.compile(r"^(?:from \d+ to \d+: |\d+: )(?:frame\d+: )?(.*\bR\d+.*)$")
_PROCESSED: Final = re.compile(r"^processed (\d+) insns")
_NAMED_INSN: Final = re.compile(r"\binsn[ #](\d+)")
#: Lines that say how the verifier works, not what is wrong.
_NOISE: Final = re.compile(
    r"^(;|mark_precise:|regs=|parent |last_idx |first_idx |propagating |func#\d+ @|verification time |stack depth "
    r"|Validating .* func#|Func#?\d* .* is safe for any args|arg#\d+ reference type|Live regs|\s*\d+: [.\d]+ \()"
)


@dataclass(frozen=True, slots=True)
class VerifierLog:
    """What a log says.

    Attributes:
        sentence: the line that says why, "" where there is none.
        reasons: lines that belong to it, without it.
        insn: slot of the instruction it stopped at; None where it does not say.
        insn_text: that instruction as the kernel prints it.
        state: what it knew of registers there, "" if it did not print it.
        processed_insns: 0 where it never started.
    """

    sentence: str = ""
    reasons: tuple[str, ...] = ()
    insn: int | None = None
    insn_text: str = ""
    state: str = ""
    processed_insns: int = 0


def parse_log(log: str) -> VerifierLog:
    """Read a log of level 1 or 2, of a program that was rejected or accepted."""
    insn: int | None = None
    insn_text = state = ""
    processed = 0
    message: list[str] = []
    for line in log.splitlines():
        line = line.rstrip()
        found = _PROCESSED.match(line)
        if found:
            processed = int(found[1])
            continue
        found = _INSN.match(line)
        if found:
            insn, insn_text, message = int(found[1]), found[2], []
            state = found[3] or state
            continue
        found = _STATE.match(line)
        if found:
            state, message = found[1], []
            continue
        if line and not _NOISE.match(line):
            message.append(line)
    sentence = message[-1] if message else ""
    named = _NAMED_INSN.search(sentence)
    if named and (insn is None or not processed):
        insn = int(named[1])
    return VerifierLog(sentence, tuple(message[:-1]), insn, insn_text, state, processed)

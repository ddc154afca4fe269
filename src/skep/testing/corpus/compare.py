"""One row of a corpus, judged: do we say what the kernel said?"""

from __future__ import annotations

import re
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType

from skep.errors import SkepError
from skep.model.programs import Outcome, Verdict
from skep.testing.corpus.rows import Corpus, Row
from skep.verifier import judge


class Kind(StrEnum):
    """How our verdict stands to the kernel's."""

    AGREE = "agree"
    UNSOUND = "unsound"  # we accept, the kernel rejects
    STRICT = "strict"  # we reject, the kernel accepts
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Compared:
    """One row.

    Attributes:
        verdict: ours; None where there is none (no instructions, timeout, crash).
        seconds: that it took us.
        note: our sentence, or the traceback.
    """

    kind: Kind
    row: Row
    verdict: Verdict | None
    seconds: float
    note: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the kernel accepts."""
        return bool(self.row["kernel"]["verdict"] == "ACCEPT")

    @property
    def kernel_reason(self) -> str:
        """The kernel's sentence without its numbers; "" where it accepts."""
        return "" if self.accepted else normalise(str(self.row["kernel"].get("error") or "(no sentence)"))

    @property
    def our_reason(self) -> str:
        """Our code; "" where we accept."""
        if self.verdict is None:
            return "" if self.kind in (Kind.TIMEOUT, Kind.CRASH) else "decode"
        return self.verdict.diagnostics[0].code if self.verdict.diagnostics else ""


class _TimeoutError(Exception):
    pass


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise _TimeoutError


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise _TimeoutError after so many seconds of wall clock; no limit outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compare(corpus: Corpus, row: Row, seconds: int) -> Compared:
    """Judge one row, with a limit of wall-clock seconds."""
    accepted = row["kernel"]["verdict"] == "ACCEPT"
    start = time.perf_counter()
    try:
        with time_limit(seconds):
            verdict = judge(corpus.link(row), corpus.options(row))
    except _TimeoutError:
        return Compared(Kind.TIMEOUT, row, None, time.perf_counter() - start)
    except SkepError as error:
        return Compared(Kind.STRICT if accepted else Kind.AGREE, row, None, 0, str(error))
    except Exception:
        return Compared(Kind.CRASH, row, None, 0, traceback.format_exc())
    took = time.perf_counter() - start
    if verdict.outcome is Outcome.UNSUPPORTED:
        return Compared(Kind.UNSUPPORTED, row, verdict, took, verdict.diagnostics[0].what)
    if (verdict.outcome is Outcome.ACCEPTED) == accepted:
        return Compared(Kind.AGREE, row, verdict, took)
    note = "" if verdict.outcome is Outcome.ACCEPTED else str(verdict.diagnostics[0].kernel)
    return Compared(Kind.STRICT if accepted else Kind.UNSOUND, row, verdict, took, note)


_NORMAL = (
    (re.compile(r"\s+"), " "),
    (re.compile(r"\bR\d+\b"), "R?"),
    (re.compile(r"0x[0-9a-fA-F]+|-?\b\d+\b"), "N"),
    (re.compile(r"(?<=[#=])-?\d+"), "N"),
    (re.compile(r"'[^']*'"), "'...'"),
    (re.compile(r"\b(bpf_\w+)#N"), "FUNC"),
)
_KEEP_QUOTED = re.compile(r"^R\d+ invalid mem access '(\w+)'")


def normalise(sentence: str) -> str:
    """A sentence of the kernel without registers, numbers and names, so that alike ones can be counted together."""
    kept = _KEEP_QUOTED.match(sentence)
    if kept is not None:
        return f"R? invalid mem access '{kept[1]}'"
    for pattern, text in _NORMAL:
        sentence = pattern.sub(text, sentence)
    return sentence.strip()

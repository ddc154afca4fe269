"""What a caller may choose about verification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

MAX_INSNS = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS


@dataclass(frozen=True, slots=True)
class ContextEntry:
    """The program starts with r1 = pointer to the context of its type."""


@dataclass(frozen=True, slots=True)
class MemoryEntry:
    """r1 = pointer to ``size`` readable and writable bytes, r2 = ``size`` (conformance cases)."""

    size: int


class Listener(Protocol):
    """Is told what the exploration does. States are state.machine.MachineState; they go on changing after the call."""

    def step(self, slot: int, state: Any) -> None:
        """An instruction is about to be simulated."""

    def resumed(self, trace: Sequence[int], slot: int, state: Any) -> None:
        """The path before is at its end; another one is taken up at ``slot``; ``trace`` leads there."""

    def covered(self, slot: int, state: Any) -> None:
        """The path ends here: an earlier one was at least as general."""

    def finished(self, processed: int, states: int, sentence: str) -> None:
        """Everything is explored: instructions simulated, states kept, the kernel's sentence of a rejection or ""."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to verify.

    Attributes:
        max_insns: instructions to simulate before giving up.
        entry: what the program finds in its registers.
        masked_shifts: shift amounts outside the width are masked (RFC 9669) instead of rejected (Linux).
        strict_alignment: every access must be aligned to its size, as for machines that cannot do others
            (BPF_F_STRICT_ALIGNMENT).
        save_often: save a state wherever states are compared, however few instructions were seen since
            (BPF_F_TEST_STATE_FREQ): slower, and the order in which paths are pruned shows.
        observe: told (slot, state.machine.MachineState, explore.prune.Checkpoint or None: the last saved state on the
            path) before each instruction that is simulated; it must not change
            the state, which goes on changing after the call.
        listener: told everything (a log, a proof to show); ``observe`` is for the step alone.
    """

    max_insns: int = MAX_INSNS
    entry: ContextEntry | MemoryEntry = field(default_factory=ContextEntry)
    masked_shifts: bool = False
    strict_alignment: bool = False
    save_often: bool = False
    observe: Callable[[int, Any, Any], None] | None = field(default=None, compare=False)
    listener: Listener | None = field(default=None, compare=False)

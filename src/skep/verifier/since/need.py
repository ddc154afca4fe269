"""One thing that a program needs of a kernel, and the version that brought it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skep.abi.features import FEATURES, Version
from skep.abi.history import since_text
from skep.verifier.requirements.kinds import Rule, Violation


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a kernel must have.

    Attributes:
        since: the first Linux that has it.
        what: for people: ``bpf_loop()``, ``JMP32 instructions``.
        kernel: what an older kernel says (errno where it says nothing).
        slot: the first instruction that needs it; -1: the program as a whole.
        loads: an older kernel loads the program all the same, and cannot attach it.
    """

    rule: Rule
    since: Version
    what: str
    kernel: str
    slot: int = -1
    values: Mapping[str, object] = field(default_factory=dict)
    loads: bool = False

    def violation(self) -> Violation:
        """The finding for a kernel that is older."""
        values = {"what": self.what, "since": since_text(self.since), **self.values}
        return Violation(self.rule, None, self.kernel, None, values, self.slot)


def feature(name: str, kernel: str, slot: int = -1) -> Need:
    """A feature by its name in abi.features; KeyError: a mistake in a table."""
    row = FEATURES[name]
    return Need(Rule.NEWER_FEATURE, row.since, f"{name}: {row.what}", kernel, slot, {"feature": name})

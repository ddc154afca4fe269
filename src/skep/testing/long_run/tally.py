"""What a long run counts. Tallies are added up over processes, and kept as JSON."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skep.isa import opcodes as op
from skep.testing.generate import Sample


@dataclass(slots=True)
class Tally:
    """Counts of one run, or of several.

    Attributes:
        generated: programs, of which ``generators``, ``mutants`` and ``corpus_mutants`` say how they were made.
        unsupported: rejected because the verifier does not handle something yet.
        interpreted: accepted programs that ran, each on several inputs, in the checked interpreter.
        native: those that ran as machine code; ``optimised`` of them as programs normally are.
        executions: runs of programs, on all engines; ``steps``: instructions interpreted.
        endless: accepted, but longer than the interpreter waits.
        not_runnable: accepted, but the vm has no such helper or map, or a map is too large.
        steps_checked: steps whose registers were compared with what proofs relied on; ``bounds`` of registers and
            cells in all. ``steps_followed``: steps that were compared with an abstract step from the one before.
        by_address: results that depend on where the stack is, which two engines need not agree on.
    """

    seconds: float = 0
    generated: int = 0
    mutants: int = 0
    corpus_mutants: int = 0
    accepted: int = 0
    rejected: int = 0
    unsupported: int = 0
    interpreted: int = 0
    native: int = 0
    optimised: int = 0
    executions: int = 0
    steps: int = 0
    endless: int = 0
    not_runnable: int = 0
    steps_checked: int = 0
    bounds: int = 0
    steps_followed: int = 0
    followed: int = 0
    by_address: int = 0
    kernel_asked: int = 0
    kernel_accepted: int = 0
    kernel_fails: int = 0
    kernel_agreed: int = 0
    kernel_compared: int = 0
    insns: int = 0
    processed: int = 0
    died: int = 0
    differences: collections.Counter[str] = field(default_factory=collections.Counter)
    reasons: collections.Counter[str] = field(default_factory=collections.Counter)
    opcodes: collections.Counter[str] = field(default_factory=collections.Counter)
    helpers: collections.Counter[str] = field(default_factory=collections.Counter)
    map_types: collections.Counter[str] = field(default_factory=collections.Counter)
    prog_types: collections.Counter[str] = field(default_factory=collections.Counter)

    def see(self, sample: Sample) -> None:
        """Count a program by what it is made of."""
        self.generated += 1
        self.insns += len(sample.insns)
        self.prog_types[sample.prog_type.name] += 1
        opcodes, helpers = self.opcodes, self.helpers
        for insn in sample.insns:
            opcodes[str(insn.opcode)] += 1
            if insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_HELPER:
                helpers[str(insn.imm)] += 1
        for spec in sample.maps:
            self.map_types[spec.type.name] += 1

    @property
    def bugs(self) -> int:
        """Differences that must not be; what only we reject is none."""
        return sum(self.differences.values()) - self.differences["strict"]

    def __iadd__(self, other: Tally) -> Tally:
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, theirs) if name == "seconds" else mine + theirs)
        return self

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__} | self.variety(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """What :meth:`to_json` wrote."""
        found: Mapping[str, Any] = json.loads(text)
        made = cls()
        for name in cls.__slots__:
            kind = type(getattr(made, name))
            setattr(made, name, kind(found[name]) if kind is collections.Counter else found[name])
        return made

    def variety(self) -> dict[str, float]:
        """How different the programs are."""
        return {
            "distinct_opcodes": len(self.opcodes),
            "distinct_helpers": len(self.helpers),
            "distinct_map_types": len(self.map_types),
            "average_insns": round(self.insns / max(self.generated, 1), 1),
            "share_accepted": round(self.accepted / max(self.generated, 1), 3),
            "programs_per_second": round(self.generated / max(self.seconds, 0.001), 1),
        }

    def text(self, *, strict: bool = False) -> str:
        """All counts, for people."""
        variety = self.variety()
        lines = [
            (
                f"generated {self.generated:,} in {self.seconds:.0f} s ({variety['programs_per_second']:,}/s): "
                f"{self.mutants:,} mutants, {self.corpus_mutants:,} mutants of the corpus"
            ),
            f"accepted {self.accepted:,}, rejected {self.rejected:,}, unsupported {self.unsupported:,}",
            (
                f"executed: interpreted {self.interpreted:,} programs, native {self.native:,} "
                f"({self.optimised:,} optimised), {self.executions:,} runs, {self.steps:,} steps interpreted; "
                f"endless {self.endless:,}, not runnable here {self.not_runnable:,}"
            ),
            (
                f"bounds: {self.steps_checked:,} steps, {self.bounds:,} values checked; "
                f"{self.followed:,} programs, {self.steps_followed:,} steps followed abstractly"
            ),
            (
                f"kernel: asked {self.kernel_asked:,}, accepts {self.kernel_accepted:,}, same verdict "
                f"{self.kernel_agreed:,}, fails itself {self.kernel_fails:,}, runs compared {self.kernel_compared:,}"
            ),
            (
                f"variety: {variety['distinct_opcodes']} opcodes, {variety['distinct_helpers']} helpers, "
                f"{variety['distinct_map_types']} map types, {variety['average_insns']} insns on average"
            ),
            f"depend on addresses {self.by_address:,}; processes that died {self.died}",
            f"differences: {dict(self.differences) or 'none'}",
        ]
        if strict:
            lines += [f"  {count:5} {text}" for text, count in self.reasons.most_common(30)]
        return "\n".join(lines)

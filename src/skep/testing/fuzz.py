"""Which programs a long run tries, and what it counts."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from skep.model.programs import Outcome
from skep.testing.differential import Difference, Report
from skep.testing.generate import Sample, generate, mutate
from skep.testing.kernel_judge import Verdict

MUTANTS = 2  # of each program


def seeds(first: int, step: int = 1) -> Iterator[tuple[int, int | None]]:
    """Seeds without end: each program, then its mutants."""
    for seed in itertools.count(first, step):
        yield seed, None
        for mutation in range(MUTANTS):
            yield seed, mutation


def choose(seed: int, mutation: int | None) -> Sample:
    """The program behind a pair of :func:`seeds`."""
    sample = generate(seed)
    if mutation is None:
        return sample
    return replace(sample, insns=mutate(sample.insns, seed * 1000 + mutation), mutation=mutation)


@dataclass(slots=True)
class Counts:
    """What was tried and found."""

    generated: int = 0
    accepted: int = 0
    unsupported: int = 0
    kernel_asked: int = 0
    kernel_accepted: int = 0
    kernel_fails: int = 0
    agreed: int = 0
    interpreted: int = 0
    compiled: int = 0
    compared: int = 0
    differences: collections.Counter[str] = field(default_factory=collections.Counter)
    strict: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, report: Report) -> None:
        """Count one program."""
        self.generated += 1
        if report.ours is not None:
            self.accepted += report.ours.outcome is Outcome.ACCEPTED
            self.unsupported += report.ours.outcome is Outcome.UNSUPPORTED
        if report.theirs is not None:
            self.kernel_asked += 1
            self.kernel_accepted += report.theirs.verdict is Verdict.ACCEPT
            self.kernel_fails += report.theirs.verdict in (Verdict.FAILS, Verdict.DIED)
            kinds = {kind for kind, _ in report.differences}
            self.agreed += not kinds & {Difference.UNSOUND, Difference.STRICT, Difference.CRASH}
        self.interpreted += report.executed >= 1
        self.compiled += report.executed >= 2
        self.compared += report.executed >= 3
        for kind, text in report.differences:
            self.differences[kind.value] += 1
            if kind is Difference.STRICT:
                self.strict[text.split(": ", 1)[-1]] += 1

    @property
    def bugs(self) -> int:
        """Differences that must not be; what we reject and the kernel accepts is none."""
        return sum(self.differences.values()) - self.differences[Difference.STRICT.value]

    def __iadd__(self, other: Counts) -> Counts:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def text(self, *, strict: bool = False) -> str:
        """All counts, for people."""
        lines = [
            f"generated {self.generated}: we accept {self.accepted} ({self.unsupported} unsupported)",
            f"kernel asked {self.kernel_asked}: accepts {self.kernel_accepted}, fails itself {self.kernel_fails}",
            f"same verdict {self.agreed}",
            f"executed: interpreter {self.interpreted}, native {self.compiled}, kernel {self.compared}",
            f"differences: {dict(self.differences) or 'none'}",
        ]
        if strict:
            lines += [f"  {count:5} {text}" for text, count in self.strict.most_common(30)]
        return "\n".join(lines)

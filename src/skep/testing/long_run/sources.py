"""Where programs come from: generated, their mutants, and mutants of programs that were given (a corpus)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from skep.abi.prog_types import ProgType
from skep.isa.instruction import Instruction
from skep.model.maps import MapSpec
from skep.testing.generate import Sample, generate, mutate, nudge
from skep.testing.generate.program import make_packet
from skep.testing.long_run.batch import Candidate

MUTANTS = 3  # of each program: two general ones, one at a border
_STEP = 1_000_003  # between the seeds of mutations


@dataclass(frozen=True, slots=True)
class Given:
    """A program to make mutants of: it is accepted, and needs nothing but its instructions and maps.

    Attributes:
        id: what it is called.
    """

    id: str
    prog_type: ProgType
    insns: tuple[Instruction, ...]
    maps: tuple[MapSpec, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run tries.

    Attributes:
        given: programs to make mutants of; of each four programs tried, one is such a mutant.
        kernel_every: each how many programs the kernel is asked; 0: never.
        follow_every: each how many programs are followed step by step (guard 2).
    """

    given: Sequence[Given] = ()
    kernel_every: int = 25
    follow_every: int = 10

    def candidates(self, first: int, step: int = 1) -> Iterator[Candidate]:
        """Programs without end: each seed gives a program, its mutants, and one mutant of a given program."""
        count, seed = 0, first
        while True:
            sample = generate(seed)
            made = [self.make(seed, None, sample), *(self.make(seed, number, sample) for number in range(MUTANTS))]
            if self.given:
                made[-2] = self.make_given(seed)
            for candidate in made:
                count += 1
                yield replace(
                    candidate,
                    ask_kernel=self.kernel_every > 0 and count % self.kernel_every == 0,
                    follow=count % self.follow_every == 0,
                )
            seed += step

    def make(self, seed: int, mutation: int | None, sample: Sample | None = None) -> Candidate:
        """A generated program (``sample``, if it is there already), or a mutant of it."""
        sample = sample or generate(seed)
        if mutation is None:
            return Candidate(f"--seed {seed} --only", "generated", sample)
        changed = change(sample.insns, seed * MUTANTS + mutation, at_border=mutation == MUTANTS - 1)
        key = f"--seed {seed} --mutation {mutation} --only"
        return Candidate(key, "mutant", replace(sample, insns=changed, mutation=mutation))

    def make_given(self, seed: int) -> Candidate:
        """A mutant of one of the given programs."""
        chance = random.Random(seed * _STEP)
        base = self.given[chance.randrange(len(self.given))]
        insns = change(base.insns, seed * _STEP, at_border=chance.random() < 0.5)
        packets = tuple(make_packet(chance) for _ in range(2))
        sample = Sample(seed, base.prog_type, insns, base.maps, packets=packets, mutation=seed)
        return Candidate(f"--seed {seed} --corpus --only  # {base.id}", "corpus", sample)


def change(insns: tuple[Instruction, ...], seed: int, *, at_border: bool) -> tuple[Instruction, ...]:
    """A mutant; ``at_border``: numbers become a little larger or smaller, and nothing else."""
    return nudge(insns, seed) if at_border else mutate(insns, seed)

"""Programs of c/allocated.bpf.c: our verdicts side by side with the running kernel's.

python -m tests.differential.verifier.allocated [--only TEXT] [--sentences] [--mutants N --seed S]

Nothing is attached or run; the kernel is asked in a child process.
"""

from __future__ import annotations

import argparse
import functools
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from skep.btf.reader import parse_btf
from skep.errors import MapError, RejectedError, SkepError
from skep.frontend import compile_c
from skep.kernel.engine import KernelEngine
from skep.linker import link
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram, Outcome
from skep.model.target import Target
from skep.objfile import read_object
from skep.testing.generate.mutate import mutate
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict
from skep.verifier import judge
from tests.differential.verifier.row_mutants import endangers_the_kernel

SOURCE = Path(__file__).parent / "c" / "allocated.bpf.c"
TYPES = Path("/sys/kernel/btf/vmlinux")


@dataclass(frozen=True, slots=True)
class Compared:
    """One program: what both say."""

    name: str
    seed: int
    ours: Outcome
    our_sentence: str
    theirs: Verdict
    their_sentence: str

    @property
    def agrees(self) -> bool:
        """Whether both accept, or both do not."""
        return (self.ours is Outcome.ACCEPTED) == (
            self.theirs is Verdict.ACCEPT
        ) and self.ours is not Outcome.UNSUPPORTED


@functools.cache
def _spec() -> ObjectSpec:
    return read_object(compile_c(SOURCE), SOURCE.name)


@functools.cache
def _target() -> Target:
    return Target("linux", (6, 18, 0), btf=parse_btf(TYPES.read_bytes()))


@functools.cache
def _engine() -> KernelEngine:
    return KernelEngine()


def linked(name: str, target: Target, seed: int = 0) -> LinkedProgram:
    """One of the programs; with some instructions changed, if there is a seed."""
    program = link(_spec(), name, target)
    return replace(program, insns=mutate(program.insns, seed)) if seed else program


def ask_here(name: str, seed: int = 0) -> Answer:
    """What this kernel says; maps are made and given back."""
    program = linked(name, _engine().target, seed)
    with ExitStack() as stack:
        maps = {}
        try:
            for each, spec in program.maps.items():
                maps[each] = _engine().create_map(spec)
                stack.callback(maps[each].close)
            loaded = _engine().load_linked(program, maps)
        except RejectedError as error:
            return Answer(Verdict.FAILS if "verifier bug" in error.log else Verdict.REJECT, 0, error.log[-2000:])
        except (MapError, SkepError) as error:
            return Answer(Verdict.REFUSED, log=str(error))
        loaded.close()
        return Answer(Verdict.ACCEPT)


def compare(only: str = "") -> Iterator[Compared]:
    """Every program whose name contains ``only``."""
    with KernelJudge() as kernel:
        for name in _spec().programs:
            found = _compared(kernel, name, 0) if only in name else None
            if found is not None:
                yield found


def compare_mutants(count: int, seed: int, only: str = "") -> Iterator[Compared]:
    """Programs that are accepted, with one to three instructions changed."""
    chance = random.Random(seed)
    names = [name for name in _spec().programs if only in name]
    good = [name for name in names if judge(linked(name, _target())).outcome is Outcome.ACCEPTED]
    with KernelJudge() as kernel:
        for _ in range(count):
            found = _compared(kernel, chance.choice(good), chance.randrange(1, 1 << 30))
            if found is not None:
                yield found


def _compared(kernel: KernelJudge, name: str, seed: int) -> Compared | None:
    """None: the kernel is better not asked."""
    ours = judge(linked(name, _target(), seed))
    if endangers_the_kernel(ours):
        return None
    theirs = kernel.ask_with(ask_here, name, seed)
    said = str(ours.diagnostics[0].kernel or ours.diagnostics[0].what) if ours.diagnostics else ""
    return Compared(name, seed, ours.outcome, said, theirs.verdict, theirs.reason)


def main() -> None:
    """Print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--sentences", action="store_true", help="also where only the sentences differ")
    parser.add_argument("--mutants", type=int, default=0, help="that many mutants of them instead")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    agree = 0
    chosen = compare_mutants(options.mutants, options.seed, options.only) if options.mutants else compare(options.only)
    for found in chosen:
        agree += found.agrees
        same = found.our_sentence.split(",")[0][:30] in found.their_sentence
        if not found.agrees or (options.sentences and not same):
            differs = "" if found.agrees else "DIFFERS "
            print(f"{differs}{found.name} {found.seed}: ours {found.ours} [{found.our_sentence}]")
            print(f"    kernel {found.theirs} [{found.their_sentence}]")
    print(f"{agree} agree")


if __name__ == "__main__":
    main()

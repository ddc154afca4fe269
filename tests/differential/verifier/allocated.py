"""Programs of c/allocated.bpf.c: our verdicts side by side with the running kernel's.

python -m tests.differential.verifier.allocated [--only TEXT] [--sentences]

Nothing is attached or run; the kernel is asked in a child process.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict
from skep.verifier import judge

SOURCE = Path(__file__).parent / "c" / "allocated.bpf.c"
TYPES = Path("/sys/kernel/btf/vmlinux")


@dataclass(frozen=True, slots=True)
class Compared:
    """One program: what both say."""

    name: str
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


def linked(name: str) -> LinkedProgram:
    """One of the programs."""
    return link(_spec(), name, _target())


def ask_here(name: str) -> Answer:
    """What this kernel says; maps are made and given back."""
    program = link(_spec(), name, _engine().target)
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
            if only not in name:
                continue
            ours = judge(linked(name))
            theirs = kernel.ask_with(ask_here, name)
            said = str(ours.diagnostics[0].kernel or ours.diagnostics[0].what) if ours.diagnostics else ""
            yield Compared(name, ours.outcome, said, theirs.verdict, theirs.reason)


def main() -> None:
    """Print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--sentences", action="store_true", help="also where only the sentences differ")
    options = parser.parse_args()
    agree = 0
    for found in compare(options.only):
        agree += found.agrees
        same = found.our_sentence.split(",")[0][:30] in found.their_sentence
        if not found.agrees or (options.sentences and not same):
            print(f"{'' if found.agrees else 'DIFFERS '}{found.name}: ours {found.ours} [{found.our_sentence}]")
            print(f"    kernel {found.theirs} [{found.their_sentence}]")
    print(f"{agree} agree")


if __name__ == "__main__":
    main()

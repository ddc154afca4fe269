"""Mutants of the corpus' programs: our verdicts side by side with the running kernel's.

python -m tests.differential.verifier.row_mutants --only arena [--count 200] [--seed 1] [--rejected]

The kernel is asked in a child process; programs are loaded there and given back at once. Rows whose own verdict here
differs from the corpus' (another kernel, other types) are left out.
"""

from __future__ import annotations

import argparse
import collections
import functools
import random
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from skep.errors import MapError, RejectedError, SkepError
from skep.kernel.engine import KernelEngine
from skep.model import programs
from skep.model.programs import LinkedProgram, Outcome
from skep.testing.generate.mutate import mutate
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict
from skep.verifier import judge
from tests.differential.verifier.rows import in_scope, link, rows


def mutant(row: dict[str, Any], seed: int) -> LinkedProgram:
    """The row's program with one to three instructions changed; as it is for seed 0."""
    linked = link(row)
    return replace(linked, insns=mutate(linked.insns, seed)) if seed else linked


@functools.cache
def _engine() -> KernelEngine:
    return KernelEngine()


def ask_here(row: dict[str, Any], seed: int) -> Answer:
    """What this kernel says of a mutant; its maps are made and given back."""
    linked = mutant(row, seed)
    with ExitStack() as stack:
        maps = {}
        try:
            for name, spec in linked.maps.items():
                maps[name] = _engine().create_map(spec)
                stack.callback(maps[name].close)
            program = _engine().load_linked(linked, maps)
        except MapError as error:
            return Answer(Verdict.REFUSED, log=str(error))
        except RejectedError as error:
            verdict = Verdict.FAILS if "verifier bug" in error.log else Verdict.REJECT
            return Answer(verdict, 0, error.log[-2000:])
        except SkepError as error:
            return Answer(Verdict.REFUSED, log=str(error))
        program.close()
        return Answer(Verdict.ACCEPT)


def main() -> None:
    """Print what differs, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose id contains this")
    parser.add_argument("--map-type", type=int, help="rows with a map of this type")
    parser.add_argument("--kfunc", help="rows that call a kernel function whose name contains this")
    parser.add_argument("--prog-type", type=int, help="rows with a program of this type")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rejected", action="store_true", help="mutants of rejected rows, too")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    chosen = [row for row in rows() if _is_wanted(row, options) and _is_readable(row)]
    counts: collections.Counter[str] = collections.Counter()
    with KernelJudge() as kernel:
        for row in chosen:
            theirs = kernel.ask_with(ask_here, row, 0)
            if (theirs.verdict is Verdict.ACCEPT) != (row["kernel"]["verdict"] == "ACCEPT"):
                counts[f"row left out: {theirs.reason[:80]}"] += 1
        for _ in range(options.count if chosen else 0):
            row, seed = chance.choice(chosen), chance.randrange(1, 1 << 30)
            _compare(kernel, row, seed, counts)
    print(dict(counts))


def _is_wanted(row: dict[str, Any], options: argparse.Namespace) -> bool:
    if not in_scope(row) or (row["kernel"]["verdict"] != "ACCEPT" and not options.rejected):
        return False
    if options.kfunc is not None and not any(options.kfunc in str(name) for _, name in row["prog"]["kfuncs"]):
        return False
    if options.map_type is not None:
        return any(item["create"]["map_type"] == options.map_type for item in row["prog"]["maps"])
    if options.prog_type is not None and row["prog"]["prog_type"] != options.prog_type:
        return False
    return bool(options.only in row["id"])


def _is_readable(row: dict[str, Any]) -> bool:
    """Some rejected rows are no instructions: there is nothing to change in them."""
    try:
        link(row)
    except SkepError:
        return False
    return True


def endangers_the_kernel(ours: programs.Verdict) -> bool:
    """Storing what is no object in a kptr field makes some kernels follow NULL (map_kptr_match_type)."""
    said = str(ours.diagnostics[0].kernel) if ours.diagnostics else ""
    return said.startswith("invalid kptr access") and "ptr_" not in said.partition(" expected=")[0]


def _compare(kernel: KernelJudge, row: dict[str, Any], seed: int, counts: collections.Counter[str]) -> None:
    ours = judge(mutant(row, seed))
    if endangers_the_kernel(ours):
        counts["not asked"] += 1
        return
    theirs = kernel.ask_with(ask_here, row, seed)
    accepts = ours.outcome is Outcome.ACCEPTED
    said = "" if accepts else f"{ours.diagnostics[0].kernel} @{ours.diagnostics[0].insn}"
    kind = {True: "agree", False: "UNSOUND" if accepts else "strict"}[accepts == (theirs.verdict is Verdict.ACCEPT)]
    if ours.outcome is Outcome.UNSUPPORTED:
        kind, said = "unsupported", ours.diagnostics[0].what
    if theirs.verdict not in (Verdict.ACCEPT, Verdict.REJECT):
        kind = theirs.verdict.value
    counts[f"{kind} ({theirs.verdict.value})" if kind == "agree" else kind] += 1
    if kind != "agree":
        print(f"{kind}: {row['id']} seed {seed}: kernel [{theirs.reason}] ours [{said}]", flush=True)


if __name__ == "__main__":
    main()

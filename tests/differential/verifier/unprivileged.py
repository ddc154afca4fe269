"""Programs without CAP_PERFMON: our verdicts side by side with the running kernel's.

python -m tests.differential.verifier.unprivileged [--every 8] [--only scalar] [--mutants 200 --seed 1] [--json]

As root it starts itself again with CAP_BPF and CAP_NET_ADMIN alone (setpriv), so that the kernel applies its rules for
such processes. Nothing is attached or run. Rows that the kernel does not judge are counted with its reason.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from skep.errors import SkepError
from skep.kernel import host
from skep.model.programs import LinkedProgram, Outcome
from skep.testing.kernel_judge import KernelJudge, Verdict
from skep.verifier import judge
from tests.differential.verifier.row_mutants import ask_here, endangers_the_kernel, mutant
from tests.differential.verifier.rows import in_scope, rows
from tests.differential.verifier.test_verdicts import SHARPER

SETS = ("test_verifier", "verifier_progs")
_KEPT = ("CAP_BPF", "CAP_NET_ADMIN")
_TOO_MUCH = ("CAP_SYS_ADMIN", "CAP_PERFMON")

Case = tuple[dict[str, Any], int]  # a row, and the seed of its mutant; 0: as it is


class _TooLongError(Exception):
    """One program takes longer than is worth waiting for."""


def command() -> list[str]:
    """How to start a process that has only the capabilities that are kept."""
    kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in _KEPT)
    return ["setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all", sys.executable, "-m", __spec__.name]


def why_not() -> str:
    """Why the kernel cannot be asked here; "" if it can."""
    if host.kernel_version()[:2] < (6, 18):
        return "the rules are those of Linux 6.18"
    if not all(name in host.capabilities() for name in _KEPT):
        return f"needs {' and '.join(_KEPT)}"
    if any(name in host.capabilities() for name in _TOO_MUCH) and shutil.which("setpriv") is None:
        return "setpriv (util-linux) is not installed"
    with open("/proc/cmdline") as line:
        return "the kernel runs with mitigations=off" if "mitigations=off" in line.read() else ""


def _stop(*_: object) -> None:
    raise _TooLongError


def ours(linked: LinkedProgram, seconds: int) -> tuple[str, str]:
    """Our verdict and sentence."""
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(seconds)
    try:
        verdict = judge(replace(linked, target=replace(linked.target, privileged=False)))
    except _TooLongError:
        return "timeout", ""
    finally:
        signal.alarm(0)
    if verdict.outcome is Outcome.REJECTED and endangers_the_kernel(verdict):
        return "not asked", ""
    if verdict.outcome is Outcome.ACCEPTED:
        return "accept", ""
    found = verdict.diagnostics[0]
    kind = "unsupported" if verdict.outcome is Outcome.UNSUPPORTED else "reject"
    return kind, f"{found.kernel or found.what} @{found.insn}"


def compare(cases: Iterator[Case], seconds: int) -> dict[str, list[str]]:
    """What came of them, by kind: agree, strict, unsound, sharper, unsupported, timeout, not asked."""
    found = collections.defaultdict(list)
    with KernelJudge() as kernel:
        for row, seed in cases:
            name = f"{row['id']} seed {seed}" if seed else str(row["id"])
            try:
                linked = mutant(row, seed)
            except SkepError as error:
                found["not asked"].append(f"{name}: {error.diagnostics[0].what}")
                continue
            verdict, said = ours(linked, seconds)
            if verdict in ("timeout", "not asked", "unsupported"):
                found[verdict].append(f"{name}: {said}")
                continue
            answer = kernel.ask_with(ask_here, row, seed)
            if answer.verdict not in (Verdict.ACCEPT, Verdict.REJECT):
                found["not asked"].append(f"{name}: {answer.verdict.value} {answer.reason}")
                continue
            kind = "agree" if verdict == answer.verdict.value else "unsound" if verdict == "accept" else "strict"
            kind = "sharper" if kind == "unsound" and name in SHARPER else kind
            if kind == "strict" and not seed and row["kernel"]["verdict"] != "ACCEPT":
                kind = "not asked"  # root was refused: the row says more than is handed to the kernel here
            said_alike = kind == "agree" and said.startswith(answer.reason)
            same = "" if said_alike else f": kernel [{answer.reason}] ours [{said}]"
            found[kind].append(name + same)
    return dict(found)


def cases(every: int, only: str, mutants: int, seed: int) -> Iterator[Case]:
    """Rows as they are; or, if ``mutants``, so many mutants of them."""
    chosen = [row for row in rows(*SETS) if in_scope(row) and only in row["id"]]
    if not mutants:
        yield from ((row, 0) for row in chosen[::every])
        return
    chance = random.Random(seed)
    for _ in range(mutants if chosen else 0):
        yield chance.choice(chosen), chance.randrange(1, 1 << 30)


def main() -> None:
    """Print what differs, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="one row in so many")
    parser.add_argument("--only", default="", help="rows whose id contains this")
    parser.add_argument("--mutants", type=int, default=0, help="so many mutants instead of the rows themselves")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=60, help="the longest that one program may take")
    parser.add_argument("--show", action="append", default=[], help="kinds to list beside unsound and strict")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(f"the kernel cannot be asked: {reason}")
    if any(name in host.capabilities() for name in _TOO_MUCH):
        words = command()
        os.execvp(words[0], [*words, *sys.argv[1:]])
    warnings.simplefilter("ignore")
    found = compare(cases(options.every, options.only, options.mutants, options.seed), options.seconds)
    if options.json:
        print(json.dumps(found))
        return
    for kind in ("unsound", "strict", *options.show):
        for line in found.get(kind, ()):
            print(f"{kind}: {line}")
    print({kind: len(lines) for kind, lines in sorted(found.items())})


if __name__ == "__main__":
    main()

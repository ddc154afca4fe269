"""Compare our verdicts with the kernel's over the corpus of real object files.

python -m tests.differential.verifier.objects [--seconds S] [--only TEXT]
"""

from __future__ import annotations

import argparse
import collections
import json
import signal
import time
import traceback
from dataclasses import replace
from types import FrameType
from typing import Any

from skep.abi.prog_types import ProgType
from skep.errors import SkepError
from skep.linker import link
from skep.model.objects import ObjectSpec
from skep.objfile import read_object
from skep.verifier import judge
from tests.differential.verifier.rows import SHARED, target

OBJECTS = SHARED / "corpus" / "objects"


class _TimeoutError(Exception):
    pass


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise _TimeoutError


def _find(spec: ObjectSpec, row: dict[str, Any]) -> str | None:
    for name, program in spec.programs.items():
        if name == row["function"] and program.section in (row["section"], row["section"].lstrip("?")):
            return name
    for name, program in spec.programs.items():
        if program.section == row["section"] or name == row["function"]:
            return name
    return None


def _typed(spec: ObjectSpec, name: str, prog_type: str) -> ObjectSpec:
    """The spec with the type that the row's loader chose: libbpf does not know all of these sections."""
    known = {"socket": "SOCKET_FILTER", "-": "UNSPEC", "raw_tp": "RAW_TRACEPOINT"}
    word = prog_type.removesuffix("(guess)")
    program = replace(spec.programs[name], prog_type=ProgType[known.get(word, word.upper())])
    return replace(spec, programs={**spec.programs, name: program}, license=spec.license or "GPL")


def main() -> None:
    """Print the differences and a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _alarm)
    counts: collections.Counter[str] = collections.Counter()
    insns, seconds, theirs = 0, 0.0, 0
    specs: dict[str, ObjectSpec] = {}
    for row in json.loads((OBJECTS / "manifest.json").read_text()):
        name = f"{row['object']}:{row['section']}:{row['function']}"
        if options.only not in name:
            continue
        start = time.perf_counter()
        note, slot = "", None
        try:
            if row["object"] not in specs:
                specs[row["object"]] = read_object((OBJECTS / row["object"]).read_bytes(), row["object"])
            spec = specs[row["object"]]
            program = _find(spec, row)
            if program is None:
                kind = "not found"
            else:
                linked = link(_typed(spec, program, row["prog_type"]), program, target())
                signal.alarm(options.seconds)
                start = time.perf_counter()
                verdict = judge(linked)
                took = time.perf_counter() - start
                seconds += took
                insns += verdict.processed_insns
                theirs += row["processed_insns"] or 0
                kind = verdict.outcome.value
                if verdict.diagnostics:
                    note, slot = (
                        str(verdict.diagnostics[0].kernel or verdict.diagnostics[0].what),
                        verdict.diagnostics[0].insn,
                    )
                note += f" [{verdict.processed_insns} insns in {took:.1f} s, kernel {row['processed_insns']}]"
        except _TimeoutError:
            kind = "timeout"
        except SkepError as error:
            kind, note = "link error", str(error).splitlines()[0]
        except Exception:
            kind, note = "crash", traceback.format_exc()[-300:]
        finally:
            signal.alarm(0)
        counts[f"{kind} (kernel {row['verdict']})"] += 1
        if kind != row["verdict"] or time.perf_counter() - start > 4:
            print(f"{kind} (kernel {row['verdict']}): {name} {row['prog_type']} @{slot} {note} [{row['error'][:80]}]")
    print(dict(counts))
    print(f"{insns} insns in {seconds:.1f} s: {insns / max(seconds, 0.001):.0f} per second; kernel processed {theirs}")


if __name__ == "__main__":
    main()

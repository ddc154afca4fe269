"""Loops over iterators on the vm: what the verifier says of registers and stack holds at every step of a real run.

Widening and the end of unfinished loops are what could go wrong; SKEP_SEED and SKEP_PROGRAMS choose others, and more.
"""

from __future__ import annotations

import os
from contextlib import suppress

from skep.isa.disassembler import disassemble
from skep.model.programs import Outcome, VerifiedProgram
from skep.testing.guards import Companion, Invariants, NotCoveredError
from skep.verifier import judge
from skep.verifier.options import Options
from skep.vm.engine import VmEngine
from skep.vm.helpers.kfuncs import TYPES
from skep.vm.interpreter import Fault
from skep.vm.interpreter.machine import StepLimitError
from skep.vm.target import vm_target
from tests.differential.verifier.iterator_programs import Programs
from tests.differential.verifier.typed_programs import Case

SEED = int(os.environ.get("SKEP_SEED", "1"))
COUNT = int(os.environ.get("SKEP_PROGRAMS", "100"))
STEPS, INSNS = 3000, 4000


def examine(case: Case) -> tuple[int, str]:
    """Steps that were watched, and what went wrong."""
    linked = case.linked(vm_target())
    invariants, companion = Invariants(linked), Companion(linked)
    verdict = judge(linked, Options(observe=invariants.observe, max_insns=INSNS))
    if verdict.outcome is not Outcome.ACCEPTED or verdict.facts is None:
        return 0, ""
    engine = VmEngine(interpret=True)
    try:
        program = engine.load_program(VerifiedProgram(linked, verdict.facts, verdict.processed_insns), {})
        program.limit(STEPS)
        for guard in (companion, invariants):
            program.watch(guard.watch)
            with suppress(StepLimitError):
                program.run(bytes(64))
    except (Fault, NotCoveredError) as error:
        code = "\n".join(f"{slot}: {disassemble(insn)}" for slot, insn in enumerate(linked.insns))
        return companion.checked, f"{error}\n{code}"
    finally:
        engine.close()
    return companion.checked, ""


def test_runs_are_what_the_verifier_says() -> None:
    made = Programs(TYPES, SEED)
    steps, wrong = 0, []
    for number in range(COUNT):
        watched, found = examine(made.loop() if number % 2 else made.case())
        steps += watched
        wrong += [found] if found else []
    assert not wrong, f"seed {SEED}: {len(wrong)}\n" + "\n\n".join(sorted(wrong, key=len)[:2])
    assert steps > 20 * COUNT

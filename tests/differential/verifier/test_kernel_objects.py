"""Random programs about kernel objects: our verdicts are the running kernel's.

SKEP_SEED and SKEP_PROGRAMS choose others, and more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skep.btf import types as t
from skep.isa.disassembler import disassemble
from skep.model.programs import Outcome
from skep.verifier import judge
from tests.differential.verifier.rows import target
from tests.differential.verifier.typed_programs import Case, Programs

pytestmark = pytest.mark.kernel

SEED = int(os.environ.get("SKEP_SEED", "1"))
COUNT = int(os.environ.get("SKEP_PROGRAMS", "600"))
EPERM = 1


@pytest.fixture(scope="module")
def answers() -> list[tuple[Case, int, str]]:
    if os.uname().release < "6.18" or target().btf is None:
        pytest.skip("the rules are those of Linux 6.18, with BTF")
    btf = target().btf
    assert btf is not None
    if btf.find("btf_trace_tcp_probe", t.Typedef) is None:
        pytest.skip("this kernel lacks the tracepoints")
    programs = Programs(btf, SEED)
    cases = [programs.case() for _ in range(COUNT)]
    asked = [[int(c.prog_type), c.attach_type, c.attach_btf_id, c.flags, c.code.hex()] for c in cases]
    probe = Path(__file__).with_name("typed_probe.py")
    done = subprocess.run([sys.executable, probe], input=json.dumps(asked), capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    if all(errno == EPERM for errno, _ in said):
        pytest.skip("bpf(2) is refused here")
    return [(case, errno, log) for case, (errno, log) in zip(cases, said, strict=True)]


def test_verdicts_are_the_kernels(answers: list[tuple[Case, int, str]]) -> None:
    wrong, accepted = [], 0
    for case, errno, log in answers:
        verdict = judge(case.linked(target()))
        if verdict.outcome is Outcome.UNSUPPORTED:
            continue
        accepted += not errno
        if (verdict.outcome is Outcome.ACCEPTED) == (errno == 0):
            continue
        ours = str(verdict.diagnostics[0]) if verdict.diagnostics else "accepted"
        code = "\n".join(disassemble(insn) for insn in case.linked(target()).insns)
        wrong.append(f"seed {SEED}: {case.prog_type.name} {case.attach_to}\n{code}\nkernel: {log[-300:]}\nours: {ours}")
    assert not wrong, "\n\n".join(wrong[:5])
    assert accepted > COUNT / 20

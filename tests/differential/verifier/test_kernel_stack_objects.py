"""Random programs about iterators and saved interrupt flags: our verdicts are the running kernel's.

SKEP_SEED and SKEP_PROGRAMS choose others, and more. python -m tests.differential.verifier.test_kernel_stack_objects
prints what differs, and why programs were rejected.
"""

from __future__ import annotations

import collections
import os
import struct
from collections.abc import Iterator

import pytest

from skep.btf import types as t
from skep.btf.writer import encode_btf
from skep.isa.disassembler import disassemble
from skep.kernel.bpf import btf as kernel_btf
from skep.kernel.bpf import programs
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.model.programs import Outcome
from skep.model.target import Target
from skep.testing import kernel_judge
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict
from skep.testing.samples import function_types
from skep.verifier import judge
from tests.differential.verifier.iterator_programs import Programs
from tests.differential.verifier.rows import target
from tests.differential.verifier.typed_programs import Case

pytestmark = pytest.mark.kernel

SEED = int(os.environ.get("SKEP_SEED", "1"))
COUNT = int(os.environ.get("SKEP_PROGRAMS", "120"))
_PLAIN = Target("linux", (6, 18, 0))


def ask_here(case: Case) -> Answer:
    """What this kernel says; the program is given back at once."""
    types = function_types(case.linked(_PLAIN).insns)
    try:
        if types is None:
            program = _load(case, 0, b"")
        else:
            info = b"".join(struct.pack("<II", start, type_id) for start, type_id in types[1].items())
            with kernel_btf.load(encode_btf(types[0])) as loaded:
                program = _load(case, loaded.number, info)
    except BpfCallError as error:
        return kernel_judge.rejection(error)
    program.close()
    return Answer(Verdict.ACCEPT)


def _load(case: Case, btf: int, func_info: bytes) -> Fd:
    return programs.load(
        programs.LoadRequest(
            case.prog_type,
            case.code,
            expected_attach_type=case.attach_type,
            attach_btf_id=case.attach_btf_id,
            flags=case.flags,
            btf=btf,
            func_info=func_info,
        )
    )[0]


def asked(seed: int, count: int) -> Iterator[tuple[Case, Answer]]:
    """Programs and what the kernel says of them."""
    btf = target().btf
    assert btf is not None
    made = Programs(btf, seed)
    with KernelJudge() as kernel:
        for _ in range(count):
            case = made.case()
            yield case, kernel.ask_with(ask_here, case)


def difference(case: Case, answer: Answer) -> str:
    """Why the verdicts differ; "" if they do not."""
    verdict = judge(case.linked(target()))
    accepts = verdict.outcome is Outcome.ACCEPTED
    ours = "accepted" if accepts else f"{verdict.diagnostics[0].kernel} @{verdict.diagnostics[0].insn}"
    if accepts == (answer.verdict is Verdict.ACCEPT):
        return ""
    code = "\n".join(f"{slot}: {disassemble(insn)}" for slot, insn in enumerate(case.linked(target()).insns))
    return f"{case.prog_type.name} {case.attach_to}\n{code}\nkernel: {answer.verdict} {answer.reason}\nours: {ours}"


def test_verdicts_are_the_kernels() -> None:
    btf = target().btf
    if os.uname().release < "6.18" or btf is None:
        pytest.skip("the rules are those of Linux 6.18, with BTF")
    if not kernel_judge.is_available():
        pytest.skip("bpf(2) is refused here")
    if btf.find("btf_trace_task_newtask", t.Typedef) is None:
        pytest.skip("this kernel lacks the tracepoint")
    wrong, accepted = [], 0
    for case, answer in asked(SEED, COUNT):
        accepted += answer.verdict is Verdict.ACCEPT
        found = difference(case, answer)
        if found:
            wrong.append(found)
    assert not wrong, f"seed {SEED}: {len(wrong)}\n" + "\n\n".join(wrong[:3])
    assert accepted > COUNT / 4


def main() -> None:
    """Counts, and the shortest differences."""
    counts: collections.Counter[str] = collections.Counter()
    found = []
    for case, answer in asked(SEED, COUNT):
        counts[f"{answer.verdict}: {answer.reason[:60]}"] += 1
        text = difference(case, answer)
        if text:
            found.append(text)
    for text in sorted(found, key=len)[:3]:
        print(text, end="\n\n")
    for line, count in counts.most_common(60):
        print(count, line)
    print(f"{len(found)} of {COUNT} differ")


if __name__ == "__main__":
    main()

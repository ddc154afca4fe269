"""Published soundness bugs of verifiers (cases.toml): our verdict, the running kernel's, and what accepted ones return.

Not here, because no verdict shows them: CVE-2019-7308, CVE-2021-29155, CVE-2021-33200 (speculative execution of
unprivileged programs, which skep does not run), CVE-2022-2785 (bpf_sys_bpf), CVE-2021-3489 (mapping of ring buffers).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa.assembler import assemble
from skep.kernel.host import kernel_version
from skep.model.maps import MapSpec
from skep.model.programs import Outcome
from skep.testing.generate import Sample
from skep.testing.kernel_judge import KernelJudge, Verdict, is_available
from skep.testing.samples import link_sample
from skep.verifier import judge, verify
from skep.vm.engine import VmEngine

TABLE = tomllib.loads(Path(__file__).with_name("cases.toml").read_text())
MAPS = {
    "m": MapSpec("m", MapType.ARRAY, 4, 48, 1),
    "ring": MapSpec("ring", MapType.RINGBUF, 0, 0, 4096),
    "constants": MapSpec("constants", MapType.ARRAY, 4, 8, 1, flags=1 << 7),  # BPF_F_RDONLY_PROG
}
PACKET = bytes(64)


@dataclass(frozen=True, slots=True)
class Case:
    """One bug."""

    name: str
    sample: Sample
    accepts: bool
    says: str
    returns: int | None
    since: tuple[int, ...]


def _cases() -> Iterator[Case]:
    for row in TABLE["case"]:
        yield _case(row)


def _case(row: dict[str, Any]) -> Case:
    text = row["asm"]
    for name, piece in TABLE["pieces"].items():
        text = text.replace(f"<{name}>\n", piece.lstrip("\n"))
    insns = assemble(text)
    used = {ref.name for insn in insns if (ref := insn.ref) is not None}
    kind = ProgType[row.get("prog_type", "socket_filter").upper()]
    sample = Sample(0, kind, insns, tuple(MAPS[name] for name in sorted(used)), packets=(PACKET,))
    since = tuple(int(part) for part in row.get("since", "5.4").split("."))
    return Case(row["name"], sample, row.get("accepts", False), row.get("says", ""), row.get("returns"), since)


CASES = list(_cases())
EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@EACH
def test_our_verdict(case: Case) -> None:
    verdict = judge(link_sample(case.sample))
    wanted = Outcome.ACCEPTED if case.accepts else Outcome.REJECTED
    assert verdict.outcome is wanted, verdict.diagnostics
    if case.says:
        assert case.says in str(verdict.diagnostics[0].kernel)


@pytest.mark.parametrize("case", [case for case in CASES if case.returns is not None], ids=lambda case: case.name)
def test_what_it_returns(case: Case) -> None:
    """Where the bug was in what is computed."""
    engine = VmEngine()
    try:
        program = engine.load_program(verify(link_sample(case.sample)), {})
        assert program.run(PACKET).retval == case.returns
    finally:
        engine.close()


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelJudge]:
    if not is_available():
        pytest.skip("needs Linux and root: programs are loaded into the kernel")
    with KernelJudge() as judge_:
        yield judge_


@pytest.mark.kernel
@EACH
def test_the_kernels_verdict(case: Case, kernel: KernelJudge) -> None:
    if kernel_version()[:2] < case.since:
        pytest.skip(f"needs Linux {'.'.join(map(str, case.since))}")
    answer = kernel.ask(case.sample)
    assert answer.verdict is (Verdict.ACCEPT if case.accepts else Verdict.REJECT), answer.log
    if case.says:
        assert case.says in answer.log
    if case.returns is not None:
        assert [value for value, _ in answer.runs] == [case.returns]


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)

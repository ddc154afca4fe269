"""What generated programs found, small, each with the kernel's verdict: files in cases/.

Header lines (``type``, ``map: NAME TYPE KEY VALUE ENTRIES``, ``kernel``, ``result``, ``xfail``,
``since``: the first kernel that judges so), an empty line, code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa.assembler import assemble
from skep.kernel.host import kernel_version
from skep.model.maps import MapSpec
from skep.model.programs import Outcome
from skep.testing.differential import examine
from skep.testing.generate import Sample
from skep.testing.kernel_judge import Verdict, judge_here

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]
CASES = sorted(Path(__file__).with_name("cases").glob("*.asm"))
PACKET = bytes(64)


@dataclass(frozen=True, slots=True)
class Found:
    sample: Sample
    verdict: Verdict
    result: int | None
    xfail: str | None
    since: tuple[int, ...] = (0,)


def read(path: Path) -> Found:
    header, code = path.read_text().split("\n\n", 1)
    rows = [line.split(": ", 1) for line in header.splitlines() if not line.startswith("#")]
    facts = {key: value for key, value in rows if key != "map"}
    maps = []
    for key, value in rows:
        if key == "map":
            name, kind, *sizes = value.split()
            maps.append(MapSpec(name, MapType[kind], *map(int, sizes)))
    insns = assemble(code, name=path.name)
    sample = Sample(0, ProgType[facts["type"]], insns, tuple(maps), packets=(PACKET,))
    since = tuple(map(int, facts.get("since", "0").split(".")))
    result = int(facts["result"]) if "result" in facts else None
    return Found(sample, Verdict(facts["kernel"]), result, facts.get("xfail"), since)


def _param(path: Path) -> object:
    reason = read(path).xfail
    marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_kernel_says_what_the_case_says(path: Path) -> None:
    found = read(path)
    if kernel_version() < found.since:
        pytest.skip(f"since Linux {'.'.join(map(str, found.since))}")
    answer = judge_here(found.sample)
    assert answer.verdict is found.verdict, answer.log
    if found.result is not None:
        assert answer.runs[0][0] == found.result


@pytest.mark.parametrize("path", [_param(path) for path in CASES])
def test_we_say_the_same(path: Path) -> None:
    found = read(path)
    report = examine(found.sample, None, guard=True)
    assert report.ours is not None
    assert (report.ours.outcome is Outcome.ACCEPTED) == (found.verdict is Verdict.ACCEPT), report.ours.diagnostics
    assert not report.differences

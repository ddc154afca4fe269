"""What r0 may hold at exit: the kernel names the range when it is given a number it knows nothing of."""

from __future__ import annotations

import re
from typing import Any

import pytest

from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P
from skep.abi.return_ranges import return_range

pytestmark = pytest.mark.kernel

GET_PRANDOM_U32 = 7
#: Types that need a BTF attach target, or hardware, to load anything at all.
NOT_LOADABLE = {P.UNSPEC, P.TRACING, P.STRUCT_OPS, P.EXT, P.LSM, P.LIRC_MODE2}
SAID = re.compile(r"At program exit the register R0 .*should have been in \[(-?\d+), (-?\d+)\]")


def test_ranges_agree_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    if kernel_release < (6, 18):
        pytest.skip("the table is that of Linux 6.18")
    every = [(p, a) for p in P if p not in NOT_LOADABLE for a in (None, *A)]
    loads = kernel.load([kernel.request(p, b"", a) for p, a in every])
    cases = [case for case, answer in zip(every, loads, strict=True) if not answer.errno]
    assert len(cases) > 80
    unknown = kernel.insn(0x85, imm=GET_PRANDOM_U32) + kernel.insn(0x95)
    wrong = []
    for (prog_type, attach_type), answer in zip(
        cases, kernel.load([kernel.request(p, b"", a)._replace(code=unknown) for p, a in cases]), strict=True
    ):
        found = SAID.search(answer.log)
        said = (int(found[1]), int(found[2])) if found else None
        ours = return_range(prog_type, attach_type)
        if said != (None if ours is None else (ours.low, ours.high)):
            wrong.append(f"{prog_type.name} {attach_type}: kernel {said}, table {ours}")
    assert not wrong, "\n".join(wrong)

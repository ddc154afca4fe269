"""Arena pointers against the running kernel: every operator with every kind of operand, and every use of the result."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.errors import RejectedError
from skep.isa.instruction import MapRef
from skep.kernel import host
from skep.kernel.engine import KernelEngine
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, Outcome
from skep.model.target import Target
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict
from skep.verifier import judge
from tests.unit.verifier.core.linked import link

pytestmark = pytest.mark.kernel

TARGET = Target("linux", (6, 18, 0))
MAPS = {
    "arena": MapSpec("arena", MapType.ARENA, max_entries=2, flags=1 << 10),
    "numbers": MapSpec("numbers", MapType.ARRAY, key_size=4, value_size=16, max_entries=2),
}
REFS = {0: MapRef("arena"), 2: MapRef("numbers")}
#: r6 arena, r7 number, r8 the value of a map, r9 the context, r10 the stack; r1 the arena's map.
START = """
r2 = 0 ll
r3 = 0 ll
r9 = r1
r6 = 64
r6 = addr_space_cast(r6, 0, 1)
*(u64 *)(r10 -8) = 0
*(u64 *)(r10 -16) = 0
r7 = *(u32 *)(r9 +0)
r1 = r3
r2 = r10
r2 += -8
call 1
if r0 != 0 goto +2
r0 = 0
exit
r8 = r0
r1 = r9
"""
OPERATORS = ("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "%=", "^=", "s>>=", "=")
REGISTERS = (6, 7, 8, 9, 10)
USES = (
    "r0 = *(u64 *)(r2 +0)",
    "*(u8 *)(r2 -8) = 1",
    "r0 = 1\nlock *(u32 *)(r2 -16) += r0",
    "r0 = 1\nr0 = atomic64_fetch_or((u64 *)(r2 -8), r0)",
    "r0 = 1\nr0 = atomic_xchg((u32 *)(r2 -8), r0)",
    "r0 = 7\nr0 = atomic_cmpxchg((u32 *)(r2 -8), r0, r7)",
    "r0 = *(s16 *)(r2 -7)",
    "if r2 == 0 goto +1\nr0 = *(u64 *)(r2 +0)",
    "if r2 > r10 goto +0\nr0 = *(u64 *)(r2 +0)",
    "*(u64 *)(r10 -8) = r2\nr0 = *(u64 *)(r10 -8)\nr0 = *(u64 *)(r0 +0)",
    "r1 = r2\nr2 = 8\nr3 = r10\nr3 += -16\ncall 113",
    "*(u64 *)(r8 +0) = r2",
    "r0 = addr_space_cast(r2, 0, 1)\nr0 = *(u64 *)(r0 +0)",
    "r0 = addr_space_cast(r2, 1, 0)\nr0 = *(u64 *)(r0 +0)",
)
END = "\nr0 = 0\nexit"


def operations() -> Iterator[str]:
    """``r2 = a; r2 OP b``, where one of the two is an arena pointer, and the same in 32 bits."""
    for operator, a, b in itertools.product(OPERATORS, REGISTERS, REGISTERS):
        if 6 in (a, b):
            yield f"r2 = r{a}\nr2 {operator} r{b}"
            yield f"r2 = r{a}\nw2 {operator} w{b}"
    for operator in OPERATORS[:-1]:
        yield f"r2 = r6\nr2 {operator} 3"
        yield f"r2 = r6\nw2 {operator} 3"
    yield from ("r2 = r6\nr2 = -r2", "r2 = r6\nr2 = be16 r2", "r2 = (s8)r6", "r2 = r6")


def program(text: str) -> LinkedProgram:
    return link(START + text + END, ProgType.SYSCALL, MAPS, REFS, TARGET, sleepable=True)


@functools.cache
def _engine() -> KernelEngine:
    return KernelEngine(TARGET)


def ask_here(text: str) -> Answer:
    """The kernel's verdict, in a child process."""
    linked = program(text)
    with ExitStack() as stack:
        maps = {}
        for name, spec in linked.maps.items():
            maps[name] = _engine().create_map(spec)
            stack.callback(maps[name].close)
        try:
            _engine().load_linked(linked, maps).close()
        except RejectedError as error:
            return Answer(Verdict.REJECT, log=error.log[-1000:])
    return Answer(Verdict.ACCEPT)


def agreed(texts: Iterator[str]) -> int:
    """Compare; how many were accepted."""
    accepted = 0
    with KernelJudge() as kernel:
        for text in texts:
            theirs, ours = kernel.ask_with(ask_here, text), judge(program(text))
            said = (ours.diagnostics[0].kernel if ours.diagnostics else None, theirs.reason)
            assert theirs.verdict in (Verdict.ACCEPT, Verdict.REJECT)
            assert (ours.outcome is Outcome.ACCEPTED) == (theirs.verdict is Verdict.ACCEPT), (text, said)
            accepted += ours.outcome is Outcome.ACCEPTED
    return accepted


@pytest.fixture
def kernel_6_18(kernel: None) -> None:
    """The rules are those of Linux 6.18: signed loads, numbers with arena pointers."""
    if host.kernel_version() < (6, 18):
        pytest.skip("the rules are those of Linux 6.18")


def test_operators(kernel_6_18: None) -> None:
    assert agreed(f"{text}\n{USES[0]}" for text in operations()) > 100


def test_uses(kernel_6_18: None) -> None:
    assert agreed(f"r2 = r6\nr2 += {step}\n{use}" for use in USES for step in (0, 3, 1 << 30)) > 20
    assert agreed(f"r2 = r{register}\n{use}" for use in USES for register in REGISTERS) > 20

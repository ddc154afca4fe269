"""The conformance cases in the running kernel: what it accepts gives the case's r0, as interpreter and JIT do.

A case becomes a function of a program that passes it the address of its memory (the value of an array map) and its
length, and keeps the whole of r0 in another map.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skep.abi.features import FEATURES
from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.api import load
from skep.errors import RejectedError
from skep.isa import opcodes as op
from skep.isa.assembler import assemble
from skep.isa.forms import find_form
from skep.isa.instruction import Instruction, MapValueRef
from skep.kernel.engine import KernelEngine
from skep.kernel.target import kernel_target
from skep.model.maps import MapSpec
from skep.testing.cases import Case, parse_case
from skep.testing.programs import make_object
from tests.conftest import SHARED

FILES = sorted((SHARED / "corpus" / "conformance").glob("*.data"))
TARGET = kernel_target(btf=False, kconfig=False, kallsyms=False)
PACKET = bytes(64)
RESULT, MEMORY = ".data.result", ".data.memory"
#: Linux refuses shifts beyond the width, which RFC 9669 masks, and calls through a register.
REFUSED = {
    f"{shift}{width}-imm-{how}" for shift in ("arsh", "lsh", "rsh") for width in (32, 64) for how in ("high", "neg")
}
REFUSED |= {"callx"}

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not FILES, reason="no conformance cases under the corpus (set SKEP_SHARED)"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[KernelEngine]:
    made = KernelEngine(TARGET)
    yield made
    made.close()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_case(path: Path, kernel: None, engine: KernelEngine) -> None:
    case = parse_case(path.read_text(), path.stem)
    needed = max(form.isa_version for insn in case.insns if (form := find_form(insn)) is not None)
    since = FEATURES[f"isa_v{needed}"].since
    if TARGET.kernel_version[:2] < since:
        pytest.skip(f"instructions of version {needed}: since Linux {since[0]}.{since[1]}")
    if case.name in REFUSED:
        with pytest.raises(RejectedError) as caught:
            run(case, engine)
        assert (caught.value.diagnostic.kernel or "").startswith(("invalid shift", "unknown opcode 8d"))
        return
    assert run(case, engine) == case.result


def run(case: Case, engine: KernelEngine) -> int:
    """r0, whole."""
    memory = case.memory or b""
    maps = [data(RESULT, bytes(8)), *([data(MEMORY, memory)] if memory else [])]
    argument = [address(1, MEMORY)] if memory else list(assemble("r1 = 0"))
    code = [*argument, *assemble(f"r2 = {len(memory)}"), Instruction(op.JMP | op.CALL, src=op.CALL_LOCAL, imm=5)]
    code += [address(1, RESULT), *assemble("*(u64 *)(r1 +0) = r0\nr0 = 0\nexit"), *case.insns]
    spec = make_object(code, prog_type=ProgType.SOCKET_FILTER, maps=maps)
    with load(spec, engine=engine) as live:
        assert live.programs["program"].run(PACKET).retval == 0
        return int.from_bytes(live.maps[RESULT].handle.lookup(bytes(4)) or b"", "little")


def data(name: str, contents: bytes) -> MapSpec:
    return MapSpec(name, MapType.ARRAY, 4, len(contents), 1, contents=contents)


def address(register: int, name: str) -> Instruction:
    return Instruction(op.LD_IMM64, register, op.PSEUDO_MAP_VALUE, ref=MapValueRef(name, 0))

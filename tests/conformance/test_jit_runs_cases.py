"""All 313 conformance cases give their result as native code, without any facts from the verifier."""

from __future__ import annotations

import ctypes
import os
import pathlib

import pytest

from skep import jit, llvm
from skep.isa import opcodes as op
from skep.isa.instruction import slots
from skep.model.programs import CallFact
from skep.testing.cases import parse_case
from tests.unit.jit.builder import make_program

_SHARED = os.environ.get("SKEP_SHARED", str(pathlib.Path(__file__).parents[2].parent / "shared"))
_FILES = sorted(pathlib.Path(_SHARED, "corpus", "conformance").glob("*.data"))
_HELPER_5 = "define i64 @helper_5(i64 %a) { ret i64 0 }"  # two cases call it and ignore its result
_ROWS = jit.Rows({(5, None): jit.Native("helper_5", ("r1",))})

pytestmark = pytest.mark.skipif(not _FILES, reason=f"no conformance cases under {_SHARED} (set SKEP_SHARED)")


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_case(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKEP_CACHE", "")
    case = parse_case(path.read_text(), path.stem)
    table = slots(case.insns)
    calls = [(slot, insn) for slot, insn in enumerate(table) if insn is not None and insn.opcode == op.JMP | op.CALL]
    starts = {slot + 1 + insn.imm for slot, insn in calls if insn.src == op.CALL_LOCAL}
    by_register = {
        slot for slot, insn in enumerate(table) if insn is not None and insn.opcode == op.JMP | op.CALL | op.X
    }
    program = make_program(
        case.insns, {f"f{start}": start for start in starts}, calls={slot: CallFact(5) for slot in by_register}
    )
    memory = case.memory or b""
    code = jit.compile_program(program, _ROWS, llvm.assemble(_HELPER_5), {}, memory_size=len(memory), level=1)
    native = jit.load_code(code, {}, {}, None)
    block = ctypes.create_string_buffer(memory, len(memory) + 8)
    entry = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)(native.addresses["skep_program"])
    result = entry(None, block)
    native.close()
    assert result == case.result

"""Every conformance case: interpreter = JIT = kernel, in the whole of r0 and in memory, wherever Linux accepts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import VerifiedProgram
from skep.testing.cases import Case, parse_case
from skep.testing.conformance import prove_case
from skep.testing.generate import Sample
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict
from skep.vm.interpreter import InterpretedProgram
from skep.vm.programs import VmProgram

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]
ACCEPTED = 300  # of 313: Linux refuses shift amounts outside the width, and callx


def in_kernel(case: Case) -> Sample:
    """The case as a subprogram: its memory is a map's value, its result goes into another."""
    memory = case.memory or b""
    maps = [MapSpec("result", MapType.ARRAY, 4, 8, 1, contents=bytes(8))]
    start = [Instruction(op.ALU64 | op.MOV | op.K, 1)]
    if memory:
        maps.append(MapSpec("memory", MapType.ARRAY, 4, len(memory), 1, contents=memory))
        start = [Instruction(op.LD_IMM64, 1, op.PSEUDO_MAP_VALUE, ref=MapValueRef("memory", 0))]
    main = (
        *start,
        Instruction(op.ALU64 | op.MOV | op.K, 2, imm=len(memory)),
        Instruction(op.JMP | op.CALL, src=op.CALL_LOCAL, imm=5),
        Instruction(op.LD_IMM64, 1, op.PSEUDO_MAP_VALUE, ref=MapValueRef("result", 0)),
        Instruction(op.STX | op.MEM | op.DW, 1, 0),
        Instruction(op.ALU64 | op.MOV | op.K, 0),
        Instruction(op.JMP | op.EXIT),
    )
    return Sample(0, ProgType.SOCKET_FILTER, (*main, *case.insns), tuple(maps), packets=(bytes(64),))


def in_vm(proved: VerifiedProgram, case: Case, kind: type[VmProgram]) -> tuple[int, bytes]:
    memory = case.memory or b""
    program = kind(proved, {}, memory_size=len(memory))
    try:
        run = program.run(memory)
    finally:
        program.close()
    return int.from_bytes(run.ctx, "little"), run.data


def from_kernel(answer: Answer) -> tuple[int, bytes]:
    result = int.from_bytes(answer.maps["result"][0][1], "little")
    return result, answer.maps["memory"][0][1] if "memory" in answer.maps else b""


def test_all_three_agree(corpus: Path) -> None:
    files = sorted((corpus / "conformance").glob("*.data"))
    assert len(files) == 313
    wrong, refused = {}, {}
    with KernelJudge() as kernel:
        for file in files:
            case = parse_case(file.read_text(), file.stem)
            proved = prove_case(case)
            interpreted = in_vm(proved, case, InterpretedProgram)
            results = {"native": in_vm(proved, case, VmProgram)}
            answer = kernel.ask(in_kernel(case))
            if answer.verdict is Verdict.ACCEPT:
                results["kernel"] = from_kernel(answer)
            else:
                refused[case.name] = answer.reason
            assert interpreted[0] == case.result, case.name
            for who, result in results.items():
                if result != interpreted:
                    wrong[case.name, who] = (result, interpreted)
    assert wrong == {}
    assert len(files) - len(refused) >= ACCEPTED, refused
    unexpected = {name: why for name, why in refused.items() if "shift" not in why and "opcode" not in why}
    assert unexpected == {}


def test_a_wrong_result_would_be_seen(corpus: Path) -> None:
    case = parse_case((corpus / "conformance" / "add.data").read_text(), "add")
    changed = replace(case, insns=(Instruction(op.ALU64 | op.MOV | op.K, 0, imm=99), Instruction(op.JMP | op.EXIT)))
    with KernelJudge() as kernel:
        answer = kernel.ask(in_kernel(changed))
    assert from_kernel(answer)[0] == 99 != case.result

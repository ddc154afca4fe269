"""The vm engine on programs with facts by hand: runs, maps, tail calls, threads, and what is left after close."""

from __future__ import annotations

import os
import pathlib
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from skep.abi.contexts import ContextField, FieldKind
from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.errors import ClosedError, MapError, UsageError
from skep.isa import opcodes as op
from skep.isa.assembler import assemble
from skep.isa.instruction import Instruction, MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import Access, CallFact, Region, VerifiedProgram
from skep.vm.engine import VmEngine
from skep.vm.runs import runs
from tests.unit.jit.builder import make_program

LOOKUP, TAIL_CALL, PRANDOM = 1, 12, 7
COUNTS = MapSpec("counts", MapType.PERCPU_ARRAY, 4, 8, 1)
TOTAL = MapSpec("total", MapType.ARRAY, 4, 8, 1)
CALLS = MapSpec("calls", MapType.PROG_ARRAY, 4, 4, 4)
BSS = MapSpec(".bss", MapType.ARRAY, 4, 8, 1, contents=bytes(8))
PACKET = bytes(range(60))


@pytest.fixture
def engine() -> Iterator[VmEngine]:
    with_engine = VmEngine()
    yield with_engine
    with_engine.close()


def code(*parts: str | Instruction) -> tuple[Instruction, ...]:
    out: list[Instruction] = []
    for part in parts:
        out += [part] if isinstance(part, Instruction) else assemble(part)
    return tuple(out)


def helper(number: int) -> Instruction:
    return Instruction(op.JMP | op.CALL, imm=number)


def map_in(register: int, name: str) -> Instruction:
    return Instruction(op.LD_IMM64, register, op.PSEUDO_MAP_FD, ref=MapRef(name))


def first_byte() -> VerifiedProgram:
    """XDP: returns the packet's byte 3, and writes 9 over it."""
    data = ContextField("data", 0, 4, FieldKind.PACKET)
    return make_program(
        code("r2 = *(u32 *)(r1 +0)", "r0 = *(u8 *)(r2 +3)", "*(u8 *)(r2 +3) = 9", "exit"),
        accesses={0: Access(Region.CONTEXT, field=data, offset=0), 1: Access(Region.PACKET), 2: Access(Region.PACKET)},
        pointer_results=frozenset({0}),
    )


def counter(spec: MapSpec) -> VerifiedProgram:
    """Adds 1 to element 0."""
    return make_program(
        code(
            "*(u32 *)(r10 -4) = 0", "r2 = r10", "r2 += -4", map_in(1, spec.name), helper(LOOKUP),
            "if r0 == 0 goto +3", "r1 = *(u64 *)(r0 +0)", "r1 += 1", "*(u64 *)(r0 +0) = r1", "r0 = 2", "exit",
        ),
        maps={spec.name: spec},
        calls={5: CallFact(LOOKUP, map=spec.name, map_spec=spec)},
    )  # fmt: skip


def tail_caller(index: int, otherwise: int = 1) -> VerifiedProgram:
    return make_program(
        code(map_in(2, "calls"), f"r3 = {index}", helper(TAIL_CALL), f"r0 = {otherwise}", "exit"),
        maps={"calls": CALLS},
        calls={3: CallFact(TAIL_CALL, map="calls", map_spec=CALLS)},
    )


def test_a_run_gets_a_copy_of_the_packet_and_gives_back_what_became_of_it(engine: VmEngine) -> None:
    program = engine.load_program(first_byte(), {})
    result = program.run(PACKET)
    assert (result.retval, result.data) == (3, PACKET[:3] + b"\x09" + PACKET[4:])
    assert struct.unpack("<3I", result.ctx[:12]) == (0, len(PACKET), 0)
    assert program.run(PACKET, repeat=3).retval == 9, "repeated on the same memory"
    assert PACKET[3] == 3


@pytest.mark.parametrize(
    ("data", "ctx"),
    [(b"", None), (bytes(13), None), (PACKET, bytes(24)), (PACKET, struct.pack("<3I", 5, 60, 0)), (PACKET, bytes(25))],
    ids=["empty", "no Ethernet header", "data_end is wrong", "metadata not in fours", "context too long"],
)
def test_input_that_no_such_program_gets_is_refused(engine: VmEngine, data: bytes, ctx: bytes | None) -> None:
    program = engine.load_program(first_byte(), {})
    with pytest.raises(UsageError):
        program.run(data, ctx)


def test_metadata_lies_before_the_packet(engine: VmEngine) -> None:
    result = engine.load_program(first_byte(), {}).run(PACKET, struct.pack("<3I", 4, 60, 0))
    assert result.retval == 7


def test_programs_without_packets_run_on_a_context(engine: VmEngine) -> None:
    field = ContextField("ax", 80, 8)
    verified = make_program(
        code("r0 = *(u64 *)(r1 +80)", "exit"), accesses={0: Access(Region.CONTEXT, field=field, offset=80)}
    )
    probe = engine.load_program(_typed(verified, ProgType.KPROBE), {})
    assert probe.run(b"", bytes(80) + struct.pack("<Q", 0x1_0000_0007)).retval == 7
    assert probe.run(b"").retval == 0
    with pytest.raises(UsageError, match="no packet"):
        probe.run(PACKET)


def _typed(verified: VerifiedProgram, prog_type: ProgType) -> VerifiedProgram:
    import dataclasses

    return dataclasses.replace(verified, linked=dataclasses.replace(verified.linked, prog_type=prog_type))


def test_maps_are_shared_with_the_program(engine: VmEngine) -> None:
    total = engine.create_map(TOTAL)
    program = engine.load_program(counter(TOTAL), {"total": total})
    program.run(PACKET, repeat=1000)
    assert total.lookup(bytes(4)) == struct.pack("<Q", 1000)
    total.update(bytes(4), struct.pack("<Q", 5))
    program.run(PACKET)
    assert total.lookup(bytes(4)) == struct.pack("<Q", 6)


def test_global_data_is_the_maps_memory(engine: VmEngine) -> None:
    bss = engine.create_map(BSS)
    program = engine.load_program(
        make_program(
            code(Instruction(op.LD_IMM64, 1, 2, ref=MapValueRef(".bss", 4)), "r0 = *(u32 *)(r1 +0)", "exit"),
            maps={".bss": BSS},
        ),
        {".bss": bss},
    )
    bss.update(bytes(4), struct.pack("<II", 1, 42))
    assert program.run(PACKET).retval == 42


def test_threads_run_one_program_without_losing_a_count(engine: VmEngine) -> None:
    counts = engine.create_map(COUNTS)
    program = engine.load_program(counter(COUNTS), {"counts": counts})
    threads = [threading.Thread(target=lambda: program.run(PACKET, repeat=200_000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    value = counts.lookup(bytes(4))
    assert value is not None
    assert sum(struct.unpack(f"<{os.cpu_count()}Q", value)) == 4 * 200_000


def test_tail_calls_go_on_in_the_other_program(engine: VmEngine) -> None:
    calls = engine.create_map(CALLS)
    caller = engine.load_program(tail_caller(2), {"calls": calls})
    assert caller.run(PACKET).retval == 1, "an empty entry falls through"
    target = engine.load_program(first_byte(), {})
    engine.set_program(calls, 2, target)
    assert caller.run(PACKET).retval == 3
    target.close()
    assert caller.run(PACKET).retval == 3, "the prog_array keeps the code of a closed program"
    calls.delete(struct.pack("<I", 2))
    assert caller.run(PACKET).retval == 1


def test_tail_calls_end_after_33(engine: VmEngine) -> None:
    calls, total = engine.create_map(CALLS), engine.create_map(TOTAL)
    loop = make_program(
        code(
            "r6 = r1", "*(u32 *)(r10 -4) = 0", "r2 = r10", "r2 += -4", map_in(1, "total"), helper(LOOKUP),
            "if r0 == 0 goto +3", "r1 = *(u64 *)(r0 +0)", "r1 += 1", "*(u64 *)(r0 +0) = r1",
            "r1 = r6", map_in(2, "calls"), "r3 = 0", helper(TAIL_CALL), "r0 = 8", "exit",
        ),
        maps={"calls": CALLS, "total": TOTAL},
        calls={
            6: CallFact(LOOKUP, map="total", map_spec=TOTAL), 15: CallFact(TAIL_CALL, map="calls", map_spec=CALLS)
        },
    )  # fmt: skip
    program = engine.load_program(loop, {"calls": calls, "total": total})
    engine.set_program(calls, 0, program)
    assert program.run(PACKET).retval == 8
    assert total.lookup(bytes(4)) == struct.pack("<Q", 34)
    calls.delete(bytes(4))


def test_a_prog_array_takes_programs_of_one_type(engine: VmEngine) -> None:
    calls = engine.create_map(CALLS)
    engine.load_program(tail_caller(0), {"calls": calls})
    other = engine.load_program(_typed(make_program("r0 = 1\nexit"), ProgType.SCHED_CLS), {})
    with pytest.raises(MapError, match="xdp"):
        engine.set_program(calls, 0, other)
    with pytest.raises(MapError, match="xdp"):
        engine.load_program(_typed(tail_caller(0), ProgType.SCHED_CLS), {"calls": calls})


def test_runs_inside_a_run_do_not_wait_for_it(engine: VmEngine) -> None:
    program = engine.load_program(first_byte(), {})
    with runs().take() as outer, runs().take() as inner:
        assert inner is not outer
        assert inner.cpu == outer.cpu
        assert program.run(PACKET).retval == 3


def test_a_program_may_be_closed_while_another_thread_runs_it(engine: VmEngine) -> None:
    program = engine.load_program(make_program(code(helper(PRANDOM), "r0 = 2", "exit")), {})
    program.run(PACKET)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(program.run(PACKET, repeat=20_000_000).retval))
    thread.start()
    program.close()
    thread.join()
    assert results in ([2], [])
    with pytest.raises(ClosedError):
        program.run(PACKET)


def test_a_closed_engine_makes_nothing(engine: VmEngine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(ClosedError):
        engine.create_map(TOTAL)


def test_maps_and_programs_of_others_are_refused(engine: VmEngine) -> None:
    class Foreign:
        spec = TOTAL

    with pytest.raises(UsageError, match="another engine"):
        engine.load_program(counter(TOTAL), {"total": Foreign()})  # type: ignore[dict-item]


_CHILD = """
import gc, os
from tests.unit.vm.test_engine import *

def left():
    gc.collect()
    lines = open("/proc/self/maps").read().splitlines()
    return (
        len(os.listdir("/proc/self/fd")),
        sum("skep" in line or "memfd" in line for line in lines),
        sum("x" in line.split()[1] and len(line.split()) < 6 for line in lines),
        sum("w" in line.split()[1] and "x" in line.split()[1] for line in lines),
    )

def work():
    engine = VmEngine()
    calls, total = engine.create_map(CALLS), engine.create_map(TOTAL)
    target = engine.load_program(counter(TOTAL), {"total": total})
    engine.set_program(calls, 2, target)
    caller = engine.load_program(tail_caller(2), {"calls": calls})
    assert caller.run(PACKET).retval == 2
    during = left()
    engine.close()
    return during

work()
before = left()
during = [work() for _ in range(5)][-1]
after = left()
print(before, during, after)
assert during[1] > before[1] and during[2] > before[2], "the test sees nothing"
assert after == before
assert during[3] == before[3], "writable and executable memory"
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="needs Linux's /proc/self")
def test_nothing_is_left_after_close() -> None:
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", _CHILD], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

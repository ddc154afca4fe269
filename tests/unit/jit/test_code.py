"""What compiled programs compute: calls, callbacks, loops, tail calls, memory, dead code."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from skep import jit
from skep.abi.contexts import ContextField, FieldKind
from skep.abi.map_types import MapType
from skep.errors import InternalError, UnsupportedError
from skep.isa import opcodes as op
from skep.isa.assembler import assemble
from skep.isa.instruction import Instruction, MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import Access, CallFact, Region, VerifiedProgram
from tests.unit.jit.builder import make_program
from tests.unit.jit.conftest import CALL_BACK, FIND, LOOP, ROWS, TAIL, TWICE, Run, as_function

MASK = (1 << 64) - 1


def code(*parts: str | Instruction) -> tuple[Instruction, ...]:
    """Text and instructions in a row."""
    out: list[Instruction] = []
    for part in parts:
        out += [part] if isinstance(part, Instruction) else assemble(part)
    return tuple(out)


def address_of(distance: int, dst: int = 2) -> Instruction:
    """LD_IMM64 of a subprogram ``distance`` slots on."""
    return Instruction(op.LD_IMM64, dst=dst, src=op.PSEUDO_FUNC, imm=distance)


def helper(number: int) -> Instruction:
    return Instruction(op.JMP | op.CALL, imm=number)


def local(distance: int) -> Instruction:
    return Instruction(op.JMP | op.CALL, src=op.CALL_LOCAL, imm=distance)


def test_a_helper_is_called_and_its_result_is_in_r0(run: Run) -> None:
    assert run(make_program(code("r1 = 21", helper(TWICE), "exit"))) == 42


def test_an_unknown_helper_is_our_bug(run: Run) -> None:
    with pytest.raises(InternalError, match=r"bpf_trace_printk.*instruction 0"):
        run(make_program(code(helper(6), "exit")))


def test_kfuncs_are_refused_with_advice(run: Run) -> None:
    with pytest.raises(UnsupportedError, match="kernel function"):
        run(make_program(code(Instruction(op.JMP | op.CALL, src=op.CALL_KFUNC), "exit")))


def test_a_subprogram_takes_and_returns_pointers_and_numbers(run: Run) -> None:
    program = make_program(
        code("r6 = r1", "r2 = 3", local(3), "r1 = r0", "r0 = *(u8 *)(r1 +1)", "exit", "r0 = r1", "r0 += r2", "exit"),
        {"advance": 6},
    )
    assert run(program, bytes(range(10, 20))) == 14


def test_a_subprogram_has_its_own_stack(run: Run) -> None:
    program = make_program(
        code(
            "*(u64 *)(r10 -8) = 5", local(2), "r0 = *(u64 *)(r10 -8)", "exit", "*(u64 *)(r10 -8) = 9", "r0 = 0", "exit"
        ),
        {"other": 4},
    )
    assert run(program) == 5


def test_a_spilled_pointer_comes_back(run: Run) -> None:
    program = make_program(
        code("*(u64 *)(r10 -8) = r1", "r2 = *(u64 *)(r10 -8)", "r0 = *(u8 *)(r2 +2)", "exit"),
        pointer_results=frozenset({1}),
        accesses={0: Access(Region.STACK), 1: Access(Region.STACK), 2: Access(Region.MEMORY)},
    )
    assert run(program, b"\1\2\3") == 3


def test_stack_that_was_never_written_reads_as_zero(run: Run, runtime: bytes) -> None:
    program = make_program(code("r0 = *(u64 *)(r10 -64)", "exit"), reads_uninit_stack=True)
    assert run(program) == 0
    assert "zeroinitializer" in jit.compile_program(program, ROWS, runtime, {}).module.text


@pytest.mark.parametrize("facts", [{}, {"pointer_results": frozenset(range(20))}])
def test_pointer_facts_change_nothing_but_speed(run: Run, facts: dict[str, Any]) -> None:
    """A loop over memory with a pointer that moves, compared and subtracted."""
    program = make_program(
        code(
            "r6 = r1", "r3 = r1", "r3 += r2", "r0 = 0",
            "if r1 == r3 goto +4", "r4 = *(u8 *)(r1 +0)", "r0 += r4", "r1 += 1", "goto -5",
            "r1 -= r6", "r0 <<= 8", "r0 |= r1", "exit",
        ),
        **facts,
    )  # fmt: skip
    assert run(program, bytes(range(100))) == sum(range(100)) << 8 | 100


def test_paths_that_disagree_about_a_register_keep_its_value(run: Run) -> None:
    """r3 is a number on one path and an address on the other; both are returned through the same code."""
    program = make_program(
        code("r3 = 7", "r4 = *(u8 *)(r1 +0)", "if r4 == 0 goto +1", "r3 = r1", "r0 = r3", "if r4 == 0 goto +1",
             "r0 = *(u8 *)(r3 +1)", "exit"),
    )  # fmt: skip
    assert run(program, b"\0\x63") == 7
    assert run(program, b"\1\x63") == 0x63


def test_a_dead_branch_traps_and_live_code_runs(run: Run) -> None:
    program = make_program(
        code("r0 = 1", "if r2 == 12345 goto +1", "exit", "r0 = 2", "exit"), reachable=frozenset({0, 1, 2})
    )
    assert run(program) == 1
    assert "llvm.trap" in jit.compile_program(program, ROWS, None, {}).module.text


def test_callbacks_are_called_by_c(run: Run) -> None:
    program = make_program(
        code(
            "*(u64 *)(r10 -8) = 1000", address_of(8), "r1 = 5", "r3 = r10", "r3 += -8", helper(CALL_BACK),
            "r1 = *(u64 *)(r10 -8)", "r0 += r1", "exit",
            "r3 = *(u64 *)(r2 +0)", "r3 += r1", "*(u64 *)(r2 +0) = r3", "r0 = r1", "r0 += 1", "exit",
        ),
        {"callback": 10},
        calls={6: CallFact(CALL_BACK, callback=10)},
    )  # fmt: skip
    assert run(program) == 1000 + 5 + 6 + 7


def loop_program(count: int, flags: int, stop_at: int) -> VerifiedProgram:
    return make_program(
        code(
            "*(u64 *)(r10 -8) = 0", f"r1 = {count}", address_of(7), "r3 = r10", "r3 += -8", f"r4 = {flags}",
            helper(LOOP), "r1 = *(u64 *)(r10 -8)", "exit",
            "r3 = *(u64 *)(r2 +0)", "r3 += r1", "*(u64 *)(r2 +0) = r3", "r0 = 0",
            f"if r1 != {stop_at} goto +1", "r0 = 1", "exit",
        ),
        {"turn": 10},
        calls={7: CallFact(LOOP, callback=10)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("count", "flags", "stop_at", "result"),
    [
        (10, 0, 99, 10),
        (0, 0, 99, 0),
        (10, 0, 3, 4),
        (10, 1, 99, -22),
        ((8 << 20) + 1, 0, 99, -7),
        (8 << 20, 0, -1, 8 << 20),
    ],
)
def test_bpf_loop(run: Run, count: int, flags: int, stop_at: int, result: int) -> None:
    assert run(loop_program(count, flags, stop_at)) == result & MASK


def test_bpf_loop_shares_memory_with_its_callback(run: Run) -> None:
    changed = list(loop_program(10, 0, 99).linked.insns)
    changed[7] = assemble("r0 = *(u64 *)(r10 -8)")[0]
    program = make_program(tuple(changed), {"turn": 10}, calls={7: CallFact(LOOP, callback=10)})
    assert run(program) == sum(range(10))


def test_a_tail_call_replaces_the_program_or_falls_through(run: Run, runtime: bytes) -> None:
    target = jit.load_code(
        jit.compile_program(make_program(code("r0 = 77", "exit")), ROWS, runtime, {}), {}, {}, runtime
    )
    table = (ctypes.c_void_p * 2)(None, target.addresses["skep_program"])
    caller = "r2 = 0", "r3 = {}", helper(TAIL), "r0 = 5", "exit"
    results = [run(make_program(code(caller[0], caller[1].format(index), *caller[2:])), b"", table) for index in (0, 1)]
    target.close()
    assert results == [5, 77]


def test_a_tail_call_in_a_subprogram_returns_to_its_caller(run: Run, runtime: bytes) -> None:
    target = jit.load_code(
        jit.compile_program(make_program(code("r0 = 77", "exit")), ROWS, runtime, {}), {}, {}, runtime
    )
    table = (ctypes.c_void_p * 1)(target.addresses["skep_program"])
    program = make_program(
        code(local(2), "r0 += 1", "exit", "r2 = 0", "r3 = 0", helper(TAIL), "r0 = 5", "exit"), {"sub": 3}
    )
    result = run(program, b"", table)
    target.close()
    assert result == 78


def test_map_values_are_found_and_changed_in_place(run: Run) -> None:
    spec = MapSpec("counts", MapType.ARRAY, 4, 8, 4)
    block = ctypes.create_string_buffer(4096 + 32)
    program = make_program(
        code(
            "*(u32 *)(r10 -4) = 2", "r2 = r10", "r2 += -4", Instruction(op.LD_IMM64, 1, 1, ref=MapRef("counts")),
            helper(FIND), "if r0 == 0 goto +2", "r1 = 7", "lock *(u64 *)(r0 +0) += r1", "r0 = 0", "exit",
        ),
        maps={"counts": spec},
        calls={5: CallFact(FIND, map="counts", map_spec=spec)},
    )  # fmt: skip
    assert run(program, maps={"counts": block}) == 0
    assert block.raw[4096 + 16 : 4096 + 24] == (7).to_bytes(8, "little")
    assert run(program, maps={"counts": block}) == 0
    assert block.raw[4096 + 16] == 14


def test_global_data_is_reached_through_its_map(run: Run) -> None:
    spec = MapSpec(".bss", MapType.ARRAY, 4, 16, 1, contents=bytes(16))
    block = ctypes.create_string_buffer(4096 + 16)
    block[4096 + 8] = b"\5"
    program = make_program(
        code(Instruction(op.LD_IMM64, 1, 2, ref=MapValueRef(".bss", 8)), "r0 = *(u64 *)(r1 +0)", "r0 += 1",
             "*(u64 *)(r1 +0) = r0", "exit"),
        maps={".bss": spec},
    )  # fmt: skip
    assert run(program, maps={".bss": block}) == 6
    assert block.raw[4096 + 8] == 6


def test_frozen_data_is_folded_into_the_code(runtime: bytes) -> None:
    spec = MapSpec(
        ".rodata", MapType.ARRAY, 4, 8, 1, flags=1 << 7, contents=(0x1234).to_bytes(8, "little"), frozen=True
    )
    program = make_program(
        code(Instruction(op.LD_IMM64, 1, 2, ref=MapValueRef(".rodata", 0)), "r0 = *(u64 *)(r1 +0)", "exit"),
        maps={".rodata": spec},
    )  # fmt: skip
    compiled = jit.compile_program(program, ROWS, runtime, {".rodata": 8192})
    assert compiled.module.maps == ()
    native = jit.load_code(compiled, {}, {}, runtime)
    assert as_function(native.addresses["skep_program"])(None, None) == 0x1234
    assert "ret i64 4660" in native.llvm_ir
    assert "4660" in native.assembly
    native.close()


def test_pointer_fields_of_the_context_go_through_their_accessor(run: Run) -> None:
    packet = ctypes.create_string_buffer(b"\x2a", 1)
    state = (ctypes.c_void_p * 1)(ctypes.addressof(packet))
    data = ContextField("data", 0, 4, FieldKind.PACKET)
    program = make_program(
        code("r1 = *(u32 *)(r1 +0)", "r0 = *(u8 *)(r1 +0)", "exit"),
        accesses={0: Access(Region.CONTEXT, field=data, offset=0), 1: Access(Region.PACKET)},
        pointer_results=frozenset({0}),
    )
    assert run(program, bytes(24), state) == 0x2A


def test_a_pointer_field_without_meaning_is_refused(run: Run) -> None:
    field = ContextField("sk", 168, 8, FieldKind.SOCKET)
    program = make_program(code("r0 = *(u64 *)(r1 +168)", "exit"), accesses={0: Access(Region.CONTEXT, field=field)})
    with pytest.raises(UnsupportedError, match="context field sk"):
        run(program)


def test_legacy_packet_loads_end_the_program_outside(run: Run) -> None:
    inside = make_program(code(Instruction(op.LD | op.ABS | op.B, imm=6), "r0 += 1", "exit"))
    outside = make_program(code(Instruction(op.LD | op.ABS | op.B, imm=8), "r0 += 1", "exit"))
    indirect = make_program(code("r2 = 4", Instruction(op.LD | op.IND | op.H, src=2, imm=-1), "r0 += 1", "exit"))
    assert [run(p) for p in (inside, outside, indirect)] == [7, 0, 4]


def test_may_goto_ends_after_eight_million_turns(run: Run) -> None:
    may_goto = Instruction(op.JMP | op.JCOND, off=2)
    assert run(make_program(code("r0 = 0", may_goto, "r0 += 1", "goto -3", "exit"))) == 8 << 20


@pytest.mark.parametrize(("size", "width"), [(op.B, 1), (op.H, 2), (op.W, 4), (op.DW, 8)])
def test_acquire_and_release(run: Run, size: int, width: int) -> None:
    load = Instruction(op.STX | op.ATOMIC | size, dst=0, src=10, off=-8, imm=op.LOAD_ACQUIRE)
    store = Instruction(op.STX | op.ATOMIC | size, dst=10, src=6, off=-8, imm=op.STORE_RELEASE)
    assert run(make_program(code("*(u64 *)(r10 -8) = 0", "r6 = -2", store, load, "exit"))) == (1 << 8 * width) - 2


def test_a_table_that_lies_about_a_type_is_caught(runtime: bytes) -> None:
    rows = jit.Rows({(TWICE, None): jit.Native("twice", ("p1",))})
    with pytest.raises(InternalError, match="twice is i64 \\(i64\\)"):
        jit.compile_program(make_program(code("r1 = 21", helper(TWICE), "exit")), rows, runtime, {})


def test_a_loop_of_the_runtime_is_exported_with_the_program_in_it(runtime: bytes) -> None:
    counter = ctypes.create_string_buffer(8)
    program = make_program(code("r2 = *(u64 *)(r1 +0)", "r2 += 1", "*(u64 *)(r1 +0) = r2", "r0 = r2", "exit"))
    native = jit.load_code(jit.compile_program(program, ROWS, runtime, {}, ("repeat",)), {}, {}, runtime)
    loop = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)(
        native.addresses["repeat"]
    )
    assert loop(None, counter, 1000) == 1000
    native.close()

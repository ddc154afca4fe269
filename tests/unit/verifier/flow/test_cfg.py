"""Blocks, loops, prune points, and what is live."""

from itertools import pairwise

from skep.isa.assembler import assemble
from skep.isa.instruction import FuncRef, Instruction
from skep.isa.opcodes import LD_IMM64, PSEUDO_FUNC
from skep.verifier.flow import cfg, cycles, structure
from skep.verifier.flow.liveness import live_registers
from skep.verifier.flow.stack_liveness import ALL, live_cells

LOOP = """
r0 = 0
r6 = 10
r0 += r6
r6 -= 1
if r6 != 0 goto -3
exit
"""

CALLS = """
r6 = r1
r1 = 1
call pc+2
r0 += r6
exit
r0 = r1
exit
"""


def regs(mask: int) -> set[int]:
    return {n for n in range(10) if mask >> n & 1}


def test_loop() -> None:
    flow = cfg.build(assemble(LOOP))
    assert flow.loop_heads == {2}
    assert [loop >= 0 for loop in flow.loops] == [False, False, True, True, True, False]
    (extent,) = flow.subprograms
    assert [(b.start, b.end, b.successors) for b in extent.blocks] == [(0, 2, (2,)), (2, 5, (5, 2)), (5, 6, ())]
    assert extent.postorder == (5, 2, 0)
    assert flow.prune_points == {2, 4}


def test_calls_and_extents() -> None:
    flow = cfg.build(assemble(CALLS))
    assert [(e.start, e.end) for e in flow.subprograms] == [(0, 5), (5, 7)]
    assert flow.calls == {2: 5}
    assert flow.prune_points == {2, 3, 5}
    assert flow.successors[2] == (3,)
    assert flow.subprogram_at(6).start == 5


def test_callbacks_by_name_and_number() -> None:
    tail = assemble("r0 = 0\nexit\nr0 = 0\nexit")
    named = Instruction(LD_IMM64, 1, PSEUDO_FUNC, 0, 0, FuncRef("callback"))
    numbered = Instruction(LD_IMM64, 1, PSEUDO_FUNC, 0, 3)
    assert cfg.build([named, *tail], {"callback": 4}).callbacks == {0: 4}
    assert cfg.build([numbered, *tail]).callbacks == {0: 4}
    assert structure.check([numbered, *tail]) == ()
    assert structure.check([named, *tail])[0].rule is structure.Flaw.CALL_TARGET


def test_live_registers() -> None:
    flow = cfg.build(assemble(LOOP))
    assert [regs(mask) for mask in live_registers(flow)] == [set(), {0}, {0, 6}, {0, 6}, {0, 6}, {0}]
    flow = cfg.build(assemble(CALLS))
    live = [regs(mask) for mask in live_registers(flow)]
    assert live[2] == {1, 2, 3, 4, 5, 6}
    assert live[3] == {0, 6}
    assert live[5] == {1}


def test_live_registers_of_helpers() -> None:
    flow = cfg.build(assemble("call 5\nr0 = 0\nexit"))
    assert regs(live_registers(flow)[0]) == {1, 2, 3, 4, 5}
    assert regs(live_registers(flow, {5: 0})[0]) == set()
    assert regs(live_registers(flow, {5: 2})[0]) == {1, 2}


def test_live_cells() -> None:
    flow = cfg.build(
        assemble(
            """
            r1 = 1
            *(u64 *)(r10 -8) = r1
            *(u64 *)(r10 -16) = r1
            r2 = r10
            r2 += -16
            r0 = *(u32 *)(r2 +4)
            exit
            """
        )
    )
    assert live_cells(flow) == (0, 0, 0, 2, 2, 2, 0)


def test_live_cells_of_calls() -> None:
    text = "r1 = r10\nr1 += -24\ncall {}\nexit\nr0 = 0\nexit"
    assert live_cells(cfg.build(assemble(text.format("1"))))[2] == 0b111
    assert live_cells(cfg.build(assemble(text.format("pc+1"))))[2] == ALL


def test_live_cells_after_escape() -> None:
    text = "r1 = r10\n*(u64 *)(r10 -8) = r1\nr2 = *(u64 *)(r10 -8)\nr0 = *(u64 *)(r2 -64)\nexit"
    live = live_cells(cfg.build(assemble(text)))
    assert live[3] == ALL
    assert live[2] == ALL


def test_live_cells_unknown_offset() -> None:
    text = "r2 = r10\nr2 -= r1\nr0 = *(u8 *)(r2 -8)\nexit"
    assert live_cells(cfg.build(assemble(text)))[2] == ALL


def test_components_and_chains() -> None:
    graph = {1: [2], 2: [3, 1], 3: [4], 4: [], 5: [5]}
    assert sorted(sorted(c) for c in cycles.components(graph)) == [[1, 2], [3], [4], [5]]
    assert cycles.deepest_chain({1: [2, 3], 2: [3], 3: []}, 1) == ([1, 2, 3], False)
    chain, loops = cycles.deepest_chain({1: [2], 2: [3], 3: [2]}, 1)
    assert loops
    assert chain == [1, 2, 3, 2]


def test_long_programs_do_not_nest() -> None:
    """A thousand diamonds and a deep chain of blocks: no recursion, no quadratic walk."""
    text = "r0 = 0\n" + "if r1 == 0 goto +1\nr0 += 1\n" * 20_000 + "exit"
    program = assemble(text)
    assert structure.check(program) == ()
    flow = cfg.build(program)
    starts = [b.start for b in flow.subprograms[0].blocks]
    assert all(a < b for a, b in pairwise(starts))
    assert regs(live_registers(flow)[0]) == {1}
    assert not any(live_cells(flow))

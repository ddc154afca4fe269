"""Values, cells and the order of states."""

from __future__ import annotations

import pytest

from skep.model.programs import CallFact, Region
from skep.verifier.domains.scalar import Scalar
from skep.verifier.explore.covers import Comparison, Mode
from skep.verifier.explore.prune import renew
from skep.verifier.flow import cfg
from skep.verifier.options import Options
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import ALL_MISC, ALL_SPILL, ZERO, Cell, overwritten, spilled
from skep.verifier.state.values import Kind, Number, Pointer, Value, constant
from skep.verifier.state.world import Notebook, World
from tests.unit.verifier.core.linked import link

ALL = (1 << 64) - 1


@pytest.fixture
def world() -> World:
    linked = link("r0 = 0\nexit")
    return World(linked, Options(), cfg.build(linked.insns))


def state(*values: Value | None, stack: tuple[Cell | None, ...] = ()) -> MachineState:
    frame = Frame(0, 0, -1)
    for reg, value in enumerate(values):
        frame.regs[reg] = value
    frame.stack = list(stack)
    return MachineState([frame])


def covers(world: World, old: MachineState, new: MachineState, mode: Mode = Mode.RELAXED) -> bool:
    return Comparison(mode, world).states(old, new, (0b1111111111,), (ALL,))


def number(low: int, high: int, *, precise: bool = True) -> Number:
    made = Number(Scalar.unsigned(low, high))
    made.precise = precise
    return made


def test_relying_reaches_all_ancestors() -> None:
    a, b = constant(1), constant(2)
    c = Number(Scalar.constant(3), (a, b))
    d = Number(Scalar.constant(4), (c,))
    d.rely()
    assert all(item.precise for item in (a, b, c, d))
    assert d.parents == ()


def test_a_covered_number_follows_its_cover() -> None:
    old, new = constant(1), constant(2)
    old.follow(new)
    assert not new.precise
    old.rely()
    assert new.precise


def test_reading_a_part_that_stayed_reads_the_old_cell() -> None:
    old = Cell(ALL_MISC)
    part = overwritten(old, 0, 4, number(0, 0))
    whole = overwritten(part, 0, 8)
    whole.mark_read()
    assert not old.read
    part.mark_read()
    assert old.read


def test_a_narrow_spill_keeps_what_lies_beside_it() -> None:
    cell = spilled(constant(7), 4, Cell(ALL_MISC))
    assert cell.types == bytes([3, 3, 3, 3, 1, 1, 1, 1])
    assert cell.size == 4


def test_a_set_covers_its_parts_only(world: World) -> None:
    assert covers(world, state(number(0, 10)), state(number(2, 3)))
    assert not covers(world, state(number(2, 3)), state(number(0, 10)))


def test_what_nothing_relied_on_is_ignored_only_in_finished_states(world: World) -> None:
    old, new = state(number(2, 3, precise=False)), state(number(0, 10))
    assert covers(world, old, new)
    assert not covers(world, old, new, Mode.WITHIN)
    assert not covers(world, old, new, Mode.EXACT)


def test_numbers_and_pointers_do_not_cover_each_other(world: World) -> None:
    pointer = Pointer(Kind.CTX)
    assert not covers(world, state(number(0, 10, precise=False)), state(pointer))
    assert not covers(world, state(pointer), state(number(0, 10)))
    assert covers(world, state(None), state(pointer))
    assert not covers(world, state(pointer), state(None))


def test_packet_ranges_and_ids(world: World) -> None:
    long, short = Pointer(Kind.PACKET, id=1, range=20), Pointer(Kind.PACKET, id=2, range=8)
    assert covers(world, state(short), state(long))
    assert not covers(world, state(long), state(short))
    # Where one comparison spoke for both pointers, both must have one base.
    same = state(Pointer(Kind.PACKET, id=1, range=8), Pointer(Kind.PACKET, id=1, range=8))
    different = state(Pointer(Kind.PACKET, id=1, range=8), Pointer(Kind.PACKET, id=2, range=8))
    assert not covers(world, same, different)
    assert covers(world, different, same)


def test_linked_numbers_cover_only_linked_numbers(world: World) -> None:
    a = number(0, 9)
    a.shared = True
    x, y = number(0, 9), number(0, 9)
    assert not covers(world, state(a, a), state(x, y))
    x.shared = True
    assert covers(world, state(a, a), state(x, x))
    b = a.linked(Scalar.unsigned(4, 13), (), 4)
    b.precise = True
    z = x.linked(Scalar.unsigned(4, 13), (), 4)
    w = x.linked(Scalar.unsigned(4, 13), (), 5)
    assert covers(world, state(a, b), state(x, z))
    assert not covers(world, state(a, b), state(x, w))


def test_stack_cells_matter_once_they_are_read(world: World) -> None:
    old, new = Cell(ALL_SPILL, number(1, 1)), Cell(ALL_SPILL, number(2, 2))
    assert covers(world, state(stack=(old,)), state(stack=(new,)))
    old.mark_read()
    assert not covers(world, state(stack=(old,)), state(stack=(new,)))


def test_zero_bytes_are_not_covered_by_anything_else(world: World) -> None:
    zero = Cell(bytes([ZERO] * 8))
    zero.read = True
    assert not covers(world, state(stack=(zero,)), state(stack=(Cell(ALL_MISC),)))
    assert covers(world, state(stack=(zero,)), state(stack=(Cell(ALL_SPILL, constant(0)),)))
    anything = Cell(ALL_MISC)
    anything.read = True
    assert covers(world, state(stack=(anything,)), state(stack=(zero,)))


def test_unwritten_bytes_in_place_of_written_ones_are_noted(world: World) -> None:
    written = Cell(ALL_MISC)
    written.read = True
    comparison = Comparison(Mode.RELAXED, world)
    assert comparison.states(state(stack=(written,)), state(), (0,), (ALL,))
    comparison.commit(complete=True)
    assert world.notes.reads_uninit_stack


def test_open_references_must_match(world: World) -> None:
    old, new = state(), state()
    old.refs, new.refs = ((1, 5),), ()
    assert not covers(world, old, new)
    new.refs = ((7, 5),)
    assert covers(world, old, new)


def test_saved_states_start_unmarked() -> None:
    value = number(0, 9)
    value.shared = True
    cell = Cell(ALL_SPILL, value)
    cell.mark_read()
    current = state(value, value, stack=(cell,))
    renew(current)
    first, second = current.regs[0], current.regs[1]
    assert isinstance(first, Number)
    assert first is second
    assert not first.precise
    assert first.token is value
    twin = current.frame.stack[0]
    assert twin is not None
    assert twin.value is first
    assert not twin.read


def test_facts_that_differ_between_paths_are_forgotten() -> None:
    notes = Notebook(2)
    assert notes.access(0, Region.MAP_VALUE, "a", None, 4)
    assert notes.access(0, Region.MAP_VALUE, "b", None, 4)
    assert notes.access(1, Region.STACK, None, None, -8)
    assert notes.access(1, Region.MAP_VALUE, "a", None, 0)
    assert not notes.access(1, Region.CONTEXT, None, None, 0)
    notes.call(0, CallFact(1, "a", None, None, {2: 5, 3: 1}))
    notes.call(0, CallFact(1, "b", None, None, {2: 5, 3: 2}))
    notes.result(0, True)
    notes.result(1, True)
    notes.result(1, False)
    facts = notes.facts((0,))
    assert (facts.accesses[0].region, facts.accesses[0].map, facts.accesses[0].offset) == (Region.MAP_VALUE, None, 4)
    assert facts.accesses[1].region is Region.MEMORY
    assert facts.calls[0] == CallFact(1, None, None, None, {2: 5})
    assert facts.pointer_results == {0}

"""The verifier watched while a program really runs: what it says about registers and stack must hold, every step.

Two guards. :class:`Companion` takes the path that the run takes, one abstract step for each concrete one, without
pruning: the state must hold what the machine holds (transfer is sound). :class:`Invariants` are the states that the
exploration saw: in one of those at each place, all that a proof relied on must hold (pruning is sound).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import partial

from skep.errors import InternalError
from skep.model.programs import LinkedProgram
from skep.verifier.domains.scalar import Scalar
from skep.verifier.explore.entry import entry_state
from skep.verifier.explore.prune import Checkpoint, Pruner
from skep.verifier.explore.steps import compile_steps
from skep.verifier.flow import cfg
from skep.verifier.options import Options
from skep.verifier.prove import PROVERS
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import ZERO, Cell
from skep.verifier.state.values import Kind, Number, Pointer, Value
from skep.verifier.state.world import World
from skep.verifier.transfer.branch import Fork
from skep.vm.interpreter import Interpreter

MASK64 = (1 << 64) - 1
MAX_STATES = 20_000
_MAX_CANDIDATES = 16


class NotCoveredError(InternalError):
    """A run left what the verifier says is possible."""


def _world(linked: LinkedProgram) -> World:
    names = {sub.name: sub.start for sub in linked.subprograms}
    return World(linked, Options(), cfg.build(linked.insns, names))


class Companion:
    """Steps along with a run; :meth:`watch` is what the interpreter calls before each instruction."""

    def __init__(self, linked: LinkedProgram) -> None:
        self.world = _world(linked)
        self.steps = compile_steps(self.world)
        self.callbacks = Pruner(self.world).callbacks
        self.checked = 0
        self._machine: Interpreter | None = None
        self._next: list[Fork] = []

    def watch(self, machine: Interpreter, slot: int, registers: list[int]) -> None:
        """Before one instruction.

        Raises:
            NotCoveredError: no abstract state holds what the machine holds.
        """
        if machine is not self._machine:  # a new run
            self._machine, self._next = machine, [(0, entry_state(self.world))]
        said = "the verifier does not come here"
        holding = []
        for state in self._at(slot):
            wrong = _outside(state, machine, registers)
            if wrong is None:
                holding.append(state)
            else:
                said = wrong
        if not holding:
            raise NotCoveredError(f"slot {slot}: {said}")
        self.checked += 1
        self._next = []
        for state in holding[:_MAX_CANDIDATES]:
            self._step(slot, state)

    def _at(self, slot: int) -> list[MachineState]:
        """The states that may be at this slot now. A callback that ends leads back to its call, which comes again."""
        arrived = [state for place, state in self._next if place == slot]
        waiting = [(place, state) for place, state in self._next if place != slot and place in self.callbacks]
        self._next = []
        for place, state in waiting:
            self._step(place, state)
        return arrived + [state for place, state in self._next if place == slot]

    def _step(self, slot: int, state: MachineState) -> None:
        quick = self.steps.quick[slot]
        if quick is not None and quick(state):
            self._next.append((slot + 1, state))
            return
        for need in self.steps.needs[slot]:
            violation = PROVERS[type(need)](need, state, self.world)
            if violation is not None:
                raise NotCoveredError(f"slot {slot}: {violation.kernel}: proved on the way of exploration only")
        act = self.steps.full[slot]
        forks: list[Fork] = []
        assert act is not None
        following = act(state, forks)
        self._next.append((following, state))
        self._next.extend(forks)


class Invariants:
    """States that an exploration saw: give :meth:`observe` to it, then :meth:`watch` to the interpreter.

    What a state's proofs relied on is known when everything from the saved state before it is explored. It is written
    down then: later, marks may come from paths that share a number with it and lead elsewhere.
    """

    def __init__(self, linked: LinkedProgram) -> None:
        self._linked = linked
        self._facts: dict[int, _Places] | None = None
        self._groups: dict[int, tuple[Checkpoint | None, list[_Seen]]] = {}
        self.seen: dict[int, list[MachineState]] = {}
        self._relied: list[tuple[int, _Relied]] = []
        self.count = 0
        self.checked = 0
        self.bounds = 0

    def observe(self, slot: int, state: MachineState, checkpoint: Checkpoint | None) -> None:
        """Keep a state; above MAX_STATES nothing is kept at all and nothing is checked."""
        self.count += 1
        if self.count <= MAX_STATES:
            kept = state.copy()
            self.seen.setdefault(slot, []).append(kept)
            self._group_of(checkpoint).append((slot, kept))
        elif self.seen:
            self.seen.clear()

    def _group_of(self, checkpoint: Checkpoint | None) -> list[_Seen]:
        """States between one saved state and the next."""
        known = self._groups.get(id(checkpoint))
        if known is None:
            known = self._groups[id(checkpoint)] = checkpoint, []
            if checkpoint is not None:
                checkpoint.watchers.append(partial(self._write_down, known[1]))
        return known[1]

    def _write_down(self, states: list[_Seen]) -> None:
        self._relied += [(slot, _relied(state)) for slot, state in states]
        states.clear()

    def watch(self, machine: Interpreter, slot: int, registers: list[int]) -> None:
        """Before one instruction.

        Raises:
            NotCoveredError: in every state seen here, something that a proof relied on does not hold.
        """
        if self.count > MAX_STATES:
            return
        if self._facts is None:  # late: only now it is known what proofs relied on
            self._facts = self._read_facts()
        said = "exploration never came here, or with other constants"
        for known, by_values in self._facts.get(slot, {}).items():
            for relied in by_values.get(tuple([registers[index] for index in known]), ()):
                wrong = relied.wrong(machine, registers)
                if wrong is None:
                    self.checked += 1
                    self.bounds += relied.count
                    return
                said = wrong
        raise NotCoveredError(f"slot {slot}: {said}")

    def _read_facts(self) -> dict[int, _Places]:
        pruner = Pruner(_world(self._linked))
        for _, states in self._groups.values():
            self._write_down(states)
        unlike: dict[tuple[object, ...], tuple[int, _Relied]] = {}
        for slot, relied in self._relied:
            relevant = relied.among(pruner.registers[slot], pruner.cells[slot])
            unlike[(slot, *relevant.key())] = slot, relevant
        found: dict[int, _Places] = {}
        for slot, relied in unlike.values():
            known = [(index, range.value) for index, range in relied.numbers if not range.mask]
            by_values = found.setdefault(slot, {}).setdefault(tuple([index for index, _ in known]), {})
            by_values.setdefault(tuple([value for _, value in known]), []).append(relied)
        return found


_Seen = tuple[int, MachineState]


# States at one place: by the registers that are constants in them, and by the values of these. Loops have many.
_Places = dict[tuple[int, ...], dict[tuple[int, ...], "list[_Relied]"]]


@dataclass(frozen=True, slots=True)
class _Relied:
    """What proofs relied on in one state.

    Attributes:
        numbers: register and the set that it is in; pointers: register and what it may be.
        cells: (index, cell) of the top frame.
    """

    frames: int
    numbers: tuple[tuple[int, Scalar], ...]
    pointers: tuple[tuple[int, Pointer], ...]
    cells: tuple[tuple[int, Cell], ...]

    @property
    def count(self) -> int:
        """How many values it speaks about."""
        return len(self.numbers) + len(self.pointers) + len(self.cells)

    def key(self) -> tuple[object, ...]:
        """The same for states that say the same."""
        pointers = tuple([(index, id(pointer)) for index, pointer in self.pointers])
        return self.frames, self.numbers, pointers, tuple([(index, _cell_key(cell)) for index, cell in self.cells])

    def among(self, live: int, cells: int) -> _Relied:
        """Only what still matters."""
        return _Relied(
            self.frames,
            tuple([row for row in self.numbers if live >> row[0] & 1]),
            tuple([row for row in self.pointers if live >> row[0] & 1]),
            tuple([row for row in self.cells if cells >> row[0] & 1]),
        )

    def wrong(self, machine: Interpreter, registers: list[int]) -> str | None:
        """What of the machine is not so; None if all of it is."""
        if self.frames != len(machine.stacks):
            return f"{len(machine.stacks)} frames instead of {self.frames}"
        for index, known in self.numbers:
            if not known.contains(registers[index]):
                return f"r{index} is {registers[index]:#x}, not in {known}"
        for index, pointer in self.pointers:
            if not _holds(pointer, registers[index], machine, relied=True):
                return f"r{index} is {registers[index]:#x}, not in {_text(pointer)}"
        if not self.cells:
            return None
        top = machine.stacks[-1]
        for index, cell in self.cells:
            data = ctypes.string_at(top - 8 * (index + 1), 8)
            wrong = _cell(cell, data, machine, relied=True)
            if wrong is not None:
                return f"stack at {-8 * (index + 1)}: {data.hex()}, not {wrong}"
        return None


def _relied(state: MachineState) -> _Relied:
    regs = list(enumerate(state.regs[:10]))
    return _Relied(
        len(state.frames),
        tuple([(index, value.range) for index, value in regs if isinstance(value, Number) and value.precise]),
        tuple([(index, value) for index, value in regs if isinstance(value, Pointer)]),
        tuple(
            [
                (index, _frozen(cell))
                for index, cell in enumerate(state.frames[-1].stack)
                if cell is not None and cell.read and _says_something(cell)
            ]
        ),
    )


def _cell_key(cell: Cell) -> tuple[object, ...]:
    value = cell.value
    return cell.types, cell.size, value.range if isinstance(value, Number) else id(value), cell.zero.precise


def _frozen(cell: Cell) -> Cell:
    """The cell with the marks it has now, for :func:`_cell`."""
    value, zero = cell.value, cell.zero
    if isinstance(value, Number) and value.precise:
        value = Number(value.range)
        value.precise = True
    elif isinstance(value, Number):
        value = None
    return Cell(cell.types, value, cell.size, zero=zero if zero.precise else Number(Scalar.ZERO))


def _says_something(cell: Cell) -> bool:
    """Whether it says more than that there is some number."""
    value = cell.value
    if ZERO in cell.types and cell.zero.precise:
        return True
    return isinstance(value, Pointer) or (isinstance(value, Number) and value.precise)


def _outside(state: MachineState, machine: Interpreter, registers: list[int]) -> str | None:
    """What of the machine is not in the state; None if all of it is."""
    if len(state.frames) != len(machine.stacks):
        return f"{len(machine.stacks)} frames instead of {len(state.frames)}"
    for index in range(10):
        value = state.regs[index]
        if not _holds(value, registers[index], machine, relied=False):
            return f"r{index} is {registers[index]:#x}, not in {_text(value)}"
    for frame in state.frames:
        wrong = _stack(frame, machine)
        if wrong is not None:
            return wrong
    return None


def _stack(frame: Frame, machine: Interpreter) -> str | None:
    top = machine.stacks[frame.number]
    for index, cell in enumerate(frame.stack):
        if cell is None:
            continue
        data = ctypes.string_at(top - 8 * (index + 1), 8)
        wrong = _cell(cell, data, machine, relied=False)
        if wrong is not None:
            return f"stack of frame {frame.number} at {-8 * (index + 1)}: {data.hex()}, not {wrong}"
    return None


def _cell(cell: Cell, data: bytes, machine: Interpreter, *, relied: bool) -> str | None:
    for kind, byte in zip(cell.types, data, strict=True):
        if kind == ZERO and byte and (cell.zero.precise or not relied):
            return "zero"
    value = cell.value
    if value is None or (isinstance(value, Number) and cell.size < 8 and value.range.umax >> 8 * cell.size):
        return None
    number = int.from_bytes(data[: cell.size], "little")
    return None if _holds(value, number, machine, relied=relied) else _text(value)


def _holds(value: Value | None, actual: int, machine: Interpreter, *, relied: bool) -> bool:
    if value is None:
        return True
    if isinstance(value, Number):
        return (relied and not value.precise) or value.range.contains(actual)
    if value.nullable and actual == 0:
        return True
    return _points(value, actual, machine)


def _points(pointer: Pointer, actual: int, machine: Interpreter) -> bool:
    """Whether an address is one that the pointer may be; regions whose place is not known hold any."""
    kind, host = pointer.kind, machine.host
    if kind is Kind.STACK:
        return _at_offset(pointer, actual - machine.stacks[pointer.frame])
    if kind is Kind.PACKET:
        return _at_offset(pointer, actual - host.packet_start)
    if kind in (Kind.MAP_VALUE, Kind.RECORD):
        starts = host.memory.starts_of("map", "ring record")
        return any(_at_offset(pointer, actual - start) for start in starts)
    return True


def _at_offset(pointer: Pointer, offset: int) -> bool:
    rest = offset - pointer.off
    return rest == 0 if pointer.var is None else pointer.var.contains(rest & MASK64)


def _text(value: Value | None) -> str:
    if isinstance(value, Pointer):
        return f"{value.name}{value.off:+}{'' if value.var is None else f' + {value.var}'}"
    return str(value.range) if value is not None else "anything"

"""The verifier watched while a program really runs: what it says about registers and stack must hold, every step.

Two guards. :class:`Companion` takes the path that the run takes, one abstract step for each concrete one, without
pruning: the state must hold what the machine holds (transfer is sound). :class:`Invariants` are the states that the
exploration saw: in one of those at each place, all that a proof relied on must hold (pruning is sound).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from skep.errors import InternalError
from skep.model.programs import LinkedProgram
from skep.verifier.domains.scalar import Scalar
from skep.verifier.explore.entry import entry_state
from skep.verifier.explore.prune import Pruner
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
    """States that an exploration saw: give :meth:`observe` to it, then :meth:`watch` to the interpreter."""

    def __init__(self, linked: LinkedProgram) -> None:
        self._linked = linked
        self._facts: dict[int, _Places] | None = None
        self.seen: dict[int, list[MachineState]] = {}
        self.count = 0
        self.checked = 0
        self.bounds = 0

    def observe(self, slot: int, state: MachineState) -> None:
        """Keep a state; above MAX_STATES nothing is kept at all and nothing is checked."""
        self.count += 1
        if self.count <= MAX_STATES:
            self.seen.setdefault(slot, []).append(state.copy())
        elif self.seen:
            self.seen.clear()

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
        found: dict[int, _Places] = {}
        for slot, states in self.seen.items():
            live, cells = pruner.registers[slot], pruner.cells[slot]
            places = found[slot] = {}
            unlike = {relied.key: relied for relied in (_relied(state, live, cells) for state in states)}
            for relied in unlike.values():
                known = [(index, range.value) for index, range in relied.numbers if not range.mask]
                by_values = places.setdefault(tuple([index for index, _ in known]), {})
                by_values.setdefault(tuple([value for _, value in known]), []).append(relied)
        return found


# States at one place: by the registers that are constants in them, and by the values of these. Loops have many.
_Places = dict[tuple[int, ...], dict[tuple[int, ...], "list[_Relied]"]]


@dataclass(frozen=True, slots=True)
class _Relied:
    """What proofs relied on in one state.

    Attributes:
        key: the same for states that say the same.
        numbers: register and the set that it is in; pointers: register and what it may be.
        cells: (index, cell) of the top frame.
    """

    key: tuple[object, ...]
    frames: int
    numbers: tuple[tuple[int, Scalar], ...]
    pointers: tuple[tuple[int, Pointer], ...]
    cells: tuple[tuple[int, Cell], ...]
    count: int

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


def _relied(state: MachineState, live: int, live_cells: int) -> _Relied:
    regs = [(index, state.regs[index]) for index in range(10) if live >> index & 1]
    numbers = tuple(
        (index, value.range)
        for index, value in regs
        if isinstance(value, Number) and value.precise and value.range is not Scalar.UNKNOWN
    )
    pointers = tuple((index, value) for index, value in regs if isinstance(value, Pointer))
    cells = tuple(
        (index, cell)
        for index, cell in enumerate(state.frames[-1].stack)
        if cell is not None and live_cells >> index & 1 and cell.read and _says_something(cell)
    )
    key = (len(state.frames), numbers, tuple((i, id(p)) for i, p in pointers), tuple((i, id(c)) for i, c in cells))
    return _Relied(key, len(state.frames), numbers, pointers, cells, len(numbers) + len(pointers) + len(cells))


def _says_something(cell: Cell) -> bool:
    """Whether a spill in it says more than that there is a number."""
    value = cell.value
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
        if kind == ZERO and byte and not relied:
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

"""The verifier watched while a program really runs: what it says about registers and stack must hold, every step.

Two guards. :class:`Companion` takes the path that the run takes, one abstract step for each concrete one, without
pruning: the state must hold what the machine holds (transfer is sound). :class:`Invariants` are the states that the
exploration saw: in one of those at each place, all that a proof relied on must hold (pruning is sound).
"""

from __future__ import annotations

import ctypes

from skep.abi.contexts import FieldKind
from skep.errors import InternalError
from skep.model.programs import LinkedProgram
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
_ALL = 0b11_1111_1111
_CELLS = (1 << 64) - 1
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
            wrong = _outside(state, machine, registers, relied=False)
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
        self._pruner: Pruner | None = None
        self.seen: dict[int, list[MachineState]] = {}
        self.count = 0
        self.checked = 0

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
        if self._pruner is None:  # late: programs that are rejected may have no control flow at all
            self._pruner = Pruner(_world(self._linked))
        live, cells = self._pruner.registers[slot], self._pruner.cells[slot]
        said = "exploration never came here"
        for state in self.seen.get(slot, ()):
            wrong = _outside(state, machine, registers, relied=True, live=live, cells=cells)
            if wrong is None:
                self.checked += 1
                return
            said = wrong
        raise NotCoveredError(f"slot {slot}: {said}")


def _outside(
    state: MachineState,
    machine: Interpreter,
    registers: list[int],
    *,
    relied: bool,
    live: int = _ALL,
    cells: int = _CELLS,
) -> str | None:
    """What of the machine is not in the state; None if all of it is.

    Args:
        relied: only numbers that a proof relied on, and cells that are read.
        live, cells: registers and stack cells of the top frame that matter.
    """
    if len(state.frames) != len(machine.stacks):
        return f"{len(machine.stacks)} frames instead of {len(state.frames)}"
    for index in range(10):
        value = state.regs[index]
        if live >> index & 1 and not _holds(value, registers[index], machine, relied=relied):
            return f"r{index} is {registers[index]:#x}, not in {_text(value)}"
    last = state.frames[-1]
    for frame in state.frames if not relied else (last,):
        wrong = _stack(frame, machine, relied=relied, cells=cells if frame is last else _CELLS)
        if wrong is not None:
            return wrong
    return None


def _stack(frame: Frame, machine: Interpreter, *, relied: bool, cells: int) -> str | None:
    top = machine.stacks[frame.number]
    for index, cell in enumerate(frame.stack):
        if cell is None or not cells >> index & 1 or (relied and not cell.read):
            continue
        data = ctypes.string_at(top - 8 * (index + 1), 8)
        wrong = _cell(cell, data, machine, relied=relied)
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
        return _at_offset(pointer, actual - host.context_pointer(FieldKind.PACKET))
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

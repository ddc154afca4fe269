"""The machine at one point of a path: frames with registers and stack, references that are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from skep.verifier.state.locks import Lock
from skep.verifier.state.stack import ALL_INVALID, Cell
from skep.verifier.state.values import Kind, Pointer, Value, unknown


class Frame:
    """One call frame.

    Attributes:
        number: 0 for the main program.
        start: slot where its function begins.
        call_slot: slot of the call that made it; -1 for the first.
        regs: r0..r10; None: never written.
        stack: cells; index 0 is bytes -8..-1; grown on demand, None: never written.
        callback: what the callback must return (low, high), None: not a callback.
        refs_before: for a callback, the highest reference id that was given before it.
        lent: a slice of a dynptr may lie in its stack.
        callback_depth: iterations of the callback that were simulated from this frame's current call.
    """

    __slots__ = ("call_slot", "callback", "callback_depth", "lent", "number", "refs_before", "regs", "stack", "start")

    def __init__(self, number: int, start: int, call_slot: int) -> None:
        self.number = number
        self.start = start
        self.call_slot = call_slot
        self.regs: list[Value | None] = [None] * 11
        self.regs[10] = Pointer(Kind.STACK, frame=number)
        self.stack: list[Cell | None] = []
        self.callback: tuple[int, int] | None = None
        self.callback_depth = 0
        self.refs_before = 0
        self.lent = False

    def copy(self) -> Frame:
        """A copy that shares values."""
        twin = Frame.__new__(Frame)
        twin.number = self.number
        twin.start = self.start
        twin.call_slot = self.call_slot
        twin.regs = self.regs[:]
        twin.stack = self.stack[:]
        twin.callback = self.callback
        twin.callback_depth = self.callback_depth
        twin.refs_before = self.refs_before
        twin.lent = self.lent
        return twin

    def cell(self, index: int) -> Cell | None:
        """The cell, or None if it was never written."""
        return self.stack[index] if index < len(self.stack) else None

    def set_cell(self, index: int, cell: Cell) -> None:
        """Write a cell, growing the stack."""
        stack = self.stack
        while len(stack) <= index:
            stack.append(None)
        stack[index] = cell


@dataclass(frozen=True, slots=True)
class Sections:
    """Critical sections that are open: RCU read locks, regions without preemption.

    ``sleepable``: whether the callback that runs may sleep, whatever the program may; None: what the program may.
    """

    rcu: int = 0
    preempt: int = 0
    sleepable: bool | None = None


NO_SECTIONS = Sections()


class MachineState:
    """All that is known at one point of one path.

    Attributes:
        frames: the call stack, main program first.
        regs: registers of the top frame (the same list object).
        refs: open references: (id, slot that acquired it).
        may_goto_depth: how often may_goto was taken on this path.
        sections: critical sections that are open.
        irqs: saved interrupt flags that must be restored, the last one first: (id, slot that saved them).
        locks: locks that are held, the last taken last.
        async_depth: callbacks that run later (of timers and work) which set one another up to this one.
        secret: addresses must not be known: what was a pointer cannot be read as a number.
        speculative: only a CPU that runs ahead comes here, and takes everything back.
    """

    __slots__ = (
        "async_depth",
        "frames",
        "irqs",
        "locks",
        "may_goto_depth",
        "refs",
        "regs",
        "secret",
        "sections",
        "speculative",
    )

    def __init__(self, frames: list[Frame], refs: tuple[tuple[int, int], ...] = ()) -> None:
        self.frames = frames
        self.regs = frames[-1].regs
        self.refs = refs
        self.may_goto_depth = 0
        self.sections = NO_SECTIONS
        self.irqs: tuple[tuple[int, int], ...] = ()
        self.locks: tuple[Lock, ...] = ()
        self.async_depth = 0
        self.secret = False
        self.speculative = False

    def copy(self) -> MachineState:
        """A copy that shares values: list copies only."""
        twin = MachineState([frame.copy() for frame in self.frames], self.refs)
        twin.may_goto_depth = self.may_goto_depth
        twin.sections = self.sections
        twin.irqs = self.irqs
        twin.locks = self.locks
        twin.async_depth = self.async_depth
        twin.secret = self.secret
        twin.speculative = self.speculative
        return twin

    @property
    def frame(self) -> Frame:
        """The top frame."""
        return self.frames[-1]

    def push(self, frame: Frame) -> None:
        """Enter a frame."""
        self.frames.append(frame)
        self.regs = frame.regs

    def pop(self) -> Frame:
        """Leave the top frame."""
        frame = self.frames.pop()
        self.regs = self.frames[-1].regs
        return frame

    def forget(self, ref: int) -> None:
        """A reference is given back: what belongs to it is no pointer any more (kernel: release_reference)."""
        self.refs = tuple(item for item in self.refs if item[0] != ref)
        self.invalidate(lambda held: held.ref == ref)

    def invalidate(self, dies: Callable[[Pointer], bool]) -> None:
        """Some pointers are none any more, but a number that nobody knows; or nothing (kernel: mark_reg_invalid)."""
        if not self.secret:
            self.map_values(lambda held: unknown() if isinstance(held, Pointer) and dies(held) else held)
            return
        for frame in self.frames:
            for index, value in enumerate(frame.regs[:10]):
                if isinstance(value, Pointer) and dies(value):
                    frame.regs[index] = None
            for index, cell in enumerate(frame.stack):
                if cell is not None and isinstance(cell.value, Pointer) and dies(cell.value):
                    frame.stack[index] = made = Cell(ALL_INVALID)
                    made.links = (cell,)

    def map_values(self, change: Callable[[Value], Value]) -> None:
        """Replace values in all registers and spills: ``change(value)`` gives the new value, or the same object."""
        for frame in self.frames:
            regs = frame.regs
            for index in range(10):
                value = regs[index]
                if value is not None:
                    regs[index] = change(value)
            stack = frame.stack
            for index, cell in enumerate(stack):
                if cell is not None and cell.value is not None:
                    value = change(cell.value)
                    if value is not cell.value:
                        stack[index] = _respilled(cell, value)

    def values(self) -> Iterator[Value]:
        """All values in registers and spills."""
        for frame in self.frames:
            yield from (value for value in frame.regs if value is not None)
            yield from (cell.value for cell in frame.stack if cell is not None and cell.value is not None)


def _respilled(cell: Cell, value: Value) -> Cell:
    """A refined spill. Reads of the new cell count as reads of the old one, which earlier states hold."""
    twin = Cell(cell.types, value, cell.size, zero=cell.zero)
    twin.links = (cell,)
    return twin

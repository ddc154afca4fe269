"""A log in the kernel's format: what ``bpf(BPF_PROG_LOAD)`` with log_level 2 writes (kernel/bpf/verifier.c: do_check).

Instructions with the state after them, source lines, calls and returns, ``from 7 to 12:`` where another path is taken
up, ``safe`` where an earlier path covers it. The kernel's lines about precision (mark_precise) are not there: skep
tracks precision by data flow, not by walking back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from skep.abi.helpers import HELPERS
from skep.isa import opcodes as op
from skep.isa.disassembler import disassemble
from skep.isa.forms import registers_read, registers_written
from skep.isa.instruction import FuncRef, Instruction, slots
from skep.model.programs import LinkedProgram
from skep.verifier.explain.path import find_span
from skep.verifier.explain.state_text import frame_text, full_text
from skep.verifier.flow import cfg
from skep.verifier.flow.liveness import live_registers
from skep.verifier.options import MAX_INSNS
from skep.verifier.state.machine import MachineState
from skep.verifier.state.stack import Cell

_ALIGNMENT, _MIN_ALIGNMENT = 40, 8
_CALL = op.JMP | op.CALL
_EXIT = op.JMP | op.EXIT


class LogWriter:
    """A Listener that writes the log."""

    def __init__(self, linked: LinkedProgram, write: Callable[[str], object]) -> None:
        """The head of the log is written at once.

        Args:
            linked: must have passed the structural checks.
            write: takes text; line ends are in it.
        """
        self._linked = linked
        self._code = slots(linked.insns)
        self._write = write
        self._line: tuple[str, int] | None = None  # the source line shown last
        self._open = ""  # an instruction's line whose state is not known yet
        self._slot = -1
        self._frames = 0
        self._leaving = ""  # the callee's state where it returns
        self._from: int | None = None
        self._cells: list[Cell | None] = []
        self._head()

    def _head(self) -> None:
        for number, sub in enumerate(self._linked.subprograms):
            self._write(f"func#{number} @{sub.start}\n")
        flow = cfg.build(self._linked.insns, {sub.name: sub.start for sub in self._linked.subprograms})
        counts = {number: len(row.args) for number, row in HELPERS.items() if row.args is not None}
        live = live_registers(flow, counts)
        self._write("Live regs before insn:\n")
        for slot, insn in enumerate(self._code):
            if insn is not None:
                marks = "".join(str(reg) if live[slot] >> reg & 1 else "." for reg in range(10))
                self._write(f"{slot:7}: {marks} {self._text(insn)}\n")

    def _text(self, insn: Instruction) -> str:
        if isinstance(insn.ref, FuncRef):  # the kernel has the distance
            insn = replace(insn, ref=None)
        return f"({insn.opcode:02x}) {disassemble(insn, helper_names=_helper_name)}"

    def step(self, slot: int, state: MachineState) -> None:
        """Close the line of the instruction before, with the state after it; open this one's."""
        shown = self._close(slot, state)
        if self._from is not None:
            self._write(f"\nfrom {self._from} to {slot}:{full_text(state, state.frame)}\n")
            self._from = None
            shown = False
        if not shown:
            self._write(f"{slot}:{full_text(state, state.frame)}\n")
        self._source(slot)
        insn = self._code[slot]
        assert insn is not None
        self._open = f"{slot}: {self._text(insn)}"
        self._slot = slot
        self._frames = len(state.frames)
        self._cells = state.frame.stack[:]
        if insn.opcode == _EXIT and len(state.frames) > 1:
            self._leaving = full_text(state, state.frame)

    def _close(self, slot: int, state: MachineState) -> bool:
        """Finish the open line. False: the state at ``slot`` has not been shown."""
        if not self._open:
            return False
        line, self._open = self._open, ""
        insn = self._code[self._slot]
        assert insn is not None
        if len(state.frames) == self._frames:
            touched = {0} if insn.opcode == _CALL else registers_read(insn) | registers_written(insn)
            old = self._cells
            stack = state.frame.stack
            cells = [index for index, cell in enumerate(stack) if not _same(cell, old[index : index + 1])]
            text = frame_text(state, state.frame, touched, cells)
            if text.strip() and not text.endswith(":"):
                length = len(line) + 1
                column = -(-max(length + _MIN_ALIGNMENT // 2, _ALIGNMENT) // _MIN_ALIGNMENT) * _MIN_ALIGNMENT - 1
                line = f"{line:<{column - 1}};{text}"
            self._write(line + "\n")
            return True
        self._write(line + "\n")
        if len(state.frames) > self._frames:
            caller = state.frames[-2]
            self._write(f"caller:\n{full_text(state, caller)}\ncallee:\n{full_text(state, state.frame)}\n")
            return False
        self._write(f"returning from callee:\n{self._leaving}\nto caller at {slot}:\n{full_text(state, state.frame)}\n")
        self._write(f"\nfrom {self._slot} to {slot}:{full_text(state, state.frame)}\n")
        return True

    def _source(self, slot: int) -> None:
        span = find_span(self._linked, slot)
        if span is None or (span.file, span.line) == self._line:
            return
        self._line = (span.file, span.line)
        self._write(f"; {(span.text or '').strip()} @ {span.file.rsplit('/', 1)[-1]}:{span.line}\n")

    def resumed(self, trace: Sequence[int], slot: int, state: MachineState) -> None:
        """Another path."""
        self._flush()
        self._from = trace[-1]

    def covered(self, slot: int, state: MachineState) -> None:
        """``12: safe``."""
        self._flush()
        self._write(f"\nfrom {self._from} to {slot}: safe\n" if self._from is not None else f"{slot}: safe\n")
        self._from = None

    def _flush(self) -> None:
        if self._open:
            self._write(self._open + "\n")
            self._open = ""

    def finished(self, processed: int, states: int, sentence: str) -> None:
        """The sentence of a rejection, and the counts."""
        self._flush()
        if sentence:
            self._write(f"{sentence}\n")
        self._write(
            f"processed {processed} insns (limit {MAX_INSNS}) max_states_per_insn 0 total_states {states} "
            f"peak_states {states} mark_read 0\n"
        )


def _same(cell: Cell | None, before: Sequence[Cell | None]) -> bool:
    """Whether a cell holds what it held."""
    old = before[0] if before else None
    if cell is None or old is None:
        return cell is old
    return cell.types == old.types and cell.value is old.value and cell.object == old.object


def _helper_name(number: int) -> str | None:
    row = HELPERS.get(number)
    return row.name if row is not None else None

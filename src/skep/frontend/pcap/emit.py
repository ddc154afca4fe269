"""Graph to classic instructions: values into registers, what is there already not loaded again, jumps of any length."""

from __future__ import annotations

from dataclasses import dataclass, field

from skep.diagnostics import Diagnostic
from skep.errors import CompileError
from skep.frontend.pcap.conditions import Step
from skep.frontend.pcap.graph import ACCEPT, REJECT, Graph
from skep.frontend.pcap.values import Binary, Constant, HeaderLength, Load, Negative, PacketLength, Value
from skep.isa.classic import opcodes as op
from skep.isa.classic.instruction import ClassicInstruction as Insn

_NEAR = 253  # a conditional jump reaches 255 further; one or two long jumps may come between
_DIRECT_X = (Constant, HeaderLength, PacketLength)  # values that get into X without going through A


@dataclass(slots=True)
class Registers:
    """What A and X hold (None: not known), and the code that put it there."""

    a: Value | None = None
    x: Value | None = None
    code: list[Insn] = field(default_factory=list)
    cells: int = 0  # of M that are taken

    def put(self, code: int, k: int = 0) -> None:
        """Append an instruction."""
        self.code.append(Insn(code, 0, 0, k))

    def load_a(self, value: Value) -> None:
        """Make A hold a value."""
        if self.a == value:
            return
        match value:
            case Constant(number):
                self.put(op.LD | op.IMM, number)
            case PacketLength():
                self.put(op.LD | op.LEN)
            case HeaderLength():
                self.load_x(value)
                self.put(op.MISC | op.TXA)
            case Load(size, offset, None):
                self.put(op.LD | op.ABS | size, offset)
            case Load(size, offset, index):
                assert index is not None
                self.load_x(index)
                self.put(op.LD | op.IND | size, offset)
            case Negative(operand):
                self.load_a(operand)
                self.put(op.ALU | op.NEG)
            case Binary(code, left, Constant(number)):
                self.load_a(left)
                self.put(op.ALU | code | op.K, number)
            case Binary(code, left, right):
                self.load_both(left, right)
                self.put(op.ALU | code | op.X)
        self.a = value

    def load_x(self, value: Value) -> None:
        """Make X hold a value; A may change."""
        if self.x == value:
            return
        match value:
            case Constant(number):
                self.put(op.LDX | op.IMM, number)
            case PacketLength():
                self.put(op.LDX | op.LEN)
            case HeaderLength(offset):
                self.put(op.LDX | op.MSH | op.B, offset)
            case _:
                self.load_a(value)
                self.put(op.MISC | op.TAX)
        self.x = value

    def load_both(self, left: Value, right: Value) -> None:
        """A holds the left, X the right."""
        if isinstance(right, _DIRECT_X):
            self.load_a(left)
            self.load_x(right)
            return
        left_first = _cells(left) > _cells(right)
        self.load_a(left if left_first else right)
        cell = self.cells
        if cell == op.MEMORY_WORDS:
            what = f"the arithmetic needs more than {op.MEMORY_WORDS} memory cells"
            raise CompileError(Diagnostic("H0403", what, help="write it with fewer nested operations"))
        self.cells += 1
        self.put(op.ST, cell)
        self.load_a(right if left_first else left)
        if left_first:
            self.put(op.MISC | op.TAX)
            self.put(op.LD | op.MEM, cell)
        else:
            self.put(op.LDX | op.MEM, cell)
        self.a, self.x = left, right
        self.cells -= 1


def _cells(value: Value) -> int:
    """How many cells of M a value takes while it is computed, when the greedier operand goes first."""
    match value:
        case Load(index=index) if index is not None:
            return _cells(index)
        case Negative(operand):
            return _cells(operand)
        case Binary(_, left, right):
            left_cells = _cells(left)
            if isinstance(right, _DIRECT_X):
                return left_cells
            right_cells = _cells(right)
            return max(left_cells, right_cells, 1 + min(left_cells, right_cells))
        case _:
            return 0


def emit(graph: Graph, keep: int) -> tuple[Insn, ...]:
    """The program that returns ``keep`` for packets that match, and 0 for others."""
    order = graph.order()
    codes = _codes(graph, order)
    backwards: list[Insn] = []  # the program from its end, so that every target is placed before the jumps to it
    ends: dict[int, int] = {}  # target -> instructions from its first to the end

    def place(target: int, insns: list[Insn]) -> None:
        backwards.extend(reversed(insns))
        ends[target] = len(backwards)

    targets = {way for number in order for way in (graph.blocks[number].yes, graph.blocks[number].no)} | {graph.start}
    for target, k in ((REJECT, 0), (ACCEPT, keep)):
        if target in targets:
            place(target, [Insn(op.RET | op.K, 0, 0, k)])
    for number in reversed(order):
        block, (insns, jump) = graph.blocks[number], codes[number]
        after = len(backwards)
        is_far_no, is_far_yes = after - ends[block.no] > _NEAR, after - ends[block.yes] > _NEAR
        if is_far_no:
            backwards.append(Insn(op.JMP | op.JA, 0, 0, len(backwards) - ends[block.no]))
        if is_far_yes:
            backwards.append(Insn(op.JMP | op.JA, 0, 0, len(backwards) - ends[block.yes]))
        after = len(backwards)
        jt = 0 if is_far_yes else after - ends[block.yes]
        jf = int(is_far_yes) if is_far_no else after - ends[block.no]
        place(number, [*insns, Insn(jump.code, jt, jf, jump.k)])
    return tuple(reversed(backwards))


def _codes(graph: Graph, order: list[int]) -> dict[int, tuple[list[Insn], Insn]]:
    """The code of every block and its jump, using what the registers hold on every way to it."""
    arriving: dict[int, tuple[Value | None, Value | None]] = {graph.start: (None, None)}
    codes = {}
    for number in order:
        block = graph.blocks[number]
        registers = Registers(*arriving[number])
        test = block.test
        if isinstance(test, Step):
            registers = Registers(None, None, list(test.code))
            jump = Insn(op.JMP | op.JEQ | op.K, 0, 0, test.number)
        elif isinstance(test.right, Constant):
            registers.load_a(test.left)
            jump = Insn(op.JMP | test.code | op.K, 0, 0, test.right.value)
        else:
            registers.load_both(test.left, test.right)
            jump = Insn(op.JMP | test.code | op.X)
        codes[number] = registers.code, jump
        for way in (block.yes, block.no):
            held = arriving.get(way, (registers.a, registers.x))
            arriving[way] = (
                registers.a if held[0] == registers.a else None,
                registers.x if held[1] == registers.x else None,
            )
    return codes

"""Classic BPF to eBPF: a socket filter that any engine takes, as Linux does it inside (bpf_convert_filter()).

A is r0, X is r7, the context r6; M[] lies on the stack. Packet bytes are loaded with LD_ABS and LD_IND, whose rules are
the classic ones: big-endian, and outside the packet the program ends with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from skep.abi.contexts import CONTEXTS
from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic, Span
from skep.errors import UnsupportedError
from skep.frontend.pcap.compile import ClassicProgram
from skep.isa import opcodes as ebpf
from skep.isa.classic import opcodes as op
from skep.isa.classic.check import check
from skep.isa.classic.instruction import ClassicInstruction
from skep.isa.classic.interpreter import unsupported_extension
from skep.isa.classic.listing import listing
from skep.isa.instruction import Instruction
from skep.model.objects import ObjectSpec
from skep.model.programs import FunctionSpec, ProgramSpec

NAME = "filter"
_SECTION = "socket"
_A, _CTX, _X, _SAVED, _FRAME = 0, 6, 7, 8, 10
_SCRATCH = 1
_MAX_JUMP = 32767
_REJECT = -1  # a target: return 0

#: Linux's extensions -> field of __sk_buff, and whether it is in network byte order.
_FIELDS: Mapping[int, tuple[str, bool]] = {
    op.PROTOCOL: ("protocol", True),
    op.PKTTYPE: ("pkt_type", False),
    op.IFINDEX: ("ifindex", False),
    op.MARK: ("mark", False),
    op.QUEUE: ("queue_mapping", False),
    op.RXHASH: ("hash", False),
    op.VLAN_TAG: ("vlan_tci", False),
    op.VLAN_TAG_PRESENT: ("vlan_present", False),
    op.VLAN_TPID: ("vlan_proto", True),
}
_ALU = {
    op.ADD: ebpf.ADD, op.SUB: ebpf.SUB, op.MUL: ebpf.MUL, op.DIV: ebpf.DIV, op.OR: ebpf.OR, op.AND: ebpf.AND,
    op.LSH: ebpf.LSH, op.RSH: ebpf.RSH, op.MOD: ebpf.MOD, op.XOR: ebpf.XOR,
}  # fmt: skip
_JUMPS = {op.JEQ: ebpf.JEQ, op.JGT: ebpf.JGT, op.JGE: ebpf.JGE, op.JSET: ebpf.JSET}
_OPPOSITE = {op.JEQ: ebpf.JNE, op.JGT: ebpf.JLE, op.JGE: ebpf.JLT}


def translate(program: ClassicProgram) -> ObjectSpec:
    """An object with one socket filter, named ``filter``: what it returns is what the classic program returns.

    Raises:
        InputError: H0501: it is not a legal classic program.
        UnsupportedError: H0503: a Linux extension that no program can ask for; H0505: it is too long for eBPF's jumps.
    """
    check(program.insns)
    insns, starts = _Translation(program.insns).run()
    texts = listing(program.insns).split("\n")
    lines = {start: Span("filter", at + 1, text=texts[at].expandtabs()) for at, start in starts.items()}
    function = FunctionSpec(NAME, _SECTION, insns, is_global=True, lines=lines)
    return ObjectSpec(
        name=NAME,
        byte_order="little",
        license="GPL",
        maps={},
        programs={NAME: ProgramSpec(NAME, function, _SECTION, ProgType.SOCKET_FILTER)},
        functions={NAME: function},
        variables={},
        externs={},
    )


class _Translation:
    """The state of one translation; targets are numbers of classic instructions until all is placed."""

    def __init__(self, program: Sequence[ClassicInstruction]) -> None:
        self.program = program
        self.insns: list[Instruction] = []
        self.jumps: dict[int, int] = {}  # place of a jump -> its target
        self.starts: dict[int, int] = {}  # classic instruction that can be reached -> place of its first
        self.reached, self.small_x = _flow(program)
        self.at = 0

    def run(self) -> tuple[tuple[Instruction, ...], dict[int, int]]:
        """The code, and where each classic instruction begins in it."""
        self._prologue()
        for at, insn in enumerate(self.program):
            if not self.reached[at]:
                continue  # verifiers refuse dead code
            self.at, self.starts[at] = at, len(self.insns) if at else 0
            _CLASSES[insn.code & op.CLASS_MASK](self, insn)
        reject = len(self.insns)
        if _REJECT in self.jumps.values():
            self._return(0)
        for place, target in self.jumps.items():
            distance = (reject if target == _REJECT else self.starts[target]) - place - 1
            if distance > _MAX_JUMP:
                what = f"the filter jumps over {distance} eBPF instructions, more than {_MAX_JUMP}"
                raise UnsupportedError(Diagnostic("H0505", what, help="split the expression, or use a map"))
            old = self.insns[place]
            self.insns[place] = Instruction(old.opcode, old.dst, old.src, distance, old.imm)
        return tuple(self.insns), self.starts

    def _prologue(self) -> None:
        self._put(ebpf.ALU64 | ebpf.MOV | ebpf.X, _CTX, _SCRATCH)
        self._put(ebpf.ALU | ebpf.MOV | ebpf.K, _A)
        self._put(ebpf.ALU | ebpf.MOV | ebpf.K, _X)
        for cell in _cells_read(self.program):
            self._put(ebpf.ST | ebpf.MEM | ebpf.W, _FRAME, 0, _cell(cell))

    # ---- appending ----

    def _put(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.insns.append(Instruction(opcode, dst, src, off, imm - (1 << 32) if imm >> 31 == 1 else imm))

    def _jump(self, target: int, opcode: int = ebpf.JMP | ebpf.JA, dst: int = 0, src: int = 0, imm: int = 0) -> None:
        self.jumps[len(self.insns)] = target
        self._put(opcode, dst, src, 0, imm)

    def _return(self, k: int) -> None:
        self._put(ebpf.ALU | ebpf.MOV | ebpf.K, _A, imm=k)
        self._put(ebpf.JMP | ebpf.EXIT)

    def _move(self, dst: int, src: int) -> None:
        self._put(ebpf.ALU | ebpf.MOV | ebpf.X, dst, src)

    # ---- one method per class ----

    def load(self, insn: ClassicInstruction) -> None:
        """LD and LDX."""
        register = _A if insn.code & op.CLASS_MASK == op.LD else _X
        mode, k = insn.code & op.MODE_MASK, insn.k
        if mode == op.IMM:
            self._put(ebpf.ALU | ebpf.MOV | ebpf.K, register, imm=k)
        elif mode == op.MEM:
            self._put(ebpf.LDX | ebpf.MEM | ebpf.W, register, _FRAME, _cell(k))
        elif mode == op.LEN:
            self._field("len", register)
        elif _rejects(insn):
            self._jump(_REJECT)
        elif mode == op.MSH:
            self._header_length(k)
        elif mode == op.ABS and k >= op.LINK_OFFSETS:
            self._extension(k)
        elif mode == op.ABS:
            self._put(ebpf.LD | ebpf.ABS | insn.code & op.SIZE_MASK, imm=k)
        else:
            self._indexed(insn)

    def _indexed(self, insn: ClassicInstruction) -> None:
        """LD_IND adds in 32 bits and takes sums from 2**31 on for something else: they are outside every packet."""
        if not self.small_x[self.at] or insn.k >= op.NEGATIVE - (1 << 16):
            self._put(ebpf.ALU64 | ebpf.MOV | ebpf.X, _SCRATCH, _X)
            self._put(ebpf.ALU64 | ebpf.ADD | ebpf.K, _SCRATCH, imm=insn.k)
            self._jump(_REJECT, ebpf.JMP | ebpf.JGT | ebpf.K, _SCRATCH, imm=op.NEGATIVE - 1)
        self._put(ebpf.LD | ebpf.IND | insn.code & op.SIZE_MASK, 0, _X, imm=insn.k)

    def _header_length(self, k: int) -> None:
        self._move(_SAVED, _A)
        self._put(ebpf.LD | ebpf.ABS | ebpf.B, imm=k)
        self._put(ebpf.ALU | ebpf.AND | ebpf.K, _A, imm=15)
        self._put(ebpf.ALU | ebpf.LSH | ebpf.K, _A, imm=2)
        self._move(_X, _A)
        self._move(_A, _SAVED)

    def _field(self, name: str, register: int) -> None:
        (field,) = (field for field in CONTEXTS[ProgType.SOCKET_FILTER].fields if field.name == name)
        self._put(ebpf.LDX | ebpf.MEM | ebpf.W, register, _CTX, field.offset)

    def _extension(self, k: int) -> None:
        number = k - op.ANCILLARY
        if number == op.ALU_XOR_X:
            self._put(ebpf.ALU | ebpf.XOR | ebpf.X, _A, _X)
            return
        if number not in _FIELDS:
            raise unsupported_extension(k)
        name, is_network_order = _FIELDS[number]
        self._field(name, _A)
        if is_network_order:
            self._put(ebpf.ALU | ebpf.END | ebpf.X, _A, imm=16)

    def store(self, insn: ClassicInstruction) -> None:
        """ST and STX."""
        register = _A if insn.code & op.CLASS_MASK == op.ST else _X
        self._put(ebpf.STX | ebpf.MEM | ebpf.W, _FRAME, register, _cell(insn.k))

    def arithmetic(self, insn: ClassicInstruction) -> None:
        """ALU, in 32 bits."""
        code = insn.code & op.OP_MASK
        if code == op.NEG:
            self._put(ebpf.ALU | ebpf.NEG, _A)
        elif not insn.code & op.X:
            self._put(ebpf.ALU | _ALU[code] | ebpf.K, _A, imm=insn.k)
        elif code in (op.LSH, op.RSH):  # eBPF would mask the amount
            self._put(ebpf.JMP32 | ebpf.JLE | ebpf.K, _X, off=2, imm=31)
            self._put(ebpf.ALU | ebpf.MOV | ebpf.K, _A)
            self._put(ebpf.JMP | ebpf.JA, off=1)
            self._put(ebpf.ALU | _ALU[code] | ebpf.X, _A, _X)
        else:
            if code in (op.DIV, op.MOD):
                self._jump(_REJECT, ebpf.JMP32 | ebpf.JEQ | ebpf.K, _X)
            self._put(ebpf.ALU | _ALU[code] | ebpf.X, _A, _X)

    def jump(self, insn: ClassicInstruction) -> None:
        """JMP: eBPF has one way out of a jump, the other goes on."""
        code, following = insn.code & op.OP_MASK, self.at + 1
        if code == op.JA:
            self._go(following + insn.k)
            return
        yes, no = following + insn.jt, following + insn.jf
        source = ebpf.X if insn.code & op.X else ebpf.K
        operands = (_A, _X, 0) if insn.code & op.X else (_A, 0, insn.k)
        if yes == following and no != following and code in _OPPOSITE:
            self._jump(no, ebpf.JMP32 | _OPPOSITE[code] | source, *operands)
            return
        if yes != no:
            self._jump(yes, ebpf.JMP32 | _JUMPS[code] | source, *operands)
        self._go(no)

    def _go(self, target: int) -> None:
        if target != self.at + 1:
            self._jump(target)

    def leave(self, insn: ClassicInstruction) -> None:
        """RET."""
        if insn.code & op.RET_A:
            self._put(ebpf.JMP | ebpf.EXIT)
        else:
            self._return(insn.k)

    def misc(self, insn: ClassicInstruction) -> None:
        """TAX and TXA."""
        if insn.code & op.TXA:
            self._move(_A, _X)
        else:
            self._move(_X, _A)


_CLASSES: Mapping[int, Callable[[_Translation, ClassicInstruction], None]] = {
    op.LD: _Translation.load,
    op.LDX: _Translation.load,
    op.ST: _Translation.store,
    op.STX: _Translation.store,
    op.ALU: _Translation.arithmetic,
    op.JMP: _Translation.jump,
    op.RET: _Translation.leave,
    op.MISC: _Translation.misc,
}


def _cell(number: int) -> int:
    """Where M[number] is, from the frame pointer."""
    return -4 * (number + 1)


def _cells_read(program: Sequence[ClassicInstruction]) -> list[int]:
    """Memory that is read somewhere: it must hold 0 at the start."""
    return sorted(
        {i.k for i in program if i.code & op.CLASS_MASK in (op.LD, op.LDX) and i.code & op.MODE_MASK == op.MEM}
    )


def _rejects(insn: ClassicInstruction) -> bool:
    """A load that is outside every packet."""
    klass, mode = insn.code & op.CLASS_MASK, insn.code & op.MODE_MASK
    if insn.k < op.NEGATIVE or klass not in (op.LD, op.LDX) or mode not in (op.ABS, op.IND, op.MSH):
        return False
    return mode != op.ABS or insn.k < op.LINK_OFFSETS


def _flow(program: Sequence[ClassicInstruction]) -> tuple[list[bool], list[bool]]:
    """For each instruction: whether it can be reached, and whether X is then below 2**16 on every way to it."""
    small = [True] * (len(program) + 1)
    reached = [True] + [False] * len(program)

    def arrive(target: int, is_small: bool) -> None:
        small[target] = is_small and (small[target] or not reached[target])
        reached[target] = True

    for at, insn in enumerate(program):
        after, klass = small[at], insn.code & op.CLASS_MASK
        if not reached[at] or klass == op.RET or _rejects(insn):
            continue
        if klass == op.LDX:
            mode = insn.code & op.MODE_MASK
            after = mode == op.MSH or (mode == op.IMM and insn.k < 1 << 16)
        elif klass == op.MISC and not insn.code & op.TXA:
            after = False
        if klass == op.JMP and insn.code & op.OP_MASK == op.JA:
            arrive(at + 1 + insn.k, after)
        elif klass == op.JMP:
            arrive(at + 1 + insn.jt, after)
            arrive(at + 1 + insn.jf, after)
        else:
            arrive(at + 1, after)
    return reached, small

"""Classic programs, one instruction at a time: the meaning that everything else is compared with.

As libpcap's bpf_filter() and Linux agree on it: numbers have 32 bits and are unsigned; a load outside the packet, and a
division by zero, end the program with 0. Where the two differ (a shift by X of 32 and more) it is libpcap's: 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError
from skep.isa.classic import opcodes as op
from skep.isa.classic.instruction import ClassicInstruction

_MASK = 0xFFFFFFFF

#: Fields of a packet that Linux's extensions read, by SKF_AD_* number: those that have a meaning in a capture.
METADATA = frozenset(
    {
        op.PROTOCOL, op.PKTTYPE, op.IFINDEX, op.MARK, op.QUEUE, op.RXHASH, op.VLAN_TAG, op.VLAN_TAG_PRESENT,
        op.VLAN_TPID,
    }
)  # fmt: skip

_ALU: Mapping[int, Callable[[int, int], int]] = {
    op.ADD: lambda a, b: a + b,
    op.SUB: lambda a, b: a - b,
    op.MUL: lambda a, b: a * b,
    op.DIV: lambda a, b: a // b,
    op.OR: lambda a, b: a | b,
    op.AND: lambda a, b: a & b,
    op.LSH: lambda a, b: a << b if b < 32 else 0,
    op.RSH: lambda a, b: a >> b if b < 32 else 0,
    op.NEG: lambda a, b: -a,
    op.MOD: lambda a, b: a % b,
    op.XOR: lambda a, b: a ^ b,
}
_JUMPS: Mapping[int, Callable[[int, int], bool]] = {
    op.JEQ: lambda a, b: a == b,
    op.JGT: lambda a, b: a > b,
    op.JGE: lambda a, b: a >= b,
    op.JSET: lambda a, b: bool(a & b),
}


def run(
    program: Sequence[ClassicInstruction],
    packet: bytes,
    wire_length: int | None = None,
    metadata: Mapping[int, int] | None = None,
) -> int:
    """Run a checked program (:func:`~skep.isa.classic.check.check`) on one packet.

    Args:
        packet: the captured bytes.
        wire_length: what ``len`` says: bytes of the packet before it was cut; default: those captured.
        metadata: what Linux's extensions read, by SKF_AD_* number; default 0.

    Returns:
        How many bytes to keep; 0: the packet does not match.

    Raises:
        UnsupportedError: H0503: an extension that means nothing without a kernel.
    """
    a = x = pc = 0
    length = len(packet) if wire_length is None else wire_length
    cells = [0] * op.MEMORY_WORDS
    while True:
        insn = program[pc]
        pc += 1
        code, k = insn.code, insn.k
        klass = code & op.CLASS_MASK
        if klass == op.RET:
            return a if code & op.RET_A else k
        if klass == op.JMP:
            if code & op.OP_MASK == op.JA:
                pc += k
            else:
                holds = _JUMPS[code & op.OP_MASK](a, x if code & op.X else k)
                pc += insn.jt if holds else insn.jf
        elif klass == op.ALU:
            operand = x if code & op.X else k
            operation = code & op.OP_MASK
            if operation in (op.DIV, op.MOD) and operand == 0:
                return 0
            a = _ALU[operation](a, operand) & _MASK
        elif klass == op.ST:
            cells[k] = a
        elif klass == op.STX:
            cells[k] = x
        elif klass == op.MISC:
            if code & op.TXA:
                a = x
            else:
                x = a
        elif klass == op.LD and code & op.MODE_MASK == op.ABS and k >= op.LINK_OFFSETS:
            a = extension(k, a, x, metadata or {})
        else:
            value = _load(code, k, x, packet, length, cells)
            if value is None:
                return 0
            if klass == op.LD:
                a = value
            else:
                x = value


def _load(code: int, k: int, x: int, packet: bytes, length: int, cells: Sequence[int]) -> int | None:
    """LD and LDX: a value, or None outside the packet."""
    mode = code & op.MODE_MASK
    if mode == op.IMM:
        return k
    if mode == op.MEM:
        return cells[k]
    if mode == op.LEN:
        return length & _MASK
    start = k + x if mode == op.IND else k
    end = start + op.SIZE_BYTES[code & op.SIZE_MASK]
    if end > len(packet):
        return None
    value = int.from_bytes(packet[start:end], "big")
    return (value & 15) << 2 if mode == op.MSH else value


def extension(k: int, a: int, x: int, metadata: Mapping[int, int]) -> int:
    """A load from one of Linux's offsets that are no packet bytes (SKF_AD_OFF and below).

    Raises:
        UnsupportedError: H0503: it means nothing without a kernel, or is none.
    """
    number = k - op.ANCILLARY
    if number == op.ALU_XOR_X:
        return a ^ x
    if number in METADATA:
        return metadata.get(number, 0) & _MASK
    raise unsupported_extension(k)


def unsupported_extension(k: int) -> UnsupportedError:
    """The error for an extension that skep does not run."""
    name = op.ANCILLARY_NAMES.get(k - op.ANCILLARY)
    said = f"the Linux extension '{name}'" if name else f"a load at offset {k - (1 << 32)}"
    return UnsupportedError(
        Diagnostic(
            "H0503",
            f"{said} cannot be run here",
            why=("it asks the running kernel about the packet, not the packet's bytes",),
            help="attach the program to a socket, or compile the filter for a capture (no live extensions)",
        )
    )

"""What a classic program must keep to before it runs (bpf_check_classic() of Linux, bpf_validate() of libpcap)."""

from __future__ import annotations

from collections.abc import Sequence

from skep.diagnostics import Diagnostic
from skep.errors import InputError
from skep.isa.classic import opcodes as op
from skep.isa.classic.instruction import FORMS, ClassicInstruction, is_conditional

LIMIT = 1 << 16  # instructions; Linux takes op.MAX_INSNS


def check(program: Sequence[ClassicInstruction]) -> None:
    """Raise InputError (H0501) for the first instruction that breaks a rule.

    Jumps go forward and stay inside, so every program ends; divisors and shifts that are constants make sense; memory
    cells exist; the last instruction returns.
    """
    if not program:
        raise _fault("the program has no instructions", None)
    if len(program) > LIMIT:
        raise _fault(f"the program has {len(program)} instructions, more than {LIMIT}", None)
    for at, insn in enumerate(program):
        what = _broken(insn, at, len(program))
        if what is not None:
            raise _fault(what, at)
    if program[-1].code & op.CLASS_MASK != op.RET:
        raise _fault("the last instruction does not return", len(program) - 1)


def _broken(insn: ClassicInstruction, at: int, length: int) -> str | None:
    code, k = insn.code, insn.k
    if not (0 <= code <= 0xFFFF and 0 <= insn.jt <= 255 and 0 <= insn.jf <= 255 and 0 <= k <= 0xFFFFFFFF):
        return "a field does not fit its width"
    if code not in FORMS:
        return f"there is no instruction 0x{code:x}"
    klass = code & op.CLASS_MASK
    if klass == op.ALU and code & op.SOURCE_MASK == op.K:
        if code & op.OP_MASK in (op.DIV, op.MOD) and k == 0:
            return "it divides by zero"
        if code & op.OP_MASK in (op.LSH, op.RSH) and k >= 32:
            return f"it shifts by {k} bits, more than 31"
    is_cell = klass in (op.ST, op.STX) or (klass in (op.LD, op.LDX) and code & op.MODE_MASK == op.MEM)
    if is_cell and k >= op.MEMORY_WORDS:
        return f"there is no memory cell M[{k}]: they are M[0] to M[{op.MEMORY_WORDS - 1}]"
    if klass == op.JMP:
        furthest = max(insn.jt, insn.jf) if is_conditional(code) else k
        if at + 1 + furthest >= length:
            return f"it jumps to instruction {at + 1 + furthest}, but the last is {length - 1}"
    return None


def _fault(what: str, at: int | None) -> InputError:
    place = f"instruction {at}: " if at is not None else ""
    return InputError(Diagnostic("H0501", f"not a classic BPF program: {place}{what}", insn=at))

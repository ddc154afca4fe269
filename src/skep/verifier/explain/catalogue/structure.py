"""V01: the text of a program."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.flow.structure import Flaw

_COMPILER = "code from a C compiler never has this; check the assembly, or the tool that changed the object"

ENTRIES = (
    Entry("V0101", Flaw.EMPTY, "the program has no instructions", help="give it at least `return 0;`"),
    Entry(
        "V0102",
        Flaw.TOO_LARGE,
        "the program is too large",
        ("the program has {insns} instructions, more than 1,000,000",),
        help="split it into programs that tail-call each other, or move repeated code into functions",
        said_by_kernel=False,
    ),
    Entry(
        "V0103",
        Flaw.TOO_MANY_SUBPROGRAMS,
        "the program has more than 256 functions",
        help="mark small functions `static __always_inline`",
    ),
    Entry(
        "V0104",
        Flaw.OPCODE,
        "there is no such instruction",
        ("there is no instruction with opcode {opcode_hex}",),
        why=("Linux 6.18 does not know it either",),
        help="compile for an older instruction set (`--target-cpu v3`), or check the tool that made the object",
    ),
    Entry(
        "V0105",
        Flaw.RESERVED_FIELD,
        "a field of the instruction that must be zero is not",
        ("a field of the instruction has a value that it must not have: {fields}",),
        why=("reserved fields are kept for later versions of the instruction set (RFC 9669 section 3)",),
        help=_COMPILER,
    ),
    Entry(
        "V0106",
        Flaw.REGISTER_NUMBER,
        "the instruction names a register that does not exist",
        why=("programs have r0 to r10",),
        help=_COMPILER,
    ),
    Entry(
        "V0107",
        Flaw.JUMP_RANGE,
        "a jump leaves its function",
        ("the jump goes to instruction {target}, which is not in this function",),
        help=_COMPILER,
    ),
    Entry(
        "V0108",
        Flaw.JUMP_MIDDLE,
        "a jump goes into the middle of a 64-bit constant",
        ("the jump goes to slot {target}, the second half of a 64-bit constant",),
        why=("LD_IMM64 takes two slots; jumps count slots",),
        help=_COMPILER,
    ),
    Entry(
        "V0109",
        Flaw.CALL_TARGET,
        "a call goes to a place where no function can start",
        ("the call goes to slot {target}, where no function can start",),
        help="relink the object: `skep build` does, or `bpftool gen object`",
    ),
    Entry(
        "V0110",
        Flaw.LAST_INSN,
        "control can run over the end of a function",
        why=("the last instruction of a function must be exit or an unconditional jump",),
        help="return on every path; after a function that never returns, the compiler drops the `return`: add one",
    ),
    Entry(
        "V0111",
        Flaw.UNREACHABLE,
        "no path leads to this instruction",
        why=("Linux refuses code that nothing can reach: it would not be checked",),
        help="remove it; compile with -O2, which does",
    ),
    Entry(
        "V0112",
        Flaw.CALL_CHAIN,
        "calls nest too deep",
        ("calls nest {frames} deep; 8 is the limit",),
        why=("the chain of functions starts at instructions {chain}",),
        help="mark functions in the middle of the chain `static __always_inline`",
    ),
    Entry(
        "V0113",
        Flaw.RECURSION,
        "a function calls itself",
        ("a function calls itself, directly or through others",),
        why=("the chain of functions starts at instructions {chain}", "the stack must have a known size"),
        help="write it as a loop with a bound: `for (int i = 0; i < 16; i++)`, or use bpf_loop()",
    ),
    Entry(
        "V0114",
        Flaw.DIVISION_BY_ZERO,
        "division by the constant 0",
        help="the divisor comes from a constant expression: correct it",
    ),
    Entry(
        "V0115",
        Flaw.SHIFT_AMOUNT,
        "shift by more bits than there are",
        ("shift by {amount} in {width} bits",),
        why=("Linux refuses it; RFC 9669 would use only the low bits of the amount",),
        help="shift by 0 to {max_amount}; for a wider result, widen first: `(__u64)x << 40`",
    ),
    Entry(
        "V0116",
        Flaw.FRAME_POINTER,
        "r10 is written",
        why=("r10 is the frame pointer: programs only read it",),
        help="copy it first: `r1 = r10`, then change the copy",
    ),
)

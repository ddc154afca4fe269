"""THE table of legal encodings: one row per instruction form (RFC 9669 sections 4 and 5, and what Linux added since).

Decoder, assembler, disassembler, the structural check and the liveness analysis all read these rows. A row says which
opcode it has, what each field may hold, how the kernel prints it (kernel/bpf/disasm.c, Linux 6.18), how the ``.data``
conformance cases spell it, which ISA version brought it, and which registers it reads and writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction


class Role(StrEnum):
    """What a field of an instruction stands for. A field that is not a Role is the only number allowed there."""

    REGISTER = "register"  # r0..r10
    DISPLACEMENT = "displacement"  # signed bytes, added to an address
    JUMP = "jump"  # signed slots, from the next instruction
    IMMEDIATE = "immediate"
    IMMEDIATE64 = "immediate64"
    LOW_WORD = "low_word"  # a 64-bit immediate whose upper word is reserved
    INDEX = "index"  # of a BTF file descriptor (calls of kernel functions in modules)


@dataclass(frozen=True, slots=True)
class Form:
    """One legal encoding.

    Attributes:
        name: unique, stable: ``add64_imm``.
        opcode: the first byte.
        dst, src, off, imm: the Role of each field, or the only value it may have (0: reserved).
        text: the kernel's text, with placeholders ``{dst} {src} {off} {imm} ...`` (see disassembler.py).
        data: spellings in the conformance cases, same placeholders.
        isa_version: LLVM's -mcpu=vN that brought it.
        group: conformance group of RFC 9669 section 2.4, or "linux" for what only Linux has.
        since: the kernel version from which Linux accepts it, (major, minor); None: Linux never does.
        reads, writes: registers, as "dst", "src" or "r0"; calls and legacy packet loads: see `clobbers`.
        clobbers: it leaves r1-r5 (and r0) unusable or redefined, as calls do.
    """

    name: str
    opcode: int
    dst: Role | int
    src: Role | int
    off: Role | int
    imm: Role | int
    text: str
    data: tuple[str, ...]
    isa_version: int
    group: str
    since: tuple[int, int] | None
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    clobbers: bool = False

    def fits(self, insn: Instruction) -> bool:
        """Does this instruction, of this opcode, hold only what the form allows?"""
        return (
            _fits(self.dst, insn.dst)
            and _fits(self.src, insn.src)
            and _fits(self.off, insn.off)
            and _fits(self.imm, insn.imm)
        )


def _fits(role: Role | int, value: int) -> bool:
    if isinstance(role, Role):
        if role is Role.REGISTER:
            return 0 <= value <= 10
        if role is Role.LOW_WORD:
            return 0 <= value < 1 << 32
        return value >= 0 if role is Role.INDEX else True
    return value == role


REG, OFF, JUMP, IMM, IMM64, LOW_WORD, INDEX = (
    Role.REGISTER,
    Role.DISPLACEMENT,
    Role.JUMP,
    Role.IMMEDIATE,
    Role.IMMEDIATE64,
    Role.LOW_WORD,
    Role.INDEX,
)

# code, kernel's operator, mnemonic.
_ALU = (
    (op.ADD, "+=", "add"),
    (op.SUB, "-=", "sub"),
    (op.MUL, "*=", "mul"),
    (op.DIV, "/=", "div"),
    (op.OR, "|=", "or"),
    (op.AND, "&=", "and"),
    (op.LSH, "<<=", "lsh"),
    (op.RSH, ">>=", "rsh"),
    (op.MOD, "%=", "mod"),
    (op.XOR, "^=", "xor"),
    (op.MOV, "=", "mov"),
    (op.ARSH, "s>>=", "arsh"),
)
_SIGNED_ALU = ((op.DIV, "s/=", "sdiv"), (op.MOD, "s%=", "smod"))
# class, register letter, width in bits, suffixes in the conformance cases.
_ALU_CLASSES = ((op.ALU64, "r", 64, ("", "64")), (op.ALU, "w", 32, ("32",)))
_DIVISION = frozenset({op.MUL, op.DIV, op.MOD})


def _spell(stems: str, suffixes: tuple[str, ...], operands: str) -> tuple[str, ...]:
    return tuple(f"{stem}{suffix} {operands}" for stem in stems.split() for suffix in suffixes)


def _alu() -> Iterator[Form]:
    """Section 4.1: arithmetic; off = 1 makes division and modulo signed (v4)."""
    rows = [(*row, 0, 1, (3, 15)) for row in _ALU] + [(*row, 1, 4, (6, 6)) for row in _SIGNED_ALU]
    for klass, r, bits, suffixes in _ALU_CLASSES:
        for code, sign, word, off, version, since in rows:
            group = f"{'divmul' if code in _DIVISION else 'base'}{bits}"
            old = () if code == op.MOV else ("dst",)
            yield Form(
                f"{word}{bits}_imm", klass | code | op.K, REG, 0, off, IMM, f"{r}{{dst}} {sign} {{imm}}",
                _spell(word, suffixes, "%r{dst}, {imm}"), version, group, since, old, ("dst",),
            )  # fmt: skip
            yield Form(
                f"{word}{bits}_reg", klass | code | op.X, REG, REG, off, 0, f"{r}{{dst}} {sign} {r}{{src}}",
                _spell(word, suffixes, "%r{dst}, %r{src}"), version, group, since, (*old, "src"), ("dst",),
            )  # fmt: skip
        yield Form(
            f"neg{bits}", klass | op.NEG, REG, 0, 0, 0, f"{r}{{dst}} = -{r}{{dst}}", _spell("neg", suffixes, "%r{dst}"),
            1, f"base{bits}", (3, 15), ("dst",), ("dst",),
        )  # fmt: skip
        for source in (8, 16, 32)[: 3 if bits == 64 else 2]:
            yield Form(
                f"movsx{source}_{bits}", klass | op.MOV | op.X, REG, REG, source, 0,
                f"{r}{{dst}} = (s{source}){r}{{src}}", (f"movsx{source}{bits} %r{{dst}}, %r{{src}}",),
                4, f"base{bits}", (6, 6), ("src",), ("dst",),
            )  # fmt: skip
    yield Form(
        "addr_space_cast", op.ALU64 | op.MOV | op.X, REG, REG, 1, IMM, "r{dst} = addr_space_cast(r{src}, {to}, {from})",
        (), 4, "linux", (6, 9), ("src",), ("dst",),
    )  # fmt: skip


def _byte_order() -> Iterator[Form]:
    """Section 4.2: byte swaps."""
    for name, opcode, words, version, since in (
        ("le", op.ALU | op.END | op.K, "le", 1, (3, 15)),
        ("be", op.ALU | op.END | op.X, "be", 1, (3, 15)),
        ("bswap", op.ALU64 | op.END | op.K, "bswap swap", 4, (6, 6)),
    ):
        for bits in (16, 32, 64):
            group = "base64" if bits == 64 or name == "bswap" else "base32"
            yield Form(
                f"{name}{bits}", opcode, REG, 0, 0, bits, f"r{{dst}} = {name}{bits} r{{dst}}",
                _spell(words, (str(bits),), "%r{dst}"), version, group, since, ("dst",), ("dst",),
            )  # fmt: skip


# code, kernel's operator, mnemonic, ISA version of the 64-bit comparison, kernel.
_JUMPS = (
    (op.JEQ, "==", "jeq", 1, (3, 15)),
    (op.JGT, ">", "jgt", 1, (3, 15)),
    (op.JGE, ">=", "jge", 1, (3, 15)),
    (op.JSET, "&", "jset", 1, (3, 15)),
    (op.JNE, "!=", "jne", 1, (3, 15)),
    (op.JSGT, "s>", "jsgt", 1, (3, 15)),
    (op.JSGE, "s>=", "jsge", 1, (3, 15)),
    (op.JLT, "<", "jlt", 2, (4, 14)),
    (op.JLE, "<=", "jle", 2, (4, 14)),
    (op.JSLT, "s<", "jslt", 2, (4, 14)),
    (op.JSLE, "s<=", "jsle", 2, (4, 14)),
)


def _jumps() -> Iterator[Form]:
    """Section 4.3: jumps, comparisons, calls."""
    for klass, r, suffixes, bits in ((op.JMP, "r", ("", "64"), 64), (op.JMP32, "w", ("32",), 32)):
        for code, sign, word, isa, kernel in _JUMPS:
            version, since = (isa, kernel) if bits == 64 else (3, (5, 1))
            yield Form(
                f"{word}{bits}_imm", klass | code | op.K, REG, 0, JUMP, IMM,
                f"if {r}{{dst}} {sign} {{uimm}} goto {{jump}}", _spell(word, suffixes, "%r{dst}, {imm}, {jump}"),
                version, f"base{bits}", since, ("dst",),
            )  # fmt: skip
            yield Form(
                f"{word}{bits}_reg", klass | code | op.X, REG, REG, JUMP, 0,
                f"if {r}{{dst}} {sign} {r}{{src}} goto {{jump}}", _spell(word, suffixes, "%r{dst}, %r{src}, {jump}"),
                version, f"base{bits}", since, ("dst", "src"),
            )  # fmt: skip
    old = (3, 15)
    yield Form("ja", op.JMP | op.JA, 0, 0, JUMP, 0, "goto {jump}", ("ja {jump}",), 1, "base64", old)
    yield Form("gotol", op.JMP32 | op.JA, 0, 0, 0, JUMP, "gotol {jump32}", ("ja32 {jump32}",), 4, "base32", (6, 6))
    yield Form("gotox", op.JMP | op.JA | op.X, REG, 0, 0, 0, "gotox r{dst}", (), 4, "linux", (6, 19), ("dst",))
    yield Form("may_goto", op.JMP | op.JCOND, 0, 0, JUMP, 0, "may_goto {jump}", (), 4, "linux", (6, 9))
    yield Form("exit", op.JMP | op.EXIT, 0, 0, 0, 0, "exit", ("exit",), 1, "base64", old, ("r0",))
    yield Form(
        "call_helper", op.JMP | op.CALL, 0, op.CALL_HELPER, 0, IMM, "call {helper}#{imm}", ("call {imm}",), 1, "base64",
        old, (), ("r0",), True,
    )  # fmt: skip
    yield Form(
        "call_local", op.JMP | op.CALL, 0, op.CALL_LOCAL, 0, JUMP, "call {jump32}", ("call local {jump32}",), 1,
        "base64", (4, 16), (), ("r0",), True,
    )  # fmt: skip
    yield Form(
        "call_kfunc", op.JMP | op.CALL, 0, op.CALL_KFUNC, INDEX, IMM, "call kernel-function#{imm}", (), 1, "base64",
        (5, 13), (), ("r0",), True,
    )  # fmt: skip
    yield Form(
        "callx", op.JMP | op.CALL | op.X, REG, 0, 0, 0, "callx r{dst}", ("call %r{dst}",), 1, "callx", None, ("dst",),
        ("r0",), True,
    )  # fmt: skip


# size, kernel's type, bytes, letter in the conformance cases.
_SIZES = ((op.B, "8", "b"), (op.H, "16", "h"), (op.W, "32", "w"), (op.DW, "64", "dw"))


def _memory() -> Iterator[Form]:
    """Section 5.2: loads and stores (sign-extending loads: v4)."""
    old = (3, 15)
    for size, bits, letter in _SIZES:
        group = "base64" if size == op.DW else "base32"
        places = "[%r{src}{off}]", "[%r{dst}{off}]"
        yield Form(
            f"load{bits}", op.LDX | op.MEM | size, REG, REG, OFF, 0, f"r{{dst}} = *(u{bits} *)(r{{src}} {{off}})",
            (f"ldx{letter} %r{{dst}}, {places[0]}",), 1, group, old, ("src",), ("dst",),
        )  # fmt: skip
        yield Form(
            f"store{bits}_imm", op.ST | op.MEM | size, REG, 0, OFF, IMM, f"*(u{bits} *)(r{{dst}} {{off}}) = {{imm}}",
            (f"st{letter} {places[1]}, {{imm}}",), 1, group, old, ("dst",),
        )  # fmt: skip
        yield Form(
            f"store{bits}_reg", op.STX | op.MEM | size, REG, REG, OFF, 0, f"*(u{bits} *)(r{{dst}} {{off}}) = r{{src}}",
            (f"stx{letter} {places[1]}, %r{{src}}",), 1, group, old, ("dst", "src"),
        )  # fmt: skip
        if size != op.DW:
            yield Form(
                f"load_signed{bits}", op.LDX | op.MEMSX | size, REG, REG, OFF, 0,
                f"r{{dst}} = *(s{bits} *)(r{{src}} {{off}})", (f"ldxs{letter} %r{{dst}}, {places[0]}",),
                4, "base64", (6, 6), ("src",), ("dst",),
            )  # fmt: skip
            packet = f"r0 = *(u{bits} *)skb"
            yield Form(
                f"load_packet{bits}", op.LD | op.ABS | size, 0, 0, 0, IMM, f"{packet}[{{imm}}]",
                (f"ldabs{letter} {{imm}}",), 1, "packet", old, (), ("r0",), True,
            )  # fmt: skip
            yield Form(
                f"load_packet{bits}_reg", op.LD | op.IND | size, 0, REG, 0, IMM, f"{packet}[r{{src}} + {{imm}}]",
                (f"ldind{letter} %r{{src}}, {{imm}}",), 1, "packet", old, ("src",), ("r0",), True,
            )  # fmt: skip


def _atomics() -> Iterator[Form]:
    """Section 5.3, and load-acquire and store-release (Linux 6.15, all four sizes)."""
    for size, bits, name, suffixes in ((op.DW, "64", "atomic64", ("", "64")), (op.W, "32", "atomic", ("32",))):
        opcode, group, place = op.STX | op.ATOMIC | size, f"atomic{bits}", f"(u{bits} *)(r{{dst}} {{off}})"
        operands = "[%r{dst}{off}], %r{src}"
        for code, sign, word in (row for row in _ALU if row[0] in (op.ADD, op.OR, op.AND, op.XOR)):
            version, since = (1, (3, 15)) if code == op.ADD else (3, (5, 12))
            yield Form(
                f"atomic_{word}{bits}", opcode, REG, REG, OFF, code, f"lock *{place} {sign} r{{src}}",
                _spell(f"lock_{word}", suffixes, operands), version, group, since, ("dst", "src"),
            )  # fmt: skip
            yield Form(
                f"atomic_fetch_{word}{bits}", opcode, REG, REG, OFF, code | op.FETCH,
                f"r{{src}} = {name}_fetch_{word}({place}, r{{src}})", _spell(f"lock_fetch_{word}", suffixes, operands),
                3, group, (5, 12), ("dst", "src"), ("src",),
            )  # fmt: skip
        yield Form(
            f"xchg{bits}", opcode, REG, REG, OFF, op.XCHG, f"r{{src}} = {name}_xchg({place}, r{{src}})",
            _spell("lock_xchg", suffixes, operands), 3, group, (5, 12), ("dst", "src"), ("src",),
        )  # fmt: skip
        yield Form(
            f"cmpxchg{bits}", opcode, REG, REG, OFF, op.CMPXCHG, f"r0 = {name}_cmpxchg({place}, r0, r{{src}})",
            _spell("lock_cmpxchg", suffixes, operands), 3, group, (5, 12), ("dst", "src", "r0"), ("r0",),
        )  # fmt: skip
    for size, bits, _ in _SIZES:
        opcode = op.STX | op.ATOMIC | size
        yield Form(
            f"load_acquire{bits}", opcode, REG, REG, OFF, op.LOAD_ACQUIRE,
            f"r{{dst}} = load_acquire((u{bits} *)(r{{src}} {{off}}))", (), 4, "linux", (6, 15), ("src",), ("dst",),
        )  # fmt: skip
        yield Form(
            f"store_release{bits}", opcode, REG, REG, OFF, op.STORE_RELEASE,
            f"store_release((u{bits} *)(r{{dst}} {{off}}), r{{src}})", (), 4, "linux", (6, 15), ("dst", "src"),
        )  # fmt: skip


def _load_imm64() -> Iterator[Form]:
    """Section 5.4. The kernel prints the resolved address for all of them; here brackets say what the number means."""
    for name, src, imm, text, data, since in (
        ("load_imm64", 0, IMM64, "{imm64}", ("lddw %r{dst}, {imm64}",), (3, 15)),
        ("load_map_fd", op.PSEUDO_MAP_FD, LOW_WORD, "map[fd:{low}]", (), (3, 18)),
        ("load_map_value", op.PSEUDO_MAP_VALUE, IMM64, "map[fd:{low}][0]{high}", (), (5, 2)),
        ("load_btf_id", op.PSEUDO_BTF_ID, IMM64, "btf[id:{low}][fd:{high}]", (), (5, 10)),
        ("load_function", op.PSEUDO_FUNC, LOW_WORD, "subprog[{jump64}]", (), (5, 13)),
        ("load_map_index", op.PSEUDO_MAP_IDX, LOW_WORD, "map[idx:{low}]", (), (5, 14)),
        ("load_map_index_value", op.PSEUDO_MAP_IDX_VALUE, IMM64, "map[idx:{low}][0]{high}", (), (5, 14)),
    ):
        yield Form(name, op.LD_IMM64, REG, src, 0, imm, f"r{{dst}} = {text}", data, 1, "base64", since, (), ("dst",))


FORMS: tuple[Form, ...] = (*_alu(), *_byte_order(), *_jumps(), *_memory(), *_atomics(), *_load_imm64())

_BY_OPCODE: dict[int, tuple[Form, ...]] = {
    opcode: tuple(form for form in FORMS if form.opcode == opcode) for opcode in {form.opcode for form in FORMS}
}
BY_NAME: dict[str, Form] = {form.name: form for form in FORMS}


def find_form(insn: Instruction) -> Form | None:
    """The row an instruction belongs to; None: it is not a legal encoding (see :func:`explain_illegal`)."""
    for form in _BY_OPCODE.get(insn.opcode, ()):
        if form.fits(insn):
            return form
    return None


def unfit_fields(insn: Instruction) -> tuple[tuple[str, int, int | None], ...]:
    """The fields that keep an instruction from being a legal encoding, by the form that it fits best.

    Returns:
        (field, what it holds, the only value allowed; None: any in a range). () where the opcode itself is unknown.
    """
    best: tuple[tuple[str, int, int | None], ...] | None = None
    for form in _BY_OPCODE.get(insn.opcode, ()):
        wrong = tuple(
            (name, held, role if not isinstance(role, Role) else None)
            for name, role, held in (
                ("dst", form.dst, insn.dst),
                ("src", form.src, insn.src),
                ("off", form.off, insn.off),
                ("imm", form.imm, insn.imm),
            )
            if not _fits(role, held)
        )
        if wrong and (best is None or len(wrong) < len(best)):
            best = wrong
    return best or ()


_CLASS_NAMES = ("BPF_LD", "BPF_LDX", "BPF_ST", "BPF_STX", "BPF_ALU", "BPF_JMP", "BPF_JMP32", "BPF_ALU64")


def explain_illegal(insn: Instruction) -> str:
    """Why find_form says None, in the kernel's words where it has some (kernel/bpf/verifier.c)."""
    candidates = _BY_OPCODE.get(insn.opcode)
    if not candidates:
        return f"unknown opcode {insn.opcode:02x}"
    for number, name in ((insn.dst, "dst"), (insn.src, "src")):
        if number > 10 and any(getattr(form, name) is Role.REGISTER for form in candidates):
            return f"R{number} is invalid"
    klass = insn.opcode & op.CLASS_MASK
    operation = insn.opcode & op.CODE_MASK
    if klass in (op.ALU, op.ALU64) and operation == op.END:
        return "BPF_END uses reserved fields"
    if klass in (op.JMP, op.JMP32):
        names = {op.CALL: "BPF_CALL", op.EXIT: "BPF_EXIT", op.JA: "BPF_JA", op.JCOND: "BPF_JCOND"}
        return f"{names.get(operation, _CLASS_NAMES[klass])} uses reserved fields"
    if klass == op.STX and insn.opcode & op.MODE_MASK == op.ATOMIC:
        return f"BPF_ATOMIC uses invalid atomic opcode {insn.imm & 0xFFFFFFFF:02x}"
    if insn.opcode == op.LD_IMM64:
        return "invalid bpf_ld_imm64 insn"
    return f"{_CLASS_NAMES[klass]} uses reserved fields"


def _register(name: str, insn: Instruction) -> int:
    if name == "r0":
        return 0
    return insn.dst if name == "dst" else insn.src


def registers_read(insn: Instruction) -> frozenset[int]:
    """Registers whose value the instruction itself uses. Arguments of calls depend on the callee and are not counted;
    a legacy packet load also needs the context in r6."""
    form = find_form(insn)
    if form is None:
        return frozenset()
    read = {_register(name, insn) for name in form.reads}
    return frozenset(read | {6}) if form.group == "packet" else frozenset(read)


def registers_written(insn: Instruction) -> frozenset[int]:
    """Registers that hold something new afterwards; calls and legacy packet loads end the life of r1-r5 as well."""
    form = find_form(insn)
    if form is None:
        return frozenset()
    written = {_register(name, insn) for name in form.writes}
    return frozenset(written | {0, 1, 2, 3, 4, 5}) if form.clobbers else frozenset(written)

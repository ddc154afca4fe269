"""Text to instructions: the kernel's spelling, LLVM's variations of it, and that of the ``.data`` conformance cases.

A line is cut into tokens; registers and numbers leave a skeleton (``r += r``) that is looked up in an index made from
the templates of `forms.FORMS`. So the assembler knows nothing about instructions that the table does not say.

One rule decides between the two ways to load a constant, as in the kernel's own text: ``r1 = 5`` is MOV, ``r1 = 0x5``
is LD_IMM64 (``r1 = 5 ll`` too).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from skep.diagnostics import Diagnostic, Span
from skep.errors import AssemblerError
from skep.isa import opcodes as op
from skep.isa.forms import BY_NAME, FORMS, Form, Role
from skep.isa.instruction import FuncRef, Instruction, KfuncRef, KsymRef, MapRef, MapValueRef, Ref

_COMMENT = re.compile(r";.*|//.*|(?:^|(?<=\s))#.*")
_BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_LOG_PREFIX = re.compile(r"^\s*\d+:\s*(?:\([0-9a-fA-F]{2}\))?\s*")
_LABEL = re.compile(r"^\s*([A-Za-z_.$][\w.$]*)\s*:(?!:)")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<reg>%?[rw](?:\d+\b|\{(?:dst|src)\}))
    | (?P<hole>[+]?\{\w+\})
    | (?P<op>s>>=|<<=|>>=|s/=|s%=|s>=|s<=|s>(?!>)|s<(?!<)|[-+*/|&%^=!<>]=|[<>=&])
    | (?P<num>(?:[+-]\s*){0,2}(?:0[xX][0-9a-fA-F]+|\d+)\b)
    | (?P<word>kernel-function|[A-Za-z_.$][\w.$]*)
    | (?P<punct>[-+*()\[\],#:])
    )""",
    re.VERBOSE,
)
_REFERENCE = re.compile(
    r"(map\[name:(?P<map>[^\]]+)\](?:\[0\](?P<offset>[+-]\d+))?|(?P<kind>func|kfunc|ksym)\[(?P<name>[^\]]+)\])"
)
_REF_LINE = re.compile(r"^(?:r(?P<dst>\d+)\s*=|(?P<call>call))\s*$")
_ILLEGAL = re.compile(r"^illegal 0x([0-9a-f]{2}) dst=(\d+) src=(\d+) off=(-?\d+) imm=(-?\d+)$")
_LONGEST_TOKEN = 256  # characters; also keeps int() from refusing (its limit is 4300 digits)
_JUMP_WORDS = frozenset({"goto", "gotol", "may_goto", "local"})

# Placeholder -> the numbers that may be written for it: (lowest, highest + 1).
_I16, _I32, _I64 = (-(1 << 15), 1 << 15), (-(1 << 31), 1 << 32), (-(1 << 63), 1 << 64)
_RANGES: Mapping[str, tuple[int, int]] = {
    "off": _I16, "jump": _I16, "imm": _I32, "uimm": _I32, "jump32": (-(1 << 31), 1 << 31), "imm64": _I64,
    "low": (0, 1 << 32), "high": (0, 1 << 32), "jump64": (-(1 << 31), 1 << 31),
    "to": (0, 1 << 16), "from": (0, 1 << 16),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Template:
    form: Form
    holes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A tokenised line: its skeleton, and what was taken out of it, in order."""

    skeleton: str
    values: tuple[int | str, ...]
    is_hex: bool


class _Problem(Exception):
    """What is wrong with the line at hand; becomes an AssemblerError with its place."""


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.end() == position:
            raise _Problem(f"'{text[position:].strip()[:20]}' is not part of eBPF assembly")
        if match.end() - match.start() > _LONGEST_TOKEN:
            raise _Problem("a word or number of this length is out of range")
        found.append((match.lastgroup or "", match.group().strip()))
        position = match.end()
    return found


def _number(text: str) -> int:
    digits = text.replace(" ", "").replace("\t", "").lstrip("+-")
    negative = text.count("-") % 2 == 1
    value = int(digits, 16 if digits[:2] in ("0x", "0X") else 10)
    return -value if negative else value


def _cut(text: str) -> _Line:
    """Tokens to skeleton and values. A jump's target (``pc+3``, ``+3`` or a label) is the letter J."""
    tokens = _tokens(text)
    if len(tokens) > 1 and tokens[0][1] == "lock" and tokens[1][0] == "word":
        # "lock fetch add32 [...]" of the conformance cases is one mnemonic in the templates: lock_fetch_add32.
        words = [word for kind, word in tokens if kind == "word"]
        tokens = [("word", "_".join(words)), *(token for token in tokens if token[0] != "word")]
    skeleton: list[str] = []
    values: list[int | str] = []
    is_hex = False
    jumps = bool(tokens) and re.fullmatch(r"j[a-z]+(32|64)?", tokens[0][1]) is not None
    for index, (kind, word) in enumerate(tokens):
        is_last = index == len(tokens) - 1
        before = tokens[index - 1][1] if index else ""
        if kind == "reg":
            skeleton.append(word.rstrip("0123456789") if "{" not in word else word[: word.index("{")])
            values.append(word[word.index("{") + 1 : -1] if "{" in word else int(word.lstrip("%rw")))
        elif kind == "hole":
            name = word.strip("+{}")
            skeleton.append({"jump": "J", "jump32": "J", "helper": "I", "imm64": "H"}.get(name, "N"))
            values.append(name)
        elif is_last and kind in ("num", "word") and (before in _JUMP_WORDS or jumps or before == "pc"):
            if before == "pc":
                skeleton.pop()
            skeleton.append("J")
            values.append(_number(word) if kind == "num" else word)
        elif kind == "word" and before == "[" and tokens[index - 2][1] == "subprog":
            skeleton.append("N")
            values.append(word)
        elif kind == "num":
            is_hex = "x" in word.lower()
            skeleton.append("N")
            values.append(_number(word))
        elif kind == "word" and before == "call" and word not in ("local", "pc", "kernel-function"):
            skeleton.append("I")
            values.append(word)
        else:
            skeleton.append(word)
    return _Line(" ".join(skeleton), tuple(values), is_hex)


def _index() -> dict[str, _Template]:
    table: dict[str, _Template] = {}
    for form in FORMS:
        for text in (form.text, *form.data):
            line = _cut(text)
            # First row wins: `call N` of the conformance cases must not hide the kernel's text.
            table.setdefault(line.skeleton, _Template(form, tuple(str(value) for value in line.values)))
            # A displacement of zero may be left out; a plus sign before a number is part of the number.
            if (variant := text.replace("{off}", "").replace("+ {imm}", "{imm}")) != text:
                bare = _cut(variant)
                table.setdefault(bare.skeleton, _Template(form, tuple(str(value) for value in bare.values)))
    table["lddw %r , N"] = _Template(BY_NAME["load_imm64"], ("dst", "imm64"))
    return table


_TEMPLATES = _index()


@dataclass(frozen=True, slots=True)
class _Pending:
    """An instruction whose label is not resolved yet."""

    insn: Instruction
    line: int
    text: str
    hole: str | None = None  # the placeholder that the label stands for
    label: str | None = None


def assemble(text: str, helpers: Mapping[str, int] | None = None, name: str = "<assembly>") -> tuple[Instruction, ...]:
    """Assemble a whole text, one instruction per line.

    Args:
        text: instructions, ``label:``, comments (``;``, ``//``, ``/* */``, and ``#`` at the start of a word). A line
            may start as in the kernel's log: ``12: (b7) r0 = 0``. As in the conformance cases, the label ``exit`` may
            be left out: it is the next exit instruction.
        helpers: helper numbers by name, for ``call bpf_map_lookup_elem`` without ``#1``.
        name: what to call the text in diagnostics.

    Raises:
        AssemblerError: U0301 no such instruction; U0302 a number out of range; U0303 a label missing or there twice.
    """
    pending: list[_Pending] = []
    labels: dict[str, int] = {}
    slot = 0
    stripped = _BLOCK_COMMENT.sub(lambda match: "\n" * match.group().count("\n"), text)
    for number, raw in enumerate(stripped.splitlines(), 1):
        line = _COMMENT.sub("", raw).strip()
        line = _LOG_PREFIX.sub("", line, count=1) if line[:1].isdigit() else line
        while match := _LABEL.match(line):
            if match[1] in labels:
                raise _error("U0303", f"label '{match[1]}' is defined twice", name, number, raw)
            labels[match[1]] = slot
            line = line[match.end() :].strip()
        if line:
            try:
                one = _instruction(line, helpers or {})
            except _Problem as problem:
                code = "U0302" if "range" in str(problem) else "U0301"
                raise _error(code, str(problem), name, number, raw) from None
            pending.append(replace(one, line=number, text=raw))
            slot += one.insn.width
    return _resolve(pending, labels, name)


def _resolve(pending: list[_Pending], labels: dict[str, int], name: str) -> tuple[Instruction, ...]:
    insns: list[Instruction] = []
    slot = 0
    for one in pending:
        insn = one.insn
        if one.label is not None and one.hole is not None:
            target = labels.get(one.label, _next_exit(pending, slot) if one.label == "exit" else None)
            if target is None:
                raise _error("U0303", f"label '{one.label}' is not defined", name, one.line, one.text)
            try:
                insn = _put(insn, one.hole, target - slot - 1)
            except _Problem as problem:
                raise _error("U0302", str(problem), name, one.line, one.text) from None
        insns.append(insn)
        slot += insn.width
    return tuple(insns)


def _next_exit(pending: list[_Pending], after: int) -> int | None:
    slot, found = 0, None
    for one in pending:
        if one.insn.opcode == op.JMP | op.EXIT:
            found = slot
            if slot > after:
                break
        slot += one.insn.width
    return found


def _error(code: str, what: str, name: str, line: int, text: str) -> AssemblerError:
    return AssemblerError(Diagnostic(code, what, span=Span(name, line, text=text)))


def _instruction(line: str, helpers: Mapping[str, int]) -> _Pending:
    if match := _ILLEGAL.match(line):
        opcode = int(match[1], 16)
        return _Pending(Instruction(opcode, int(match[2]), int(match[3]), int(match[4]), int(match[5])), 0, line)
    if (found := _REFERENCE.search(line)) is not None:
        return _Pending(_with_reference(line, found), 0, line)
    is_wide = line.endswith(" ll")
    cut = _cut(line[:-3] if is_wide else line)
    skeleton = cut.skeleton
    if skeleton == "r = N" and (is_wide or cut.is_hex):
        skeleton = "r = H"
    if skeleton.startswith("call kernel-function # N ["):
        index = int(cut.values[1])
        return _Pending(replace(_bind(BY_NAME["call_kfunc"], ("imm",), cut.values[:1], line).insn, off=index), 0, line)
    template = _TEMPLATES.get(skeleton)
    if template is None and "*" in skeleton:
        # LLVM writes the narrow register of a narrow access: w1 = *(u32 *)(r2 + 0).
        template = _TEMPLATES.get(re.sub(r"\bw\b", "r", skeleton))
    if template is None and skeleton == "call I":
        helper = str(cut.values[0])
        if helper in helpers:
            return _Pending(Instruction(op.JMP | op.CALL, imm=helpers[helper]), 0, line)
        template = _TEMPLATES["call J"]  # a label: a call of a function of this text
    if template is None:
        raise _Problem(f"no eBPF instruction is written like this: {line}")
    return _bind(template.form, template.holes, cut.values, line)


def _with_reference(line: str, found: re.Match[str]) -> Instruction:
    rest = _REF_LINE.match((line[: found.start()] + line[found.end() :]).strip())
    if rest is None:
        raise _Problem(f"'{found.group()}' can only be called or loaded into a register")
    kinds: dict[str, tuple[type[FuncRef] | type[KfuncRef] | type[KsymRef], int]] = {
        "func": (FuncRef, op.PSEUDO_FUNC),
        "kfunc": (KfuncRef, op.CALL_KFUNC),
        "ksym": (KsymRef, op.PSEUDO_BTF_ID),
    }
    ref: Ref
    if found["map"] is not None and found["offset"] is not None:
        ref, src = MapValueRef(found["map"], int(found["offset"])), op.PSEUDO_MAP_VALUE
    elif found["map"] is not None:
        ref, src = MapRef(found["map"]), op.PSEUDO_MAP_FD
    else:
        make, src = kinds[found["kind"]]
        ref = make(found["name"])
    if rest["call"]:
        if not isinstance(ref, FuncRef | KfuncRef):
            raise _Problem(f"'{found.group()}' cannot be called")
        return Instruction(op.JMP | op.CALL, src=op.CALL_LOCAL if isinstance(ref, FuncRef) else op.CALL_KFUNC, ref=ref)
    if isinstance(ref, KfuncRef):
        raise _Problem(f"'{found.group()}' can only be called")
    return _put(Instruction(op.LD_IMM64, src=src, ref=ref), "dst", int(rest["dst"]))


def _bind(form: Form, holes: tuple[str, ...], values: tuple[int | str, ...], line: str) -> _Pending:
    """Fill the holes of a form's template with the values of the line."""
    insn = Instruction(form.opcode, _start(form.dst), _start(form.src), _start(form.off), _start(form.imm))
    label: tuple[str, str] | None = None
    seen: dict[str, int | str] = {}
    for hole, value in zip(holes, values, strict=True):
        if hole in seen and seen[hole] != value:
            raise _Problem(f"both registers of this instruction must be the same: {line}")
        seen[hole] = value
        if hole == "helper":
            continue
        if hole.isdigit():  # a register or number that the template names: r0 of cmpxchg
            if value != int(hole):
                raise _Problem(f"{value} cannot be here, only {hole}: {line}")
            continue
        if isinstance(value, str):
            label = (hole, value)
        else:
            insn = _put(insn, hole, value)
    return _Pending(insn, 0, line, *(label or (None, None)))


def _start(role: Role | int) -> int:
    return 0 if isinstance(role, Role) else role


def _put(insn: Instruction, hole: str, value: int) -> Instruction:
    """Store the number written for a placeholder into the field it stands for."""
    if hole in ("dst", "src"):
        if value > 10:
            raise _Problem(f"there is no register r{value}")
        return replace(insn, dst=value) if hole == "dst" else replace(insn, src=value)
    low, high = _RANGES[hole]
    if not low <= value < high:
        raise _Problem(f"{value} is out of range here: {low} to {high - 1}")
    if hole in ("off", "jump"):
        return replace(insn, off=value)
    if hole == "imm64":
        return replace(insn, imm=value & (1 << 64) - 1)
    if hole in ("low", "jump64"):
        return replace(insn, imm=insn.imm & ~0xFFFFFFFF | value & 0xFFFFFFFF)
    if hole == "high":
        return replace(insn, imm=insn.imm & 0xFFFFFFFF | value << 32)
    if hole in ("to", "from"):
        word = insn.imm & 0xFFFFFFFF
        word = word & 0xFFFF | value << 16 if hole == "to" else word & ~0xFFFF | value
        return replace(insn, imm=word - (1 << 32) if word >> 31 else word)
    return replace(insn, imm=value - (1 << 32) if value >= 1 << 31 else value)

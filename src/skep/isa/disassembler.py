"""Instructions as text, the way the kernel prints them (bpf_disasm of Linux 6.18).

Where the kernel prints an address that only it knows, the brackets of bpftool say what is meant instead:
``map[name:hits]``, ``map[name:.bss][0]+8``, ``subprog[+5]``. `assembler.assemble` reads all of it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skep.isa import opcodes as op
from skep.isa.forms import Form, find_form
from skep.isa.instruction import FuncRef, Instruction, KfuncRef, KsymRef, MapRef, MapValueRef

_MASK32 = 0xFFFFFFFF


def _signed32(value: int) -> int:
    value &= _MASK32
    return value - (1 << 32) if value >> 31 else value


# Placeholder of a template -> the text of that operand. The assembler reads the same placeholders the other way round.
PLACEHOLDERS: Mapping[str, Callable[[Instruction], str]] = {
    "dst": lambda insn: str(insn.dst),
    "src": lambda insn: str(insn.src),
    "off": lambda insn: f"{insn.off:+d}",
    "imm": lambda insn: str(insn.imm),
    "uimm": lambda insn: f"0x{insn.imm & _MASK32:x}",
    "imm64": lambda insn: f"0x{insn.imm:x}",
    "low": lambda insn: str(insn.imm & _MASK32),
    "high": lambda insn: f"+{insn.imm >> 32}",
    "jump": lambda insn: f"pc{insn.off:+d}",
    "jump32": lambda insn: f"pc{insn.imm:+d}",
    "jump64": lambda insn: f"{_signed32(insn.imm):+d}",
    "to": lambda insn: str((insn.imm & _MASK32) >> 16),
    "from": lambda insn: str(insn.imm & 0xFFFF),
}


def disassemble(
    insn: Instruction,
    slot: int | None = None,
    helper_names: Mapping[int, str] | Callable[[int], str | None] | None = None,
) -> str:
    """One instruction as text.

    Args:
        insn: any instruction; one that is no legal encoding gives ``illegal ...`` with its fields.
        slot: when given, the line starts as in the kernel's log: ``12: (b7) r0 = 0``.
        helper_names: names of helpers by number; a helper that has none is printed ``unknown``, as the kernel does.
    """
    form = find_form(insn)
    text = _illegal(insn) if form is None else _text(form, insn, helper_names)
    return text if slot is None else f"{slot}: ({insn.opcode:02x}) {text}"


def _illegal(insn: Instruction) -> str:
    return f"illegal 0x{insn.opcode:02x} dst={insn.dst} src={insn.src} off={insn.off} imm={insn.imm}"


def _text(form: Form, insn: Instruction, helper_names: Mapping[int, str] | Callable[[int], str | None] | None) -> str:
    if insn.ref is not None:
        return _reference(insn)
    values = {name: place(insn) for name, place in PLACEHOLDERS.items() if f"{{{name}}}" in form.text}
    if form.name == "call_helper":
        find = helper_names if callable(helper_names) else (helper_names or {}).get
        values["helper"] = find(insn.imm) or "unknown"
    text = form.text.format_map(values)
    # The descriptor of a module's BTF is not part of the kernel's text, but part of the instruction.
    return f"{text}[{insn.off}]" if form.name == "call_kfunc" and insn.off else text


def _reference(insn: Instruction) -> str:
    match insn.ref:
        case MapRef(name):
            operand = f"map[name:{name}]"
        case MapValueRef(name, offset):
            operand = f"map[name:{name}][0]{offset:+d}"
        case FuncRef(name):
            operand = f"func[{name}]"
        case KfuncRef(name):
            operand = f"kfunc[{name}]"
        case KsymRef(name):
            operand = f"ksym[{name}]"
        case _:
            operand = "?"
    return f"r{insn.dst} = {operand}" if insn.opcode == op.LD_IMM64 else f"call {operand}"

"""Where the arguments of a static probe are: sys/sdt.h's descriptions to the specs that usdt.bpf.h reads.

A description is ``SIZE@PLACE`` with the assembler's spelling of a place: ``-4@%eax``, ``8@-16(%rbp)``, ``4@$7``,
``1@-96(%rbp,%rax,8)``; on arm64 ``8@x0``, ``-4@[sp, 12]``, ``4@7``. A negative size means signed.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from skep.btf.types import Btf, Struct
from skep.btf.values import codec
from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError

MAX_ARGUMENTS: Final = 12


class Where(IntEnum):
    """enum __bpf_usdt_arg_type."""

    CONST = 0
    REG = 1
    REG_DEREF = 2
    SIB = 3


# Offsets in struct pt_regs (arch/x86/include/asm/ptrace.h).
_X86_ORDER: Final = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig",
    "rip", "cs", "eflags", "rsp",
)  # fmt: skip


def _x86_registers() -> Mapping[str, int]:
    found: dict[str, int] = {}
    for position, name in enumerate(_X86_ORDER):
        names = [name]
        if name in ("rax", "rbx", "rcx", "rdx"):
            names += ["e" + name[1:], name[1:], name[1] + "l"]
        elif name in ("rsi", "rdi", "rbp", "rsp"):
            names += ["e" + name[1:], name[1:], name[1:] + "l"]
        elif name[1:].isdigit():
            names += [name + "d", name + "w", name + "b"]
        elif name != "rip":
            continue
        found |= dict.fromkeys(names, position * 8)
    return MappingProxyType(found)


def _arm64_registers() -> Mapping[str, int]:
    found = {f"{letter}{number}": number * 8 for letter in "xw" for number in range(31)}
    return MappingProxyType(found | {"sp": 31 * 8, "pc": 32 * 8})


X86_REGISTERS: Final = _x86_registers()
ARM64_REGISTERS: Final = _arm64_registers()
_SIZES: Final = (1, 2, 4, 8)
_WORD: Final = re.compile(r"\s*(-?\d+)(f?)@((?:\[[^\]]*\]|[^\s(]*\([^)]*\)|\S)+)")
_X86_MEMORY: Final = re.compile(r"(-?(?:0x)?[0-9a-fA-F]*)\(%(\w+)(?:,%(\w+)(?:,([1248]))?)?\)")
_ARM64_MEMORY: Final = re.compile(r"\[(\w+)(?:,\s*#?(-?\d+))?\]")
Place = tuple[Where, int, int, int, int]  # where, value or displacement, register, index register, log2 of the scale


@dataclass(frozen=True, slots=True)
class Argument:
    """Where one argument is.

    Attributes:
        value: the constant, or the displacement from the register(s).
        register, index: offsets in struct pt_regs; ``scale_bits``: log2 of the index's scale.
        size: in bytes.
    """

    where: Where
    value: int
    register: int
    index: int
    scale_bits: int
    size: int
    is_signed: bool


def parse_arguments(text: str, machine: str | None = None) -> tuple[Argument, ...]:
    """The arguments of a probe's description.

    Raises:
        UnsupportedError: H0337, an argument that is not in a register, in memory next to one, or a constant.
    """
    read = _READERS.get(machine or platform.machine())
    if read is None:
        raise _unsupported(text, f"arguments on {machine or platform.machine()}")
    found: list[Argument] = []
    position = 0
    while position < len(text.rstrip()):
        word = _WORD.match(text, position)
        if word is None or word[2]:
            raise _unsupported(text, "a floating-point argument" if word else "its spelling")
        position = word.end()
        size = int(word[1])
        place = read(word[3])
        if place is None or abs(size) not in _SIZES:
            raise _unsupported(text, f"the argument '{word[0].strip()}'")
        found.append(Argument(*place, abs(size), size < 0))
    if len(found) > MAX_ARGUMENTS:
        raise _unsupported(text, f"more than {MAX_ARGUMENTS} arguments")
    return tuple(found)


def encode_spec(text: str, cookie: int, btf: Btf | None, machine: str | None = None) -> bytes:
    """struct __bpf_usdt_spec as the program's own types lay it out: libbpf's header changed it in 1.7.

    Raises:
        UnsupportedError: H0337, an argument that cannot be read; H0342, the program's header is too old for it, or it
            has no types.
    """
    arguments = parse_arguments(text, machine)
    spec = btf.find("__bpf_usdt_spec", Struct) if btf is not None else None
    argument = btf.find("__bpf_usdt_arg_spec", Struct) if btf is not None else None
    if btf is None or spec is None or argument is None:
        raise _old_header("the program has no type __bpf_usdt_spec", "compile it with -g")
    described = btf[argument]
    names = {member.name for member in described.members} if isinstance(described, Struct) else set()
    rows = [dict.fromkeys(names, 0) for _ in range(MAX_ARGUMENTS)]
    for row, found in zip(rows, arguments, strict=False):
        if found.where is Where.SIB and "idx_reg_off" not in names:
            raise _old_header("the program's usdt.bpf.h cannot read base+index arguments", "compile it with skep's")
        row |= {
            "val_off": found.value & (1 << 64) - 1,
            "arg_type": int(found.where),
            "reg_off": found.register,
            "arg_signed": found.is_signed,
            "arg_bitshift": 64 - 8 * found.size,
        }
        if "idx_reg_off" in names:
            row |= {"idx_reg_off": found.index, "scale_bitshift": found.scale_bits}
    return codec(btf, spec).encode({"args": rows, "usdt_cookie": cookie, "arg_cnt": len(arguments)})


def _old_header(what: str, help: str) -> UnsupportedError:
    return UnsupportedError(Diagnostic("H0342", what, help=help))


def _read_x86(text: str) -> Place | None:
    if text.startswith("$"):
        return _constant(text[1:])
    if text.startswith("%"):
        register = X86_REGISTERS.get(text[1:])
        return None if register is None else (Where.REG, 0, register, 0, 0)
    found = _X86_MEMORY.fullmatch(text)
    if found is None or found[2] not in X86_REGISTERS or (found[3] and found[3] not in X86_REGISTERS):
        return None
    displacement = int(found[1], 0) if found[1] not in ("", "-") else 0
    if not found[3]:
        return Where.REG_DEREF, displacement, X86_REGISTERS[found[2]], 0, 0
    scale = int(found[4] or 1).bit_length() - 1
    return Where.SIB, displacement, X86_REGISTERS[found[2]], X86_REGISTERS[found[3]], scale


def _read_arm64(text: str) -> Place | None:
    if text in ARM64_REGISTERS:
        return Where.REG, 0, ARM64_REGISTERS[text], 0, 0
    found = _ARM64_MEMORY.fullmatch(text)
    if found is not None and found[1] in ARM64_REGISTERS:
        return Where.REG_DEREF, int(found[2] or 0), ARM64_REGISTERS[found[1]], 0, 0
    return _constant(text.removeprefix("#"))


def _constant(text: str) -> Place | None:
    try:
        return Where.CONST, int(text, 0), 0, 0, 0
    except ValueError:
        return None


_READERS: Final[Mapping[str, Callable[[str], Place | None]]] = {"x86_64": _read_x86, "aarch64": _read_arm64}


def _unsupported(arguments: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        Diagnostic(
            "H0337",
            f"{what} of the static probe is not supported",
            why=(f"the probe describes its arguments as '{arguments}'",),
            help="attach a uprobe to the function instead",
        )
    )

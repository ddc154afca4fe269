"""Where the arguments of a static probe are: sys/sdt.h's descriptions to the specs that usdt.bpf.h reads.

A description is ``SIZE@PLACE`` with the assembler's spelling of a place: ``-4@%eax``, ``8@-16(%rbp)``, ``4@$7``,
``1@-96(%rbp,%rax,8)``; on arm64 ``8@x0``, ``-4@[sp, 12]``, ``4@7``. A negative size means signed.
"""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError

MAX_ARGUMENTS: Final = 12
_ARGUMENT: Final = struct.Struct("=QIhBb")
SPEC_BYTES: Final = MAX_ARGUMENTS * _ARGUMENT.size + 16


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


def encode_spec(arguments: str, cookie: int = 0, machine: str | None = None) -> bytes:
    """struct __bpf_usdt_spec of a probe's arguments.

    Raises:
        UnsupportedError: H0337, an argument that is not in a register, in memory next to one, or a constant.
    """
    read = _READERS.get(machine or platform.machine())
    if read is None:
        raise _unsupported(arguments, f"arguments on {machine or platform.machine()}")
    encoded = []
    position = 0
    while position < len(arguments.rstrip()):
        found = _WORD.match(arguments, position)
        if found is None or found[2]:
            raise _unsupported(arguments, "a floating-point argument" if found else "its spelling")
        position = found.end()
        size = int(found[1])
        place = read(found[3])
        if place is None or abs(size) not in _SIZES:
            raise _unsupported(arguments, f"the argument '{found[0].strip()}'")
        where, value, register, index, scale = place
        packed = where | index << 8 | scale << 20
        encoded.append(_ARGUMENT.pack(value & (1 << 64) - 1, packed, register, size < 0, 64 - 8 * abs(size)))
    if len(encoded) > MAX_ARGUMENTS:
        raise _unsupported(arguments, f"more than {MAX_ARGUMENTS} arguments")
    table = b"".join(encoded).ljust(MAX_ARGUMENTS * _ARGUMENT.size, b"\0")
    return table + struct.pack("=Qhxxxxxx", cookie, len(encoded))


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

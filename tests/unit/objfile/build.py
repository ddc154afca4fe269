"""Objects for tests: C compiled by the real clang (once per process), and ELF files made by hand."""

from __future__ import annotations

import functools
import struct
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

PRELUDE = """
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef _Bool bool;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __ulong(name, val) enum { __unique_##name = val } name
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))
#define __noinline __attribute__((noinline))
#define __core __attribute__((preserve_access_index))
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *) 1;
static long (*bpf_tail_call)(void *ctx, void *map, __u32 index) = (void *) 12;
static long (*bpf_loop)(__u32 n, void *f, void *ctx, __u64 flags) = (void *) 181;
char _license[] SEC("license") = "GPL";
"""


@functools.cache
def compile_c(source: str, *flags: str, target: str = "bpfel", prelude: bool = True) -> bytes:
    """The object file of C source; a missing ziglang skips the test."""
    pytest.importorskip("ziglang", reason="ziglang (the wheel with clang) is not installed")
    command = [sys.executable, "-m", "ziglang", "clang", f"--target={target}", "-O2", "-mcpu=v3"]
    command += [*(flags or ("-g",)), "-Wno-everything", "-x", "c", "-c", "-", "-o", "-"]
    text = (PRELUDE if prelude else "") + source
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@dataclass
class Raw:
    """A section of a hand-made ELF file."""

    name: str
    data: bytes = b""
    type: int = 1
    flags: int = 0
    link: int = 0
    info: int = 0
    size: int | None = None


@dataclass
class RawElf:
    """A hand-made ELF64 relocatable. Symbols: (name, value, size, type, binding, section number)."""

    sections: list[Raw] = field(default_factory=list)
    symbols: list[tuple[str, int, int, int, int, int]] = field(default_factory=list)
    relocations: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    order: str = "<"
    machine: int = 247
    elf_type: int = 1

    def build(self) -> bytes:
        """The file's bytes. Section numbers: the given ones from 1, then relocations, .strtab, .symtab, .shstrtab."""
        order = self.order
        sections = list(self.sections)
        strings = bytearray(b"\0")
        table = bytearray(24)
        for name, value, size, kind, binding, section in self.symbols:
            table += struct.pack(f"{order}IBBHQQ", len(strings), binding << 4 | kind, 0, section, value, size)
            strings += name.encode() + b"\0"
        symtab = len(sections) + len(self.relocations) + 2
        for target, entries in self.relocations.items():
            body = b"".join(struct.pack(f"{order}QQ", at, symbol << 32 | kind) for at, symbol, kind in entries)
            sections.append(Raw(f".rel{self.sections[target - 1].name}", body, type=9, link=symtab, info=target))
        sections.append(Raw(".strtab", bytes(strings), type=3))
        sections.append(Raw(".symtab", bytes(table), type=2, link=symtab - 1))
        names = bytearray(b"\0")
        offsets = []
        for section in [*sections, Raw(".shstrtab")]:
            offsets.append(len(names))
            names += section.name.encode() + b"\0"
        sections.append(Raw(".shstrtab", bytes(names), type=3))
        body = bytearray(64)
        headers = bytearray(64)
        for section, name in zip(sections, offsets, strict=True):
            size = len(section.data) if section.size is None else section.size
            headers += struct.pack(
                f"{order}IIQQQQIIQQ",
                *(name, section.type, section.flags, 0, len(body), size, section.link, section.info, 8, 0),
            )
            body += section.data
        ident = b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + b"\x01".ljust(10, b"\0")
        header = ident + struct.pack(
            f"{order}HHIQQQIHHHHHH",
            *(self.elf_type, self.machine, 1, 0, 0, len(body), 0, 64, 0, 0, 64, len(sections) + 1, len(sections)),
        )
        body[:64] = header
        return bytes(body + headers)


EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)
CODE = 6  # SHF_ALLOC | SHF_EXECINSTR
DATA = 3  # SHF_ALLOC | SHF_WRITE

"""Relocations of code: numbers that the compiler left open become names (MapRef, FuncRef, KfuncRef and so on).

What a relocation means follows from the instruction it patches and from what its symbol stands for; its type number
says nothing more (LLVM's numbers changed over time, libbpf ignores them too). Addends stand in ``imm``: bytes for
LD_IMM64, slots minus one for a call. Compilers name a static thing as its section's symbol plus an addend, a global one
by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from skep.isa.instruction import FuncRef, Instruction, KfuncRef, KsymRef, MapRef, MapValueRef
from skep.isa.opcodes import (
    CALL,
    CALL_KFUNC,
    CALL_LOCAL,
    JMP,
    LD_IMM64,
    PSEUDO_BTF_ID,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
)
from skep.model.objects import ExternKind, ExternSpec
from skep.objfile.data import KCONFIG
from skep.objfile.elf import SHN_ABS, SHN_COMMON, SHN_UNDEF, ElfFile, Relocation, Section, broken
from skep.objfile.layout import Layout, describe_symbol
from skep.objfile.legacy_maps import is_legacy_section
from skep.objfile.maps import SECTION as MAPS_SECTION

SLOT_BYTES: Final = 8
CALL_OPCODE: Final = JMP | CALL


@dataclass(frozen=True, slots=True)
class Resolver:
    """Puts names into the instructions of one object."""

    elf: ElfFile
    layout: Layout
    externs: Mapping[str, ExternSpec]
    extern_maps: frozenset[str] = frozenset()

    def resolve(self, section: Section, slot: int, insn: Instruction, relocation: Relocation | None) -> Instruction:
        """The instruction at ``slot`` of ``section`` with its symbolic operand, if it has one.

        Raises:
            ElfError: O0150 to O0153, when the relocation cannot mean anything.
        """
        if relocation is None:
            return self._unrelocated(section, slot, insn)
        if insn.opcode == LD_IMM64:
            return self._load(section, slot, insn, relocation)
        if insn.opcode == CALL_OPCODE:
            return self._call(section, slot, insn, relocation)
        raise broken(
            "O0150",
            f"{self.elf.name}: instruction {slot} of section {section.name} has a relocation against "
            f"{describe_symbol(self.elf, relocation.symbol, 0)}, but is neither a 64-bit load nor a call "
            f"(opcode {insn.opcode:#04x})",
        )

    def _unrelocated(self, section: Section, slot: int, insn: Instruction) -> Instruction:
        """Calls and callback addresses within a section need no relocation: ``imm`` is the distance."""
        if insn.opcode == CALL_OPCODE and insn.src == CALL_LOCAL:
            name = self._function(section, section, slot, (slot + 1 + insn.imm) * SLOT_BYTES)
            return replace(insn, imm=0, ref=FuncRef(name))
        if insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC:
            distance = _signed(insn.imm & 0xFFFFFFFF, 32)
            name = self._function(section, section, slot, (slot + 1 + distance) * SLOT_BYTES)
            return replace(insn, imm=0, ref=FuncRef(name))
        return insn

    def _call(self, section: Section, slot: int, insn: Instruction, relocation: Relocation) -> Instruction:
        symbol = relocation.symbol
        if symbol.section == SHN_UNDEF:
            extern = self.externs.get(symbol.name)
            if extern is not None and extern.kind is ExternKind.KFUNC:
                return replace(insn, src=CALL_KFUNC, off=0, imm=0, ref=KfuncRef(symbol.name))
            return replace(insn, src=CALL_LOCAL, imm=0, ref=FuncRef(self._undefined_name(section, slot, relocation)))
        if not symbol.is_defined or not self.elf.sections[symbol.section].is_code:
            raise broken(
                "O0151",
                f"{self.elf.name}: instruction {slot} of section {section.name} calls "
                f"{describe_symbol(self.elf, symbol, 0)}, which is not code",
            )
        target = self.elf.sections[symbol.section]
        name = self._function(section, target, slot, symbol.value + (insn.imm + 1) * SLOT_BYTES)
        return replace(insn, src=CALL_LOCAL, imm=0, ref=FuncRef(name))

    def _load(self, section: Section, slot: int, insn: Instruction, relocation: Relocation) -> Instruction:
        symbol = relocation.symbol
        addend = _signed(insn.imm, 64) if relocation.addend is None else relocation.addend
        if symbol.section == SHN_UNDEF:
            return self._load_extern(section, slot, insn, relocation, addend)
        if symbol.section == SHN_COMMON and symbol.index in self.layout.commons:
            name, start = self.layout.commons[symbol.index]
            return _map_value(insn, name, start + addend)
        if symbol.section == SHN_ABS:
            return replace(insn, imm=(symbol.value + addend) & 0xFFFFFFFFFFFFFFFF)
        if not symbol.is_defined:
            raise broken(
                "O0151",
                f"{self.elf.name}: instruction {slot} of section {section.name} names symbol '{symbol.name}' "
                f"in special section {symbol.section:#x}",
            )
        home = self.elf.sections[symbol.section]
        offset = symbol.value + addend
        if home.index in self.layout.data_maps:
            return _map_value(insn, self.layout.data_maps[home.index], offset)
        if home.is_code:
            name = self._function(section, home, slot, offset)
            return replace(insn, src=PSEUDO_FUNC, imm=0, ref=FuncRef(name))
        if home.name == MAPS_SECTION or is_legacy_section(home.name):
            found = self.layout.maps.get((home.index, offset))
            if found is None:
                raise broken(
                    "O0152",
                    f"{self.elf.name}: instruction {slot} of section {section.name} names byte {offset} of section "
                    f"{home.name}, where no map starts",
                )
            return replace(insn, src=PSEUDO_MAP_FD, imm=0, ref=MapRef(found))
        # A section that becomes no map: the linker says so when a program that needs it is linked.
        return _map_value(insn, home.name, offset)

    def _load_extern(
        self, section: Section, slot: int, insn: Instruction, relocation: Relocation, addend: int
    ) -> Instruction:
        name = self._undefined_name(section, slot, relocation)
        extern = self.externs.get(name)
        if extern is not None and extern.kind is ExternKind.KCONFIG:
            return _map_value(insn, KCONFIG, extern.offset + addend)
        if name in self.extern_maps:
            return replace(insn, src=PSEUDO_MAP_FD, imm=0, ref=MapRef(name))
        return replace(insn, src=PSEUDO_BTF_ID, imm=addend & 0xFFFFFFFFFFFFFFFF, ref=KsymRef(name))

    def _undefined_name(self, section: Section, slot: int, relocation: Relocation) -> str:
        if not relocation.symbol.name:
            raise broken(
                "O0151",
                f"{self.elf.name}: the relocation of instruction {slot} of section {section.name} names no symbol",
            )
        return relocation.symbol.name

    def _function(self, section: Section, target: Section, slot: int, offset: int) -> str:
        name = self.layout.functions.get((target.index, offset))
        if name is None:
            raise broken(
                "O0153",
                f"{self.elf.name}: instruction {slot} of section {section.name} refers to byte {offset} of section "
                f"{target.name}, where no function starts",
            )
        return name


def _map_value(insn: Instruction, name: str, offset: int) -> Instruction:
    return replace(insn, src=PSEUDO_MAP_VALUE, imm=0, ref=MapValueRef(name, offset))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value

"""Functions of an object, and which of them are programs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from skep.abi.prog_types import ProgType
from skep.abi.sections import match
from skep.btf.ext import BtfExt
from skep.btf.types import Func
from skep.errors import ElfError, InputError
from skep.isa.codec import decode
from skep.isa.instruction import FuncRef, Instruction
from skep.model.programs import FunctionSpec, ProgramSpec
from skep.objfile.elf import (
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_FUNC,
    STT_NOTYPE,
    ElfFile,
    Relocation,
    Section,
    Symbol,
    broken,
)
from skep.objfile.relocations import SLOT_BYTES, Resolver
from skep.objfile.typeinfo import TypeInfo, is_hidden

TEXT: Final = ".text"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FunctionPlace:
    """Where a function lies: slots of its section, end exclusive. ``symbol`` is None where a section has no symbols."""

    name: str
    section: Section
    start: int
    end: int
    symbol: Symbol | None

    @property
    def is_exported(self) -> bool:
        """Has a global symbol (old compilers' sections without function symbols count as exported)."""
        return self.symbol is None or self.symbol.binding != STB_LOCAL


def find_functions(elf: ElfFile) -> tuple[FunctionPlace, ...]:
    """Every function of every section with code, in file order, under names that are unique.

    Raises:
        ElfError: O0154 a section that is no whole number of instructions, or functions that overlap; O0155 a global
            name defined twice.
    """
    places: list[FunctionPlace] = []
    names: set[str] = set()
    numbers: dict[str, int] = {}  # how often a name was made unique: hostile objects have one name many times
    exported: set[str] = set()
    for section in elf.sections:
        if not section.is_code or section.size == 0:
            continue
        if section.size % SLOT_BYTES:
            raise broken(
                "O0154",
                f"{elf.name}: section {section.name} has {section.size} bytes, which is no multiple of {SLOT_BYTES}",
                "every BPF instruction takes 8 bytes",
            )
        for place in _places_in(elf, section):
            if place.is_exported and place.symbol is not None:
                if place.name in exported:
                    raise broken("O0155", f"{elf.name}: function '{place.name}' is defined twice")
                exported.add(place.name)
            unique = place.name
            while unique in names:
                numbers[place.name] = numbers.get(place.name, 0) + 1
                unique = f"{place.name}.{numbers[place.name]}"
            names.add(unique)
            places.append(replace(place, name=unique))
    return tuple(places)


def _places_in(elf: ElfFile, section: Section) -> Iterator[FunctionPlace]:
    symbols = [s for s in elf.symbols_in(section) if s.type == STT_FUNC and s.name]
    slots = section.size // SLOT_BYTES
    if not symbols and section.name == TEXT:
        symbols = [
            s
            for s in elf.symbols_in(section)
            if s.type == STT_NOTYPE and s.name and s.binding in (STB_GLOBAL, STB_WEAK)
        ]
    if not symbols:
        # LLVM before 8 gave functions no type: the section is the function, as libbpf before 1.0 saw it.
        yield FunctionPlace(section.name, section, 0, slots, None)
        return
    starts = sorted({symbol.value for symbol in symbols})
    for symbol in symbols:
        if symbol.value % SLOT_BYTES or symbol.size % SLOT_BYTES or symbol.value >= section.size:
            raise broken(
                "O0154",
                f"{elf.name}: function '{symbol.name}' takes {symbol.size} bytes from byte {symbol.value} of section "
                f"{section.name}, which is no whole number of instructions in it",
            )
        following = bisect_left(starts, symbol.value + 1)
        limit = starts[following] if following < len(starts) else section.size
        end = symbol.value + symbol.size if symbol.size else limit
        if end > limit:
            raise broken(
                "O0154",
                f"{elf.name}: function '{symbol.name}' in section {section.name} overlaps the function after it",
            )
        yield FunctionPlace(symbol.name, section, symbol.value // SLOT_BYTES, end // SLOT_BYTES, symbol)


def place_names(places: Sequence[FunctionPlace]) -> dict[tuple[int, int], str]:
    """(section number, byte offset) -> function; of several names for one place the first exported one."""
    table: dict[tuple[int, int], str] = {}
    for place in sorted(places, key=lambda p: not p.is_exported):
        table.setdefault((place.section.index, place.start * SLOT_BYTES), place.name)
    return table


def read_functions(
    elf: ElfFile, types: TypeInfo, places: Sequence[FunctionPlace], resolver: Resolver
) -> dict[str, FunctionSpec]:
    """The functions themselves, with names in their instructions and what .BTF.ext knows of them.

    Raises:
        ElfError: O0156 undecodable instructions; O015x relocations that mean nothing.
    """
    functions: dict[str, FunctionSpec] = {}
    by_section: dict[int, list[FunctionPlace]] = {}
    for place in places:
        by_section.setdefault(place.section.index, []).append(place)
    for group in by_section.values():
        code = _Code(elf, group[0].section, resolver)
        debug = _Debug(types.ext, group[0].section.name)
        known: dict[tuple[int, int], FunctionSpec] = {}  # several names for one body share it
        for place in group:
            body = known.get((place.start, place.end))
            if body is None:
                body = known[place.start, place.end] = _read_function(types, place, code, debug)
            functions[place.name] = replace(
                body,
                name=place.name,
                is_global=place.is_exported and not (place.symbol is not None and is_hidden(place.symbol)),
                is_weak=place.symbol is not None and place.symbol.binding == STB_WEAK,
            )
    return functions


def _read_function(types: TypeInfo, place: FunctionPlace, code: _Code, debug: _Debug) -> FunctionSpec:
    btf_id = debug.functions.get(place.start * SLOT_BYTES, 0)
    if not btf_id and types.btf is not None:
        btf_id = types.btf.find(place.name, Func) or 0
    return FunctionSpec(
        name=place.name,
        section=place.section.name,
        insns=code.cut(place),
        btf_id=btf_id,
        lines=_in_slots(debug.lines, place),
        core_relocations=_in_slots(debug.core, place),
    )


class _Code:
    """The instructions of one section, by slot."""

    def __init__(self, elf: ElfFile, section: Section, resolver: Resolver) -> None:
        self.elf = elf
        self.section = section
        self.resolver = resolver
        self.relocations = self._index_relocations()
        self.insns: list[Instruction | None] = []
        try:
            decoded = decode(elf.contents(section), elf.byte_order)
        except InputError as error:
            inner = error.diagnostic
            what = f"{elf.name}: section {section.name}, instruction {inner.insn}: {inner.what}"
            raise ElfError(replace(inner, code="O0156", what=what)) from error
        for insn in decoded:
            self.insns.append(insn)
            if insn.width == 2:
                self.insns.append(None)

    def _index_relocations(self) -> dict[int, Relocation]:
        table: dict[int, Relocation] = {}
        for relocation in self.elf.relocations.get(self.section.index, ()):
            slot, rest = divmod(relocation.offset, SLOT_BYTES)
            if rest or slot in table:
                raise broken(
                    "O0150",
                    f"{self.elf.name}: relocation at byte {relocation.offset} of section {self.section.name} "
                    + ("lies inside an instruction" if rest else "is the second for its instruction"),
                )
            table[slot] = relocation
        return table

    def cut(self, place: FunctionPlace) -> tuple[Instruction, ...]:
        """The instructions of one function, resolved."""
        if self.insns[place.start] is None or (place.end < len(self.insns) and self.insns[place.end] is None):
            raise broken(
                "O0154",
                f"{self.elf.name}: function '{place.name}' starts or ends in the middle of a 64-bit load",
            )
        return tuple(
            self.resolver.resolve(self.section, slot, insn, self.relocations.get(slot))
            for slot, insn in enumerate(self.insns[place.start : place.end], place.start)
            if insn is not None
        )


class _Debug:
    """What .BTF.ext says about one section, sorted by byte offset."""

    def __init__(self, ext: BtfExt, section: str) -> None:
        self.functions = dict(ext.functions.get(section, ()))
        self.lines = sorted(ext.lines.get(section, ()), key=lambda entry: entry[0])
        self.core = sorted(ext.core.get(section, ()), key=lambda entry: entry[0])


def _in_slots(entries: Sequence[tuple[int, _T]], place: FunctionPlace) -> Mapping[int, _T]:
    """The entries of one function, by slot from its start; those that lie inside an instruction are dropped."""
    first = bisect_left(entries, place.start * SLOT_BYTES, key=lambda entry: entry[0])
    last = bisect_left(entries, place.end * SLOT_BYTES, key=lambda entry: entry[0])
    return {
        offset // SLOT_BYTES - place.start: value for offset, value in entries[first:last] if offset % SLOT_BYTES == 0
    }


def find_programs(places: Sequence[FunctionPlace], functions: Mapping[str, FunctionSpec]) -> dict[str, ProgramSpec]:
    """The programs: exported functions of every section with code except ``.text``, which holds subprograms.

    A section without exported functions gives the static functions that nothing refers to (as libbpf before 1.0 did).
    An object that has code in ``.text`` only gives its exported functions, to be loaded on request.
    """
    named = {ref.name for spec in functions.values() for insn in spec.insns if isinstance(ref := insn.ref, FuncRef)}
    exporting = {place.section.index for place in places if place.is_exported}
    programs: dict[str, ProgramSpec] = {}
    for place in places:
        is_entry = place.is_exported or (place.section.index not in exporting and place.name not in named)
        if is_entry and place.section.name != TEXT:
            programs[place.name] = _program(place, functions[place.name])
    if programs:
        return programs
    for place in places:
        if place.is_exported and place.name not in named:
            note = f"function '{place.name}' has no SEC(): skep does not know what kind of program it is"
            programs[place.name] = ProgramSpec(
                place.name, functions[place.name], TEXT, ProgType.UNSPEC, autoload=False, notes=(note,)
            )
    return programs


def _program(place: FunctionPlace, function: FunctionSpec) -> ProgramSpec:
    section = place.section.name.removeprefix("?")
    autoload = not place.section.name.startswith("?")
    found = match(section)
    if found is None:
        note = f"section name '{section}' is not known: skep does not know what kind of program '{place.name}' is"
        return ProgramSpec(place.name, function, section, ProgType.UNSPEC, autoload=autoload, notes=(note,))
    notes = (f"libbpf >= 1.0 refuses the section name '{section}'",) if found.legacy else ()
    return ProgramSpec(
        name=place.name,
        function=function,
        section=section,
        prog_type=found.prog_type,
        attach_type=found.attach_type,
        attach_to=found.attach_to,
        sleepable=found.sleepable,
        frags=found.frags,
        autoload=autoload,
        notes=notes,
    )

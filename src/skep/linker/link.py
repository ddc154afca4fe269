"""ObjectSpec and Target to LinkedProgram: flat code in which only maps, kfuncs and ksyms are still names."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from skep.abi.prog_types import ProgType
from skep.btf.types import essential_name
from skep.diagnostics import Diagnostic, Span
from skep.errors import UnsupportedError, UsageError
from skep.isa.instruction import FuncRef, Instruction, KfuncRef, KsymRef, MapRef, MapValueRef
from skep.isa.opcodes import (
    CALL,
    JMP,
    LD_IMM64,
    PSEUDO_BTF_ID,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
)
from skep.linker.arenas import home_of, place_variables, size_of_map
from skep.linker.calls import Placed, lay_out, resolve_call
from skep.linker.core import CoreCache
from skep.linker.externs import (
    KCONFIG,
    has_kernel_function,
    has_kernel_variable,
    is_typeless,
    kconfig_values,
)
from skep.linker.faults import link_error, span_at, unknown_name
from skep.linker.tables import loads_by_itself, member_of
from skep.model.maps import MapSpec
from skep.model.objects import ExternKind, ObjectSpec
from skep.model.programs import FunctionSpec, LinkedProgram, ProgramSpec, Subprogram
from skep.model.target import Target

# libbpf's numbers for calls that must never be reached; they make the kernel's message recognisable.
_POISON_MAP: Final = 2001000000
_POISON_KFUNC: Final = 2002000000
_MAP_SOURCES: Final = (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE)
_CALL_OPCODE: Final = JMP | CALL


def link(spec: ObjectSpec, program: str, target: Target) -> LinkedProgram:
    """Link one program of an object for a place to run.

    Raises:
        UsageError: U0101 no such program, U0102 a program whose type nobody said.
        LinkError: L01xx, a symbol or relocation that the object or the Target cannot satisfy.
        UnsupportedError: the program uses something of the object that skep does not support.
    """
    return _Linker(spec, target).link(program)


def link_all(spec: ObjectSpec, target: Target, programs: Iterable[str] | None = None) -> Mapping[str, LinkedProgram]:
    """Link several programs of an object, by name; by default all that load by themselves (no ``?`` in SEC()).

    Raises:
        As link(), for the first program that fails.
    """
    names = programs if programs is not None else default_programs(spec, target)
    linker = _Linker(spec, target)
    return {name: linker.link(name) for name in names}


def default_programs(spec: ObjectSpec, target: Target) -> list[str]:
    """Names of the programs that are loaded when nobody says which."""
    return [name for name, program in spec.programs.items() if loads_by_itself(spec, program, target)]


class _Linker:
    """What several programs of one object share: the Target, CO-RE results, the contents of ``.kconfig``."""

    def __init__(self, spec: ObjectSpec, target: Target) -> None:
        self.spec = spec = place_variables(spec)
        self.target = target
        self.core = CoreCache(spec.btf, target)
        self.kconfig = kconfig_values(spec, target)
        externs = [spec.externs[name] for name in self.kconfig.missing]
        self.missing_kconfig = sorted((e.offset, e.offset + e.size, e.name) for e in externs)

    def link(self, name: str) -> LinkedProgram:
        spec, target = self.spec, self.target
        program = spec.programs.get(name)
        if program is None:
            raise unknown_name("program", name, spec.programs, "U0101")
        if spec.byte_order != target.byte_order:
            raise link_error(
                "L0102",
                f"the object is {spec.byte_order}-endian, but {target.name} is {target.byte_order}-endian",
                help=f"compile with --target={'bpfel' if target.byte_order == 'little' else 'bpfeb'}",
                program=name,
            )
        if program.prog_type is ProgType.UNSPEC:
            raise UsageError(
                Diagnostic(
                    "U0102",
                    f"section name '{program.section}' does not say what kind of program this is",
                    program=name,
                    help="give the type (--type xdp, or skep.linker.set_type), or use a section name that libbpf knows",
                )
            )
        return _Link(self, program).finish()


@dataclass(slots=True)
class _Link:
    """One program on its way."""

    linker: _Linker
    program: ProgramSpec
    insns: list[Instruction] = field(default_factory=list)
    lines: dict[int, Span] = field(default_factory=dict)
    maps: dict[str, MapSpec] = field(default_factory=dict)
    poisoned: dict[int, str] = field(default_factory=dict)

    def finish(self) -> LinkedProgram:
        program, spec = self.program, self.linker.spec
        placed = lay_out(program.name, program.function, spec.functions)
        starts = {place.function.name: place.start for place in placed}
        is_table = program.prog_type is ProgType.STRUCT_OPS
        for place in placed:
            self._emit(place, starts)
        return LinkedProgram(
            name=program.name,
            section=program.section,
            prog_type=program.prog_type,
            attach_type=program.attach_type,
            attach_to=member_of(spec, program) if is_table else program.attach_to,
            sleepable=program.sleepable,
            frags=program.frags,
            license=spec.license,
            insns=tuple(self.insns),
            subprograms=tuple(
                Subprogram(p.function.name, p.start, p.end, p.function.is_global, p.function.btf_id) for p in placed
            ),
            lines=self.lines,
            maps=self.maps,
            target=self.linker.target,
            btf=spec.btf,
            core_poisoned=self.poisoned,
        )

    def _emit(self, place: Placed, starts: Mapping[str, int]) -> None:
        function = place.function
        local = 0
        last: Span | None = None
        for insn in function.insns:
            slot = place.start + local
            line = function.lines.get(local)
            if line is not None and line != last:
                self.lines[slot] = last = line
            self.insns.extend(self._linked(_Site(function, local, slot), insn, starts))
            local += insn.width

    def _linked(self, site: _Site, insn: Instruction, starts: Mapping[str, int]) -> tuple[Instruction, ...]:
        relocation = site.function.core_relocations.get(site.local)
        if relocation is not None:
            outcome = self.linker.core.apply(insn, relocation, site.function, site.local, self.program.name)
            if outcome.poison is not None:
                return self._poison(site, insn, outcome.poison, outcome.imm)
            return (outcome.insn,)
        if insn.ref is None:
            self._check_plain(site, insn)
            return (insn,)
        if isinstance(insn.ref, FuncRef):
            return (resolve_call(insn, site.slot, starts),)
        return _RESOLVERS[type(insn.ref)](self, site, insn)

    def _check_plain(self, site: _Site, insn: Instruction) -> None:
        if insn.opcode == LD_IMM64 and insn.src in _MAP_SOURCES:
            raise self._error(
                site,
                "L0103",
                f"the object names a map by the number {insn.imm & 0xFFFFFFFF}, which means nothing outside the "
                "process that made it",
                help="load the object as the compiler wrote it; its relocations name the maps",
            )

    def map(self, site: _Site, insn: Instruction) -> tuple[Instruction, ...]:
        """LD_IMM64 of a map."""
        assert isinstance(insn.ref, MapRef)
        found = self._use_map(site, insn.ref.name)
        if not found.autocreate:
            names = list(self.linker.spec.maps)
            return self._poison(site, insn, f"map '{found.name}' is not created", _POISON_MAP + names.index(found.name))
        return (insn,)

    def map_value(self, site: _Site, insn: Instruction) -> tuple[Instruction, ...]:
        """LD_IMM64 of an address in global data."""
        ref = insn.ref
        assert isinstance(ref, MapValueRef)
        found = self._use_map(site, home_of(self.linker.spec, ref.name))
        size = size_of_map(found)
        if not 0 <= ref.offset < size:
            raise self._error(
                site,
                "L0104",
                f"the program takes the address of byte {ref.offset} of {ref.name}, which has {size} bytes",
            )
        if ref.name == KCONFIG:
            self._check_kconfig(site, ref.offset)
        return (replace(insn, ref=MapValueRef(found.name, ref.offset)),)

    def kernel_function(self, site: _Site, insn: Instruction) -> tuple[Instruction, ...]:
        """A call of a kfunc."""
        assert isinstance(insn.ref, KfuncRef)
        name = insn.ref.name
        extern = self.linker.spec.externs.get(name)
        target = self.linker.target
        if has_kernel_function(target, essential_name(name)):
            return (replace(insn, ref=KfuncRef(essential_name(name))),)
        reason = f"{target.name} has no kernel function '{essential_name(name)}'"
        if extern is not None and extern.is_weak:
            position = list(self.linker.spec.externs).index(name)
            return self._poison(site, insn, reason, _POISON_KFUNC + position)
        raise self._error(site, "L0105", reason, *self._why_no_btf(), help=_WEAK_HINT.format(name=name))

    def kernel_symbol(self, site: _Site, insn: Instruction) -> tuple[Instruction, ...]:
        """LD_IMM64 of the address of a kernel variable or function; 0 for a weak one that is missing."""
        assert isinstance(insn.ref, KsymRef)
        name = insn.ref.name
        extern = self.linker.spec.externs.get(name)
        if extern is None:
            raise self._error(
                site,
                "L0106",
                f"symbol '{name}' is defined nowhere",
                help=f"define {name} in this object, link the object that has it, or declare it __ksym or __kconfig",
            )
        target = self.linker.target
        plain = essential_name(name)
        if extern.kind is ExternKind.KSYM and is_typeless(self.linker.spec.btf, extern):
            address = target.kallsyms.get(plain)
            if address is not None:
                return (replace(insn, src=0, imm=(address + insn.imm) & 0xFFFFFFFFFFFFFFFF, ref=None),)
        elif (has_kernel_function if extern.kind is ExternKind.KFUNC else has_kernel_variable)(target, plain):
            return (replace(insn, src=PSEUDO_BTF_ID, imm=0, ref=KsymRef(plain)),)
        if extern.is_weak:
            return (replace(insn, src=0, imm=0, ref=None),)
        reason = f"{target.name} has no kernel symbol '{plain}'"
        raise self._error(site, "L0105", reason, *self._why_no_btf(), help=_WEAK_HINT.format(name=name))

    def _use_map(self, site: _Site, name: str) -> MapSpec:
        known = self.maps.get(name)
        if known is not None:
            return known
        spec = self.linker.spec
        reason = spec.unsupported.get(name)
        if reason is not None:
            span = span_at(site.function, site.local)
            raise UnsupportedError(Diagnostic("L0107", reason, span=span, program=self.program.name, insn=site.slot))
        found = spec.maps.get(name)
        if found is None:
            raise self._error(
                site,
                "L0108",
                f"map '{name}' is declared, but defined nowhere",
                help=f"define {name} in this object, or link the object that has it",
            )
        if name == KCONFIG:
            found = found.replace(contents=self.linker.kconfig.contents)
        if found.autocreate:
            self.maps[name] = found
        return found

    def _check_kconfig(self, site: _Site, offset: int) -> None:
        missing = self.linker.missing_kconfig
        index = bisect_right(missing, offset, key=lambda entry: entry[0]) - 1
        if index < 0 or offset >= missing[index][1]:
            return
        name = missing[index][2]
        raise self._error(
            site,
            "L0109",
            f"extern '{name}' has no value on {self.linker.target.name}",
            self.linker.kconfig.missing[name],
            help=f"declare it weak:  extern ... {name} __kconfig __weak;  then it is 0 here",
        )

    def _why_no_btf(self) -> tuple[str, ...]:
        target = self.linker.target
        return (f"the types (BTF) of {target.name} are not known",) if target.btf is None else ()

    def _poison(self, site: _Site, insn: Instruction, reason: str, imm: int) -> tuple[Instruction, ...]:
        """An instruction that must prove unreachable: each slot becomes a call of a helper that does not exist."""
        for slot in range(site.slot, site.slot + insn.width):
            self.poisoned[slot] = reason
        return (Instruction(_CALL_OPCODE, imm=imm),) * insn.width

    def _error(self, site: _Site, code: str, what: str, *why: str, help: str | None = None) -> Exception:
        return link_error(
            code, what, *why, help=help, program=self.program.name, function=site.function, slot=site.local
        )


@dataclass(frozen=True, slots=True)
class _Site:
    """An instruction's place: slot in its function, and in the flat code."""

    function: FunctionSpec
    local: int
    slot: int


_WEAK_HINT: Final = "declare it weak (__weak) and test it with bpf_ksym_exists({name}), or load on a kernel that has it"
_RESOLVERS: Final[Mapping[type, Callable[[_Link, _Site, Instruction], tuple[Instruction, ...]]]] = {
    MapRef: _Link.map,
    MapValueRef: _Link.map_value,
    KfuncRef: _Link.kernel_function,
    KsymRef: _Link.kernel_symbol,
}

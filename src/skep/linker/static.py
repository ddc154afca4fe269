"""Several objects into one, before anything is known of a Target: what one declares, another may define.

Rules of libbpf's static linker (``bpftool gen object``): a strong definition beats weak ones, two strong ones are an
error, static names are private to their object. Sections of global data are joined, each part aligned to 16 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from skep.btf.catalog import align_of
from skep.btf.types import Btf, SectionVar
from skep.isa.instruction import FuncRef, Instruction, KsymRef, MapRef, MapValueRef
from skep.isa.opcodes import LD_IMM64, PSEUDO_FUNC, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE
from skep.linker.externs import KCONFIG
from skep.linker.faults import link_error
from skep.linker.merge_types import TypeMerger
from skep.model.maps import MapSpec, Slot, VariableSpec
from skep.model.objects import ExternKind, ExternSpec, ObjectSpec
from skep.model.programs import FunctionSpec, ProgramSpec

_ALIGNMENT: Final = 16


def link_static(specs: Sequence[ObjectSpec], name: str | None = None) -> ObjectSpec:
    """Join objects into one.

    Args:
        specs: at least one object; all of one byte order.
        name: of the result; by default the first object's.

    Raises:
        LinkError: L0130 objects that do not go together, L0131 a name defined twice, L0132 externs that disagree.
    """
    if not specs:
        raise link_error("L0130", "there are no objects to link")
    if len(specs) == 1:
        return replace(specs[0], name=name or specs[0].name)
    return _Joiner(specs).join(name or specs[0].name)


@dataclass(slots=True)
class _Part:
    """One object on its way: the new names of its own things, and where its data went."""

    spec: ObjectSpec
    functions: dict[str, str] = field(default_factory=dict)
    maps: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    bases: dict[str, int] = field(default_factory=dict)
    ids: Sequence[int] = (0,)
    beaten: list[VariableSpec] = field(default_factory=list)  # weak variables that another object's definition replaces

    def type_id(self, old: int) -> int:
        return self.ids[old] if old < len(self.ids) else 0


class _Joiner:
    def __init__(self, specs: Sequence[ObjectSpec]) -> None:
        self.parts = [_Part(spec) for spec in specs]
        self.owners = self._find_owners()
        self.externs: dict[str, ExternSpec] = {}
        self.btf: Btf | None = None

    def join(self, name: str) -> ObjectSpec:
        first = self.parts[0].spec
        self._name_things()
        data = self._join_data()
        self.btf = self._join_types()
        kconfig = self.externs and any(e.kind is ExternKind.KCONFIG for e in self.externs.values())
        functions = {n: f for part in self.parts for n, f in self._functions(part)}
        maps = {n: m for part in self.parts for n, m in self._maps(part)}
        maps.update({n: self._data_map(n, contents) for n, contents in data.items()})
        if kconfig:
            size = max(e.offset + e.size for e in self.externs.values() if e.kind is ExternKind.KCONFIG)
            maps[KCONFIG] = self._data_map(KCONFIG, bytes(size))
        return ObjectSpec(
            name=name,
            byte_order=first.byte_order,
            license=self._license(),
            maps=maps,
            programs={n: p for part in self.parts for n, p in self._programs(part, functions)},
            functions=functions,
            variables={n: v for part in self.parts for n, v in self._variables(part)},
            externs=self.externs,
            btf=self.btf,
            kernel_version=next((p.spec.kernel_version for p in self.parts if p.spec.kernel_version), 0),
            notes=tuple(dict.fromkeys(note for part in self.parts for note in part.spec.notes)),
            exports={name: part.spec.exports[name] for name, part in self.owners.items()},
            unsupported={n: why for part in self.parts for n, why in part.spec.unsupported.items()},
        )

    def _license(self) -> str:
        found = {part.spec.license for part in self.parts if part.spec.license}
        if len(found) > 1:
            raise link_error("L0130", f"the objects have different licenses: {', '.join(sorted(found))}")
        return next(iter(found), "")

    def _find_owners(self) -> dict[str, _Part]:
        """Exported name -> the object whose definition counts."""
        owners: dict[str, _Part] = {}
        for part in self.parts:
            if part.spec.byte_order != self.parts[0].spec.byte_order:
                raise link_error("L0130", f"objects of both byte orders cannot be linked ({part.spec.name})")
            for name, is_weak in part.spec.exports.items():
                known = owners.get(name)
                if known is not None and not is_weak and not known.spec.exports[name]:
                    if not _is_thing(part.spec, name):
                        continue  # e.g. the variable that holds the license
                    raise link_error("L0131", f"'{name}' is defined in {known.spec.name} and in {part.spec.name}")
                if known is None or (known.spec.exports[name] and not is_weak):
                    owners[name] = part
        return owners

    def _name_things(self) -> None:
        taken: set[str] = set(self.owners)
        numbers: dict[str, int] = {}

        def private(name: str) -> str:
            unique = name
            while unique in taken:
                numbers[name] = numbers.get(name, 0) + 1
                unique = f"{name}.{numbers[name]}"
            taken.add(unique)
            return unique

        for part in self.parts:
            spec = part.spec
            for name in spec.functions:
                part.functions[name] = name if name in spec.exports else private(name)
            for name, found in spec.maps.items():
                if not found.is_data:
                    part.maps[name] = name if name in spec.exports else private(name)
            for name, variable in spec.variables.items():
                part.variables[name] = name if name in spec.exports else private(name)
                if name in spec.exports and self.owners[name] is not part:
                    part.beaten.append(variable)

    def _join_data(self) -> dict[str, bytes]:
        joined: dict[str, bytearray] = {}
        for part in self.parts:
            for name, found in part.spec.maps.items():
                if not found.is_data or found.contents is None or name == KCONFIG:
                    continue
                whole = joined.setdefault(name, bytearray())
                whole.extend(bytes(-len(whole) % _ALIGNMENT))
                part.bases[name] = len(whole)
                whole.extend(found.contents)
        return {name: bytes(whole) for name, whole in joined.items()}

    def _join_types(self) -> Btf | None:
        merger = TypeMerger(self.parts[0].spec.byte_order)
        has_types = False
        for part in self.parts:
            if part.spec.btf is not None:
                has_types = True
                part.ids = merger.add(part.spec.btf, part.bases)
        plain = Btf(tuple(merger.types), byte_order=merger.byte_order)
        for part in self.parts:
            for extern in part.spec.externs.values():
                self._add_extern(part, extern)
        entries = self._lay_out_kconfig(plain)
        if entries:
            last = entries[-1]
            merger.set_section(KCONFIG, entries, last.offset + last.size)
        return merger.finish() if has_types else None

    def _add_extern(self, part: _Part, extern: ExternSpec) -> None:
        if extern.name in self.owners:
            return
        moved = replace(extern, type=part.type_id(extern.type))
        known = self.externs.get(extern.name)
        if known is None:
            self.externs[extern.name] = moved
        elif (known.kind, known.size) != (extern.kind, extern.size):
            raise link_error("L0132", f"extern '{extern.name}' is declared differently in {part.spec.name}")
        else:
            self.externs[extern.name] = replace(known, is_weak=known.is_weak and extern.is_weak)

    def _lay_out_kconfig(self, types: Btf) -> list[SectionVar]:
        entries: list[SectionVar] = []
        end = 0
        for extern in [e for e in self.externs.values() if e.kind is ExternKind.KCONFIG]:
            start = -(-end // (alignment := align_of(types, extern.type))) * alignment
            end = start + extern.size
            self.externs[extern.name] = replace(extern, offset=start)
            var_id = types.find(extern.name)
            entries.append(SectionVar(var_id or 0, start, extern.size))
        return entries

    def _data_map(self, name: str, contents: bytes) -> MapSpec:
        model = next(part.spec.maps[name] for part in self.parts if name in part.spec.maps)
        value_type = (self.btf.find(name) or 0) if self.btf is not None else 0
        return model.replace(value_size=len(contents), value_type=value_type, btf=self.btf, contents=contents)

    def _functions(self, part: _Part) -> list[tuple[str, FunctionSpec]]:
        made = []
        for name, function in part.spec.functions.items():
            if name in part.spec.exports and self.owners[name] is not part:
                continue
            moved = replace(
                function,
                name=part.functions[name],
                insns=tuple(self._insn(part, insn) for insn in function.insns),
                btf_id=part.type_id(function.btf_id),
                core_relocations={
                    slot: replace(relocation, type=part.type_id(relocation.type))
                    for slot, relocation in function.core_relocations.items()
                },
            )
            made.append((moved.name, moved))
        return made

    def _insn(self, part: _Part, insn: Instruction) -> Instruction:
        change = _CHANGES.get(type(insn.ref))
        return change(self, part, insn) if change is not None else insn

    def function(self, part: _Part, insn: Instruction) -> Instruction:
        """A call or address of a function, here or in another object."""
        assert isinstance(insn.ref, FuncRef)
        return replace(insn, ref=FuncRef(part.functions.get(insn.ref.name, insn.ref.name)))

    def map(self, part: _Part, insn: Instruction) -> Instruction:
        """A map, here or in another object."""
        assert isinstance(insn.ref, MapRef)
        return replace(insn, ref=MapRef(part.maps.get(insn.ref.name, insn.ref.name)))

    def map_value(self, part: _Part, insn: Instruction) -> Instruction:
        """An address in global data, which moved."""
        ref = insn.ref
        assert isinstance(ref, MapValueRef)
        if ref.name == KCONFIG:
            for extern in part.spec.externs.values():
                if extern.kind is ExternKind.KCONFIG and 0 <= ref.offset - extern.offset < extern.size:
                    moved = self.externs[extern.name].offset + ref.offset - extern.offset
                    return replace(insn, ref=MapValueRef(KCONFIG, moved))
        for variable in part.beaten:
            if variable.map == ref.name and 0 <= ref.offset - variable.offset < variable.size:
                return self._variable_address(insn, variable.name, ref.offset - variable.offset)
        return replace(insn, ref=MapValueRef(ref.name, ref.offset + part.bases.get(ref.name, 0)))

    def undefined(self, part: _Part, insn: Instruction) -> Instruction:
        """A symbol that its object does not define: a variable, function or map of another object, or the kernel's."""
        assert isinstance(insn.ref, KsymRef)
        name = insn.ref.name
        owner = self.owners.get(name)
        if owner is None or insn.opcode != LD_IMM64:
            return insn
        if name in owner.spec.variables:
            addend = insn.imm - (1 << 64) if insn.imm >> 63 else insn.imm
            return self._variable_address(insn, name, addend)
        if name in owner.spec.functions:
            return replace(insn, src=PSEUDO_FUNC, imm=0, ref=FuncRef(owner.functions[name]))
        return replace(insn, src=PSEUDO_MAP_FD, imm=0, ref=MapRef(name)) if name in owner.maps else insn

    def _variable_address(self, insn: Instruction, name: str, offset: int) -> Instruction:
        owner = self.owners[name]
        variable = owner.spec.variables[name]
        ref = MapValueRef(variable.map, owner.bases.get(variable.map, 0) + variable.offset + offset)
        return replace(insn, src=PSEUDO_MAP_VALUE, imm=0, ref=ref)

    def _maps(self, part: _Part) -> list[tuple[str, MapSpec]]:
        made = []
        for name, found in part.spec.maps.items():
            if not found.is_data and (name not in part.spec.exports or self.owners[name] is part):
                moved = self._map(part, found).replace(name=part.maps[name])
                made.append((moved.name, moved))
        return made

    def _map(self, part: _Part, found: MapSpec) -> MapSpec:
        names = {**part.functions, **part.maps}
        return found.replace(
            key_type=part.type_id(found.key_type),
            value_type=part.type_id(found.value_type),
            btf=self.btf,
            inner=self._map(part, found.inner) if found.inner is not None else None,
            slots=tuple(Slot(slot.index, names.get(slot.target, slot.target)) for slot in found.slots),
        )

    def _programs(self, part: _Part, functions: Mapping[str, FunctionSpec]) -> list[tuple[str, ProgramSpec]]:
        made = []
        for name, program in part.spec.programs.items():
            if name in part.spec.exports and self.owners[name] is not part:
                continue
            new_name = part.functions[name]
            made.append((new_name, replace(program, name=new_name, function=functions[new_name])))
        return made

    def _variables(self, part: _Part) -> list[tuple[str, VariableSpec]]:
        made = []
        for name, variable in part.spec.variables.items():
            if name in part.spec.exports and self.owners[name] is not part:
                continue
            moved = replace(
                variable,
                name=part.variables[name],
                offset=variable.offset + part.bases.get(variable.map, 0),
                type=part.type_id(variable.type),
                btf=self.btf if variable.type else None,
            )
            made.append((moved.name, moved))
        return made


def _is_thing(spec: ObjectSpec, name: str) -> bool:
    return name in spec.functions or name in spec.variables or name in spec.maps


_CHANGES: Final[Mapping[type, Callable[[_Joiner, _Part, Instruction], Instruction]]] = {
    FuncRef: _Joiner.function,
    MapRef: _Joiner.map,
    MapValueRef: _Joiner.map_value,
    KsymRef: _Joiner.undefined,
}

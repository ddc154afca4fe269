"""What is known about the module being made: shared by the writers of its functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skep.abi.contexts import FieldKind
from skep.abi.helpers import HELPERS
from skep.abi.map_types import MapType
from skep.abi.signatures import ArgKind
from skep.diagnostics import Diagnostic
from skep.errors import InternalError, UnsupportedError
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.jit.kinds import Routine
from skep.jit.native import Native
from skep.model.maps import MapSpec
from skep.model.programs import CallFact, Facts, LinkedProgram

RDONLY_PROG = 1 << 7  # BPF_F_RDONLY_PROG: programs may not write; frozen: nobody else may

Natives = Mapping[tuple[int, MapType | None], Native]


@dataclass(frozen=True, slots=True)
class Rows:
    """The vm's tables: C functions by helper and map type, by context field kind, and for legacy packet loads.

    Attributes:
        helpers: by helper number and map type; type None holds for every other map, and for helpers without map.
        fields: accessors of the pointer fields of a context.
        load_packet: for LD_ABS and LD_IND: parameters ``run``, ``r1`` (offset), ``r2`` (size): the value in host order,
            or a negative number where the packet ends before.
        context: the run's context, for callbacks, which C calls without it.
        value_offset: bytes from the start of an array map's memory to its first value.
        kfuncs: functions that programs call by name.
    """

    helpers: Natives
    fields: Mapping[FieldKind, Native] = field(default_factory=dict)
    load_packet: Native | None = None
    context: Native | None = None
    value_offset: int = 4096
    kfuncs: Mapping[str, Native] = field(default_factory=dict)


@dataclass(slots=True)
class Unit:
    """The program being compiled, and the C functions it turned out to need."""

    linked: LinkedProgram
    facts: Facts
    rows: Rows
    table: Sequence[Instruction | None]
    routines: dict[int, Routine]
    memory_size: int | None
    declared: dict[str, str] = field(default_factory=dict)
    used_maps: dict[str, None] = field(default_factory=dict)
    used_constants: dict[str, None] = field(default_factory=dict)

    @property
    def little_endian(self) -> bool:
        """The byte order of the target."""
        return self.linked.target.byte_order == "little"

    def map_spec(self, fact: CallFact) -> MapSpec | None:
        """The blueprint of the map that a call is given, if it is the same for all paths."""
        if fact.map_spec is not None:
            return fact.map_spec
        return self.linked.maps.get(fact.map) if fact.map is not None else None

    def call_fact(self, insn: Instruction, slot: int) -> CallFact:
        """What is known of a helper call. A callx needs the verifier to have found the number in its register."""
        fact = self.facts.calls.get(slot)
        if fact is not None:
            return fact
        if insn.opcode & op.SOURCE_MASK == op.X:
            what = "a call through a register is compiled only where the register holds one known helper"
            raise self.unsupported(what, slot, "call the function by name")
        return CallFact(helper=insn.imm)

    def find_native(self, fact: CallFact, slot: int) -> Native:
        """The row of a helper call."""
        spec = self.map_spec(fact)
        native = self.rows.helpers.get((fact.helper, spec.type)) if spec is not None else None
        native = native or self.rows.helpers.get((fact.helper, None))
        if native is None:
            signature = HELPERS.get(fact.helper)
            name = signature.name if signature else f"helper {fact.helper}"
            kind = f" on a map of type {spec.type.name.lower()}" if spec is not None else ""
            raise InternalError(f"{self.linked.name}: no native code for {name}{kind} at instruction {slot}")
        return native

    def find_kfunc(self, insn: Instruction, slot: int) -> Native:
        """The row of a function that is called by name.

        Raises:
            UnsupportedError: E0301 the vm has none of this name.
        """
        name = getattr(insn.ref, "name", "")
        native = self.rows.kfuncs.get(name)
        if native is None:
            what = f"the vm engine has no kernel function {name}()"
            raise self.unsupported(what, slot, 'load it with engine="kernel"')
        return native

    def unsupported(self, what: str, slot: int, advice: str) -> UnsupportedError:
        """An error about an instruction that the vm cannot compile."""
        diagnostic = Diagnostic(
            code="E0301",
            what=what,
            span=self.linked.lines.get(slot),
            program=self.linked.name,
            insn=slot,
            help=advice,
        )
        return UnsupportedError(diagnostic)

    def map_symbol(self, name: str) -> str:
        """The global that stands for a map's memory, which starts with its header."""
        self.used_maps[name] = None
        return f'@"{map_symbol(name)}"'

    def value_address(self, name: str, offset: int) -> str:
        """An address in the first value of an array map, as a constant; what nobody can change lies in the module."""
        spec = self.linked.maps[name]
        if spec.frozen and spec.flags & RDONLY_PROG and spec.contents is not None:
            self.used_constants[name] = None
            return f'getelementptr (i8, ptr @"{constant_symbol(name)}", i64 {offset})'
        return f"getelementptr (i8, ptr {self.map_symbol(name)}, i64 {self.rows.value_offset + offset})"


def map_argument(helper: int) -> int:
    """Number of the argument that is the map (1-5), by the helper's signature."""
    signature = HELPERS.get(helper)
    if signature is not None and signature.args is not None:
        for number, argument in enumerate(signature.args, 1):
            if argument.kind is ArgKind.CONST_MAP:
                return number
    return 1


def map_symbol(name: str) -> str:
    """Linker symbol of a map's memory (it starts with struct skep_map)."""
    return f"map.{name}"


def constant_symbol(name: str) -> str:
    """Symbol of the frozen contents of a map, as they lie in the module."""
    return f"constant.{name}"

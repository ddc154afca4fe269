"""The blueprint of a whole object file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from skep.abi.helpers import HELPERS
from skep.abi.prog_types import ProgType
from skep.abi.signatures import ArgKind
from skep.btf.types import Btf
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.model.maps import MapSpec, VariableSpec
from skep.model.programs import FunctionSpec, ProgramSpec


class ExternKind(StrEnum):
    """Where an extern's value comes from."""

    KCONFIG = "kconfig"  # .kconfig: CONFIG_*, LINUX_KERNEL_VERSION, ...: a value in the .kconfig map
    KSYM = "ksym"  # .ksyms: the address of a kernel symbol, typed or typeless
    KFUNC = "kfunc"  # .ksyms: a kernel function to call


@dataclass(frozen=True, slots=True)
class ExternSpec:
    """A symbol that the Target must supply.

    ``offset`` and ``size`` place a KCONFIG value in the ``.kconfig`` map; ``type`` is its BTF id.
    """

    name: str
    kind: ExternKind
    is_weak: bool = False
    type: int = 0
    offset: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """What an object file says: maps, programs, functions, variables, by name. Nothing depends on the host.

    Attributes:
        name: of the file, without directory and suffix.
        byte_order: "little" or "big".
        functions: every function by name, entries of programs included.
        variables: global variables by name.
        notes: what the reader noticed and the user should know (legacy maps, unknown sections kept aside).
        exports: names of functions, variables and maps that other objects may refer to -> whether it is weak.
        unsupported: name of a map or section -> why a program that uses it cannot be linked (struct_ops, arenas, data
            that holds addresses).
    """

    name: str
    byte_order: str
    license: str
    maps: Mapping[str, MapSpec]
    programs: Mapping[str, ProgramSpec]
    functions: Mapping[str, FunctionSpec] = field(repr=False)
    variables: Mapping[str, VariableSpec] = field(repr=False)
    externs: Mapping[str, ExternSpec] = field(repr=False)
    btf: Btf | None = field(default=None, repr=False)
    kernel_version: int = 0
    notes: tuple[str, ...] = ()
    exports: Mapping[str, bool] = field(default_factory=dict, repr=False)
    unsupported: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def asks_for_types(self) -> bool:
        """Whether linking or verifying asks for a kernel's types: CO-RE, kernel functions and variables, programs whose
        context they describe, helpers that take or give the kernel's structures.
        """
        return (
            any(extern.kind in (ExternKind.KSYM, ExternKind.KFUNC) for extern in self.externs.values())
            or any(program.prog_type in _TYPED for program in self.programs.values())
            or any(f.core_relocations or any(map(_gives_objects, f.insns)) for f in self.functions.values())
        )


_TYPED = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.EXT})
_OBJECT_ARGUMENTS = frozenset({ArgKind.BTF_OBJECT, ArgKind.PERCPU_BTF_OBJECT})
_OBJECT_HELPERS = frozenset(
    row.id
    for row in HELPERS.values()
    if "btf_id" in row.returns or any(arg.kind in _OBJECT_ARGUMENTS for arg in row.args or ())
)


def _gives_objects(insn: Instruction) -> bool:
    return insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_HELPER and insn.imm in _OBJECT_HELPERS

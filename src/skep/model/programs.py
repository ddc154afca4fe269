"""Programs at the three stations of their life: as the file says, linked for a Target, proved safe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from skep.abi.contexts import ContextField
from skep.abi.prog_types import AttachType, ProgType
from skep.btf.core_relo import CoreRelocation
from skep.btf.types import Btf
from skep.diagnostics import Diagnostic, Span
from skep.isa.instruction import Instruction
from skep.model.maps import MapSpec
from skep.model.target import Target


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One function as compiled: a program's entry, or a subprogram (static or global).

    Slots count from the function's own first instruction. Calls of other functions carry a FuncRef and their ``imm``
    means nothing until linking; so do references to maps, variables, kfuncs and ksyms.
    """

    name: str
    section: str
    insns: tuple[Instruction, ...] = field(repr=False)
    is_global: bool = False
    is_weak: bool = False
    btf_id: int = 0
    lines: Mapping[int, Span] = field(default_factory=dict, repr=False)
    core_relocations: Mapping[int, CoreRelocation] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program: a function with a section name that says what it is for.

    Attributes:
        section: as written, without a leading ``?``.
        attach_to: the part of the section name after the type, e.g. ``syscalls/sys_enter_openat``; "" if none.
        sleepable, frags: from the section name (``.s``, ``xdp.frags``).
        autoload: False where the section name starts with ``?``.
    """

    name: str
    function: FunctionSpec
    section: str
    prog_type: ProgType
    attach_type: AttachType | None = None
    attach_to: str = ""
    sleepable: bool = False
    frags: bool = False
    autoload: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subprogram:
    """A function's place in flat code. ``start`` and ``end`` are slots (end exclusive)."""

    name: str
    start: int
    end: int
    is_global: bool = False
    btf_id: int = 0


@dataclass(frozen=True, slots=True)
class LinkedProgram:
    """Flat code for one Target: the entry function first, then every subprogram it reaches; CO-RE and externs resolved.

    Attributes:
        insns: calls between subprograms are numeric again (``imm`` = distance in slots, as the kernel wants); maps,
            kfuncs and ksyms are still names.
        subprograms: in code order; the entry is subprograms[0].
        lines: slot -> source line, only where a new line starts.
        maps: the blueprints that the code names, with final ``.rodata`` contents.
        core_poisoned: slots whose CO-RE relocation the Target cannot satisfy: they must prove unreachable.
        extends: the program one of whose functions it replaces (freplace); ``attach_to`` names the function.
    """

    name: str
    section: str
    prog_type: ProgType
    attach_type: AttachType | None
    attach_to: str
    sleepable: bool
    frags: bool
    license: str
    insns: tuple[Instruction, ...] = field(repr=False)
    subprograms: tuple[Subprogram, ...]
    lines: Mapping[int, Span] = field(repr=False)
    maps: Mapping[str, MapSpec]
    target: Target = field(repr=False)
    btf: Btf | None = field(default=None, repr=False)
    core_poisoned: Mapping[int, str] = field(default_factory=dict, repr=False)
    extends: LinkedProgram | None = field(default=None, repr=False)

    @property
    def is_gpl_compatible(self) -> bool:
        """Whether GPL-only helpers may be called (the kernel's license_is_gpl_compatible())."""
        return self.license in _GPL_COMPATIBLE


_GPL_COMPATIBLE = frozenset(
    {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
)


class Region(StrEnum):
    """What kind of memory an access lands in: proved by the verifier, used by the JIT for aliasing and conversion."""

    STACK = "stack"
    CONTEXT = "context"
    PACKET = "packet"
    MAP_VALUE = "map_value"
    MAP_KEY = "map_key"
    ARENA = "arena"  # wherever the pointer points, or a page that is not there: a fault is caught
    KERNEL = "kernel"  # an object of the kernel (socket, task, ...): only the kernel engine has any
    MEMORY = "memory"  # a sized buffer (ringbuf record, conformance input), or different regions on different paths


@dataclass(frozen=True, slots=True)
class Access:
    """What is proved about the memory that one load, store or atomic touches.

    Attributes:
        region: which memory, on every path.
        map: name of the map, if it is one and the same on every path.
        field: the context field, for CONTEXT (a narrow or wide access of it); ``offset`` is relative to the context.
        offset: constant offset from the region's base, if it is one and the same on every path.
    """

    region: Region
    map: str | None = None
    field: ContextField | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class CallFact:
    """What is proved about one helper call.

    Attributes:
        helper: the helper's number.
        map: name of the map it is given, if it is one and the same map on every path; None: decide at run time.
        map_spec: blueprint that holds for every map it may be given (an inner map has the template's).
        callback: slot of the callback's first instruction (bpf_loop, bpf_for_each_map_elem).
        constants: values of arguments (by number 1-5) that are the same known constant on every path.
    """

    helper: int
    map: str | None = None
    map_spec: MapSpec | None = None
    callback: int | None = None
    constants: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything later stations may assume, by slot. An engine that compiles must not assume more.

    Attributes:
        reachable: slots some path executes; the rest is dead code (a conditional jump may have one dead side).
        accesses: loads, stores and atomics.
        calls: helper calls.
        pointer_results: ALU instructions whose result is a pointer, and loads (stack spills, context fields,
            fetching atomics never) that yield a pointer, on every path.
        stack_depth: bytes of stack by subprogram start slot.
        writes_packet: whether it may change packet bytes.
        resizes_packet: whether it may move the packet's bounds (adjust_head, adjust_tail, ...).
        reads_uninit_stack: some path may read stack bytes that it has not written, as the kernel allows privileged
            programs: an engine must start with a zeroed stack, or runs would differ.
    """

    reachable: frozenset[int]
    accesses: Mapping[int, Access]
    calls: Mapping[int, CallFact]
    pointer_results: frozenset[int]
    stack_depth: Mapping[int, int]
    writes_packet: bool
    resizes_packet: bool
    reads_uninit_stack: bool = False


class Outcome(StrEnum):
    """The three answers of ``skep verify``."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNSUPPORTED = (
        "unsupported"  # rejected because skep's verifier does not handle a feature yet; the diagnostic names it
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier found, whether it accepts or not.

    Attributes:
        processed_insns: instructions simulated, counted as the kernel counts them.
        facts: None unless accepted.
    """

    outcome: Outcome
    diagnostics: tuple[Diagnostic, ...]
    processed_insns: int
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class VerifiedProgram:
    """A program with the reason it may run. Only the verifier makes one."""

    linked: LinkedProgram
    facts: Facts = field(repr=False)
    processed_insns: int

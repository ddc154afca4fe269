"""What stays the same while a program is explored: its code, its maps, its type; and the notebook for facts."""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.contexts import Context, ContextField, context_for
from skep.abi.helpers import HELPERS, signature_for
from skep.abi.kfuncs import KfuncFlag
from skep.abi.map_objects import MAP_STRUCTS
from skep.abi.map_types import MapType
from skep.abi.signatures import Signature
from skep.btf.types import Btf, Datasec, Func, FuncProto, Int, Struct, Var
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, MapRef, MapValueRef, slots
from skep.model.maps import MapSpec
from skep.model.programs import Access, CallFact, Facts, LinkedProgram, Region, Subprogram
from skep.verifier.flow.cfg import Flow
from skep.verifier.options import Options
from skep.verifier.state.catcher import exception_callback
from skep.verifier.state.fields import NO_FIELDS, Record, map_record, object_record
from skep.verifier.state.functions import Parameter, parameters
from skep.verifier.state.kfuncs import KfuncProto, kfunc_proto
from skep.verifier.state.objects import Found, Object, Trust, walk
from skep.verifier.state.speculation import Speculation
from skep.verifier.state.typed_context import TypedContext, typed_context
from skep.verifier.state.values import Kind, Pointer

_SCALAR, _POINTER = 1, 2
_PLAIN = frozenset({"", "memory"})


class Notebook:
    """Facts as they are found; several paths may visit one slot and every path must agree with what is handed out."""

    __slots__ = (
        "_accesses",
        "_calls",
        "_groups",
        "depth",
        "kinds",
        "reads_uninit_stack",
        "resizes_packet",
        "visited",
        "writes_packet",
    )

    def __init__(self, count: int) -> None:
        self.kinds = bytearray(count)  # what results were seen at a slot: numbers, pointers
        self.visited = bytearray(count)
        self.depth: dict[int, int] = {}
        self._accesses: dict[int, tuple[Region, str | None, ContextField | None, int | None]] = {}
        self._calls: dict[int, CallFact] = {}
        self._groups: dict[int, str] = {}  # what an access goes through, where it must always be alike
        self.writes_packet = False
        self.resizes_packet = False
        self.reads_uninit_stack = False

    def access(
        self,
        slot: int,
        region: Region,
        map: str | None = None,
        field: ContextField | None = None,
        offset: int | None = None,
    ) -> bool:
        """Note where an access lands. False: one path says context and another does not."""
        new = (region, map, field, offset)
        old = self._accesses.setdefault(slot, new)
        if old is new or old == new:
            return True
        if (old[0] is Region.CONTEXT) != (region is Region.CONTEXT) or old[2] != field:
            return False
        same = old[0] is region
        self._accesses[slot] = (
            region if same else Region.MEMORY,
            map if same and old[1] == map else None,
            field,
            offset if same and old[3] == offset else None,
        )
        return True

    def through(self, slot: int, group: str, *, loads: bool) -> bool:
        """Note what an access goes through: a kind of kernel object, ``memory``, or "" for what may be mixed.

        False: another path came with something that the same instruction cannot handle. Loads from objects and from
        memory can be mixed: all are made with care then (kernel: save_aux_ptr_type).
        """
        old = self._groups.setdefault(slot, group)
        if old == group or {old, group} <= _PLAIN:
            return True
        return loads and all(name == "memory" or name.startswith("object") for name in (old, group))

    def call(self, slot: int, fact: CallFact) -> None:
        """Note a helper call; what differs between paths is forgotten."""
        old = self._calls.get(slot)
        if old is None or old == fact:
            self._calls[slot] = fact
            return
        self._calls[slot] = CallFact(
            fact.helper,
            fact.map if fact.map == old.map else None,
            fact.map_spec if fact.map_spec is old.map_spec else None,
            fact.callback if fact.callback == old.callback else None,
            {reg: value for reg, value in fact.constants.items() if old.constants.get(reg) == value},
        )

    def result(self, slot: int, is_pointer: bool) -> None:
        """Note what kind of value an instruction gave."""
        self.kinds[slot] |= _POINTER if is_pointer else _SCALAR

    def stack(self, start: int, depth: int) -> None:
        """Note how deep a function's stack is used, in bytes."""
        if depth > self.depth.get(start, 0):
            self.depth[start] = depth

    def facts(self, starts: tuple[int, ...]) -> Facts:
        """Everything, for the stations after."""
        return Facts(
            reachable=frozenset(slot for slot, seen in enumerate(self.visited) if seen),
            accesses={slot: Access(*row) for slot, row in self._accesses.items()},
            calls=dict(self._calls),
            pointer_results=frozenset(slot for slot, kinds in enumerate(self.kinds) if kinds == _POINTER),
            stack_depth={start: self.depth.get(start, 0) for start in starts if self.visited[start]},
            writes_packet=self.writes_packet,
            resizes_packet=self.resizes_packet,
            reads_uninit_stack=self.reads_uninit_stack,
        )


class World:
    """One program, its options, and the notebook.

    Attributes:
        insns: by slot; None for the second half of an LD_IMM64.
        functions: by first slot.
        flow: the shape of the code.
        context: what the entry function gets in r1.
        typed: the same for program types whose context BTF describes; a text: why there is none.
        prototypes: of the functions with BTF, by first slot.
        notes: facts found so far.
        speculation: what must hold for what a CPU runs ahead; None: the program may know addresses anyway.
    """

    __slots__ = (
        "_id",
        "_kfuncs",
        "_members",
        "_parameters",
        "_records",
        "_resizers",
        "_sleepers",
        "_types_refused",
        "arenas",
        "async_callbacks",
        "callbacks",
        "context",
        "exception_callback",
        "flow",
        "functions",
        "global_calls",
        "insns",
        "linked",
        "notes",
        "options",
        "prototypes",
        "signatures",
        "speculation",
        "tail_calls",
        "typed",
    )

    def __init__(self, linked: LinkedProgram, options: Options, flow: Flow) -> None:
        self.linked = linked
        self.options = options
        self.flow = flow
        self.context: Context | None = context_for(linked.prog_type)
        self.typed: TypedContext | str | None = typed_context(linked)
        self.signatures: dict[int, Signature | None] = {}
        self.prototypes: dict[int, FuncProto] = _prototypes(linked)
        self.insns: tuple[Instruction | None, ...] = slots(linked.insns)
        self.functions: dict[int, Subprogram] = {sub.start: sub for sub in linked.subprograms}
        self.arenas: tuple[MapSpec, ...] = _arenas(linked)  # those that the code names
        self.notes = Notebook(len(self.insns))
        self.speculation = None if linked.target.privileged else Speculation()
        self.tail_calls: set[int] = set()  # first slots of functions that make tail calls
        self.callbacks: set[int] = set()  # first slots of functions that helpers and kernel functions call
        self.async_callbacks: set[int] = set()  # first slots of callbacks of timers and work
        self.global_calls: set[int] = set()  # first slots of global functions that are called
        self._parameters: dict[int, tuple[Parameter, ...] | str] = {}
        self._resizers: frozenset[int] | None = None
        self._sleepers: frozenset[int] | None = None
        catcher = exception_callback(linked)
        self.exception_callback: int | None = catcher if isinstance(catcher, int) else None  # its first slot
        self._kfuncs: dict[str, KfuncProto | str] = {}
        self._members: dict[tuple[int, int, int, int], Found | str] = {}
        self._types_refused: str | None = None
        self._records: dict[tuple[int, int], Record] = {}
        self._id = 0

    @property
    def arena(self) -> MapSpec | None:
        """The arena of the program."""
        return self.arenas[0] if self.arenas else None

    def next_id(self) -> int:
        """A number that was not used before."""
        self._id += 1
        return self._id

    def signature(self, helper: int) -> Signature | None:
        """What a helper wants in a program of this type; of any type if this one may not call it."""
        if helper not in self.signatures:
            self.signatures[helper] = signature_for(helper, self.linked.prog_type) or HELPERS.get(helper)
        return self.signatures[helper]

    def parameters(self, start: int) -> tuple[Parameter, ...] | str:
        """The parameters of the global function at this slot, or why it cannot be one."""
        if start not in self._parameters:
            self._parameters[start] = parameters(self.linked, self.functions[start])
        return self._parameters[start]

    def member(self, source: Object, offset: int, size: int) -> Found | str:
        """What lies at an offset of an object, or why nothing does."""
        key = (id(source.btf), source.type, offset, size)
        if key not in self._members:
            self._members[key] = walk(source.btf, source.type, offset, size)
        return self._members[key]

    def record(self, pointer: Pointer) -> Record:
        """The special fields of what a pointer points to: a map's value, or an object of a type of the program's own
        (kernel: reg_btf_record).
        """
        if pointer.kind is Kind.MAP_VALUE and pointer.map is not None:
            return self.map_record(pointer.map)
        if pointer.object is not None and pointer.object.trust & Trust.ALLOC:
            return self.object_record(pointer.object)
        return NO_FIELDS

    def map_record(self, spec: MapSpec) -> Record:
        """The special fields in a map's values."""
        key = (id(spec), 0)
        if key not in self._records:
            found = map_record(spec, self._kernel_types())
            refused = self.types_refused if found.fields and spec.btf is self.linked.btf else ""
            self._records[key] = Record((), refused) if refused else found
        return self._records[key]

    def object_record(self, found: Object) -> Record:
        """The special fields of a structure that the program may allocate; none in the kernel's own."""
        if found.btf is not self.linked.btf:
            return NO_FIELDS
        key = (id(found.btf), found.type)
        if key not in self._records:
            self._records[key] = object_record(found.btf, found.type, self._kernel_types())
        return self._records[key]

    @property
    def types_refused(self) -> str:
        """Why the kernel does not take the program's types, for their special fields; "" if it does (kernel:
        btf_parse_struct_metas)."""
        if self._types_refused is None:
            btf = self.linked.btf
            structs = (id for id, found in enumerate(btf or ()) if isinstance(found, Struct))
            problems = (self.object_record(Object(btf, id)).problem for id in structs) if btf is not None else ()
            self._types_refused = next((problem for problem in problems if problem), "")
        return self._types_refused

    def _kernel_types(self) -> tuple[Btf, ...]:
        target = self.linked.target
        return tuple(btf for btf in (target.btf, *target.module_btf.values()) if btf is not None)

    def map_object(self, spec: MapSpec) -> Object | None:
        """The kernel's own structure of a map."""
        kernel, name = self.linked.target.btf, MAP_STRUCTS.get(spec.type)
        found = kernel.find(name, Struct) if kernel is not None and name is not None else None
        return None if kernel is None or found is None else Object(kernel, found)

    def kfunc(self, name: str) -> KfuncProto | str:
        """A kernel function by name; or why it cannot be called."""
        if name not in self._kfuncs:
            self._kfuncs[name] = kfunc_proto(self.linked, name)
        return self._kfuncs[name]

    def variable(self, name: str) -> tuple[Btf, int] | None:
        """A variable or function of the kernel or its modules by name."""
        target = self.linked.target
        for btf in (target.btf, *target.module_btf.values()):
            found = btf.find(name, Var, Func) if btf is not None else None
            if btf is not None and found is not None:
                return btf, found
        return None

    def is_percpu(self, btf: Btf, variable: int) -> bool:
        """Whether each CPU has a variable of its own."""
        section = btf.find(".data..percpu", Datasec)
        found = btf[section] if section is not None else None
        return isinstance(found, Datasec) and any(entry.type == variable for entry in found.entries)

    def returns_int(self, start: int) -> bool:
        """Whether the function at this slot is known to return an integer."""
        proto, btf = self.prototypes.get(start), self.linked.btf
        return proto is not None and btf is not None and isinstance(btf[btf.strip(proto.ret)], Int)

    def may_sleep(self, start: int) -> bool:
        """Whether the function at this slot, or one it calls, may sleep."""
        if self._sleepers is None:
            self._sleepers = _callers_of(self, _sleeps)
        return start in self._sleepers

    def changes_packet(self, start: int) -> bool:
        """Whether the function at this slot, or one it calls, may move packet data."""
        if self._resizers is None:
            self._resizers = _callers_of(self, _resizes)
        return start in self._resizers

    def insn(self, slot: int) -> Instruction:
        """The instruction at a slot that begins one."""
        insn = self.insns[slot]
        assert insn is not None
        return insn

    def map(self, name: str) -> MapSpec | None:
        """The blueprint of a map that the code names."""
        return self.linked.maps.get(name)

    def map_name(self, spec: MapSpec | None) -> str | None:
        """The name of a map, None for an inner map: which one it is, is known at run time only."""
        return spec.name if spec is not None and self.linked.maps.get(spec.name) is spec else None


def _arenas(linked: LinkedProgram) -> tuple[MapSpec, ...]:
    names = {insn.ref.name for insn in linked.insns if isinstance(insn.ref, (MapRef, MapValueRef))}
    return tuple(spec for name, spec in linked.maps.items() if name in names and spec.type is MapType.ARENA)


def _prototypes(linked: LinkedProgram) -> dict[int, FuncProto]:
    found: dict[int, FuncProto] = {}
    btf = linked.btf
    if btf is None:
        return found
    for sub in linked.subprograms:
        func = btf[sub.btf_id] if 0 < sub.btf_id < len(btf) else None
        proto = btf[func.type] if isinstance(func, Func) and 0 < func.type < len(btf) else None
        if isinstance(proto, FuncProto):
            found[sub.start] = proto
    return found


def _resizes(world: World, insn: Instruction) -> bool:
    """Whether a call may move packet data."""
    if insn.src == op.CALL_KFUNC:
        proto = world.kfunc(getattr(insn.ref, "name", ""))
        return not isinstance(proto, str) and proto.has(KfuncFlag.CHANGES_PACKET)
    signature = world.signature(insn.imm) if insn.src == op.CALL_HELPER else None
    return signature is not None and signature.resizes_packet


def _sleeps(world: World, insn: Instruction) -> bool:
    """Whether a call may sleep."""
    if insn.src == op.CALL_KFUNC:
        proto = world.kfunc(getattr(insn.ref, "name", ""))
        return not isinstance(proto, str) and proto.has(KfuncFlag.SLEEPABLE)
    signature = world.signature(insn.imm) if insn.src == op.CALL_HELPER else None
    return signature is not None and signature.may_sleep


def _callers_of(world: World, does: Callable[[World, Instruction], bool]) -> frozenset[int]:
    """First slots of the functions that make such a call, or call a function that does."""
    found: set[int] = set()
    calls: list[tuple[int, int]] = []
    for slot, insn in enumerate(world.insns):
        if insn is None:
            continue
        for target in (world.flow.calls.get(slot), world.flow.callbacks.get(slot)):
            if target is not None:
                calls.append((world.flow.subprogram_at(slot).start, target))
        if insn.opcode == op.JMP | op.CALL and does(world, insn):
            found.add(world.flow.subprogram_at(slot).start)
    changed = True
    while changed:
        changed = False
        for caller, callee in calls:
            if callee in found and caller not in found:
                found.add(caller)
                changed = True
    return frozenset(found)

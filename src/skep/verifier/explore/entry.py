"""Before and after the walk: what registers hold at the start, which maps can be handled, how deep stacks go."""

from __future__ import annotations

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.btf import types as t
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, MapValueRef
from skep.verifier.options import MemoryEntry
from skep.verifier.prove.access import valid_map_value
from skep.verifier.prove.compatibility import check_used_maps
from skep.verifier.requirements.kinds import Requirement, Rule, Supported, ValidMapValue, Violation
from skep.verifier.state.catcher import exception_callback
from skep.verifier.state.functions import Passed
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.values import Kind, Pointer, constant, unknown
from skep.verifier.state.world import World
from skep.verifier.transfer import dynptrs, objects


def entry_state(world: World) -> MachineState:
    """What the program starts with: r1 is the context; or memory and its size, for conformance cases."""
    frame = Frame(0, 0, -1)
    entry = world.options.entry
    if isinstance(entry, MemoryEntry):
        frame.regs[1] = Pointer(Kind.MEMORY, size=entry.size)
        frame.regs[2] = constant(entry.size)
    else:
        frame.regs[1] = Pointer(Kind.CTX)
    return _begin(frame, world)


def _begin(frame: Frame, world: World) -> MachineState:
    state = MachineState([frame])
    state.secret = not world.linked.target.privileged
    return state


def function_state(world: World, start: int) -> MachineState | Violation:
    """What a global function starts with: anything that its prototype allows."""
    sub = world.functions[start]
    expected = world.parameters(start)
    if isinstance(expected, str):
        return Violation(
            Rule.SUBPROGRAM_SIGNATURE, None, expected, None, {"function": sub.name, "reason": expected}, start
        )
    if start == world.exception_callback and [each.kind for each in expected] != [Passed.NUMBER]:
        said = "exception cb only supports single integer argument"
        return Violation(Rule.EXCEPTION, None, said, None, {"reason": "it takes one number"}, start)
    frame = Frame(0, start, -1)
    for reg, parameter in enumerate(expected, start=1):
        if parameter.kind in (Passed.NUMBER, Passed.ARENA):  # an arena pointer must be cast first
            frame.regs[reg] = unknown()
        elif parameter.kind is Passed.CONTEXT:
            frame.regs[reg] = Pointer(Kind.CTX)
        elif parameter.kind is Passed.UNTRUSTED:
            frame.regs[reg] = Pointer(Kind.PROBED, readonly=True)
        elif parameter.kind is Passed.DYNPTR:
            frame.regs[reg] = dynptrs.handed_in(world)
        elif parameter.object is not None:
            frame.regs[reg] = objects.of_object(parameter.object, world, nullable=parameter.nullable)
        else:
            nullable = parameter.nullable
            id = world.next_id() if nullable else 0
            frame.regs[reg] = Pointer(Kind.MEMORY, size=parameter.size, nullable=nullable, id=id)
    return _begin(frame, world)


_MAY_SLEEP = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.KPROBE, ProgType.STRUCT_OPS, ProgType.SYSCALL})
_TRACING_MAY_SLEEP = frozenset(
    {AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN, AttachType.TRACE_ITER}
)


_GPL_ONLY = {ProgType.STRUCT_OPS: "struct ops", ProgType.LSM: "LSM"}


def check_program(world: World) -> Violation | None:
    """Rules about the program as a whole (kernel: check_attach_btf_id)."""
    linked = world.linked
    said = None
    cannot_sleep = linked.prog_type not in _MAY_SLEEP or (
        linked.prog_type is ProgType.TRACING and linked.attach_type not in _TRACING_MAY_SLEEP
    )
    is_extension = linked.extends is not None  # its type is that of the program it extends
    if linked.sleepable and cannot_sleep:
        said = "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable"
    elif linked.prog_type is ProgType.SYSCALL and not linked.sleepable and not is_extension:
        said = "Syscall programs can only be sleepable"
    elif isinstance(world.typed, str):
        said = world.typed
        if said.startswith("unsupported"):
            return _unsupported(said.partition(": ")[2])
    elif linked.prog_type in _GPL_ONLY and not linked.is_gpl_compatible:
        said = f"{_GPL_ONLY[linked.prog_type]} programs must have a GPL compatible license"
    elif not linked.is_gpl_compatible and any(_is_kfunc_call(insn) for insn in world.insns):
        said = "cannot call kernel function from non-GPL compatible program"
    elif isinstance(exception_callback(linked), str):
        said = str(exception_callback(linked))
    if said is not None:
        return Violation(Rule.PROGRAM, None, said, None, {"reason": said}, 0)
    return _unresolvable(world)


def _is_kfunc_call(insn: Instruction | None) -> bool:
    return insn is not None and insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_KFUNC


_NAMED = frozenset(
    {op.PSEUDO_MAP_FD, op.PSEUDO_MAP_VALUE, op.PSEUDO_BTF_ID, op.PSEUDO_MAP_IDX, op.PSEUDO_MAP_IDX_VALUE}
)


def _unresolvable(world: World) -> Violation | None:
    """What instructions name: the kernel resolves all of it, also in code that never runs (resolve_pseudo_ldimm64,
    add_subprog_and_kfunc). Here, bare numbers of descriptors and kernel functions mean nothing.
    """
    for slot, insn in enumerate(world.insns):
        if insn is None:
            continue
        if isinstance(insn.ref, MapValueRef):
            spec = world.map(insn.ref.name)
            if spec is None or spec.type not in _FOREIGN_MAPS:
                need = ValidMapValue(insn.ref.name, insn.ref.offset)
                found = valid_map_value(need, entry_state(world), world)
                if found is not None:
                    return Violation(found.rule, need, found.kernel, None, found.values, slot)
        elif insn.ref is None and insn.opcode == op.LD_IMM64 and insn.src in _NAMED:
            return _unsupported("maps and kernel variables that are not given by name")
        elif insn.ref is None and insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_KFUNC:
            return _unnamed_kfunc(insn, slot, world)
    return None


_FOREIGN_MAPS = frozenset(
    {
        MapType.STRUCT_OPS,
        MapType.INSN_ARRAY,
        MapType.RHASH,
    }
)


def _unnamed_kfunc(insn: Instruction, slot: int, world: World) -> Violation:
    """A kernel function by its number in the kernel's types; numbers change with every build, so no function is meant
    for sure, but what is none is known (kernel: add_kfunc_call).
    """
    types, number = world.linked.target.btf, insn.imm
    if types is None or not number or insn.off or (0 < number < len(types) and isinstance(types[number], t.Func)):
        return _unsupported("kernel functions that are not given by name")
    said = f"kernel btf_id {number} is not a function"
    return Violation(Rule.PROGRAM, None, said, None, {"reason": said}, slot)


def check_maps(world: World) -> Violation | None:
    """Maps whose values hold things that this verifier does not know, and types that the target does not have."""
    target = world.linked.target
    for spec in world.linked.maps.values():
        if target.map_types is not None and spec.type not in target.map_types:
            reason = f"map '{spec.name}' is of type {spec.type.name}, which {target.name} does not have"
            if target.name == "vm":
                reason += '; load it with engine="kernel"'
            return Violation(Rule.PROGRAM, None, reason, None, {"reason": reason}, 0)
        if spec.type in _FOREIGN_MAPS:
            return _unsupported(f"map '{spec.name}': maps of type {spec.type.name}")
    return _check_arenas(world) or check_used_maps(world)


def _check_arenas(world: World) -> Violation | None:
    """One arena for each program, and a program that may leak addresses (kernel: check_map_prog_compatibility)."""
    said = None
    if len(world.arenas) > 1:
        said = "Only one arena per program"
    elif world.arenas and not world.linked.target.privileged:
        said = "CAP_BPF and CAP_PERFMON are required to use arena"
    return None if said is None else Violation(Rule.PROGRAM, None, said, None, {"reason": said}, 0)


def _unsupported(feature: str) -> Violation:
    need: Requirement = Supported(feature)
    return Violation(Rule.UNSUPPORTED, need, feature, None, {"feature": feature, "instead": ""}, 0)

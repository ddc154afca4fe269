"""Maps that a program's code names, and programs of its type (kernel: check_map_prog_compatibility)."""

from __future__ import annotations

from skep.abi.map_types import MapType as M
from skep.abi.prog_types import ProgType
from skep.isa.instruction import MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.state.fields import GRAPH_ROOTS, LOCKS, Field, Special
from skep.verifier.state.world import World

SLEEPABLE_MAPS = frozenset(
    {
        M.HASH,
        M.LRU_HASH,
        M.ARRAY,
        M.PERCPU_HASH,
        M.PERCPU_ARRAY,
        M.LRU_PERCPU_HASH,
        M.ARRAY_OF_MAPS,
        M.HASH_OF_MAPS,
        M.RINGBUF,
        M.USER_RINGBUF,
        M.INODE_STORAGE,
        M.SK_STORAGE,
        M.TASK_STORAGE,
        M.CGRP_STORAGE,
        M.QUEUE,
        M.STACK,
        M.ARENA,
        M.INSN_ARRAY,
        M.PROG_ARRAY,
    }
)

# They interrupt anything, the kernel's own use of locks and timers too (kernel: is_tracing_prog_type).
_TRACING = frozenset(
    {
        ProgType.KPROBE,
        ProgType.TRACEPOINT,
        ProgType.PERF_EVENT,
        ProgType.RAW_TRACEPOINT,
        ProgType.RAW_TRACEPOINT_WRITABLE,
    }
)
# Fields, the programs that must not use maps with them, and the kernel's word for the programs and the fields.
_REFUSED: tuple[tuple[frozenset[Special], frozenset[ProgType], str], ...] = (
    (GRAPH_ROOTS, _TRACING, "tracing progs cannot use bpf_{list_head,rb_root} yet"),
    (LOCKS, frozenset({ProgType.SOCKET_FILTER}), "socket filter progs cannot use bpf_spin_lock yet"),
    (LOCKS, _TRACING, "tracing progs cannot use bpf_spin_lock yet"),
    (frozenset({Special.TIMER}), _TRACING, "tracing progs cannot use bpf_timer yet"),
    (frozenset({Special.WORK_QUEUE}), _TRACING, "tracing progs cannot use bpf_wq yet"),
)


def check_used_maps(world: World) -> Violation | None:
    """Every map that an instruction names, whether it runs or not, may be used by this program."""
    seen: set[str] = set()
    for slot, insn in enumerate(world.insns):
        if insn is None or not isinstance(insn.ref, (MapRef, MapValueRef)) or insn.ref.name in seen:
            continue
        seen.add(insn.ref.name)
        spec = world.map(insn.ref.name)
        violation = _fits(spec, slot, world) if spec is not None else None
        if violation is not None:
            return violation
    return None


def _fits(spec: MapSpec, slot: int, world: World) -> Violation | None:
    prog_type = world.linked.prog_type
    record = world.map_record(spec)
    for kinds, refused, said in _REFUSED:
        field: Field | None = record.find(*kinds) if prog_type in refused else None
        if field is not None:
            values = {"map": spec.name, "field": field.kind.kernel_name}
            return Violation(Rule.FIELD_PROGRAM, None, said, None, values, slot)
    if world.linked.sleepable and spec.type not in SLEEPABLE_MAPS:
        said = "Sleepable programs can only use array, hash, ringbuf and local storage maps"
        return Violation(Rule.SLEEPABLE_MAP, None, said, None, {"map": spec.name, "map_type": spec.type.name}, slot)
    return None

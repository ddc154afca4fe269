"""Arguments that are open-coded iterators (kernel: process_iter_arg)."""

from __future__ import annotations

from skep.abi.kfuncs import KfuncFlag
from skep.abi.prog_types import AttachType, ProgType
from skep.verifier.prove import stack, stack_objects
from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver, wrong
from skep.verifier.requirements.kfuncs import KfuncArguments
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.state.iterators import Iterator, iterator_struct
from skep.verifier.state.kfuncs import KfuncParam, KfuncProto, Wants
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.objects import Trust
from skep.verifier.state.sleeping import may_sleep
from skep.verifier.state.stack import ITERATOR, object_index
from skep.verifier.state.values import Kind, Pointer, Value, type_name
from skep.verifier.state.world import World

_CSS_TASK_NEW = "bpf_iter_css_task_new"


def _argument(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    """An iterator on the stack, in the phase that the function wants."""
    if need.name == _CSS_TASK_NEW and not _may_walk_css_tasks(state, world):
        said = "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs"
        return Violation(
            Rule.KFUNC_PROG_TYPE, need, said, None, {"kfunc": need.name, "prog_type": world.linked.prog_type.name}
        )
    if not isinstance(value, Pointer) or value.kind is not Kind.STACK:
        said = f"arg#{index} expected pointer to an iterator on stack"
        return wrong(need, index, value, "an iterator on the stack", said)
    struct = iterator_struct(proto.btf, param.type)
    if struct is None:
        return wrong(need, index, value, "an iterator", f"expected valid iter pointer as arg #{index}")
    frame, cells = state.frames[value.frame], struct.size // 8
    place = object_index(value, cells)
    name = struct.name.removeprefix("bpf_")
    if not proto.has(KfuncFlag.ITER_NEW):
        return _initialised(need, proto, param, index, value, frame, place, cells, name)
    if place is None or not _unused(frame, place, cells):
        return _wrong_phase(need, index, value, f"expected uninitialized {name} as arg #{index}", name, wanted="a new")
    off = value.off + value.low
    violation = stack.in_bounds(need, value, index + 1, value.off, 8, writes=True)
    return violation or stack_objects.overwritable(need, state, frame, off, off + struct.size, index + 1)


def _unused(frame: Frame, place: int, cells: int) -> bool:
    """No byte belongs to an iterator (kernel: is_iter_reg_valid_uninit)."""
    held = (frame.cell(index) for index in range(place - cells + 1, place + 1))
    return all(cell is None or ITERATOR not in cell.types for cell in held)


def _initialised(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Pointer,
    frame: Frame,
    place: int | None,
    cells: int,
    name: str,
) -> Violation | None:
    """All cells belong to one iterator of this type (kernel: is_iter_reg_valid_init)."""
    said = f"expected an initialized {name} as arg #{index}"
    for part in range(cells):
        cell = frame.cell(place - part) if place is not None else None
        held = cell.object if cell is not None else None
        if not isinstance(held, Iterator) or held.btf is not proto.btf or held.type != param.type:
            return _wrong_phase(need, index, value, said, name, wanted="an initialised")
        if held.trust & Trust.UNTRUSTED:
            said = f"expected an RCU CS when using {need.name}"
            return Violation(Rule.SECTION_NEEDED, need, said, index + 1, {"kfunc": need.name})
        if held.part != part:
            return _wrong_phase(need, index, value, said, name, wanted="an initialised")
    return None


def _wrong_phase(need: KfuncArguments, index: int, value: Value, said: str, name: str, *, wanted: str) -> Violation:
    values: dict[str, object] = {
        "kfunc": need.name,
        "iterator": f"struct bpf_{name}",
        "wanted": wanted,
        "pointer": type_name(value),
    }
    return Violation(Rule.ITERATOR_PHASE, need, said, index + 1, values)


def _may_walk_css_tasks(state: MachineState, world: World) -> bool:
    """Kernel: check_css_task_iter_allowlist."""
    linked = world.linked
    if linked.prog_type is ProgType.LSM or may_sleep(state, world):
        return True
    return linked.prog_type is ProgType.TRACING and linked.attach_type is AttachType.TRACE_ITER


ARGUMENTS: dict[Wants, ArgumentProver] = {Wants.ITERATOR: _argument}
CALLS: dict[str, CallProver] = {}

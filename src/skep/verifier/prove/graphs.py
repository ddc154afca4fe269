"""Lists, trees and their nodes as arguments (kernel: process_kf_arg_ptr_to_list_head and its kin)."""

from __future__ import annotations

from skep.verifier.prove.allocated import is_owned, placed, refused
from skep.verifier.prove.kfunc_calls import ArgumentProver, CallProver
from skep.verifier.requirements.kfuncs import KfuncArguments
from skep.verifier.requirements.kinds import Rule, Violation
from skep.verifier.state.fields import Field, Special
from skep.verifier.state.graphs import NODE_KINDS, ROOT_KINDS, TREE_ADD, compares_nodes
from skep.verifier.state.kfuncs import KfuncParam, KfuncProto, Wants
from skep.verifier.state.kptrs import constant_offset, field_at
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Trust, same_type
from skep.verifier.state.values import Kind, Pointer, Value
from skep.verifier.state.world import World

_MAX_CALL_FRAMES = 8
_BORROWED = Trust.ALLOC | Trust.BORROWED


def _root(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    """A list or tree in a map's value or in an object that the program owns, with the lock beside it held."""
    reg, kind = index + 1, ROOT_KINDS[param.wants]
    name = kind.kernel_name
    violation = placed(need, value, reg)
    if violation is not None:
        return violation
    in_map = isinstance(value, Pointer) and value.kind is Kind.MAP_VALUE and not value.nullable
    if not in_map and not is_owned(value):
        said = f"arg#{index} expected pointer to map value or allocated object"
        return refused(need, index, value, "in a map's value, or in an object that the program owns", said)
    assert isinstance(value, Pointer)
    if not in_map and not value.ref:
        return refused(need, index, value, "in an object that the program owns", "allocated object must be referenced")
    at, record = constant_offset(value), world.record(value)
    values: dict[str, object] = {"kfunc": need.name, "root": name}
    if at is None:
        said = f"R{reg} doesn't have constant offset. {name} has to be at the constant offset"
        return Violation(Rule.GRAPH_ROOT, need, said, reg, {**values, "reason": "its offset is not a constant"})
    if record.at(at, (kind,)) is None:
        said, reason = f"{name} not found at offset={at}", f"none begins at offset {at}"
        return Violation(Rule.GRAPH_ROOT, need, said, reg, {**values, "reason": reason})
    if not any(lock.lies_in(value) for lock in state.locks):
        lock = record.find(Special.SPIN_LOCK)
        said = f"bpf_spin_lock at off={lock.offset if lock is not None else -22} must be held for {name}"
        return Violation(Rule.GRAPH_UNLOCKED, need, said, reg, values)
    return None


def _node(
    need: KfuncArguments,
    proto: KfuncProto,
    param: KfuncParam,
    index: int,
    value: Value,
    state: MachineState,
    world: World,
) -> Violation | None:
    """What is put into a list or tree is owned; what is looked up or removed may be borrowed."""
    violation = placed(need, value, index + 1)
    if violation is not None:
        return violation
    if param.wants is Wants.LIST_NODE or need.name == TREE_ADD:
        expected = "an object that the program owns"
        if not is_owned(value):
            return refused(need, index, value, expected, f"arg#{index} expected pointer to allocated object")
        assert isinstance(value, Pointer)
        if not value.ref:
            return refused(need, index, value, expected, "allocated object must be referenced")
    else:
        violation = _known(need, index, value, state, world)
        if violation is not None:
            return violation
    assert isinstance(value, Pointer)
    return _held(need, param, index, value, state, world)


def _known(need: KfuncArguments, index: int, value: Value, state: MachineState, world: World) -> Violation | None:
    found = value.object if isinstance(value, Pointer) and not value.nullable else None
    borrowed = found is not None and found.trust & _BORROWED == _BORROWED and not found.trust & Trust.UNTRUSTED
    if not borrowed and not (isinstance(value, Pointer) and value.ref):
        said = f"{need.name} can only take non-owning or refcounted bpf_rb_node pointer"
        return refused(need, index, value, "a node that a tree owns, or that the program does", said)
    if compares_nodes(state, world):
        return Violation(Rule.GRAPH_CALLBACK, need, f"{need.name} not allowed in rbtree cb", None, {"kfunc": need.name})
    return None


def _held(
    need: KfuncArguments, param: KfuncParam, index: int, value: Pointer, state: MachineState, world: World
) -> Violation | None:
    """The node is the member of the structure that the list or tree was declared to hold."""
    reg, kind = index + 1, NODE_KINDS[param.wants]
    name, at = kind.kernel_name, constant_offset(value)
    values: dict[str, object] = {"kfunc": need.name, "root": _ROOT_OF[param.wants].kernel_name}
    if at is None:
        said = f"R{reg} doesn't have constant offset. {name} has to be at the constant offset"
        return Violation(Rule.GRAPH_NODE, need, said, reg, {**values, "reason": "its offset is not a constant"})
    if world.record(value).at(at, (kind,)) is None:
        said, reason = f"{name} not found at offset={at}", f"no {name} begins at offset {at}"
        return Violation(Rule.GRAPH_NODE, need, said, reg, {**values, "reason": reason})
    holder, found = state.regs[1], value.object
    assert isinstance(holder, Pointer)
    assert found is not None
    field = field_at(holder, 0, (_ROOT_OF[param.wants],), world)
    assert isinstance(field, Field)
    assert field.btf is not None
    held = field.btf[field.type].name
    if not same_type(found.btf, found.type, field.btf, field.type):
        said = (
            f"operation on {field.kind.kernel_name} expects arg#1 {name} at offset={field.node_offset} in"
            f" struct {held}, but arg is at offset={at} in struct {found.name}"
        )
        reason = f"it holds struct {held}, and this is a struct {found.name}"
        return Violation(Rule.GRAPH_NODE, need, said, reg, {**values, "reason": reason})
    if at != field.node_offset:
        said = f"arg#1 offset={at}, but expected {name} at offset={field.node_offset} in struct {held}"
        reason = f"it holds struct {held} by the node at offset {field.node_offset}, and this one is at {at}"
        return Violation(Rule.GRAPH_NODE, need, said, reg, {**values, "reason": reason})
    return None


_ROOT_OF = {Wants.LIST_NODE: Special.LIST_HEAD, Wants.TREE_NODE: Special.TREE_ROOT}


def _compares(need: KfuncArguments, proto: KfuncProto, state: MachineState, world: World) -> Violation | None:
    """There is room for the frame of the function that compares (kernel: setup_func_entry)."""
    frames = len(state.frames)
    if frames < _MAX_CALL_FRAMES:
        return None
    said = f"the call stack of {frames + 1} frames is too deep"
    return Violation(Rule.CALL_DEPTH, need, said, None, {"frames": frames + 1})


ARGUMENTS: dict[Wants, ArgumentProver] = {
    Wants.LIST_HEAD: _root,
    Wants.TREE_ROOT: _root,
    Wants.LIST_NODE: _node,
    Wants.TREE_NODE: _node,
}
CALLS: dict[str, CallProver] = {TREE_ADD: _compares}

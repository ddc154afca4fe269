"""What calls do to lists, trees and their nodes: who owns a node, and who only borrows it (kernel: check_kfunc_call,
ref_convert_owning_non_owning, set_rbtree_add_callback_state).
"""

from __future__ import annotations

from skep.verifier.state.fields import GRAPH_ROOTS, Field
from skep.verifier.state.graphs import TREE_ADD, borrowed, held
from skep.verifier.state.kfuncs import Wants
from skep.verifier.state.kptrs import field_at
from skep.verifier.state.machine import Frame
from skep.verifier.state.values import Kind, Pointer, Value
from skep.verifier.state.world import World
from skep.verifier.transfer.allocated import acquired
from skep.verifier.transfer.calls import entered
from skep.verifier.transfer.kfunc_calls import ArgumentEffect, Call, Effect, Result


def _root_of(root: Value | None, world: World) -> Field:
    field = field_at(root, 0, GRAPH_ROOTS, world) if isinstance(root, Pointer) else None
    assert field is not None
    return field


def _taken(call: Call) -> Pointer:
    """A node that leaves its list or tree: the program owns it, if there is one."""
    field = _root_of(call.args[0], call.world)
    return acquired(call, held(field), off=field.node_offset)


def _seen(call: Call) -> Pointer:
    """A node that stays where it is, if there is one."""
    pointer = _borrowed_node(call.args[0], call.world)
    pointer.nullable, pointer.id = True, call.world.next_id()
    return pointer


def _borrowed_node(root: Value | None, world: World) -> Pointer:
    field = _root_of(root, world)
    return Pointer(Kind.BTF, off=field.node_offset, object=borrowed(held(field), world))


def _handed_over(call: Call) -> None:
    """The list or tree owns the object now; the program may use it while it holds the lock."""
    node, state, world = call.args[1], call.state, call.world
    assert isinstance(node, Pointer)
    ref = node.ref
    state.refs = tuple(item for item in state.refs if item[0] != ref)

    def change(value: Value) -> Value:
        if not isinstance(value, Pointer) or value.ref != ref or value.object is None:
            return value
        return value.seen_as(borrowed(value.object, world), ref=0)

    state.map_values(change)


def _compared(call: Call, index: int) -> None:
    """bpf_rbtree_add() calls the function that says which of two nodes is less, any number of times."""
    if call.proto.name != TREE_ADD:
        return
    function = call.args[2]
    assert isinstance(function, Pointer)
    call.forks.append(entered(call.state, call.slot, function.slot, _enter_less, call.world))


def _enter_less(frame: Frame, regs: list[Value | None], world: World) -> None:
    frame.regs[1] = _borrowed_node(regs[1], world)
    frame.regs[2] = _borrowed_node(regs[1], world)


ARGUMENTS: dict[Wants, ArgumentEffect] = {Wants.TREE_ROOT: _compared}
RESULTS: dict[str, Result] = {
    **dict.fromkeys(("bpf_list_pop_front", "bpf_list_pop_back", "bpf_rbtree_remove"), _taken),
    **dict.fromkeys(
        (
            "bpf_list_front",
            "bpf_list_back",
            "bpf_rbtree_first",
            "bpf_rbtree_root",
            "bpf_rbtree_left",
            "bpf_rbtree_right",
        ),
        _seen,
    ),
}
AFTER: dict[str, Effect] = dict.fromkeys(
    ("bpf_list_push_front_impl", "bpf_list_push_back_impl", TREE_ADD), _handed_over
)

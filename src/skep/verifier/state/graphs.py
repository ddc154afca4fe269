"""Lists and trees of allocated objects: which kernel functions work on them, and what their nodes are."""

from __future__ import annotations

from skep.verifier.state.fields import Field, Special
from skep.verifier.state.kfuncs import Wants
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, Trust
from skep.verifier.state.world import World

TREE_ADD = "bpf_rbtree_add_impl"
TREES = frozenset(
    {TREE_ADD, "bpf_rbtree_remove", "bpf_rbtree_first", "bpf_rbtree_root", "bpf_rbtree_left", "bpf_rbtree_right"}
)
ROOT_KINDS = {Wants.LIST_HEAD: Special.LIST_HEAD, Wants.TREE_ROOT: Special.TREE_ROOT}
NODE_KINDS = {Wants.LIST_NODE: Special.LIST_NODE, Wants.TREE_NODE: Special.TREE_NODE}


def compares_nodes(state: MachineState, world: World) -> bool:
    """Whether the top frame is the function that compares two nodes for a tree, with its lock held (kernel:
    in_rbtree_lock_required_cb).
    """
    frame = state.frame
    if frame.callback is None or frame.call_slot < 0:
        return False
    return getattr(world.insn(frame.call_slot).ref, "name", "") in TREES


def borrowed(found: Object, world: World) -> Object:
    """The object while a list or tree owns it: it may be used until the lock is released. One that counts its
    references stays in memory until the RCU section ends (kernel: ref_set_non_owning).
    """
    counted = world.object_record(found).find(Special.REFCOUNT) is not None
    return Object(found.btf, found.type, found.trust | Trust.BORROWED | (Trust.RCU if counted else Trust.NONE))


def held(root: Field) -> Object:
    """What a list or tree holds."""
    assert root.btf is not None
    return Object(root.btf, root.type, Trust.ALLOC)

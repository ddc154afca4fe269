"""What a program may return, by its type (kernel: check_return_code)."""

from __future__ import annotations

from skep.abi.prog_types import AttachType, ProgType
from skep.abi.return_ranges import return_range
from skep.btf import types as t
from skep.verifier.state.typed_context import TypedContext
from skep.verifier.state.values import Pointer, Value
from skep.verifier.state.world import World

_MAY_BE_VOID = frozenset({ProgType.LSM, ProgType.STRUCT_OPS})


def returns_nothing(world: World) -> bool:
    """What the program attaches to is void, and so nobody looks at r0."""
    context = world.typed
    if not isinstance(context, TypedContext) or context.attach_type is AttachType.LSM_CGROUP:
        return False
    return context.prog_type in _MAY_BE_VOID and context.is_void


def returns_object(world: World, result: Value) -> bool:
    """An entry of a table that returns an object may return one that it owns."""
    context = world.typed
    if not isinstance(context, TypedContext) or not context.table or not isinstance(result, Pointer):
        return False
    wanted = _returned_struct(context)
    return wanted is not None and result.object is not None and bool(result.ref) and result.object.type == wanted


def range_at_exit(world: World) -> tuple[int, int] | None:
    """The lowest and highest allowed return value; None: any."""
    linked, context = world.linked, world.typed
    if isinstance(context, TypedContext):
        if context.prog_type is ProgType.STRUCT_OPS:
            return (0, 0) if _returned_struct(context) is not None else None
        if context.prog_type is ProgType.LSM:
            return _range_of_hook(context)
    known = return_range(linked.prog_type, linked.attach_type)
    return None if known is None else (known.low, known.high)


def _returned_struct(context: TypedContext) -> int | None:
    pointer = context.btf[context.btf.strip(context.proto.ret)]
    return context.btf.strip(pointer.type) if isinstance(pointer, t.Ptr) else None


def _range_of_hook(context: TypedContext) -> tuple[int, int] | None:
    if context.attach_type is AttachType.LSM_CGROUP:
        return (1, 1) if context.is_void else (0, 1)
    return context.hook_range

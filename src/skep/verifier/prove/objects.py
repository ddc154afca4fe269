"""Kernel objects that BTF describes: their members, and contexts made of them (kernel: check_ptr_to_btf_access)."""

from __future__ import annotations

from skep.abi.prog_types import AttachType, ProgType
from skep.abi.signatures import Arg, ArgKind, MemoryUse, Signature
from skep.abi.struct_ops import TABLE_HELPERS, WRITABLE_OBJECTS, facts_of
from skep.abi.trace_targets import SOCKET_HELPERS
from skep.btf import types as t
from skep.btf.catalog import find_member, size_of
from skep.errors import SkepError
from skep.verifier.prove import regions
from skep.verifier.requirements.kinds import Requirement, Rule, Use, ValidAccess, ValidArgument, Violation
from skep.verifier.state.machine import MachineState
from skep.verifier.state.objects import Object, Trust, same_or_nested
from skep.verifier.state.typed_context import TypedContext
from skep.verifier.state.values import Kind, Pointer
from skep.verifier.state.world import World

_READS = frozenset({Use.READ, Use.ATOMIC_LOAD})


def valid_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """A load or store through a pointer to an object."""
    return _access(need, need.reg, pointer, need.offset, need.size, world, writes=need.use not in _READS)


def readable(need: Requirement, reg: int, pointer: Pointer, size: int, world: World) -> Violation | None:
    """A helper reads ``size`` bytes of an object."""
    return _access(need, reg, pointer, 0, size, world, writes=False)


def _access(
    need: Requirement, reg: int, pointer: Pointer, at: int, size: int, world: World, *, writes: bool
) -> Violation | None:
    found = pointer.object
    assert found is not None
    name, offset = found.name, pointer.off + at
    linked = world.linked
    values: dict[str, object] = {"struct": name, "offset": offset, "size": size, "pointer": pointer.name}
    if not linked.target.privileged:
        said = f"'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN"
        return Violation(Rule.OBJECT_LICENSE, need, said, reg, values)
    if not linked.is_gpl_compatible and found.btf is not linked.btf:
        said = f"Cannot access kernel 'struct {name}' from non-GPL compatible program"
        return Violation(Rule.OBJECT_LICENSE, need, said, reg, values)
    if offset < 0:
        said = f"R{reg} is ptr_{name} invalid negative access: off={offset}"
        return Violation(Rule.OBJECT_OFFSET, need, said, reg, values)
    if pointer.var is not None and (pointer.var[1] or pointer.var[0]):
        bits = f"({pointer.var.value:#x}; {pointer.var.mask:#x})"
        said = f"R{reg} is ptr_{name} invalid variable offset: off={offset}, var_off={bits}"
        return Violation(Rule.OBJECT_OFFSET, need, said, reg, values)
    if found.trust & (Trust.USER | Trust.PERCPU):
        kind = "user" if found.trust & Trust.USER else "percpu"
        said = f"R{reg} is ptr_{name} access {kind} memory: off={offset}"
        return Violation(Rule.OBJECT_REGION, need, said, reg, {**values, "region": kind})
    if found.trust & Trust.ALLOC:
        if writes and found.trust & Trust.UNTRUSTED:
            return Violation(Rule.OBJECT_READ_ONLY, need, "only read is supported", reg, values)
        violation = _allocated(need, reg, pointer, offset, size, world, values)
        if violation is not None:
            return violation
    elif writes:
        return _writable(need, reg, found, offset, size, world, values)
    member = world.member(found, offset, size)
    if isinstance(member, str):
        return Violation(Rule.OBJECT_ACCESS, need, member, reg, {**values, "reason": member})
    return None


def _allocated(
    need: Requirement, reg: int, pointer: Pointer, offset: int, size: int, world: World, values: dict[str, object]
) -> Violation | None:
    """An object of the program's own: it is still there, and only its plain fields are touched (kernel:
    btf_struct_access).
    """
    found = pointer.object
    assert found is not None
    if not pointer.ref and not found.trust & (Trust.BORROWED | Trust.RCU):
        said = "ref_obj_id for allocated object must be non-zero"
        return Violation(Rule.OBJECT_TRUST, need, said, reg, {**values, "wanted": "valid", "function": "an access"})
    field = world.record(pointer).touched(offset, offset + size)
    if field is None:
        return None
    said = f"direct access to {field.kind.kernel_name} is disallowed"
    return Violation(Rule.ALLOCATED_FIELD, need, said, reg, {**values, "field": field.kind.kernel_name})


def _writable(
    need: Requirement, reg: int, found: Object, offset: int, size: int, world: World, values: dict[str, object]
) -> Violation | None:
    """Only some tables' programs write, and only some members (kernel: btf_struct_access of the program type)."""
    context = world.typed
    facts = facts_of(context.table) if isinstance(context, TypedContext) and context.table else None
    if facts is not None and not facts.known:
        assert isinstance(context, TypedContext)
        feature = f"writes into objects by programs of struct {context.table}"
        return Violation(Rule.UNSUPPORTED, need, feature, reg, {"feature": feature, "instead": ""})
    writable = facts.writable if facts is not None else WRITABLE_OBJECTS.get(world.linked.prog_type)
    if writable is None:
        return Violation(Rule.OBJECT_READ_ONLY, need, "only read is supported", reg, values)
    for path in writable.get(found.name, ()):
        place = _place(found.btf, found.type, path.removesuffix("[]"))
        if place is not None and (offset == place[0] or (path.endswith("[]") and place[0] <= offset < place[1])):
            if offset + size <= place[1]:
                return None
            said = (
                f"write access at off {offset} with size {size} beyond the member of {found.name} ended at {place[1]}"
            )
            return Violation(Rule.OBJECT_READ_ONLY, need, said, reg, values)
    said = f"no write support to {found.name} at off {offset}"
    return Violation(Rule.OBJECT_READ_ONLY, need, said, reg, values)


def _place(btf: t.Btf, type_id: int, path: str) -> tuple[int, int] | None:
    """First byte and end of a member, by the names on the way to it."""
    start = 0
    for name in path.split("."):
        found = find_member(btf, type_id, name)
        if found is None:
            return None
        start += found.offset
        type_id = found.member.type
        bits = found.member.bitfield_size
    try:
        return start, start + (-(-bits // 8) or size_of(btf, type_id))
    except SkepError:
        return None


def map_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """The kernel's own structure of a map may be read (kernel: check_ptr_to_map_access)."""
    assert pointer.map is not None
    reg, offset, spec = need.reg, pointer.off + need.offset, pointer.map
    found = world.map_object(spec)
    values: dict[str, object] = {"struct": spec.type.name.lower(), "offset": offset, "size": need.size}
    if world.linked.target.btf is None:
        feature = "access to the memory of a map, where the types of the target's kernel are not known"
        return Violation(Rule.UNSUPPORTED, need, feature, reg, {"feature": feature, "instead": ""})
    if found is None:
        said = f"map_ptr access not supported for map type {int(spec.type)}"
        return Violation(Rule.OBJECT_ACCESS, need, said, reg, {**values, "reason": said})
    values["struct"] = found.name
    if not world.linked.target.privileged:
        said = f"'struct {found.name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN"
        return Violation(Rule.OBJECT_LICENSE, need, said, reg, values)
    if offset < 0:
        said = f"R{reg} is {found.name} invalid negative access: off={offset}"
        return Violation(Rule.OBJECT_OFFSET, need, said, reg, values)
    if need.use not in _READS:
        said = f"only read from {found.name} is supported"
        return Violation(Rule.OBJECT_READ_ONLY, need, said, reg, values)
    member = world.member(found, offset, need.size)
    if isinstance(member, str):
        return Violation(Rule.OBJECT_ACCESS, need, member, reg, {**values, "reason": member})
    return None


def typed_context(
    need: ValidAccess, pointer: Pointer, context: TypedContext, state: MachineState, world: World
) -> Violation | None:
    """A load of an argument of what the program attaches to."""
    violation = regions.unmoved(need, pointer, need.reg)
    if violation is not None:
        return violation
    offset, size = need.offset, need.size
    argument = context.argument(offset, size) if need.use is Use.READ else "arguments cannot be written"
    if isinstance(argument, str):
        said = f"invalid bpf_context access off={offset} size={size}"
        values: dict[str, object] = {"offset": offset, "size": size, "use": need.use.value, "reason": argument}
        return Violation(Rule.CONTEXT_ARGUMENT, need, said, need.reg, values)
    return None


def buffer(need: Requirement, reg: int, pointer: Pointer, offset: int, size: int, *, writes: bool) -> Violation | None:
    """A buffer: constant offsets; its end is checked when the program is attached (kernel: check_buffer_access)."""
    offset += pointer.off
    what = "rdonly" if pointer.readonly else "rdwr"
    if pointer.kind is Kind.TRACEPOINT_BUFFER:
        what = "tracepoint"
    values: dict[str, object] = {"offset": offset, "size": size, "pointer": pointer.name}
    if writes and pointer.readonly:
        said = f"R{reg} cannot write into rdonly_buf"
        return Violation(Rule.MEMORY_READ_ONLY, need, said, reg, values)
    if offset < 0:
        said = f"R{reg} invalid {what} buffer access: off={offset}, size={size}"
        return Violation(Rule.BUFFER_OFFSET, need, said, reg, values)
    if pointer.var is not None and (pointer.var[1] or pointer.var[0]):
        bits = f"({pointer.var.value:#x}; {pointer.var.mask:#x})"
        said = f"R{reg} invalid variable buffer offset: off={offset}, var_off={bits}"
        return Violation(Rule.BUFFER_OFFSET, need, said, reg, values)
    return None


def buffer_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """A load or store in a buffer."""
    return buffer(need, need.reg, pointer, need.offset, need.size, writes=need.use not in _READS)


def probed_access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """Memory that is read with care: anywhere, but never written."""
    if need.use in _READS:
        return None
    said = f"R{need.reg} cannot write into {pointer.name}"
    return Violation(Rule.MEMORY_READ_ONLY, need, said, need.reg, {"pointer": pointer.name})


_TYPED = frozenset({ArgKind.BTF_OBJECT, ArgKind.BTF_SOCK_COMMON})
_PLAIN = frozenset({Trust.NONE, Trust.TRUSTED, Trust.RCU})
_SOCKETS = frozenset({Trust.NONE, Trust.TRUSTED})
_PERCPU = frozenset({Trust.PERCPU, Trust.PERCPU | Trust.RCU, Trust.PERCPU | Trust.TRUSTED})
_MEMORY = frozenset({Trust.TRUSTED})
_NODE = Trust.ALLOC | Trust.BORROWED
_ACCEPTED = {
    ArgKind.KPTR: frozenset({Trust.ALLOC, _NODE, _NODE | Trust.RCU}),
    ArgKind.BTF_OBJECT: _PLAIN,
    ArgKind.BTF_SOCK_COMMON: _SOCKETS,
    ArgKind.PERCPU_BTF_OBJECT: _PERCPU,
    ArgKind.MEMORY: _MEMORY,
    ArgKind.MAP_KEY: _MEMORY,
    ArgKind.MAP_VALUE: _MEMORY,
}
_SK_RELEASE = 86


def fits_argument(arg: Arg, pointer: Pointer) -> bool:
    """Whether a pointer with this trust may be given at all (kernel: compatible_reg_types)."""
    found = pointer.object
    assert found is not None
    return found.trust in _ACCEPTED.get(arg.kind, ()) and (arg.nullable or not pointer.nullable)


def argument(need: ValidArgument, pointer: Pointer, signature: Signature, world: World) -> Violation | None:
    """An object of the right type at a constant offset; or memory that is only read."""
    found, arg, reg = pointer.object, need.arg, need.reg
    assert found is not None
    values: dict[str, object] = {"function": signature.name, "pointer": pointer.name, "struct": found.name}
    if arg.kind in _TYPED:
        wanted = "sock_common" if arg.kind is ArgKind.BTF_SOCK_COMMON else arg.btf_name
        kernel = world.linked.target.btf
        type_id = kernel.find(wanted, t.Struct, t.Union) if kernel is not None and wanted is not None else None
        strict = signature.releases == reg and signature.id != _SK_RELEASE
        if kernel is None or type_id is None:
            said = f"R{reg} is of type {found.name} but {wanted} is expected"
            return Violation(Rule.OBJECT_TYPE, need, said, reg, {**values, "expected": wanted})
        if not same_or_nested(found.btf, found.type, pointer.off, kernel, type_id, strict=strict):
            said = f"R{reg} is of type {found.name} but {wanted} is expected"
            return Violation(Rule.OBJECT_TYPE, need, said, reg, {**values, "expected": wanted})
    elif arg.kind is not ArgKind.PERCPU_BTF_OBJECT and arg.use is not MemoryUse.READ:
        said = f"{signature.name}() may write into memory pointed by R{reg} type={pointer.name}"
        return Violation(Rule.OBJECT_READ_ONLY, need, said, reg, {**values, "offset": pointer.off})
    if signature.releases == reg and not pointer.ref:
        said = f"R{reg} must be referenced when passed to release function"
        return Violation(Rule.RELEASE_UNOWNED, need, said, reg, {"helper": signature.id, "pointer": pointer.name})
    return unmoved(need, pointer, reg, fixed=signature.releases != reg)


def unmoved(need: Requirement, pointer: Pointer, reg: int, *, fixed: bool) -> Violation | None:
    """At a constant offset (``fixed``) or at none (kernel: __check_ptr_off_reg)."""
    if fixed and pointer.off >= 0 and pointer.var is None:
        return None
    name = pointer.name
    values: dict[str, object] = {
        "pointer": name,
        "offset": pointer.off,
        "struct": pointer.object and pointer.object.name,
    }
    if fixed and pointer.off >= 0 and pointer.var is not None and (pointer.var[1] or pointer.var[0]):
        said = f"variable {name} access var_off=({pointer.var.value:#x}; {pointer.var.mask:#x}) disallowed"
        return Violation(Rule.OBJECT_OFFSET, need, said, reg, values)
    if fixed and pointer.off >= 0:
        return None
    violation = regions.unmoved(need, pointer, reg)
    return None if violation is None else Violation(Rule.OBJECT_OFFSET, need, violation.kernel, reg, values)


_D_PATH = 147
_SOCKET_OPTIONS = frozenset({49, 57})
# Functions whose programs may call bpf_d_path() (kernel: btf_allowlist_d_path).
_D_PATH_FUNCTIONS = frozenset(
    {
        "security_file_permission",
        "security_inode_getattr",
        "security_file_open",
        "security_path_truncate",
        "vfs_truncate",
        "vfs_fallocate",
        "dentry_open",
        "vfs_getattr",
        "filp_close",
    }
)


def refused_helper(number: int, world: World) -> bool:
    """Whether what the program attaches to rules a helper out."""
    context = world.typed
    if not isinstance(context, TypedContext):
        return False
    if number == _D_PATH and context.prog_type is ProgType.TRACING:
        return context.attach_type is not AttachType.TRACE_ITER and context.name not in _D_PATH_FUNCTIONS
    if number in _SOCKET_OPTIONS and context.prog_type is ProgType.TRACING:
        return number not in SOCKET_HELPERS.get(context.name, ())
    if not context.table:
        return False
    facts = facts_of(context.table)
    if not facts.helpers or number in facts.refused_helpers.get(context.name, ()):
        return True
    return number in TABLE_HELPERS and number not in facts.extra_helpers

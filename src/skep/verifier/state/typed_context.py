"""Contexts that BTF describes: the arguments of the function, tracepoint or table entry that a program attaches to.

Kernel: bpf_check_attach_target() finds the prototype, btf_ctx_access() says what each argument is.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import chain

from skep.abi.attach_rules import refused
from skep.abi.prog_types import AttachType, ProgType
from skep.abi.struct_ops import STRUCT_OPS, facts_of
from skep.abi.trace_targets import ITERATORS, NULLABLE_ARGUMENTS, IteratorArgument
from skep.btf import types as t
from skep.btf.catalog import size_of
from skep.btf.types import Btf
from skep.errors import SkepError
from skep.model.programs import LinkedProgram
from skep.verifier.state.objects import Object, Trust, is_struct, tag_of

MAX_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS
_WITH_RESULT = frozenset({AttachType.LSM_MAC, AttachType.LSM_CGROUP, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN})
_TYPED = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS})
# Hooks whose arguments are half made or half gone (kernel: untrusted_lsm_hooks).
_UNTRUSTED_HOOKS = frozenset(
    {
        "bpf_map_free",
        "bpf_prog_free",
        "file_alloc_security",
        "file_free_security",
        "sk_alloc_security",
        "sk_free_security",
        "task_free",
    }
)


# Hooks that answer yes or no (kernel: bool_lsm_hooks).
_YES_OR_NO = frozenset({"audit_rule_known", "inode_xattr_skipcap"})
_MAX_ERRNO = 4095


class Holds(Enum):
    """What an argument is."""

    NUMBER = auto()
    OBJECT = auto()
    BUFFER = auto()


@dataclass(frozen=True, slots=True)
class Argument:
    """What a load of one argument gives."""

    holds: Holds
    object: Object | None = None
    nullable: bool = False
    readonly: bool = False
    is_result: bool = False


_NUMBER = Argument(Holds.NUMBER)


@dataclass(frozen=True, slots=True)
class TypedContext:
    """The arguments of what a program attaches to.

    Attributes:
        name: of the function, tracepoint, iterator or member.
        params: without a tracepoint's hidden first one; ``all_params``: with it.
        table: of struct_ops.
    """

    btf: Btf
    name: str
    prog_type: ProgType
    attach_type: AttachType | None
    proto: t.FuncProto
    is_tracepoint: bool = False
    table: str = ""
    _known: dict[tuple[int, int], Argument | str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def params(self) -> tuple[t.Param, ...]:
        """Those that the program sees."""
        return self.proto.params[1:] if self.is_tracepoint else self.proto.params

    @property
    def is_void(self) -> bool:
        """Whether what it attaches to returns nothing."""
        return self.proto.ret == 0

    @property
    def hook_range(self) -> tuple[int, int]:
        """What an LSM hook returns: 0 or an error, or yes or no (kernel: bpf_lsm_get_retval_range)."""
        return (0, 1) if self.name in _YES_OR_NO else (-_MAX_ERRNO, 0)

    def argument(self, offset: int, size: int) -> Argument | str:
        """What a load of ``size`` bytes at ``offset`` gives; or why there is none."""
        key = (offset, size)
        if key not in self._known:
            self._known[key] = self._argument(offset, size)
        return self._known[key]

    def _argument(self, offset: int, size: int) -> Argument | str:
        if not 0 <= offset < 8 * MAX_ARGUMENTS or offset % size:
            return "no argument starts there"
        if offset % 8:
            return f"func '{self.name}' offset {offset} is not multiple of 8"
        index = self._index(offset)
        params = self.params
        beyond = f"func '{self.name}' doesn't have {index + 1}-th argument"
        if index > len(params):
            return beyond
        is_result = index == len(params)
        if is_result and self.attach_type not in _WITH_RESULT:
            return beyond
        type_id = self.btf.strip(self.proto.ret if is_result else params[index].type)
        found = self.btf[type_id]
        if is_result and self.attach_type is AttachType.MODIFY_RETURN and not _is_small_int(found):
            return f"ret type {found.name} not allowed for fmod_ret"
        if _is_small_int(found) or isinstance(found, (t.Enum, t.Enum64)) or is_struct(found):
            return Argument(Holds.NUMBER, is_result=is_result and self.prog_type is ProgType.LSM)
        if not isinstance(found, t.Ptr):
            return f"func '{self.name}' arg{index} has a type that is no pointer. Only pointer access is allowed"
        if size != 8:
            return f"func '{self.name}' size {size} must be 8"
        return self._pointer(found, index, "" if is_result else params[index].name)

    def _index(self, offset: int) -> int:
        """Which argument lies at an offset: big structures take more than one place (kernel: btf_ctx_arg_idx)."""
        end = 0
        for index, type_id in enumerate([param.type for param in self.proto.params] + [self.proto.ret]):
            with suppress(SkepError):  # void takes no place
                end += -(-size_of(self.btf, self.btf.strip(type_id)) // 8) * 8
            if offset < end:
                return index
        return len(self.proto.params) + 1

    def _pointer(self, pointer: t.Ptr, index: int, name: str) -> Argument | str:
        rule = self._iterator_rule(index)
        if rule is not None and rule.buffer:
            return Argument(Holds.BUFFER, nullable=rule.nullable, readonly=rule.readonly)
        btf = self.btf
        target = btf.strip(pointer.type)
        found = btf[target]
        if isinstance(found, (t.Void, t.Int)):
            return _NUMBER
        if not is_struct(found):
            return f"func '{self.name}' arg{index} type {type(found).__name__} is not a struct"
        if rule is not None:
            trust = Trust.TRUSTED if rule.trusted else Trust.NONE
            return Argument(Holds.OBJECT, Object(btf, target, trust), nullable=rule.nullable)
        nullable = name.endswith("__nullable")
        if self.is_tracepoint:
            nullable = nullable or index in NULLABLE_ARGUMENTS.get(self.name, ())
        trust = (Trust.TRUSTED if self._trusted() else Trust.NONE) | (
            tag_of(btf, pointer.type) & (Trust.USER | Trust.PERCPU)
        )
        if self.table:
            target = self._promoted(target, trust)
        return Argument(Holds.OBJECT, Object(btf, target, trust), nullable=nullable)

    def _promoted(self, target: int, trust: Trust) -> int:
        """A table may know an argument better than its prototype: a ``sock`` that is a ``tcp_sock``."""
        facts = STRUCT_OPS.get(self.table)
        wanted = facts.promoted.get(self.btf[target].name) if facts is not None else None
        better = (
            self.btf.find(wanted, t.Struct) if wanted is not None and trust in (Trust.NONE, Trust.TRUSTED) else None
        )
        return target if better is None else better

    def _iterator_rule(self, index: int) -> IteratorArgument | None:
        if self.attach_type is not AttachType.TRACE_ITER:
            return None
        return ITERATORS[self.name].get(index)

    def _trusted(self) -> bool:
        """Whether arguments are trusted (kernel: prog_args_trusted)."""
        if self.prog_type is ProgType.TRACING:
            return self.attach_type in (AttachType.TRACE_RAW_TP, AttachType.TRACE_ITER)
        if self.prog_type is ProgType.LSM:
            return self.name not in _UNTRUSTED_HOOKS
        return self.prog_type is ProgType.STRUCT_OPS


def _is_small_int(found: t.BtfType) -> bool:
    return isinstance(found, t.Int) and found.size <= 8


_PREFIXES = {
    AttachType.TRACE_RAW_TP: "btf_trace_",
    AttachType.TRACE_ITER: "bpf_iter_",
    AttachType.LSM_MAC: "bpf_lsm_",
    AttachType.LSM_CGROUP: "bpf_lsm_",
}


def typed_context(linked: LinkedProgram) -> TypedContext | str | None:
    """The context of a program whose type takes it from BTF; None: another type; a text: why there is none."""
    if linked.prog_type not in _TYPED:
        return None
    if linked.target.btf is None:
        kind = linked.prog_type.name.lower()
        return f"unsupported: {kind} programs, where the types of the target's kernel are not known"
    if linked.prog_type is ProgType.STRUCT_OPS:
        return _table_entry(linked)
    attach = linked.attach_type
    if attach is None:
        return "Invalid attach type for a tracing program"
    module, _, name = linked.attach_to.rpartition(":")
    btf = linked.target.module_btf.get(module) if module else linked.target.btf
    if btf is None or not name:
        return "Tracing programs must provide btf_id"
    full = _PREFIXES.get(attach, "") + name
    if attach is AttachType.TRACE_RAW_TP:
        return _tracepoint(btf, name, full, linked)
    if attach is AttachType.TRACE_ITER and name not in ITERATORS:
        return f"attach_btf_id is not an iterator: {name}"
    found = btf.find(full, t.Func)
    function = btf[found] if found is not None else None
    proto = btf[function.type] if isinstance(function, t.Func) else None
    if not isinstance(proto, t.FuncProto):
        return f"the kernel has no function '{full}' to attach to"
    reason = refused(linked.prog_type, attach, name, sleepable=linked.sleepable)
    return reason or TypedContext(btf, name, linked.prog_type, attach, proto)


def _tracepoint(btf: Btf, name: str, full: str, linked: LinkedProgram) -> TypedContext | str:
    """``typedef void (*btf_trace_NAME)(void *, ...)``."""
    found = btf.find(full, t.Typedef)
    pointer = btf[btf.strip(found)] if found is not None else None
    proto = btf[btf.strip(pointer.type)] if isinstance(pointer, t.Ptr) else None
    if not isinstance(proto, t.FuncProto):
        return f"the kernel has no tracepoint '{name}'"
    return TypedContext(btf, name, linked.prog_type, linked.attach_type, proto, is_tracepoint=True)


def _table_entry(linked: LinkedProgram) -> TypedContext | str:
    """``attach_to`` is ``table.member``."""
    table, _, member_name = linked.attach_to.partition(".")
    target = linked.target
    modules = (target.module_btf[name] for name in target.module_btf)  # each is read when it is its turn
    known = (each for each in chain((target.btf,), modules) if each is not None)
    btf = next((each for each in known if each.find(f"bpf_struct_ops_{table}", t.Struct) is not None), None)
    found = btf.find(table, t.Struct) if btf is not None else None
    if btf is None or found is None:
        return f"attach_btf_id is not a supported struct: {table}"
    struct = btf[found]
    assert isinstance(struct, t.Struct)
    index = next((number for number, each in enumerate(struct.members) if each.name == member_name), None)
    if index is None:
        return f"attach to invalid member idx {member_name} of struct {table}"
    member = struct.members[index]
    pointer = btf[btf.strip(member.type)]
    proto = btf[btf.strip(pointer.type)] if isinstance(pointer, t.Ptr) else None
    if not isinstance(proto, t.FuncProto):
        return f"attach to invalid member {member_name}(@idx {index}) of struct {table}"
    facts = facts_of(table)
    may_sleep = facts.sleepable is None or member_name in facts.sleepable
    if member_name in facts.unsupported or (linked.sleepable and not may_sleep):
        return f"attach to unsupported member {member_name} of struct {table}"
    stub = _stub(btf, f"{table}__{member_name}")
    if any(name.endswith("__ref") for name in stub):
        return f"unsupported: arguments of {table}.{member_name} that the program must release"
    params = tuple(
        t.Param(name if name.endswith("__nullable") else param.name, param.type)
        for param, name in zip(proto.params, stub or [each.name for each in proto.params], strict=False)
    )
    if len(params) == len(proto.params):
        proto = t.FuncProto(proto.ret, params)
    return TypedContext(btf, member_name, linked.prog_type, linked.attach_type, proto, table=table)


def _stub(btf: Btf, name: str) -> list[str]:
    """Names of the parameters of a member's stub, which say what may be NULL (kernel: prepare_func_info)."""
    found = btf.find(name, t.Func)
    function = btf[found] if found is not None else None
    proto = btf[function.type] if isinstance(function, t.Func) else None
    return [param.name for param in proto.params] if isinstance(proto, t.FuncProto) else []

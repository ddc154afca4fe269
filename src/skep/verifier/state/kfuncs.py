"""Kernel functions that a program calls: their prototypes in the kernel's BTF, and what each parameter wants.

Suffixes of parameter names say what C types cannot: ``__sz`` the size of the memory before, ``__k`` a constant,
``__ign`` anything, ``__nullable``, ``__str``, ``__map``, ... (kernel: check_kfunc_args, get_kfunc_ptr_arg_type).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from skep.abi.kfuncs import Kfunc, KfuncFlag, find_kfunc
from skep.abi.prog_types import ProgType
from skep.btf import types as t
from skep.btf.catalog import size_of
from skep.errors import SkepError
from skep.model.programs import LinkedProgram
from skep.verifier.state.objects import is_struct

CAST_TO_KERN_CTX, RDONLY_CAST = "bpf_cast_to_kern_ctx", "bpf_rdonly_cast"
THROW, TRAP, KMEM_CACHE = "bpf_throw", "__bpf_trap", "bpf_get_kmem_cache"
RCU_LOCK, RCU_UNLOCK = "bpf_rcu_read_lock", "bpf_rcu_read_unlock"
PREEMPT_DISABLE, PREEMPT_ENABLE = "bpf_preempt_disable", "bpf_preempt_enable"
SESSION_COOKIE = "bpf_session_cookie"
IRQ_SAVERS = frozenset({"bpf_local_irq_save", "bpf_res_spin_lock_irqsave"})
IRQ_BY_LOCK = frozenset({"bpf_res_spin_lock_irqsave", "bpf_res_spin_unlock_irqrestore"})


class Wants(StrEnum):
    """What a parameter wants in its register."""

    ANYTHING = "anything"
    NUMBER = "a number"
    CONSTANT = "a known constant"
    BUFFER_SIZE = "a constant size"
    CONTEXT = "the context"
    MAP = "a map"
    STRING = "a constant string"
    CALLBACK = "a function of the program"
    POINTER = "a pointer"  # an object or memory: the register decides
    # Kinds with rules of their own: :data:`SPECIAL`.
    DYNPTR = "a dynptr"
    ITERATOR = "an iterator"
    ALLOCATED = "an object that the program allocated"
    REFCOUNTED = "an allocated object that counts its references"
    LIST_HEAD = "a list"
    LIST_NODE = "a list node"
    TREE_ROOT = "a tree"
    TREE_NODE = "a tree node"
    WORK_QUEUE = "a work queue"
    TASK_WORK = "a task work"
    IRQ_FLAGS = "saved interrupt flags"
    SPIN_LOCK = "a spin lock"


SPECIAL = frozenset(
    {
        Wants.DYNPTR,
        Wants.ITERATOR,
        Wants.ALLOCATED,
        Wants.REFCOUNTED,
        Wants.LIST_HEAD,
        Wants.LIST_NODE,
        Wants.TREE_ROOT,
        Wants.TREE_NODE,
        Wants.WORK_QUEUE,
        Wants.TASK_WORK,
        Wants.IRQ_FLAGS,
        Wants.SPIN_LOCK,
    }
)
"""Parameters of these kinds are proved by a module of their own (prove.kfuncs.ARGUMENTS); where there is none, the call
is unsupported by name."""

_SUFFIXES = {
    "__ign": Wants.ANYTHING,
    "__prog": Wants.ANYTHING,
    "__alloc": Wants.ALLOCATED,
    "__refcounted_kptr": Wants.REFCOUNTED,
    "__str": Wants.STRING,
    "__map": Wants.MAP,
    "__irq_flag": Wants.IRQ_FLAGS,
    "__iter": Wants.ITERATOR,
}
_STRUCTS = {
    "bpf_dynptr": Wants.DYNPTR,
    "bpf_dynptr_kern": Wants.DYNPTR,
    "bpf_list_head": Wants.LIST_HEAD,
    "bpf_list_node": Wants.LIST_NODE,
    "bpf_rb_root": Wants.TREE_ROOT,
    "bpf_rb_node": Wants.TREE_NODE,
    "bpf_wq": Wants.WORK_QUEUE,
    "bpf_task_work": Wants.TASK_WORK,
    "bpf_res_spin_lock": Wants.SPIN_LOCK,
}
_CONTEXTS: dict[ProgType, frozenset[str]] = {
    **dict.fromkeys(
        (
            ProgType.SOCKET_FILTER,
            ProgType.SCHED_CLS,
            ProgType.SCHED_ACT,
            ProgType.CGROUP_SKB,
            ProgType.LWT_IN,
            ProgType.LWT_OUT,
            ProgType.LWT_XMIT,
            ProgType.LWT_SEG6LOCAL,
            ProgType.SK_SKB,
            ProgType.FLOW_DISSECTOR,
        ),
        frozenset({"__sk_buff", "sk_buff"}),
    ),
    ProgType.XDP: frozenset({"xdp_md", "xdp_buff"}),
    ProgType.CGROUP_SOCK: frozenset({"bpf_sock"}),
    ProgType.CGROUP_SOCK_ADDR: frozenset({"bpf_sock_addr"}),
    ProgType.SOCK_OPS: frozenset({"bpf_sock_ops"}),
    ProgType.SK_MSG: frozenset({"sk_msg_md"}),
    ProgType.CGROUP_DEVICE: frozenset({"bpf_cgroup_dev_ctx"}),
    ProgType.CGROUP_SYSCTL: frozenset({"bpf_sysctl"}),
    ProgType.CGROUP_SOCKOPT: frozenset({"bpf_sockopt"}),
    ProgType.SK_REUSEPORT: frozenset({"sk_reuseport_md"}),
    ProgType.SK_LOOKUP: frozenset({"bpf_sk_lookup"}),
    ProgType.NETFILTER: frozenset({"bpf_nf_ctx"}),
    ProgType.PERF_EVENT: frozenset({"bpf_perf_event_data"}),
    ProgType.KPROBE: frozenset({"pt_regs", "bpf_user_pt_regs_t"}),
    ProgType.RAW_TRACEPOINT: frozenset({"bpf_raw_tracepoint_args"}),
}
#: The kernel's own structure behind a program's context (bpf_ctx_convert), for casts.
KERNEL_CONTEXTS: dict[ProgType, str] = {
    **{kind: "sk_buff" for kind, names in _CONTEXTS.items() if "sk_buff" in names},
    ProgType.FLOW_DISSECTOR: "bpf_flow_dissector",
    ProgType.XDP: "xdp_buff",
    ProgType.CGROUP_SOCK: "sock",
    ProgType.CGROUP_SOCK_ADDR: "bpf_sock_addr_kern",
    ProgType.SOCK_OPS: "bpf_sock_ops_kern",
    ProgType.SK_MSG: "sk_msg",
    ProgType.CGROUP_DEVICE: "bpf_cgroup_dev_ctx",
    ProgType.CGROUP_SYSCTL: "bpf_sysctl_kern",
    ProgType.CGROUP_SOCKOPT: "bpf_sockopt_kern",
    ProgType.SK_REUSEPORT: "sk_reuseport_kern",
    ProgType.SK_LOOKUP: "bpf_sk_lookup_kern",
    ProgType.NETFILTER: "bpf_nf_ctx",
    ProgType.PERF_EVENT: "bpf_perf_event_data_kern",
    ProgType.KPROBE: "pt_regs",
}


@dataclass(frozen=True, slots=True)
class KfuncParam:
    """One parameter.

    Attributes:
        type: id of what it points to, without qualifiers; 0 for numbers and void.
        size: bytes of what it points to, where it can be plain memory; None: that cannot be.
        sized_by: the next parameter is the size of this one's memory; ``constant_size``: and a constant.
        scalar_memory: what it points to may be plain memory: numbers, or structures of numbers.
        nullable: NULL may be given; optional: instead of memory with a size.
    """

    name: str
    wants: Wants
    type: int = 0
    target: str = ""
    size: int | None = None
    sized_by: bool = False
    constant_size: bool = False
    nullable: bool = False
    scalar_memory: bool = False
    is_struct: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class KfuncProto:
    """A kernel function: its table row, and its prototype.

    Attributes:
        returns: id of the result's type without qualifiers; ``pointee``: of what it points to.
    """

    row: Kfunc
    btf: t.Btf
    params: tuple[KfuncParam, ...]
    returns: int
    pointee: int | None

    @property
    def name(self) -> str:
        """The function's name."""
        return self.row.name

    def has(self, flag: KfuncFlag) -> bool:
        """Whether the kernel marked it so."""
        return bool(self.row.flags & flag)

    @property
    def special(self) -> frozenset[Wants]:
        """Kinds of its parameters that have rules of their own."""
        return frozenset(param.wants for param in self.params) & SPECIAL


def kfunc_proto(linked: LinkedProgram, name: str) -> KfuncProto | str:
    """A kernel function by name; or why it cannot be called."""
    row = find_kfunc(name)
    btf, found = _find(linked, name, everywhere=row is not None)
    function = btf[found] if btf is not None and found is not None else None
    if btf is None or not isinstance(function, t.Func):
        return "unknown"
    if not _is_offered(btf, found):
        return "unknown"
    if row is None:
        return "not listed"
    proto = btf[function.type]
    if not isinstance(proto, t.FuncProto):
        return "unknown"
    params = [_param(linked, btf, name, row, param, index) for index, param in enumerate(proto.params)]
    for index, param in enumerate(proto.params[1:], start=1):
        if param.name.endswith(("__sz", "__szk")):
            before = params[index - 1]
            constant = param.name.endswith("__szk")
            params[index - 1] = _sized(before, constant)
    returns = btf.strip(proto.ret)
    pointer = btf[returns]
    pointee = btf.strip(pointer.type) if isinstance(pointer, t.Ptr) else None
    return KfuncProto(row, btf, tuple(params), returns, pointee)


def _find(linked: LinkedProgram, name: str, *, everywhere: bool) -> tuple[t.Btf | None, int | None]:
    """Where a function's type is; ``everywhere``: also in modules."""
    target = linked.target
    for btf in (target.btf, *(target.module_btf.values() if everywhere else ())):
        found = btf.find(name, t.Func) if btf is not None else None
        if found is not None:
            return btf, found
    return None, None


def _is_offered(btf: t.Btf, function: int | None) -> bool:
    """Whether the kernel marks the function as one for programs; kernels before 6.10 mark none."""
    tags = btf.find_all("bpf_kfunc", t.DeclTag)
    return not tags or any(tag.type == function for each in tags if isinstance(tag := btf[each], t.DeclTag))


def _sized(param: KfuncParam, constant: bool) -> KfuncParam:
    return KfuncParam(
        param.name,
        param.wants,
        param.type,
        param.target,
        param.size,
        True,
        constant,
        param.nullable,
        param.scalar_memory,
        param.is_struct,
        param.optional,
    )


def _param(linked: LinkedProgram, btf: t.Btf, function: str, row: Kfunc, param: t.Param, index: int) -> KfuncParam:
    name = param.name
    stripped = btf[btf.strip(param.type)]
    by_suffix = next((wants for suffix, wants in _SUFFIXES.items() if name.endswith(suffix)), None)
    if by_suffix is Wants.ANYTHING:
        return KfuncParam(name, by_suffix)
    if isinstance(stripped, (t.Int, t.Enum, t.Enum64)):
        wants = Wants.CONSTANT if name.endswith("__k") else Wants.NUMBER
        if name in ("rdonly_buf_size", "rdwr_buf_size"):
            wants = Wants.BUFFER_SIZE
        return KfuncParam(name, wants)
    nullable = name.endswith("__nullable")
    if not isinstance(stripped, t.Ptr):
        return KfuncParam(name, Wants.POINTER)
    target_id = btf.strip(stripped.type)
    target = btf[target_id]
    try:
        size = size_of(btf, target_id) if not isinstance(target, t.Void) else None
    except SkepError:
        size = None
    wants = by_suffix or _by_type(linked.prog_type, function, row, target, index)
    return KfuncParam(
        name,
        wants,
        target_id,
        target.name,
        size,
        nullable=nullable,
        optional=name.endswith("__opt"),
        scalar_memory=_is_scalar(btf, target_id, 0),
        is_struct=is_struct(target),
    )


def _by_type(prog_type: ProgType, function: str, row: Kfunc, target: t.BtfType, index: int) -> Wants:
    if function == CAST_TO_KERN_CTX:
        return Wants.CONTEXT
    if isinstance(target, t.Struct) and target.name in _CONTEXTS.get(prog_type, ()):
        return Wants.CONTEXT
    if row.flags & (KfuncFlag.ITER_NEW | KfuncFlag.ITER_NEXT | KfuncFlag.ITER_DESTROY) and index == 0:
        return Wants.ITERATOR
    if isinstance(target, t.Struct) and target.name in _STRUCTS:
        return _STRUCTS[target.name]
    if isinstance(target, t.FuncProto):
        return Wants.CALLBACK
    return Wants.POINTER


def is_scalar_struct(btf: t.Btf, type_id: int) -> bool:
    """A structure of numbers."""
    return _is_scalar(btf, type_id, 0)


def _is_scalar(btf: t.Btf, type_id: int, depth: int) -> bool:
    """A number, or a structure of numbers (kernel: __btf_type_is_scalar_struct)."""
    found = btf[btf.strip(type_id)]
    if isinstance(found, (t.Int, t.Enum, t.Enum64)):
        return True
    if not isinstance(found, (t.Struct, t.Union)) or depth >= 4:
        return False
    for member in found.members:
        inner = btf.strip(member.type)
        array = btf[inner]
        if isinstance(array, t.Array):
            if not array.nelems:
                return False
            inner = btf.strip(array.type)
            if not isinstance(btf[inner], (t.Int, t.Enum, t.Enum64)):
                return False
        elif not _is_scalar(btf, inner, depth + 1):
            return False
    return True

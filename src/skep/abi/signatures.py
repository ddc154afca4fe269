"""What the kernel promises about its helpers: the types of a helper's signature. The table itself is in helpers.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from skep.abi.prog_types import ProgType


class ArgKind(StrEnum):
    """What a helper wants in a register (after enum bpf_arg_type, include/linux/bpf.h)."""

    ANYTHING = "anything"  # any initialised value
    CONTEXT = "ctx"
    CONST_MAP = "const_map_ptr"  # a map, known when verifying
    MAP_KEY = "map_key"  # memory of the map's key_size
    MAP_VALUE = "map_value"  # memory of the map's value_size
    MEMORY = "mem"  # memory whose size is the next argument, or `size`
    SIZE = "size"  # bytes of the previous MEMORY argument, at least 1
    SIZE_OR_ZERO = "size_or_zero"
    ALLOC_SIZE = "alloc_size"  # a known constant: size of the memory that is returned
    RINGBUF_RECORD = "ringbuf_mem"  # what bpf_ringbuf_reserve returned
    CALLBACK = "func"  # a static subprogram
    CALLBACK_CONTEXT = "stack_or_null"  # the callback's context: pointer to stack, or NULL
    CONST_STRING = "const_str"  # a NUL-terminated string in a frozen map
    FIXED_INT = "int"  # pointer to 4 bytes, aligned
    FIXED_LONG = "long"  # pointer to 8 bytes, aligned
    SPIN_LOCK = "spin_lock"
    TIMER = "timer"
    KPTR = "kptr"  # a field that owns a kernel object
    KPTR_VALUE = "kptr_value"  # what is put into it: a reference to such an object, or NULL
    DYNPTR = "dynptr"
    SOCKET = "socket"
    SOCK_COMMON = "sock_common"
    BTF_OBJECT = "btf_id"
    BTF_SOCK_COMMON = "btf_id_sock_common"
    PERCPU_BTF_OBJECT = "percpu_btf_id"


class MemoryUse(StrEnum):
    """What a helper does with memory it is given."""

    READ = "read"
    WRITE = "write"  # it must not be read-only; it may be uninitialised (the helper fills all of it)
    READ_WRITE = "read_write"


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a helper."""

    kind: ArgKind
    nullable: bool = False
    use: MemoryUse = MemoryUse.READ
    size: int | None = None  # bytes of MEMORY with a fixed size
    btf_name: str | None = None  # struct, for the BTF kinds
    dynptr: str | None = (
        None  # which DYNPTR: "local", "ringbuf"; None: any. WRITE: an uninitialised one that is made here
    )


class ReturnKind(StrEnum):
    """What a helper leaves in r0 (after enum bpf_return_type)."""

    INTEGER = "integer"
    VOID = "void"
    MAP_VALUE_OR_NULL = "map_value_or_null"
    MAP_VALUE = "map_value"
    MEMORY_OR_NULL = "mem_or_null"  # ALLOC_SIZE bytes, or `Signature.return_size`
    RINGBUF_RECORD_OR_NULL = "ringbuf_mem_or_null"  # an acquired reference: submit or discard it
    SOCKET_OR_NULL = "sock_or_null"
    SOCK_COMMON_OR_NULL = "sock_common_or_null"
    TCP_SOCK_OR_NULL = "tcp_sock_or_null"
    BTF_OBJECT = "btf_id"
    BTF_OBJECT_OR_NULL = "btf_id_or_null"
    MEMORY_OR_BTF_OBJECT = "mem_or_btf_id"
    MEMORY_OR_BTF_OBJECT_OR_NULL = "mem_or_btf_id_or_null"
    DYNPTR_MEMORY_OR_NULL = "dynptr_mem_or_null"


@dataclass(frozen=True, slots=True)
class Signature:
    """A helper: its number, its C prototype, and what the verifier must know of it.

    Attributes:
        id: its number; never changes.
        name: with the ``bpf_`` prefix.
        since: the kernel version that brought it, (major, minor).
        c_return, c_params: its prototype in C, for the generated header: ``"long"``, ``(("void *", "ctx"), ...)``.
        args: what each register r1.. must hold. None: the verifier has no signature yet and rejects calls, naming it.
        prog_types: which program types may call it; None: all.
        gpl_only: only for GPL-compatible programs.
        packet_arguments: packet pointers may be passed as memory, keys or values (bpf_func_proto.pkt_access).
        resizes_packet: it may move or change packet data: packet pointers die with the call.
        may_sleep: only sleepable programs.
        return_range: (lowest, highest) of an INTEGER result, where the kernel promises it.
        return_limit_arg: number (1-5) of the size argument that the result never exceeds (do_refine_retval_range).
        acquires, releases: reference bookkeeping: the result must be released; argument number that is released.
    """

    id: int
    name: str
    since: tuple[int, int]
    c_return: str
    c_params: tuple[tuple[str, str], ...]
    args: tuple[Arg, ...] | None = None
    returns: ReturnKind = ReturnKind.INTEGER
    prog_types: frozenset[ProgType] | None = None
    gpl_only: bool = False
    resizes_packet: bool = False
    may_sleep: bool = False
    return_range: tuple[int, int] | None = None
    return_size: int | None = None
    return_btf_name: str | None = None
    acquires: bool = False
    releases: int | None = None
    packet_arguments: bool = False
    return_limit_arg: int | None = None

"""How a helper's row is written: short names for arguments, and one function that makes the Signature."""

from __future__ import annotations

import re
from collections.abc import Iterable

from skep.abi.prog_types import ProgType
from skep.abi.signatures import Arg, ArgKind, MemoryUse, ReturnKind, Signature

ANY = Arg(ArgKind.ANYTHING)
CTX = Arg(ArgKind.CONTEXT)
CTX_OR_NULL = Arg(ArgKind.CONTEXT, nullable=True)
MAP = Arg(ArgKind.CONST_MAP)
KEY = Arg(ArgKind.MAP_KEY)
VALUE = Arg(ArgKind.MAP_VALUE)
VALUE_OR_NULL = Arg(ArgKind.MAP_VALUE, nullable=True)
VALUE_OUT = Arg(ArgKind.MAP_VALUE, use=MemoryUse.WRITE)
#: Memory by what the helper does with it; the next argument is its size.
READS = Arg(ArgKind.MEMORY)
READS_OR_NULL = Arg(ArgKind.MEMORY, nullable=True)
FILLS = Arg(ArgKind.MEMORY, use=MemoryUse.WRITE)
UPDATES = Arg(ArgKind.MEMORY, use=MemoryUse.READ_WRITE)
UPDATES_OR_NULL = Arg(ArgKind.MEMORY, nullable=True, use=MemoryUse.READ_WRITE)
SIZE = Arg(ArgKind.SIZE)
SIZE_OR_ZERO = Arg(ArgKind.SIZE_OR_ZERO)
ALLOC_SIZE = Arg(ArgKind.ALLOC_SIZE)
INT_INOUT = Arg(ArgKind.FIXED_INT, use=MemoryUse.READ_WRITE, size=4)
LONG_OUT = Arg(ArgKind.FIXED_LONG, use=MemoryUse.WRITE, size=8)
RECORD = Arg(ArgKind.RINGBUF_RECORD)
CALLBACK = Arg(ArgKind.CALLBACK)
CALLBACK_CONTEXT = Arg(ArgKind.CALLBACK_CONTEXT, nullable=True)
STRING = Arg(ArgKind.CONST_STRING)
LOCK = Arg(ArgKind.SPIN_LOCK)
TIMER = Arg(ArgKind.TIMER)
KPTR = Arg(ArgKind.KPTR)
KPTR_VALUE = Arg(ArgKind.KPTR_VALUE, nullable=True)
DYNPTR = Arg(ArgKind.DYNPTR)
RINGBUF_DYNPTR = Arg(ArgKind.DYNPTR, dynptr="ringbuf")
LOCAL_DYNPTR_OUT = Arg(ArgKind.DYNPTR, use=MemoryUse.WRITE, dynptr="local")
RINGBUF_DYNPTR_OUT = Arg(ArgKind.DYNPTR, use=MemoryUse.WRITE, dynptr="ringbuf")
SOCK_COMMON = Arg(ArgKind.SOCK_COMMON)
SOCKET_OR_NULL = Arg(ArgKind.SOCKET, nullable=True)
BTF_SOCK = Arg(ArgKind.BTF_SOCK_COMMON)
BTF_SOCK_OR_NULL = Arg(ArgKind.BTF_SOCK_COMMON, nullable=True)
PERCPU = Arg(ArgKind.PERCPU_BTF_OBJECT)
TASK = Arg(ArgKind.BTF_OBJECT, btf_name="task_struct")
TASK_OR_NULL = Arg(ArgKind.BTF_OBJECT, nullable=True, btf_name="task_struct")

#: A helper that returns the length it copied, or a negative errno.
MAX_ERRNO = 4095
COPIED = (-MAX_ERRNO, 0x7FFF_FFFF)

_PROTOTYPE = re.compile(r"(?P<returns>.+?[ *])(?P<name>bpf_\w+)\((?P<params>.*)\)$")
_PARAMETER = re.compile(r"(?P<type>.+?[ *])(?P<name>\w+)$")


def btf(name: str, nullable: bool = False) -> Arg:
    """A pointer to the kernel's ``struct name``, trusted by its BTF type."""
    return Arg(ArgKind.BTF_OBJECT, nullable=nullable, btf_name=name)


def sized(size: int) -> Arg:
    """Memory of a fixed number of bytes that the helper reads."""
    return Arg(ArgKind.MEMORY, size=size)


def row(
    number: int,
    since: tuple[int, int],
    prototype: str,
    *args: Arg,
    on: Iterable[ProgType | frozenset[ProgType]] | None,
    returns: ReturnKind = ReturnKind.INTEGER,
    gpl_only: bool = False,
    packet_arguments: bool = False,
    resizes_packet: bool = False,
    may_sleep: bool = False,
    return_range: tuple[int, int] | None = None,
    return_limit_arg: int | None = None,
    return_btf_name: str | None = None,
    acquires: bool = False,
    releases: int | None = None,
) -> Signature:
    """One helper.

    Args:
        number: its id.
        since: kernel version, (major, minor).
        prototype: as in C, with the types that programs see (``__u32``, ``struct __sk_buff *``).
        args: r1, r2, ...
        on: program types and groups of them; None: all.

    Raises:
        ValueError: the prototype cannot be read: a mistake in the table.
    """
    c_return, name, c_params = parse_prototype(prototype)
    return Signature(
        id=number,
        name=name,
        since=since,
        c_return=c_return,
        c_params=c_params,
        args=args,
        returns=returns,
        prog_types=None if on is None else _flat(on),
        gpl_only=gpl_only,
        packet_arguments=packet_arguments,
        resizes_packet=resizes_packet,
        may_sleep=may_sleep,
        return_range=return_range,
        return_limit_arg=return_limit_arg,
        return_btf_name=return_btf_name,
        acquires=acquires,
        releases=releases,
    )


def parse_prototype(text: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Take ``"long bpf_f(void *ctx, __u32 n)"`` apart: ``("long", "bpf_f", (("void *", "ctx"), ("__u32", "n")))``.

    A variadic tail is ``("...", "")``.

    Raises:
        ValueError: it is not a prototype.
    """
    match = _PROTOTYPE.match(text)
    if match is None:
        raise ValueError(f"not a prototype: {text}")
    params = []
    for param in match["params"].split(", "):
        if param == "void":
            continue
        if param == "...":
            params.append(("...", ""))
            continue
        parts = _PARAMETER.match(param)
        if parts is None:
            raise ValueError(f"not a parameter: {param!r} in {text}")
        params.append((parts["type"].strip(), parts["name"]))
    return match["returns"].strip(), match["name"], tuple(params)


def _flat(on: Iterable[ProgType | frozenset[ProgType]]) -> frozenset[ProgType]:
    """EXT is in every set: it may call what the program that it extends may."""
    types = {ProgType.EXT}
    for item in on:
        types |= {item} if isinstance(item, ProgType) else item
    return frozenset(types)

"""Helpers whose signature depends on who calls: one number, several ``bpf_func_proto`` in the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from skep.abi.helpers.groups import LWT, TC, TYPED
from skep.abi.helpers.row import (
    ANY,
    BTF_SOCK,
    BTF_SOCK_OR_NULL,
    CTX,
    FILLS,
    MAP,
    READS,
    SIZE,
    SOCKET_OR_NULL,
    VALUE_OR_NULL,
    btf,
)
from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P
from skep.abi.signatures import Arg, Signature

#: (helper, program type) -> its arguments there. Rows that are not here hold for every type.
_ARGS: Mapping[tuple[int, P], tuple[Arg, ...]] = MappingProxyType(
    {
        # get_cgroup_classid: of the packet's socket; of the current task where there is no packet.
        **{(17, p): () for p in frozenset(P) - TC - LWT},
        # get_socket_cookie, setsockopt, getsockopt: a socket by BTF where the context is not one.
        **{(46, p): (BTF_SOCK_OR_NULL,) for p in TYPED | {P.SYSCALL, P.SK_REUSEPORT}},
        **{(49, p): (BTF_SOCK, ANY, ANY, READS, SIZE) for p in TYPED | {P.STRUCT_OPS, P.CGROUP_SOCKOPT}},
        **{(57, p): (BTF_SOCK, ANY, ANY, FILLS, SIZE) for p in TYPED | {P.STRUCT_OPS, P.CGROUP_SOCKOPT}},
        # sk_storage_get, sk_storage_delete
        (107, P.CGROUP_SOCK): (MAP, CTX, VALUE_OR_NULL, ANY),
        **{(107, p): (MAP, btf("sock_common", nullable=True), VALUE_OR_NULL, ANY) for p in TYPED},
        **{(108, p): (MAP, btf("sock_common", nullable=True)) for p in TYPED},
        # sk_assign
        (124, P.SK_LOOKUP): (CTX, SOCKET_OR_NULL, ANY),
        # xdp_get_buff_len
        **{(188, p): (btf("xdp_buff"),) for p in TYPED | {P.SYSCALL}},
    }
)

#: GPL-only everywhere but here (bpf_get_stackid_proto_pe).
_NOT_GPL_ONLY: frozenset[tuple[int, P]] = frozenset({(27, P.PERF_EVENT)})

_CHANGEABLE = frozenset(
    {
        A.CGROUP_INET4_BIND,
        A.CGROUP_INET6_BIND,
        A.CGROUP_INET4_CONNECT,
        A.CGROUP_INET6_CONNECT,
        A.CGROUP_UNIX_CONNECT,
        A.CGROUP_UDP4_SENDMSG,
        A.CGROUP_UDP6_SENDMSG,
        A.CGROUP_UNIX_SENDMSG,
    }
)

_TRAMPOLINE = frozenset({A.TRACE_FENTRY, A.TRACE_FEXIT, A.MODIFY_RETURN, A.TRACE_FSESSION})

#: (helper, program type) -> the only attach types that may call it.
ATTACH_TYPES: Mapping[tuple[int, P], frozenset[A]] = MappingProxyType(
    {
        (64, P.CGROUP_SOCK_ADDR): frozenset({A.CGROUP_INET4_CONNECT, A.CGROUP_INET6_CONNECT}),
        (49, P.CGROUP_SOCKOPT): frozenset({A.CGROUP_SETSOCKOPT}),
        (57, P.CGROUP_SOCKOPT): frozenset({A.CGROUP_SETSOCKOPT}),
        # get_retval, set_retval: where the result can still be changed (cgroup_current_func_proto).
        **{(number, P.CGROUP_SOCK_ADDR): _CHANGEABLE for number in (186, 187)},
        # get_func_ip, get_attach_cookie, get_func_arg, get_func_ret, get_func_arg_cnt (tracing_prog_func_proto)
        **{(number, P.TRACING): _TRAMPOLINE for number in (173, 183, 185)},
        (174, P.TRACING): _TRAMPOLINE | {A.TRACE_RAW_TP},
        (184, P.TRACING): frozenset({A.TRACE_FEXIT, A.MODIFY_RETURN, A.TRACE_FSESSION}),
        # seq_printf, seq_write, seq_printf_btf
        **{(number, P.TRACING): frozenset({A.TRACE_ITER}) for number in (126, 127, 150)},
        # setsockopt, getsockopt: iterators of sockets, see abi/trace_targets
        **{(number, P.TRACING): frozenset({A.TRACE_ITER}) for number in (49, 57)},
    }
)


def variant_of(row: Signature, prog_type: P) -> Signature:
    """The row as it is for one program type."""
    key = (row.id, prog_type)
    if key in _ARGS:
        row = replace(row, args=_ARGS[key])
    if key in _NOT_GPL_ONLY:
        row = replace(row, gpl_only=False)
    return row

"""What r0 may hold when a program ends, by program type and attach type (check_return_code, Linux 6.18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P


@dataclass(frozen=True, slots=True)
class ReturnRange:
    """r0 must be a number from ``low`` to ``high``, as a signed 32-bit value."""

    low: int
    high: int


_FLAG = ReturnRange(0, 1)
_ZERO = ReturnRange(0, 0)
_ONE = ReturnRange(1, 1)
#: Two bits: allow or not, and one more hint for the stack (congestion notified, no capability check).
_TWO_BITS = ReturnRange(0, 3)

#: Whatever the attach type.
_BY_TYPE: Mapping[P, ReturnRange] = MappingProxyType(
    {
        P.CGROUP_SKB: _FLAG,
        P.CGROUP_SOCK: _FLAG,
        P.CGROUP_SOCK_ADDR: _FLAG,
        P.CGROUP_DEVICE: _FLAG,
        P.CGROUP_SYSCTL: _FLAG,
        P.CGROUP_SOCKOPT: _FLAG,
        P.SOCK_OPS: _FLAG,
        P.SK_LOOKUP: _FLAG,
        P.NETFILTER: _FLAG,
    }
)

_RECEIVED = (
    A.CGROUP_UDP4_RECVMSG,
    A.CGROUP_UDP6_RECVMSG,
    A.CGROUP_UNIX_RECVMSG,
    A.CGROUP_INET4_GETPEERNAME,
    A.CGROUP_INET6_GETPEERNAME,
    A.CGROUP_UNIX_GETPEERNAME,
    A.CGROUP_INET4_GETSOCKNAME,
    A.CGROUP_INET6_GETSOCKNAME,
    A.CGROUP_UNIX_GETSOCKNAME,
)

#: Where the attach type decides.
_BY_ATTACH_TYPE: Mapping[tuple[P, A], ReturnRange] = MappingProxyType(
    {
        **{(P.CGROUP_SOCK_ADDR, attach_type): _ONE for attach_type in _RECEIVED},
        (P.CGROUP_SOCK_ADDR, A.CGROUP_INET4_BIND): _TWO_BITS,
        (P.CGROUP_SOCK_ADDR, A.CGROUP_INET6_BIND): _TWO_BITS,
        (P.CGROUP_SKB, A.CGROUP_INET_EGRESS): _TWO_BITS,
        (P.KPROBE, A.TRACE_KPROBE_SESSION): _FLAG,
        (P.KPROBE, A.TRACE_UPROBE_SESSION): _FLAG,
        (P.TRACING, A.TRACE_FENTRY): _ZERO,
        (P.TRACING, A.TRACE_FEXIT): _ZERO,
        (P.TRACING, A.TRACE_FENTRY_MULTI): _ZERO,
        (P.TRACING, A.TRACE_FEXIT_MULTI): _ZERO,
        (P.TRACING, A.TRACE_FSESSION): _FLAG,
        (P.TRACING, A.TRACE_FSESSION_MULTI): _FLAG,
        (P.TRACING, A.TRACE_ITER): _FLAG,
    }
)

#: Callbacks of bpf_loop, bpf_for_each_map_elem, bpf_user_ringbuf_drain and bpf_find_vma: 0 goes on, 1 stops.
CALLBACK = _FLAG
#: Callbacks of timers and work queues.
ASYNC_CALLBACK = _ZERO


def return_range(prog_type: P, attach_type: A | None = None) -> ReturnRange | None:
    """What r0 must hold at the exit of a program's entry function.

    None: anything; then even a pointer is accepted from privileged programs. LSM programs of some hooks have ranges of
    their own, which come from the hook and are not here.
    """
    if attach_type is not None and (prog_type, attach_type) in _BY_ATTACH_TYPE:
        return _BY_ATTACH_TYPE[prog_type, attach_type]
    return _BY_TYPE.get(prog_type)

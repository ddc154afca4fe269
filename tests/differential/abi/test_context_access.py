"""Every access of every context, as the running kernel judges it: offset, size, load or store, per attach type."""

from __future__ import annotations

import platform
import re
from typing import Any

import pytest

from skep.abi.contexts import CONTEXTS, FieldKind, context_for
from skep.abi.contexts.field import Context
from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P

pytestmark = pytest.mark.kernel

LOAD = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
STORE = {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}
MOV64_IMM = 0xB7

SOCK_ADDR = [
    A.CGROUP_INET4_BIND, A.CGROUP_INET6_BIND, A.CGROUP_INET4_CONNECT, A.CGROUP_INET6_CONNECT, A.CGROUP_UDP4_SENDMSG,
    A.CGROUP_UDP6_SENDMSG, A.CGROUP_UDP4_RECVMSG, A.CGROUP_UDP6_RECVMSG, A.CGROUP_INET4_GETPEERNAME,
    A.CGROUP_INET6_GETPEERNAME, A.CGROUP_INET4_GETSOCKNAME, A.CGROUP_INET6_GETSOCKNAME, A.CGROUP_UNIX_CONNECT,
    A.CGROUP_UNIX_SENDMSG, A.CGROUP_UNIX_RECVMSG,
]  # fmt: skip
VARIANTS: dict[P, list[A]] = {
    P.XDP: [A.XDP, A.XDP_DEVMAP, A.XDP_CPUMAP],
    P.CGROUP_SKB: [A.CGROUP_INET_INGRESS, A.CGROUP_INET_EGRESS],
    P.SK_SKB: [A.SK_SKB_STREAM_PARSER, A.SK_SKB_STREAM_VERDICT],
    P.CGROUP_SOCK: [
        A.CGROUP_INET_SOCK_CREATE, A.CGROUP_INET_SOCK_RELEASE, A.CGROUP_INET4_POST_BIND, A.CGROUP_INET6_POST_BIND,
    ],
    P.CGROUP_SOCKOPT: [A.CGROUP_GETSOCKOPT, A.CGROUP_SETSOCKOPT],
    P.CGROUP_SOCK_ADDR: SOCK_ADDR,
    P.CGROUP_SYSCTL: [A.CGROUP_SYSCTL],
    P.CGROUP_DEVICE: [A.CGROUP_DEVICE],
    P.SOCK_OPS: [A.CGROUP_SOCK_OPS],
    P.SK_MSG: [A.SK_MSG_VERDICT],
    P.SK_LOOKUP: [A.SK_LOOKUP],
    P.SK_REUSEPORT: [A.SK_REUSEPORT_SELECT, A.SK_REUSEPORT_SELECT_OR_MIGRATE],
    P.FLOW_DISSECTOR: [A.FLOW_DISSECTOR],
    P.NETFILTER: [A.NETFILTER],
}  # fmt: skip
CASES = [(t, attach) for t in sorted(CONTEXTS) if t is not P.LIRC_MODE2 for attach in VARIANTS.get(t, [None])]


def _offsets(context: Context) -> list[int]:
    """All of a small context; of a large one its ends."""
    if context.size <= 400:
        return list(range(context.size + 9))
    return [*range(24), *range(context.size - 24, min(context.size + 9, 1 << 15))]


def _context(prog_type: P) -> Context:
    context = context_for(prog_type, platform.machine())
    assert context is not None
    return context


@pytest.mark.parametrize(("prog_type", "attach_type"), CASES, ids=lambda v: v.name if v is not None else "-")
def test_accesses_agree_with_the_kernel(kernel: Any, kernel_release: Any, prog_type: P, attach_type: A | None) -> None:
    if kernel_release < (6, 18):
        pytest.skip("the table is that of Linux 6.18; older kernels know fewer fields")
    (bare,) = kernel.load([kernel.request(prog_type, b"", attach_type)])
    if bare.errno:
        pytest.skip(f"this kernel does not load {prog_type.name}: errno {bare.errno}")
    context = _context(prog_type)
    accesses = [(at, size, write) for at in _offsets(context) for size in LOAD for write in (False, True)]
    answers = kernel.load(
        kernel.request(
            prog_type,
            kernel.insn(MOV64_IMM, 2) + kernel.insn(STORE[size], 1, 2, at)
            if write
            else kernel.insn(LOAD[size], 2, 1, at),
            attach_type,
        )
        for at, size, write in accesses
    )
    wrong = []
    for (at, size, write), answer in zip(accesses, answers, strict=True):
        field = context.field_at(at, size, write, attach_type)
        if (field is None) != bool(answer.errno):
            wrong.append(
                f"{'store' if write else 'load'} off={at} size={size}: table {field.name if field else 'refuses'}"
            )
    assert not wrong, "\n".join(wrong)


#: What the kernel calls the value in its log -> the kind in our table.
TYPES = {
    "pkt": FieldKind.PACKET,
    "pkt_meta": FieldKind.PACKET_META,
    "pkt_end": FieldKind.PACKET_END,
    "sock_common_or_null": FieldKind.SOCK_COMMON,
    "sock_or_null": FieldKind.SOCKET,
    "sock": FieldKind.SOCKET_NON_NULL,
    "flow_keys": FieldKind.FLOW_KEYS,
    "tp_buffer": FieldKind.TRACEPOINT_BUFFER,
}


@pytest.mark.parametrize(("prog_type", "attach_type"), CASES, ids=lambda v: v.name if v is not None else "-")
def test_kinds_agree_with_the_kernel(kernel: Any, kernel_release: Any, prog_type: P, attach_type: A | None) -> None:
    """Adding a register to the loaded value makes the kernel name its type where it is a pointer."""
    if kernel_release < (6, 18):
        pytest.skip("the table is that of Linux 6.18")
    (bare,) = kernel.load([kernel.request(prog_type, b"", attach_type)])
    if bare.errno:
        pytest.skip(f"this kernel does not load {prog_type.name}: errno {bare.errno}")
    fields = []
    for field in _context(prog_type).fields:
        size = field.element or field.size
        if size in LOAD and (field.attach_types is None or attach_type in field.attach_types):
            fields.append((field, size))
    add = kernel.insn(0x0F, 2, 10)  # r2 += r10: pointer plus pointer is refused, naming neither for a number
    answers = kernel.load(
        kernel.request(prog_type, kernel.insn(LOAD[size], 2, 1, field.offset) + add, attach_type)
        for field, size in fields
    )
    for (field, _), answer in zip(fields, answers, strict=True):
        found = re.search(r"R2\w*=(?:trusted_)?([a-z_]+)\(", answer.log)
        said = found[1] if found else "?"
        expected = FieldKind.BTF_OBJECT if said.startswith("ptr_") else TYPES.get(said, FieldKind.SCALAR)
        assert field.kind is expected, f"{field.name}: {answer.log}"
        if field.btf_name:
            assert said == f"ptr_{field.btf_name}"


@pytest.mark.parametrize("prog_type", [t for t in sorted(CONTEXTS) if t is not P.LIRC_MODE2], ids=lambda t: t.name)
def test_packet_stores_agree_with_the_kernel(kernel: Any, prog_type: P) -> None:
    """A checked store through the packet pointer."""
    context = CONTEXTS[prog_type]
    data = next((f for f in context.fields if f.kind is FieldKind.PACKET), None)
    end = next((f for f in context.fields if f.kind is FieldKind.PACKET_END), None)
    if data is None or end is None:
        assert not context.packet_writable
        return
    code = (
        kernel.insn(LOAD[data.size], 2, 1, data.offset)
        + kernel.insn(LOAD[end.size], 3, 1, end.offset)
        + kernel.insn(0xBF, 4, 2)  # r4 = r2
        + kernel.insn(0x07, 4, imm=8)  # r4 += 8
        + kernel.insn(0x2D, 4, 3, 1)  # if r4 > r3 goto +1
    )
    load, store = kernel.load(
        kernel.request(prog_type, code + access) for access in (kernel.insn(0x71, 5, 2), kernel.insn(0x7A, 2))
    )
    assert not load.errno, load.log
    assert bool(store.errno) != context.packet_writable, store.log

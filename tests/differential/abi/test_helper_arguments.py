"""What each argument of each helper must be: the kernel is asked with a wrong value in one register at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from skep.abi.contexts import CONTEXTS, FieldKind
from skep.abi.helpers import HELPERS, signature_for
from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.abi.signatures import Arg, ArgKind, MemoryUse, ReturnKind, Signature

pytestmark = pytest.mark.kernel

CALL, MOV64_IMM, MOV64_REG, ADD64_IMM, STDW, LD_IMM64 = 0x85, 0xB7, 0xBF, 0x07, 0x7A, 0x18
FP, SAVED_CTX = 10, 6
STACK_BYTES = 64
NOT_LOADABLE = {ProgType.UNSPEC, ProgType.TRACING, ProgType.STRUCT_OPS, ProgType.EXT, ProgType.LSM, ProgType.LIRC_MODE2}
CONFIGURABLE = {"bpf_override_return", "bpf_probe_write_user"}

K = ArgKind
ON_STACK = {K.MEMORY, K.MAP_KEY, K.MAP_VALUE, K.FIXED_INT, K.FIXED_LONG}
CONSTANTS = {K.SIZE: 8, K.SIZE_OR_ZERO: 8, K.ALLOC_SIZE: 8, K.ANYTHING: 0}
NUMBERS = {K.SIZE, K.SIZE_OR_ZERO, K.ALLOC_SIZE, K.ANYTHING}
#: What the kernel lists when it is given a number instead -> the kinds in our table.
EXPECTED = {
    "fp, pkt, pkt_meta, map_key, map_value, ": ON_STACK,
    "fp, dynptr_ptr": {K.DYNPTR},
    "fp": {K.CALLBACK_CONTEXT},
    "func": {K.CALLBACK},
    "ctx": {K.CONTEXT},
    "map_ptr": {K.CONST_MAP},
    "map_value, ptr_": {K.KPTR, K.SPIN_LOCK},
    "map_value": {K.CONST_STRING, K.SPIN_LOCK, K.TIMER},
    "ringbuf_mem": {K.RINGBUF_RECORD},
    "sock_common, sock": {K.SOCK_COMMON, K.BTF_SOCK_COMMON},
    "sock": {K.SOCKET},
    "ptr_": {K.BTF_OBJECT},
    "percpu_ptr_": {K.PERCPU_BTF_OBJECT},
}


def _fitting(kernel: Any, register: int, arg: Arg) -> bytes | None:
    """Code that puts a value into a register that suits an argument; None: it takes more than this test can make."""
    if arg.kind is K.CONTEXT:
        return kernel.insn(MOV64_REG, register, SAVED_CTX)
    if arg.kind is K.CONST_MAP:
        return kernel.insn(LD_IMM64, register, 1) + kernel.insn(0)
    if arg.kind in ON_STACK:
        return kernel.insn(MOV64_REG, register, FP) + kernel.insn(ADD64_IMM, register, imm=-STACK_BYTES)
    if arg.kind in CONSTANTS:
        return kernel.insn(MOV64_IMM, register, imm=CONSTANTS[arg.kind])
    return None


def _program(kernel: Any, row: Signature, position: int, wrong: bytes, size: int) -> bytes | None:
    """A call with ``wrong`` in the register at ``position``, ``size`` as its size, fitting values elsewhere."""
    assert row.args is not None
    code = kernel.insn(MOV64_REG, SAVED_CTX, 1)
    code += b"".join(kernel.insn(STDW, FP, off=-at) for at in range(8, STACK_BYTES + 8, 8))
    for index, arg in enumerate(row.args):
        register = index + 1
        if index == position:
            code += wrong
        elif index == position + 1 and arg.kind in (K.SIZE, K.SIZE_OR_ZERO):
            code += kernel.insn(MOV64_IMM, register, imm=size)
        else:
            piece = _fitting(kernel, register, arg)
            if piece is None and index < position:
                return None
            code += piece or kernel.insn(MOV64_IMM, register)
    return code + kernel.insn(CALL, imm=row.id)


def _cases(kernel: Any, kernel_release: tuple[int, int]) -> Iterator[tuple[ProgType, Signature, int]]:
    """Every argument of every distinct signature, with one program type that has it."""
    types = [t for t in ProgType if t not in NOT_LOADABLE]
    answers = kernel.load([kernel.request(t, b"") for t in types])
    loadable = [t for t, answer in zip(types, answers, strict=True) if not answer.errno]
    for number, helper in HELPERS.items():
        seen = set()
        for prog_type in loadable:
            row = signature_for(number, prog_type)
            if row is None or row.args in seen or row.since > kernel_release or row.name in CONFIGURABLE:
                continue
            if helper.may_sleep:
                if ProgType.SYSCALL not in loadable:
                    continue
                prog_type = ProgType.SYSCALL
            seen.add(row.args)
            yield from ((prog_type, row, position) for position in range(len(row.args or ())))


def test_argument_kinds_agree_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    """A number where a pointer belongs: the kernel lists what it wants instead."""
    cases, requests = [], []
    for prog_type, row, position in _cases(kernel, kernel_release):
        code = _program(kernel, row, position, kernel.insn(MOV64_IMM, position + 1, imm=0x1234), 8)
        if code is not None:
            cases.append((row, position))
            requests.append(kernel.request(prog_type, code))
    wrong = []
    for (row, position), answer in zip(cases, kernel.load(requests), strict=True):
        assert row.args is not None
        kind = row.args[position].kind
        found = re.search(rf"R{position + 1} type=scalar expected=([^\n]*)", answer.log)
        if found is None:
            if kind not in NUMBERS:
                wrong.append(
                    f"{row.name} argument {position + 1}: table says {kind}, kernel takes a number {answer.log[-200:]}"
                )
            continue
        kinds = next((kinds for start, kinds in EXPECTED.items() if found[1].startswith(start)), set())
        if kind not in kinds:
            wrong.append(f"{row.name} argument {position + 1}: table says {kind}, kernel expects {found[1]}")
    assert not wrong, "\n".join(wrong)
    assert len(cases) > 350


def test_nullable_agrees_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    """Zero where a pointer belongs is accepted as NULL, or not."""
    cases, requests = [], []
    for prog_type, row, position in _cases(kernel, kernel_release):
        assert row.args is not None
        if row.args[position].kind in NUMBERS:
            continue
        code = _program(kernel, row, position, kernel.insn(MOV64_IMM, position + 1), 0)
        if code is not None:
            cases.append((row, position))
            requests.append(kernel.request(prog_type, code))
    wrong = []
    for (row, position), answer in zip(cases, kernel.load(requests), strict=True):
        assert row.args is not None
        refused = f"R{position + 1} type=scalar expected=" in answer.log
        if refused == row.args[position].nullable:
            wrong.append(f"{row.name} argument {position + 1}: kernel {'refuses' if refused else 'takes'} NULL")
    assert not wrong, "\n".join(wrong)
    assert len(cases) > 150


def test_memory_use_agrees_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    """A read-only map value is refused where the helper writes."""
    cases, requests = [], []
    for prog_type, row, position in _cases(kernel, kernel_release):
        assert row.args is not None
        if row.args[position].kind not in ON_STACK:
            continue
        read_only = kernel.insn(LD_IMM64, position + 1, 2) + kernel.insn(0)
        code = _program(kernel, row, position, read_only, 8)
        if code is not None:
            cases.append((row, position))
            requests.append(kernel.request(prog_type, code))
    wrong = []
    for (row, position), answer in zip(cases, kernel.load(requests), strict=True):
        assert row.args is not None
        writes = "write into map forbidden" in answer.log
        if writes != (row.args[position].use is not MemoryUse.READ):
            wrong.append(
                f"{row.name} argument {position + 1}: kernel {'writes' if writes else 'reads'} {answer.log[-200:]}"
            )
    assert not wrong, "\n".join(wrong)
    assert len(cases) > 80


JGT_REG, LDXB = 0x2D, 0x71
PACKET_CONTEXTS = {
    t: [next(f for f in c.fields if f.kind is kind) for kind in (FieldKind.PACKET, FieldKind.PACKET_END)]
    for t, c in CONTEXTS.items()
    if {FieldKind.PACKET, FieldKind.PACKET_END} <= {f.kind for f in c.fields}
}


def _with_packet(kernel: Any, prog_type: ProgType, code: bytes) -> bytes:
    """The code with r7 = the packet, proved to have 64 bytes; it goes to the end where there are fewer."""
    fields = PACKET_CONTEXTS[prog_type]
    load = {4: 0x61, 8: 0x79}
    return (
        b"".join(kernel.insn(load[f.size], r, 1, f.offset) for f, r in zip(fields, (7, 8), strict=True))
        + kernel.insn(MOV64_REG, 9, 7)
        + kernel.insn(ADD64_IMM, 9, imm=STACK_BYTES)
        + kernel.insn(JGT_REG, 9, 8, len(code) // 8)
        + code
    )


def _packet_helpers(kernel_release: tuple[int, int]) -> Iterator[tuple[ProgType, Signature]]:
    for prog_type in PACKET_CONTEXTS:
        for number in HELPERS:
            row = signature_for(number, prog_type)
            if (
                row is not None
                and row.args
                and not row.may_sleep
                and row.since <= kernel_release
                and row.name not in CONFIGURABLE
            ):
                yield prog_type, row


def test_packet_pointers_die_as_the_kernel_says(kernel: Any, kernel_release: tuple[int, int]) -> None:
    """A load through an old packet pointer after the call."""
    cases, requests = [], []
    for prog_type, row in _packet_helpers(kernel_release):
        call = _program(kernel, row, -1, b"", 8)
        if call is not None:
            cases.append((prog_type, row))
            requests.append(kernel.request(prog_type, _with_packet(kernel, prog_type, call + kernel.insn(LDXB, 0, 7))))
    wrong = []
    seen = {True: 0, False: 0}
    for (prog_type, row), answer in zip(cases, kernel.load(requests), strict=True):
        dead = "R7 invalid mem access 'scalar'" in answer.log
        if dead or not answer.errno:
            seen[dead] += 1
            if dead != row.resizes_packet:
                wrong.append(f"{prog_type.name} {row.name}: packet pointers {'die' if dead else 'live'} in the kernel")
    assert not wrong, "\n".join(wrong)
    assert seen[True] > 20
    assert seen[False] > 50


def test_packet_arguments_agree_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    """A packet pointer where a helper takes memory."""
    cases, requests = [], []
    for prog_type, row in _packet_helpers(kernel_release):
        for position, arg in enumerate(row.args or ()):
            if arg.kind not in ON_STACK:
                continue
            code = _program(kernel, row, position, kernel.insn(MOV64_REG, position + 1, 7), 8)
            if code is not None:
                cases.append((prog_type, row))
                requests.append(kernel.request(prog_type, _with_packet(kernel, prog_type, code)))
    wrong = []
    for (prog_type, row), answer in zip(cases, kernel.load(requests), strict=True):
        refused = "helper access to the packet is not allowed" in answer.log
        context = CONTEXTS[prog_type]
        allowed = context.packet_arguments_anywhere or (context.packet_arguments and row.packet_arguments)
        if refused == allowed:
            wrong.append(f"{prog_type.name} {row.name}: kernel {'refuses' if refused else 'takes'} packet pointers")
    assert not wrong, "\n".join(wrong)
    assert len(cases) > 100


def test_references_agree_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    """What is not released at exit is named by the kernel."""
    cases, requests = [], []
    for prog_type, row, position in _cases(kernel, kernel_release):
        code = _program(kernel, row, -1, b"", 8) if position == 0 else None
        if code is not None:
            if row.name.startswith("bpf_ringbuf"):
                code = code.replace(kernel.insn(LD_IMM64, 1, 1), kernel.insn(LD_IMM64, 1, 1, imm=MapType.RINGBUF))
            cases.append(row)
            requests.append(kernel.request(prog_type, code))
    answers = kernel.load(requests, {MapType.RINGBUF: (0, 0, 4096, 0)})
    acquired, plain = set(), 0
    for row, answer in zip(cases, answers, strict=True):
        if "Unreleased reference" in answer.log:
            acquired.add(row.name)
            assert row.acquires or row.name == "bpf_ringbuf_reserve_dynptr"
        elif not answer.errno:
            plain += 1
            assert not row.acquires, row.name
    assert acquired >= {"bpf_sk_lookup_tcp", "bpf_skc_lookup_tcp", "bpf_ringbuf_reserve"}
    assert plain > 100


R = ReturnKind
#: What the kernel's log calls r0 after the call -> the kinds in our table.
RETURNS = {
    "scalar": {R.INTEGER},
    "map_value_or_null": {R.MAP_VALUE_OR_NULL},
    "map_value": {R.MAP_VALUE},
    "ringbuf_mem_or_null": {R.RINGBUF_RECORD_OR_NULL},
    "sock_or_null": {R.SOCKET_OR_NULL},
    "sock_common_or_null": {R.SOCK_COMMON_OR_NULL},
    "tcp_sock_or_null": {R.TCP_SOCK_OR_NULL},
    "trusted_ptr_task_struct": {R.BTF_OBJECT},
    "ptr_pt_regs": {R.BTF_OBJECT},
}


def test_results_agree_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    """The kernel's log says what r0 is after the call, and between which numbers."""
    cases, requests = [], []
    refused = kernel.insn(LDXB, 1, 9)  # r9 was never set: the kernel keeps its log
    types = [ProgType.XDP, ProgType.SCHED_CLS, ProgType.KPROBE, ProgType.SYSCALL, ProgType.CGROUP_SOCK_ADDR]
    for prog_type in types:
        for number in HELPERS:
            row = signature_for(number, prog_type)
            if row is None or row.since > kernel_release or row.name in CONFIGURABLE:
                continue
            code = _program(kernel, row, -1, b"", 8)
            if code is not None and not (row.may_sleep and prog_type is not ProgType.SYSCALL):
                cases.append(row)
                requests.append(kernel.request(prog_type, code + refused))
    seen = 0
    for row, answer in zip(cases, kernel.load(requests), strict=True):
        found = re.search(rf"call {row.name}#{row.id} *; .*?R0\w*=([a-z_]+)(?:\(([^)]*)\))?", answer.log)
        if found is None:
            assert "R9 !read_ok" not in answer.log or row.returns is R.VOID, f"{row.name}: {answer.log}"
            continue
        seen += 1
        assert row.returns in RETURNS.get(found[1], set()), f"{row.name}: kernel says {found[1]}"
        bounds = dict(part.split("=", 1) for part in (found[2] or "").split(",") if "=" in part)
        if row.return_limit_arg is not None:
            assert row.return_range is not None
            assert int(bounds["smin"].split("=")[-1]) == row.return_range[0], f"{row.name}: {found[0]}"
            assert int(bounds["smax"].split("=")[-1]) == 8, f"{row.name}: {found[0]}"
    assert seen > 150

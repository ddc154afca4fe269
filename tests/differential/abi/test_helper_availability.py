"""Which program type may call which helper, for GPL or not, sleeping or not: the table against the running kernel."""

from __future__ import annotations

import re
from typing import Any

import pytest

from skep.abi.helpers import HELPERS, may_call, signature_for
from skep.abi.prog_types import AttachType, ProgType
from skep.abi.signatures import ArgKind

pytestmark = pytest.mark.kernel

CALL = 0x85
#: Types that need a BTF attach target, or hardware, to load anything at all.
NOT_LOADABLE = {ProgType.UNSPEC, ProgType.TRACING, ProgType.STRUCT_OPS, ProgType.EXT, ProgType.LSM, ProgType.LIRC_MODE2}
TYPES = [t for t in ProgType if t not in NOT_LOADABLE]
#: Depends on the kernel's configuration and policy: CONFIG_BPF_KPROBE_OVERRIDE, lockdown.
CONFIGURABLE = {"bpf_override_return", "bpf_probe_write_user"}
REFUSED = (
    "program of this type cannot use helper",
    "unknown func",
    "invalid func",
    "helper call is not allowed in probe",
)


def _loadable(kernel: Any) -> list[ProgType]:
    answers = kernel.load([kernel.request(t, b"") for t in TYPES])
    return [t for t, answer in zip(TYPES, answers, strict=True) if not answer.errno]


def _known(kernel: Any, kernel_release: tuple[int, int]) -> list[int]:
    return [number for number, row in HELPERS.items() if row.since <= kernel_release]


def test_prog_types_agree_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    if kernel_release < (6, 18):
        pytest.skip("the table's sets are those of Linux 6.18; older kernels allow less")
    cases = [(t, n) for t in _loadable(kernel) for n in _known(kernel, kernel_release)]
    assert len(cases) > 4000
    answers = kernel.load([kernel.request(t, kernel.insn(CALL, imm=n)) for t, n in cases])
    wrong = []
    for (prog_type, number), answer in zip(cases, answers, strict=True):
        row = HELPERS[number]
        allowed = not any(sentence in answer.log for sentence in REFUSED)
        attach = AttachType.CGROUP_INET4_CONNECT if prog_type is ProgType.CGROUP_SOCK_ADDR else None
        if allowed != may_call(row, prog_type, attach) and row.name not in CONFIGURABLE:
            wrong.append(f"{prog_type.name} {row.name}: kernel {'allows' if allowed else 'refuses'}")
    assert not wrong, "\n".join(wrong)


def test_gpl_only_agrees_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    cases = [(t, n) for t in _loadable(kernel) for n in _known(kernel, kernel_release) if may_call(HELPERS[n], t)]
    answers = kernel.load(
        [kernel.request(t, kernel.insn(CALL, imm=n))._replace(license="Proprietary") for t, n in cases]
    )
    wrong = []
    for (prog_type, number), answer in zip(cases, answers, strict=True):
        if any(sentence in answer.log for sentence in REFUSED):
            continue
        row = signature_for(number, prog_type)
        assert row is not None
        restricted = "cannot call GPL-restricted function" in answer.log
        if restricted != row.gpl_only:
            wrong.append(f"{prog_type.name} {row.name}: kernel says {'GPL only' if restricted else 'any licence'}")
    assert not wrong, "\n".join(wrong)


def test_may_sleep_agrees_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    prog_type = ProgType.RAW_TRACEPOINT
    numbers = [n for n in _known(kernel, kernel_release) if may_call(HELPERS[n], prog_type)]
    answers = kernel.load([kernel.request(prog_type, kernel.insn(CALL, imm=n)) for n in numbers])
    sleeping = {n for n, answer in zip(numbers, answers, strict=True) if "might sleep" in answer.log}
    assert sleeping == {n for n in numbers if HELPERS[n].may_sleep}
    assert sleeping


#: What the kernel says it expects -> the kinds in our table.
EXPECTED = {
    "ctx": {ArgKind.CONTEXT},
    "map_ptr": {ArgKind.CONST_MAP},
    "map_value": {ArgKind.SPIN_LOCK, ArgKind.TIMER},
    "map_value, ptr_": {ArgKind.KPTR, ArgKind.SPIN_LOCK},
    "ringbuf_mem": {ArgKind.RINGBUF_RECORD},
    "fp, dynptr_ptr": {ArgKind.DYNPTR},
    "func": {ArgKind.CALLBACK},
    "fp": {ArgKind.CALLBACK_CONTEXT},
}
EXPECTED_PREFIX = {
    "fp, pkt": {ArgKind.MEMORY, ArgKind.MAP_KEY, ArgKind.MAP_VALUE, ArgKind.FIXED_INT, ArgKind.FIXED_LONG},
    "sock_common, sock": {ArgKind.SOCK_COMMON, ArgKind.BTF_SOCK_COMMON},
    "ptr_": {ArgKind.BTF_OBJECT},
    "percpu_ptr_": {ArgKind.PERCPU_BTF_OBJECT},
}


def test_first_argument_agrees_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    """A number in r1 makes the kernel name what it expects there."""
    cases = []
    for prog_type in _loadable(kernel):
        for number in _known(kernel, kernel_release):
            row = signature_for(number, prog_type)
            if row is not None and not row.may_sleep and row.name not in CONFIGURABLE:
                cases.append((prog_type, row))
    number_in_r1 = kernel.insn(0xB7, dst=1, imm=0x1234)
    answers = kernel.load([kernel.request(t, number_in_r1 + kernel.insn(CALL, imm=row.id)) for t, row in cases])
    wrong = []
    for (prog_type, row), answer in zip(cases, answers, strict=True):
        found = re.search(r"R1 type=scalar expected=([^\n]*)", answer.log)
        first = row.args[0].kind if row.args else None
        if found is None:
            accepts_numbers = first in (None, ArgKind.ANYTHING, ArgKind.CALLBACK)
            if not accepts_numbers:
                wrong.append(
                    f"{prog_type.name} {row.name}: kernel takes a number, table says {first}: {answer.log[:300]}"
                )
            continue
        expected = found[1].strip()
        kinds = EXPECTED.get(expected) or next((k for p, k in EXPECTED_PREFIX.items() if expected.startswith(p)), set())
        if first not in kinds:
            wrong.append(f"{prog_type.name} {row.name}: kernel expects {expected}, table says {first}")
    assert not wrong, "\n".join(wrong)

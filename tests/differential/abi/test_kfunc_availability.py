"""Which program types may call which kfuncs, and what iterators and tracepoints hand out: the kernel answers."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from skep.abi.kfuncs import KFUNCS, may_call
from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P
from skep.abi.trace_targets import ITERATORS, NULLABLE_ARGUMENTS
from skep.btf import types as t
from tests.differential.verifier.rows import target

pytestmark = pytest.mark.kernel

PROBE = Path(__file__).parents[1] / "verifier" / "typed_probe.py"
#: Program types that load here, and an attach type where they want one.
TYPES = {
    **dict.fromkeys((P.SOCKET_FILTER, P.KPROBE, P.SCHED_CLS, P.SCHED_ACT, P.TRACEPOINT, P.XDP, P.PERF_EVENT), 0),
    **dict.fromkeys((P.CGROUP_SKB, P.CGROUP_SOCK, P.LWT_IN, P.LWT_XMIT, P.SK_SKB, P.RAW_TRACEPOINT, P.SK_MSG), 0),
    P.CGROUP_SOCK_ADDR: A.CGROUP_INET4_CONNECT,
    P.CGROUP_SOCKOPT: A.CGROUP_SETSOCKOPT,
    P.NETFILTER: A.NETFILTER,
    P.SK_LOOKUP: A.SK_LOOKUP,
    P.SYSCALL: 0,
    P.TRACING: A.TRACE_RAW_TP,
    P.STRUCT_OPS: 0,
}


def insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, dst | src << 4, off, imm)


END = insn(0xB7) + insn(0x95)


@pytest.fixture(scope="module")
def btf() -> t.Btf:
    found = target().btf
    if os.uname().release < "6.18" or found is None or found.find("bpf_rcu_read_lock", t.Func) is None:
        pytest.skip("the tables are those of Linux 6.18, with BTF")
    return found


def ask(programs: list[list[object]]) -> list[tuple[int, str]]:
    done = subprocess.run(
        [sys.executable, PROBE], input=json.dumps(programs), capture_output=True, text=True, check=True
    )
    return [(errno, log) for errno, log in json.loads(done.stdout)]


def test_availability(btf: t.Btf) -> None:
    tags = {tag.type for each in btf.find_all("bpf_kfunc", t.DeclTag) if isinstance(tag := btf[each], t.DeclTag)}
    names = {name: found for name in KFUNCS if (found := btf.find(name, t.Func)) in tags}
    tracepoint, table = btf.find("btf_trace_sys_enter", t.Typedef), btf.find("tcp_congestion_ops", t.Struct)
    attach = {P.TRACING: tracepoint, P.STRUCT_OPS: table}
    asked = [(kind, name) for kind in TYPES for name in names]
    flags = {P.SYSCALL: 16}
    programs: list[list[object]] = [
        [int(k), int(TYPES[k]), attach.get(k) or 0, flags.get(k, 0), (insn(0x85, 0, 2, 0, names[n]) + END).hex()]
        for k, n in asked
    ]
    wrong = []
    for (kind, name), (errno, log) in zip(asked, ask(programs), strict=True):
        if errno == 1 and not log:
            pytest.skip("bpf(2) is refused here")
        row = KFUNCS[name]
        attach_type = A(TYPES[kind]) if TYPES[kind] else None
        ours = may_call(row, kind, attach_type) and (row.attach_types is None or attach_type in row.attach_types)
        if ours == ("is not allowed" in log):
            wrong.append(f"{name} in {kind.name}: kernel {'no' if ours else 'yes'}")
    assert not wrong, "\n".join(wrong)


def test_every_kfunc_of_the_kernel_is_known(btf: t.Btf) -> None:
    tagged = set()
    for found in btf.find_all("bpf_kfunc", t.DeclTag):
        tag = btf[found]
        assert isinstance(tag, t.DeclTag)
        tagged.add(btf[tag.type].name)
    # attached to, never called: BTF_KFUNC hooks of fmod_ret
    assert tagged - set(KFUNCS) == {"bpf_fentry_test1", "bpf_modify_return_test", "bpf_modify_return_test2"}


def test_iterators_and_tracepoints(btf: t.Btf) -> None:
    programs: list[list[object]] = []
    ours: list[tuple[str, int, bool]] = []
    for name, rules in ITERATORS.items():
        for index, rule in rules.items():
            found = btf.find(f"bpf_iter_{name}", t.Func)
            programs.append([26, 28, found or 0, 0, _dereference(index)])
            ours.append((name, index, rule.nullable))
    for name in sorted(NULLABLE_ARGUMENTS):
        found = btf.find(f"btf_trace_{name}", t.Typedef)
        for index in NULLABLE_ARGUMENTS[name] if found is not None else ():
            programs.append([26, 23, found, 0, _dereference(index)])
            ours.append((name, index, True))
    assert len(programs) > 60
    for (name, index, nullable), (errno, log) in zip(ours, ask(programs), strict=True):
        if errno == 22 and not re.search("or_null", log):
            continue  # this build of the kernel does not have it
        assert nullable == bool(re.search(r"invalid mem access '\w*_or_null_?'", log)), (name, index, log)


def _dereference(index: int) -> str:
    return (insn(0x79, 1, 1, 8 * index) + insn(0x71, 0, 1, 0) + END).hex()

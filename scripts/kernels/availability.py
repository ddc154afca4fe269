"""What the running kernel offers to which program type: helpers, kfuncs, context fields, maps for helpers.

The tables in skep.abi are those of 6.18. Run in a guest by ``scripts.kernels.verdicts``, this writes what an older
kernel refuses of them, as JSON; ``skep.abi.history_sets`` keeps the differences.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from skep.abi.contexts import CONTEXTS
from skep.abi.helpers import HELPERS, may_call, signature_for
from skep.abi.kfuncs import KFUNCS
from skep.abi.kfuncs import may_call as may_call_kfunc
from skep.abi.map_facts import FACTS, may_use
from skep.abi.prog_types import AttachType, ProgType
from skep.btf import types as t
from skep.kernel.target import kernel_types
from tests.differential.abi import test_helper_availability as helpers
from tests.differential.abi import test_kfunc_availability as kfuncs
from tests.differential.abi import test_map_facts as maps
from tests.differential.abi.conftest import Kernel

_LOAD = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}


def collect(out: Path) -> None:
    """All of it."""
    kernel = Kernel()
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    loadable = helpers._loadable(kernel)
    found: dict[str, Any] = {"release": release, "loadable": [p.name for p in loadable]}
    for name, collector in (("helpers", _helpers), ("fields", _fields), ("maps", _maps)):
        found[name] = collector(kernel, loadable, release)
        out.write_text(json.dumps(found))
    found["kfuncs"] = _kfuncs()
    out.write_text(json.dumps(found))


def _in_parts(kernel: Kernel, requests: list[Any], made: Any = None) -> list[Any]:
    answers: list[Any] = []
    for at in range(0, len(requests), 400):
        answers += kernel.load(requests[at : at + 400], made)
    return answers


def _helpers(kernel: Kernel, loadable: list[ProgType], release: tuple[int, ...]) -> list[tuple[str, str]]:
    """(program type, helper) that 6.18 allows and this kernel, which has the helper, refuses."""
    cases = []
    for kind in loadable:
        attach = AttachType.CGROUP_INET4_CONNECT if kind is ProgType.CGROUP_SOCK_ADDR else None
        cases += [(kind, row) for row in HELPERS.values() if row.since <= release and may_call(row, kind, attach)]
    answers = _in_parts(kernel, [kernel.request(k, kernel.insn(helpers.CALL, imm=row.id)) for k, row in cases])
    return [
        (kind.name, row.name)
        for (kind, row), answer in zip(cases, answers, strict=True)
        if any(sentence in answer.log for sentence in helpers.REFUSED)
    ]


def _fields(kernel: Kernel, loadable: list[ProgType], _release: tuple[int, ...]) -> list[tuple[str, str]]:
    """(program type, field) of contexts whose load this kernel refuses."""
    cases = []
    for kind in loadable:
        context = CONTEXTS.get(kind)
        for field in context.fields if context is not None else ():
            cases.append((kind, field))
    requests = [
        kernel.request(k, kernel.insn(_LOAD[f.size if f.size in _LOAD else 4], 0, 1, f.offset)) for k, f in cases
    ]
    answers = _in_parts(kernel, requests)
    return [
        (kind.name, field.name)
        for (kind, field), answer in zip(cases, answers, strict=True)
        if "invalid bpf_context access" in answer.log
    ]


def _maps(kernel: Kernel, loadable: list[ProgType], release: tuple[int, ...]) -> list[tuple[str, str]]:
    """(helper, map type) that 6.18 allows and this kernel refuses."""
    made = {m: maps._attributes(m) for m in FACTS if m not in maps.NOT_MADE and FACTS[m].since <= release}
    cases, requests = [], []
    for kind in (k for k in maps.TYPES if k in loadable):
        for number in HELPERS:
            row = signature_for(number, kind)
            if row is None or row.since > release or row.may_sleep or not may_call(row, kind):
                continue
            code = maps._call(kernel, row)
            for map_type in made if code is not None else ():
                if may_use(row.id, map_type, kind):
                    cases.append((row.name, map_type.name))
                    requests.append(kernel.request(kind, maps._with_map(code, map_type)))
    answers = _in_parts(kernel, requests, made)
    refused = {
        case
        for case, answer in zip(cases, answers, strict=True)
        if any(sentence in answer.log for sentence in maps.REFUSED)
    }
    return sorted(refused)


def _kfuncs() -> list[tuple[str, str]]:
    """(program type, kfunc) that 6.18 allows and this kernel, which has the function, refuses."""
    btf = kernel_types().vmlinux
    assert btf is not None
    names = {name: found for name in KFUNCS if (found := btf.find(name, t.Func)) is not None}
    tracepoint, table = btf.find("btf_trace_sys_enter", t.Typedef), btf.find("tcp_congestion_ops", t.Struct)
    attach = {ProgType.TRACING: tracepoint, ProgType.STRUCT_OPS: table}
    asked = []
    for kind, attach_type in kfuncs.TYPES.items():
        for name in names:
            chosen = AttachType(attach_type) if attach_type else None
            row = KFUNCS[name]
            if may_call_kfunc(row, kind, chosen) and (row.attach_types is None or chosen in row.attach_types):
                asked.append((kind, name))
    programs: list[list[object]] = [
        [int(k), int(kfuncs.TYPES[k]), attach.get(k) or 0, 16 if k is ProgType.SYSCALL else 0,
         (kfuncs.insn(0x85, 0, 2, 0, names[n]) + kfuncs.END).hex()]
        for k, n in asked
    ]  # fmt: skip
    refused = ("is not allowed", "cannot be called from", "calling kernel function is not", "unknown kernel function")
    answers = []
    for at in range(0, len(programs), 300):
        done = subprocess.run(
            [sys.executable, str(kfuncs.PROBE)],
            input=json.dumps(programs[at : at + 300]),
            capture_output=True,
            text=True,
            check=True,
        )
        answers += json.loads(done.stdout)
    return [
        (kind.name, name)
        for (kind, name), (_, log) in zip(asked, answers, strict=True)
        if any(sentence in log for sentence in refused)
    ]


if __name__ == "__main__":
    collect(Path(sys.argv[1]))

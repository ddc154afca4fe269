"""Which helper takes which map, and how maps must be made: the tables against the running kernel."""

from __future__ import annotations

from typing import Any

import pytest

from skep.abi.helpers import HELPERS, may_call, signature_for
from skep.abi.map_facts import FACTS, may_use
from skep.abi.map_types import MapType as M
from skep.abi.prog_types import ProgType as P
from skep.abi.signatures import ArgKind as K

pytestmark = pytest.mark.kernel

#: What the kernel says of a helper and a map that do not go together; it may find another fault first.
REFUSED = ("cannot pass map_type", "expected prog array map", "callback function not allowed for map")
NO_PREALLOC = 1
PAGE = 4096
#: Maps that need BTF, a struct_ops or a newer kernel to be made.
NOT_MADE = {m for m, facts in FACTS.items() if facts.needs_btf or facts.since > (6, 18)} | {M.UNSPEC, M.ARENA}
TYPES = [P.XDP, P.SCHED_CLS, P.SOCKET_FILTER, P.KPROBE, P.SK_SKB, P.SK_MSG, P.SOCK_OPS, P.SK_REUSEPORT, P.SYSCALL]
TYPES += [P.RAW_TRACEPOINT, P.CGROUP_SKB, P.SK_LOOKUP, P.FLOW_DISSECTOR, P.PERF_EVENT]

MOV64_IMM, MOV64_REG, ADD64_IMM, STDW, LD_IMM64, CALL = 0xB7, 0xBF, 0x07, 0x7A, 0x18, 0x85


def _attributes(map_type: M) -> tuple[int, int, int, int]:
    """key_size, value_size, max_entries, flags that should do, by the table."""
    facts = FACTS[map_type]
    least, most = facts.key_sizes
    key = 8 if facts.key_sizes == (5, 260) else max(least, 4) if most is None else most
    value = 8 if facts.value_sizes is None else min(facts.value_sizes)
    entries = 0 if facts.no_entries else PAGE if facts.page_sized else 4
    return key, value, entries, NO_PREALLOC if facts.needs_no_prealloc else 0


def test_map_helper_compatibility_agrees_with_the_kernel(kernel: Any, kernel_release: tuple[int, int]) -> None:
    made = {m: _attributes(m) for m in FACTS if m not in NOT_MADE and FACTS[m].since <= kernel_release}
    assert len(made) > 24
    cases, requests = [], []
    for prog_type in TYPES:
        for helper in HELPERS.values():
            row = signature_for(helper.id, prog_type)
            if row is None or row.may_sleep or not may_call(row, prog_type):
                continue
            code = _call(kernel, row)
            if code is None:
                continue
            for map_type in made:
                cases.append((prog_type, row, map_type))
                requests.append(kernel.request(prog_type, _with_map(code, map_type)))
    answers = kernel.load(requests, made)
    wrong = []
    for (prog_type, row, map_type), answer in zip(cases, answers, strict=True):
        refused = any(sentence in answer.log for sentence in REFUSED)
        if may_use(row.id, map_type, prog_type):
            if refused:
                wrong.append(f"{prog_type.name} {row.name}: kernel refuses {map_type.name}")
        elif not answer.errno:
            wrong.append(f"{prog_type.name} {row.name}: kernel takes {map_type.name}")
    assert not wrong, "\n".join(wrong)
    assert len(cases) > 2000


def _with_map(code: bytes, map_type: M) -> bytes:
    """Name the map by its type in every LD_IMM64."""
    patched = bytearray(code)
    for at in range(0, len(code), 8):
        if code[at] == LD_IMM64:
            patched[at + 4] = map_type
    return bytes(patched)


def _call(kernel: Any, row: Any) -> bytes | None:
    """A call with fitting arguments; None: the helper takes no map, or more than this test can make."""
    kinds = [arg.kind for arg in row.args or ()]
    if K.CONST_MAP not in kinds:
        return None
    code = kernel.insn(MOV64_REG, 6, 1) + b"".join(kernel.insn(STDW, 10, off=-at) for at in range(8, 520, 8))
    for register, arg in enumerate(row.args, start=1):
        if arg.kind is K.CONTEXT:
            code += kernel.insn(MOV64_REG, register, 6)
        elif arg.kind is K.CONST_MAP:
            code += kernel.insn(LD_IMM64, register, 1) + kernel.insn(0)
        elif arg.kind in (K.MAP_KEY, K.MAP_VALUE, K.MEMORY):
            code += kernel.insn(MOV64_REG, register, 10) + kernel.insn(ADD64_IMM, register, imm=-512)
        elif arg.kind in (K.SIZE, K.SIZE_OR_ZERO, K.ALLOC_SIZE, K.ANYTHING):
            code += kernel.insn(MOV64_IMM, register, imm=0 if arg.kind is K.ANYTHING else 8)
        else:
            return None
    return code + kernel.insn(CALL, imm=row.id)


@pytest.mark.parametrize("map_type", [m for m in FACTS if m not in NOT_MADE], ids=lambda m: m.name)
def test_maps_are_made_as_the_table_says(kernel: Any, kernel_release: tuple[int, int], map_type: M) -> None:
    if FACTS[map_type].since > kernel_release:
        pytest.skip(f"{map_type.name} came with Linux {FACTS[map_type].since}")
    kernel.load([], {map_type: _attributes(map_type)})

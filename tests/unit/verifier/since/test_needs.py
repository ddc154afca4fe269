"""What a program needs of a kernel, thing by thing, and the verdict on kernels that do not have it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.abi.features import Version
from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.btf import types as t
from skep.isa.assembler import assemble
from skep.isa.instruction import KfuncRef, MapRef, slots
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, Outcome, Subprogram
from skep.model.target import Target
from skep.verifier import judge
from skep.verifier.since.needs import find_needs, first_kernel
from skep.verifier.verify import judge_rules


def program(text: str, prog_type: ProgType = ProgType.XDP, version: Version = (6, 18), **more: object) -> LinkedProgram:
    insns = assemble(text)
    linked = LinkedProgram(
        name="p",
        section="",
        prog_type=prog_type,
        attach_type=None,
        attach_to="",
        sleepable=False,
        frags=False,
        license="GPL",
        insns=insns,
        subprograms=(Subprogram("p", 0, len(slots(insns))),),
        lines={},
        maps={},
        target=Target(f"Linux {version[0]}.{version[1]}", (*version, 0)),
    )
    return replace(linked, **more)  # type: ignore[arg-type]


def needed(linked: LinkedProgram) -> dict[str, Version]:
    return {need.what: need.since for need in find_needs(linked, judge_rules(linked))}


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("r0 = 2\nexit", (4, 8)),  # XDP itself
        ("r0 = 2\nif w0 == 2 goto +0\nexit", (5, 1)),
        ("r0 = 4\nr0 s/= 2\nexit", (6, 6)),
        ("r1 = 1\nr0 = (s8)r1\nexit", (6, 6)),
        ("r1 = 1\n*(u64 *)(r10 -8) = r1\nr2 = 1\nr2 = atomic64_fetch_add((u64 *)(r10 -8), r2)\nr0 = 2\nexit", (5, 12)),
        ("r0 = 2\nmay_goto +0\nexit", (6, 14)),
        ("r6 = 3\nr6 += -1\nif r6 != 0 goto -2\nr0 = 2\nexit", (5, 3)),
        ("call 5\nr0 = 2\nexit", (4, 8)),  # bpf_ktime_get_ns: 4.1
        ("call 125\nr0 = 2\nexit", (5, 8)),  # bpf_ktime_get_boot_ns
        ("call 15\nr0 = 2\nexit", (6, 16)),  # bpf_get_current_uid_gid, in XDP
    ],
)
def test_first_kernel(text: str, since: Version) -> None:
    linked = program(text)
    verdict = judge_rules(linked)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.diagnostics
    assert first_kernel(find_needs(linked, verdict)) == since


def test_dead_code_is_not_needed() -> None:
    live = "r0 = 2\nif r0 == 3 goto +1\nexit\ncall 125\nr0 = 2\nexit"
    assert first_kernel(find_needs(program(live), judge_rules(program(live)))) == (4, 8)


def test_an_older_kernel_rejects_with_one_diagnostic_each() -> None:
    text = "call 125\ncall 125\nr0 = 4\nr0 s/= 2\nexit"
    verdict = judge(program(text, version=(5, 4)))
    assert verdict.outcome is Outcome.REJECTED
    assert [(d.code, d.insn) for d in verdict.diagnostics] == [("V1901", 3), ("V1902", 0)]
    assert judge(program(text, version=(5, 8))).diagnostics[0].code == "V1901"
    assert judge(program(text, version=(6, 6))).outcome is Outcome.ACCEPTED


def test_what_is_wrong_anywhere_stays_wrong() -> None:
    verdict = judge(program("r0 = r5\nexit", version=(5, 4)))
    assert [d.code for d in verdict.diagnostics] == ["V0201"]


def test_maps_flags_and_fields() -> None:
    timer = t.Struct("bpf_timer", 16, ())
    value = t.Struct("v", 16, (t.Member("t", 1, 0),))
    btf = t.Btf([t.Void(), timer, value])
    load = assemble("r1 = 0 ll\nr0 = 2\nexit")
    load = (replace(load[0], src=1, ref=MapRef("m")), *load[1:])
    spec = MapSpec("m", MapType.ARRAY, 4, 16, 1, flags=1 << 10, value_type=2, btf=btf)
    linked = program("r0 = 2\nexit", insns=load, maps={"m": spec})
    linked = replace(linked, subprograms=(Subprogram("p", 0, 4),))
    found = {need.what: need.since for need in find_needs(linked, judge_rules(linked))}
    assert found["BPF_F_MMAPABLE on map 'm'"] == (5, 5)
    assert found["struct bpf_timer in map values (map 'm')"] == (5, 15)
    assert found["map 'm' of type array"] == (3, 19)


def test_kfuncs_and_program_types() -> None:
    call = assemble("call 1\nr0 = 0\nexit")
    call = (replace(call[0], src=2, ref=KfuncRef("bpf_obj_drop_impl")), *call[1:])
    linked = program("r0 = 0\nexit", ProgType.XDP, insns=call)
    assert needed(linked)["bpf_obj_drop_impl()"] == (6, 12)
    assert needed(replace(linked, prog_type=ProgType.SCHED_CLS))["bpf_obj_drop_impl()"] == (6, 2)
    netkit = replace(linked, prog_type=ProgType.SCHED_CLS, attach_type=AttachType.NETKIT_PEER)
    assert needed(netkit)["the attach type netkit_peer"] == (6, 7)


def test_loops_entered_in_the_middle() -> None:
    text = "r0 = 0\ngoto +1\nr0 += 1\nif r0 < 4 goto -2\nexit"
    assert first_kernel(find_needs(program(text), judge_rules(program(text)))) == (6, 7)


def test_functions() -> None:
    cut = (Subprogram("p", 0, 2), Subprogram("f", 2, 4))
    linked = program("call pc+1\nexit\nr0 = 2\nexit", subprograms=cut)
    assert first_kernel(find_needs(linked, judge_rules(linked))) == (4, 16)

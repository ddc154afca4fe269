"""Programs of tables (struct_ops): contexts from the members of any structure that the kernel offers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.abi.prog_types import ProgType
from skep.abi.struct_ops import STRUCT_OPS, TABLE_HELPERS, facts_of
from skep.btf import types as t
from skep.model.programs import Outcome, Verdict
from skep.model.target import Target
from skep.verifier import judge
from tests.unit.verifier.core.linked import link, said

_INT, _SOCK_PTR, _PROTO, _FUNC_PTR, _SOCK, _OPS, _DUMMY, _STATE_PTR, _STATE, _DUMMY_PROTO, _DUMMY_PTR = range(1, 12)
KERNEL = t.Btf(
    (
        t.Void(),
        t.Int("int", 4, 32, True),
        t.Ptr(_SOCK),
        t.FuncProto(_INT, (t.Param("sk", _SOCK_PTR), t.Param("n", _INT))),
        t.Ptr(_PROTO),
        t.Struct("sock", 8, (t.Member("mark", _INT, 0), t.Member("family", _INT, 32))),
        t.Struct("new_ops", 16, (t.Member("grow", _FUNC_PTR, 0), t.Member("number", _INT, 64))),
        t.Struct("bpf_dummy_ops", 16, (t.Member("test_1", _DUMMY_PTR, 0), t.Member("test_sleepable", _DUMMY_PTR, 64))),
        t.Ptr(_STATE),
        t.Struct("bpf_dummy_ops_state", 4, (t.Member("val", _INT, 0),)),
        t.FuncProto(_INT, (t.Param("state", _STATE_PTR),)),
        t.Ptr(_DUMMY_PROTO),
        t.Struct("bpf_struct_ops_new_ops", 16, (t.Member("data", _OPS, 0),)),
        t.Struct("bpf_struct_ops_bpf_dummy_ops", 16, (t.Member("data", _DUMMY, 0),)),
        t.Struct("task_struct", 4, (t.Member("pid", _INT, 0),)),
    )
)
END = "\nr0 = 0\nexit"
LOAD = "r1 = *(u64 *)(r1 +0)\n"


def check(text: str, member: str, *, sleepable: bool = False) -> Verdict:
    target = Target("linux", (6, 18, 0), btf=KERNEL)
    return judge(replace(link(text + END, ProgType.STRUCT_OPS, sleepable=sleepable, target=target), attach_to=member))


@pytest.mark.parametrize(
    ("text", "member"),
    [
        (LOAD + "r2 = *(u32 *)(r1 +4)", "new_ops.grow"),
        ("r2 = *(u64 *)(r1 +8)", "new_ops.grow"),
        ("call 5", "new_ops.grow"),
        (LOAD + "*(u32 *)(r1 +0) = 1", "bpf_dummy_ops.test_1"),
    ],
)
def test_accepted(text: str, member: str) -> None:
    verdict = check(text, member)
    assert verdict.outcome is Outcome.ACCEPTED, said(verdict)


@pytest.mark.parametrize(
    ("text", "member", "sentence"),
    [
        ("", "new_ops.number", "attach to invalid member number(@idx 1) of struct new_ops"),
        ("", "new_ops.nothing", "attach to invalid member idx nothing of struct new_ops"),
        ("", "task_struct.pid", "attach_btf_id is not a supported struct: task_struct"),
        ("r2 = *(u64 *)(r1 +16)", "new_ops.grow", "invalid bpf_context access off=16 size=8"),
        ("call 116", "new_ops.grow", "program of this type cannot use helper bpf_tcp_send_ack#116"),
        ("call 5", "bpf_dummy_ops.test_1", "program of this type cannot use helper bpf_ktime_get_ns#5"),
    ],
)
def test_refused(text: str, member: str, sentence: str) -> None:
    verdict = check(text, member)
    assert verdict.outcome is Outcome.REJECTED
    assert sentence in said(verdict)


def test_what_an_unknown_table_may_write_is_not_known() -> None:
    verdict = check(LOAD + "*(u32 *)(r1 +0) = 1", "new_ops.grow")
    assert verdict.outcome is Outcome.UNSUPPORTED
    assert "struct new_ops" in verdict.diagnostics[0].what


def test_only_some_members_may_sleep() -> None:
    assert check("", "bpf_dummy_ops.test_sleepable", sleepable=True).outcome is Outcome.ACCEPTED
    refused = check("", "bpf_dummy_ops.test_1", sleepable=True)
    assert said(refused) == "attach to unsupported member test_1 of struct bpf_dummy_ops"


def test_facts() -> None:
    assert facts_of("tcp_congestion_ops").extra_helpers == TABLE_HELPERS
    assert not facts_of("new_ops").known
    assert all(facts.known for facts in STRUCT_OPS.values())

"""Section names: libbpf's rules and order, old names, and what says nothing."""

from __future__ import annotations

import pytest

from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P
from skep.abi.sections import LEGACY, SECTIONS, match


def test_the_table_is_libbpfs() -> None:
    assert len(SECTIONS) == 116
    assert len({row.pattern for row in SECTIONS}) == 116
    assert len({row.pattern for row in LEGACY}) == len(LEGACY)


@pytest.mark.parametrize("row", SECTIONS, ids=lambda row: row.pattern)
def test_every_row_matches_its_own_name(row: object) -> None:
    found = match(row.name)  # type: ignore[attr-defined]
    assert found is not None
    assert found.row is row
    assert not found.legacy
    assert found.attach_to == ""


@pytest.mark.parametrize("row", [row for row in SECTIONS if row.pattern.endswith("+")], ids=lambda row: row.pattern)
def test_every_row_with_extras_takes_them(row: object) -> None:
    found = match(f"{row.name}/some/thing")  # type: ignore[attr-defined]
    assert found is not None
    assert found.row is row
    assert found.attach_to == "some/thing"


@pytest.mark.parametrize(
    ("section", "prog_type", "attach_type", "attach_to", "sleepable", "frags"),
    [
        ("xdp", P.XDP, A.XDP, "", False, False),
        ("xdp.frags", P.XDP, A.XDP, "", False, True),
        ("xdp/devmap", P.XDP, A.XDP_DEVMAP, "", False, False),
        ("?tc", P.SCHED_CLS, None, "", False, False),
        ("tcx/ingress", P.SCHED_CLS, A.TCX_INGRESS, "", False, False),
        ("tp/syscalls/sys_enter_openat", P.TRACEPOINT, None, "syscalls/sys_enter_openat", False, False),
        ("uprobe.s//bin/bash:readline", P.KPROBE, None, "/bin/bash:readline", True, False),
        ("kprobe", P.KPROBE, None, "", False, False),
        ("fentry.s/do_unlinkat", P.TRACING, A.TRACE_FENTRY, "do_unlinkat", True, False),
        ("lsm/file_open", P.LSM, A.LSM_MAC, "file_open", False, False),
        ("syscall", P.SYSCALL, None, "", True, False),
        ("cgroup/connect4", P.CGROUP_SOCK_ADDR, A.CGROUP_INET4_CONNECT, "", False, False),
        ("usdt.s/bin:a:b", P.KPROBE, None, "bin:a:b", True, False),
    ],
)
def test_matches(
    section: str, prog_type: P, attach_type: A | None, attach_to: str, sleepable: bool, frags: bool
) -> None:
    found = match(section)
    assert found is not None
    assert (found.prog_type, found.attach_type, found.attach_to) == (prog_type, attach_type, attach_to)
    assert (found.sleepable, found.frags, found.legacy) == (sleepable, frags, False)


@pytest.mark.parametrize(
    ("section", "prog_type"),
    [
        ("classifier/ingress", P.SCHED_CLS),
        ("tc_cls_act", P.SCHED_CLS),
        ("xdp_prog", P.XDP),
        ("xdp1", P.XDP),
        ("xdp/my_program", P.XDP),
        ("socket1", P.SOCKET_FILTER),
        ("socket/0", P.SOCKET_FILTER),
        ("cgroup/sock1", P.CGROUP_SOCK),
        ("lwt_xmit_len", P.LWT_XMIT),
    ],
)
def test_legacy_names(section: str, prog_type: P) -> None:
    found = match(section)
    assert found is not None
    assert found.legacy
    assert found.prog_type is prog_type


@pytest.mark.parametrize(
    "section",
    ["", "?", "2/1", "1/0x1010", ".text", "filter", "from-netdev", "kprobes/x", "kprobe/", "tp_btfx", "license"],
)
def test_names_that_say_nothing(section: str) -> None:
    assert match(section) is None

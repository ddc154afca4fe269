"""The tables are total, and section names mean the right hooks."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import get_args

import pytest

from skep.abi import sections
from skep.abi.prog_types import ProgType
from skep.errors import SkepError, UnsupportedError, UsageError
from skep.kernel.links import refusals
from skep.kernel.links.attach import ATTACH
from skep.kernel.links.refusals import NEEDS
from skep.model import hooks
from skep.model.auto_attach import AUTO_ATTACH, WANTED, attaches_itself, hook_for
from skep.model.programs import LinkedProgram, Subprogram
from skep.model.target import Target

KERNEL_HOOKS = set(get_args(hooks.Hook)) - set(ATTACH)


def program(section: str) -> LinkedProgram:
    found = sections.match(section)
    assert found is not None
    return LinkedProgram(
        "p", section, found.prog_type, found.attach_type, found.attach_to, found.sleepable, found.frags, "GPL", (),
        (Subprogram("p", 0, 0),), {}, {}, Target("t", (6, 18, 0)),
    )  # fmt: skip


def test_every_hook_has_a_way_to_attach() -> None:
    only_in_process = {kind for kind in KERNEL_HOOKS if not hasattr(kind, "kernel_only")}
    assert {kind.__name__ for kind in ATTACH} >= set(NEEDS)
    assert all(kind.__name__ in NEEDS for kind in ATTACH)
    # What the table lacks are hooks of the vm: each must be one of those that it knows by name.
    assert {kind.__name__ for kind in only_in_process} <= {"PacketSocket", "Tap", "Xsk"}


def test_the_ways_of_section_names_are_all_known() -> None:
    assert {row.attach for row in sections.SECTIONS if row.attach} == set(AUTO_ATTACH)


def test_every_program_type_says_which_hook_it_wants() -> None:
    assert set(WANTED) == set(ProgType)


EXAMPLES = {
    "kprobe/do_unlinkat": hooks.Kprobe("do_unlinkat"),
    "kprobe/do_unlinkat+0x10": hooks.Kprobe("do_unlinkat", 16),
    "kretprobe/vfs_read": hooks.Kretprobe("vfs_read"),
    "kprobe.multi/vfs_*": hooks.KprobeMulti(("vfs_*",)),
    "kretprobe.multi/vfs_?ead": hooks.KprobeMulti(("vfs_?ead",), returning=True),
    "kprobe.session/vfs_*": hooks.KprobeMulti(("vfs_*",)),
    "ksyscall/openat": hooks.Ksyscall("openat"),
    "kretsyscall/openat": hooks.Ksyscall("openat", returning=True),
    "uprobe//bin/bash:readline": hooks.Uprobe("/bin/bash", "readline"),
    "uprobe.s/libc.so.6:malloc+4": hooks.Uprobe("libc.so.6", "malloc", 4),
    "uprobe//bin/bash:0x40": hooks.Uprobe("/bin/bash", "", 64),
    "uretprobe//bin/bash:readline": hooks.Uretprobe("/bin/bash", "readline"),
    "uprobe.multi//bin/bash:read*": hooks.UprobeMulti("/bin/bash", ("read*",)),
    "uretprobe.multi//bin/bash:read*": hooks.UprobeMulti("/bin/bash", ("read*",), returning=True),
    "usdt/libc.so.6:libc:setjmp": hooks.Usdt("libc.so.6", "libc", "setjmp"),
    "tp/syscalls/sys_enter_openat": hooks.Tracepoint("syscalls", "sys_enter_openat"),
    "tracepoint/sched/sched_switch": hooks.Tracepoint("sched", "sched_switch"),
    "raw_tp/sched_switch": hooks.RawTracepoint("sched_switch"),
    "raw_tracepoint.w/nbd_send_request": hooks.RawTracepoint("nbd_send_request"),
    "tp_btf/sched_switch": hooks.TpBtf(),
    "fentry/do_unlinkat": hooks.Fentry(),
    "fexit.s/do_unlinkat": hooks.Fexit(),
    "fmod_ret/bpf_modify_return_test": hooks.FmodRet(),
    "freplace/get_constant": hooks.Freplace(),
    "lsm/file_open": hooks.Lsm(),
    "iter/task": hooks.Iter(),
}


@pytest.mark.parametrize("section", EXAMPLES)
def test_hook_of_a_section(section: str) -> None:
    assert attaches_itself(section)
    assert hook_for(program(section)) == EXAMPLES[section]


@pytest.mark.parametrize("row", sections.SECTIONS, ids=lambda row: row.pattern)
def test_every_row_gives_a_hook_or_an_error_that_helps(row: sections.SectionRow) -> None:
    section = row.name + ("/somewhere:at:last" if row.pattern.endswith("+") else "")
    found = None
    try:
        hook_for(program(section))
    except (UsageError, UnsupportedError) as error:
        found = error.diagnostic
    assert found is None or found.help
    assert row.attach or (found is not None and found.code == "H0351")


@pytest.mark.parametrize(
    "section",
    [
        "kretprobe/f+4",
        "uprobe//bin/bash",
        "usdt/a:b",
        "tp/only",
        "tp/a/b/c",
        "kprobe.multi/a b",
        "kprobe/f+",
        "uprobe/a:0xzz",
    ],
)
def test_malformed_targets(section: str) -> None:
    with pytest.raises(SkepError) as caught:
        hook_for(program(section))
    assert caught.value.diagnostic.code == "H0352"


def test_the_page_of_hooks_names_them_all() -> None:
    page = Path(__file__).parents[3] / "docs" / "hooks.md"
    text = page.read_text()
    assert [kind.__name__ for kind in ATTACH if f"`{kind.__name__}" not in text and kind is not hooks.Pcap] == []


@pytest.mark.parametrize(
    ("version", "number", "said"),
    [
        ((6, 1, 0), errno.EINVAL, "Tcx exists since Linux 6.6; this is 6.1"),
        ((6, 1, 0), errno.EBUSY, "another program sits there already"),
        ((6, 6, 0), errno.EINVAL, "the program does not fit this hook"),
    ],
)
def test_hooks_that_a_kernel_is_too_old_for(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], number: int, said: str
) -> None:
    monkeypatch.setattr(refusals, "kernel_version", lambda: version)
    monkeypatch.setattr(refusals, "read_kconfig", dict)
    error = refusals.refusal(hooks.Tcx("eth0"), "drop", OSError(number, "no"))
    assert said in str(error)
    assert ("use TcClassic" in str(error)) == (said.startswith("Tcx"))

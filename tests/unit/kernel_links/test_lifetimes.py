"""Pins, detaching, dying owners, iterators, and hooks that this kernel's policy refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import skep
from skep.errors import ClosedError, EngineError, UsageError
from skep.kernel.bpf import links as link_calls
from skep.kernel.bpf import objects
from skep.kernel.links.info import links, read_link
from skep.model import hooks
from tests.unit.kernel_links.conftest import Network, require

pytestmark = pytest.mark.kernel

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
__u32 pid; __u64 hits;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); }
table SEC(".maps");
#define IS_MINE (bpf_get_current_pid_tgid() >> 32 == pid)
SEC("tp/syscalls/sys_enter_getpgid") int one(void *ctx) { if (IS_MINE) hits += 1; return 0; }
SEC("tp/syscalls/sys_enter_getpgid") int two(void *ctx) { if (IS_MINE) hits += 100; return 0; }
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
__noinline int replaceable(struct xdp_md *ctx) { volatile int verdict = XDP_DROP; return verdict; }
SEC("xdp") int outer(struct xdp_md *ctx) { return replaceable(ctx); }
SEC("iter/task") int tasks(struct bpf_iter__task *ctx)
{ struct task_struct *task = ctx->task; if (task) BPF_SEQ_PRINTF(ctx->meta->seq, "%d\\n", task->tgid); return 0; }
SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx)
{ __u32 *key = ctx->key; __u64 *value = ctx->value;
  if (key && value) BPF_SEQ_PRINTF(ctx->meta->seq, "%u=%lu ", *key, *value); return 0; }
SEC("?fentry/do_unlinkat") int BPF_PROG(entry) { return 0; }
SEC("?fexit/do_unlinkat") int BPF_PROG(leave) { return 0; }
SEC("?lsm/file_open") int BPF_PROG(security, struct file *file) { return 0; }
SEC("?fmod_ret/bpf_modify_return_test") int BPF_PROG(modify) { return 0; }
SEC("?lsm_cgroup/socket_bind") int BPF_PROG(bind_hook) { return 1; }
char LICENSE[] SEC("license") = "GPL";
"""
Load = Callable[..., skep.Object]


def test_pinned_link_outlives_its_object(load: Load, bpffs: Path) -> None:
    live = load(SOURCE, programs=["one", "two"], variables={"pid": os.getpid()})
    link = live.programs["one"].attach()
    link.pin(str(bpffs / "hook"))
    number = link.info()["id"]
    link.close()
    os.getpgid(0)
    assert live.variables["hits"].value == 1
    with objects.get(bpffs / "hook") as again:
        assert read_link(again.number)["id"] == number
    assert number in {row["id"] for row in links()}
    (bpffs / "hook").unlink()
    time.sleep(0.05)
    os.getpgid(0)
    assert live.variables["hits"].value == 1


def test_replacement_moves_the_pin(load: Load, bpffs: Path) -> None:
    live = load(SOURCE, programs=["one", "two"], variables={"pid": os.getpid()})
    link = live.programs["one"].attach()
    link.pin(str(bpffs / "hook"))
    link.update(live.programs["two"])
    os.getpgid(0)
    assert live.variables["hits"].value == 100
    with objects.get(bpffs / "hook") as pinned:
        assert read_link(pinned.number)["prog_id"] == link.info()["prog_id"]
    assert [path.name for path in bpffs.iterdir()] == ["hook"]
    link.detach()
    assert list(bpffs.iterdir()) == []
    os.getpgid(0)
    assert live.variables["hits"].value == 100
    with pytest.raises(ClosedError):
        link.info()


def test_detach_ends_a_link_that_others_hold(load: Load, network: Network, bpffs: Path) -> None:
    live = load(SOURCE, programs=["pass"])
    link = live.programs["pass"].attach(hooks.Xdp(network.inner, netns=network.path))
    link.pin(str(bpffs / "xdp"))
    with objects.get(bpffs / "xdp") as held:
        link.detach()
        assert read_link(held.number)["ifindex"] == 0
    assert "xdp" not in network.ip(f"link show {network.inner}")


def test_pin_where_there_is_no_bpffs(load: Load, tmp_path: Path) -> None:
    live = load(SOURCE, programs=["one"], variables={"pid": os.getpid()})
    with live.programs["one"].attach() as link, pytest.raises(EngineError, match="cannot pin the link"):
        link.pin(str(tmp_path / "hook"))


def test_nothing_is_left_of_a_killed_loader(network: Network) -> None:
    code = f"""
import sys, skep, time
spec = skep.compile(skep.SourceFile("k.bpf.c", '''{XDP_ONLY}'''))
live = skep.load(spec, engine="kernel")
link = live.programs["pass"].attach(skep.hooks.Xdp({network.inner!r}, netns={network.path!r}))
print("attached", flush=True)
time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "attached\n"
        assert "xdp" in network.ip(f"link show {network.inner}")
        child.send_signal(signal.SIGKILL)
        child.wait()
    deadline = time.monotonic() + 5
    while "xdp" in network.ip(f"link show {network.inner}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


XDP_ONLY = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
"""


def test_iterator_over_tasks(load: Load) -> None:
    live = load(SOURCE, programs=["tasks"])
    with live.programs["tasks"].attach() as link:
        assert os.getpid() in set(map(int, link.read().split()))
        assert link.info()["target_name"] == "task"
    with live.programs["tasks"].attach(hooks.Iter(pid=os.getpid())) as link:
        assert set(map(int, link.read().split())) == {os.getpid()}


def test_iterator_over_a_map(load: Load) -> None:
    live = load(SOURCE, programs=["elements"])
    live.maps["table"][7] = 49
    live.maps["table"][8] = 64
    with live.programs["elements"].attach(hooks.Iter(map=live.maps["table"])) as link:
        assert set(link.read().split()) == {b"7=49", b"8=64"}
    with pytest.raises(EngineError, match=r"does not fit|not permitted|EBADF"):
        live.programs["elements"].attach(hooks.Iter())
    with pytest.raises(UsageError, match="no order"):
        live.programs["elements"].attach(hooks.Iter(cgroup="/", order="sideways"))


def test_only_iterators_are_read(load: Load) -> None:
    live = load(SOURCE, programs=["one"], variables={"pid": os.getpid()})
    with live.programs["one"].attach() as link, pytest.raises(UsageError, match="nothing to read"):
        link.read()


@pytest.mark.parametrize("name", ["entry", "leave", "modify", "security"])
def test_trampolines_work_or_the_policy_is_named(load: Load, name: str) -> None:
    said = "attached"
    try:
        load(SOURCE, programs=[name]).programs[name].attach().close()
    except skep.SkepError as error:
        said = str(error)
    assert said == "attached" or "policy" in said or (name, "is not modifiable" in said) == ("modify", True), said


def test_freplace_target_is_looked_up(load: Load) -> None:
    from skep.kernel.links.trampoline import find_function

    live = load(SOURCE, programs=["outer"])
    fd = live.programs["outer"].handle.fd.number  # type: ignore[attr-defined]
    assert find_function(fd, "replaceable") > 0
    with pytest.raises(EngineError, match="has no function 'nowhere'"):
        find_function(fd, "nowhere")


def test_captures_are_for_the_vm(load: Load, tmp_path: Path) -> None:
    live = load(SOURCE, programs=["pass"])
    with pytest.raises(UsageError, match="capture"):
        live.programs["pass"].attach(hooks.Pcap(tmp_path / "x.pcap"))


def test_query_of_an_empty_hook(network: Network) -> None:
    require("Tcx")
    from skep.abi.prog_types import AttachType
    from skep.kernel.links.places import ifindex, inside

    with inside(network.path):
        found = link_calls.query(ifindex(network.inner), AttachType.TCX_INGRESS)
    assert (found.programs, found.links) == ((), ())

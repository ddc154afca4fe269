"""Tracepoints, probes and samples, on what this process (or a child of it) does; programs look at no other."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable

import pytest

import skep
from skep.errors import EngineError, UnsupportedError
from skep.kernel.host import kernel_version
from skep.kernel.links import perf
from skep.kernel.links.perf import source_type
from skep.kernel.links.refusals import missing_options
from skep.model import hooks
from tests.unit.kernel_links.conftest import require

pytestmark = pytest.mark.kernel

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
__u32 pid; __u64 hits, cookie, argument;
#define MINE if (bpf_get_current_pid_tgid() >> 32 != pid) return 0
SEC("tp/syscalls/sys_enter_getpgid") int tp(void *ctx) { MINE; hits++; cookie = bpf_get_attach_cookie(ctx); return 0; }
SEC("tp/syscalls/sys_enter_getpgid") int tp_second(void *ctx) { MINE; hits += 100; return 0; }
SEC("raw_tp/sys_enter") int raw(struct bpf_raw_tracepoint_args *ctx)
{ MINE; if (ctx->args[1] == 121) hits++; return 0; }
SEC("tp_btf/sys_enter") int BPF_PROG(typed, struct pt_regs *regs, long id) { MINE; if (id == 121) hits++; return 0; }
SEC("uprobe/libc.so.6:getpgid") int BPF_KPROBE(probe, int which)
{ MINE; hits++; argument = which; cookie = bpf_get_attach_cookie(ctx); return 0; }
SEC("uretprobe/libc.so.6:getpgid") int BPF_KRETPROBE(ret, int result) { MINE; hits++; argument = result; return 0; }
SEC("uprobe.multi/libc.so.6:getpg?d") int multi(struct pt_regs *ctx) { MINE; hits++; return 0; }
SEC("kprobe/do_unlinkat") int kernel_probe(struct pt_regs *ctx) { MINE; hits++; return 0; }
SEC("kretprobe/do_unlinkat") int kernel_return(struct pt_regs *ctx) { MINE; hits++; return 0; }
SEC("kprobe.multi/vfs_unlin*") int kernel_many(struct pt_regs *ctx) { MINE; hits++; return 0; }
SEC("ksyscall/unlinkat") int system_call(struct pt_regs *ctx) { MINE; hits++; return 0; }
SEC("perf_event") int sample(void *ctx) { MINE; hits++; return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
LIBC = ctypes.CDLL(None)
TELLS_EVENTS = kernel_version()[:2] >= (6, 6)  # link info of perf events


@pytest.fixture
def traced(load: Callable[..., skep.Object]) -> Callable[..., skep.Object]:
    def make(*programs: str) -> skep.Object:
        return load(SOURCE, programs=programs, variables={"pid": os.getpid()})

    return make


def hits(traced: skep.Object) -> int:
    value = traced.variables["hits"].value
    assert isinstance(value, int)
    return value


def test_tracepoint_counts_ours_and_nothing_after_close(traced: Callable[..., skep.Object]) -> None:
    live = traced("tp")
    with live.programs["tp"].attach() as link:
        assert link.info()["type"] == "perf_event"
        if TELLS_EVENTS:
            assert link.info()["tracepoint"] == "sys_enter_getpgid"
        for _ in range(5):
            os.getpgid(0)
        assert hits(live) == 5
    os.getpgid(0)
    assert hits(live) == 5


def test_cookie_reaches_the_program(traced: Callable[..., skep.Object]) -> None:
    live = traced("tp")
    with live.programs["tp"].attach(hooks.Tracepoint("syscalls", "sys_enter_getpgid", cookie=77)) as link:
        os.getpgid(0)
        assert live.variables["cookie"].value == 77
        if TELLS_EVENTS:
            assert link.info()["cookie"] == 77


def test_replacement_without_a_gap(traced: Callable[..., skep.Object]) -> None:
    live = traced("tp", "tp_second")
    with live.programs["tp"].attach() as link:
        os.getpgid(0)
        link.update(live.programs["tp_second"])
        os.getpgid(0)
        assert hits(live) == 101
        link.update(live.programs["tp_second"])  # the same again changes nothing
        os.getpgid(0)
        assert hits(live) == 201


def test_tracepoint_by_ioctl_as_before_5_15(traced: Callable[..., skep.Object]) -> None:
    live = traced("tp", "tp_second")
    hook = hooks.Tracepoint("syscalls", "sys_enter_getpgid")
    from skep.kernel.links.tracepoint import find_id

    event = perf.Event(perf.TYPE_TRACEPOINT, find_id(hook.category, hook.name))
    link = perf.IoctlAttachment(live.programs["tp"].handle, hook, lambda: perf.open_event(event))  # type: ignore[arg-type]
    try:
        os.getpgid(0)
        link.update(live.programs["tp_second"].handle)
        os.getpgid(0)
        assert hits(live) == 101
        with pytest.raises(UnsupportedError, match="since Linux"):
            link.pin("/sys/fs/bpf/never")
    finally:
        link.close()
    os.getpgid(0)
    assert hits(live) == 101


@pytest.mark.parametrize("name", ["raw", "typed"])
def test_raw_tracepoints(traced: Callable[..., skep.Object], name: str) -> None:
    live = traced(name)
    with live.programs[name].attach() as link:
        os.getpgid(0)
        assert hits(live) == 1
        assert (link.info()["type"], link.info()["tp_name"]) == ("raw_tracepoint", "sys_enter")


def test_unknown_tracepoints(traced: Callable[..., skep.Object]) -> None:
    live = traced("tp", "raw")
    with pytest.raises(EngineError, match="did you mean syscalls/sys_enter_openat"):
        live.programs["tp"].attach(hooks.Tracepoint("syscalls", "sys_enter_openatt"))
    with pytest.raises(EngineError, match="H0310"):
        live.programs["raw"].attach(hooks.RawTracepoint("no_such_tracepoint"))


def test_uprobe_and_uretprobe(traced: Callable[..., skep.Object]) -> None:
    live = traced("probe", "ret")
    with live.programs["probe"].attach() as link:
        LIBC.getpgid(0)
        LIBC.getpgid(os.getpid())
        assert (hits(live), live.variables["argument"].value) == (2, os.getpid())
        info = link.info()
        if TELLS_EVENTS:
            assert info["perf_kind"] == "uprobe"
            assert "libc" in info["file"]
    with live.programs["ret"].attach():
        LIBC.getpgid(0)
        assert (hits(live), live.variables["argument"].value) == (3, os.getpgid(0))


def test_uprobe_by_offset_for_one_process(traced: Callable[..., skep.Object]) -> None:
    from skep.kernel.links.executables import Executable

    live = traced("probe")
    libc = Executable("libc.so.6")
    offset = libc.offset_of_symbol("getpgid")
    with live.programs["probe"].attach(hooks.Uprobe(libc.path, offset=offset, pid=os.getpid(), cookie=5)):
        LIBC.getpgid(0)
        assert (hits(live), live.variables["cookie"].value) == (1, 5)
    other = os.fork()
    if other == 0:
        time.sleep(30)
        os._exit(0)
    try:
        with live.programs["probe"].attach(hooks.Uprobe(libc.path, "getpgid", pid=other)):
            LIBC.getpgid(0)
            assert hits(live) == 1
    finally:
        os.kill(other, 9)
        os.waitpid(other, 0)


def test_uprobe_multi(traced: Callable[..., skep.Object]) -> None:
    require("UprobeMulti")
    live = traced("multi")
    with live.programs["multi"].attach() as link:
        LIBC.getpgid(0)
        assert hits(live) == 1
        assert link.info()["func_cnt"] >= 1


def test_uprobe_errors(traced: Callable[..., skep.Object]) -> None:
    live = traced("probe")
    with pytest.raises(EngineError, match="did you mean getpgid"):
        live.programs["probe"].attach(hooks.Uprobe("libc.so.6", "getpgidd"))
    with pytest.raises(EngineError, match="no program or library"):
        live.programs["probe"].attach(hooks.Uprobe("libnowhere.so", "f"))
    with pytest.raises(skep.SkepError, match="not an ELF"):
        live.programs["probe"].attach(hooks.Uprobe("/etc/passwd", "f"))


@pytest.mark.parametrize("name", ["kernel_probe", "kernel_return", "kernel_many", "system_call"])
def test_kernel_probes_work_or_say_that_the_kernel_has_none(traced: Callable[..., skep.Object], name: str) -> None:
    live = traced(name)
    kind = {"kernel_probe": "Kprobe", "kernel_return": "Kretprobe", "kernel_many": "KprobeMulti"}.get(name, "Ksyscall")
    if missing_options(kind):
        with pytest.raises(UnsupportedError, match="built without CONFIG_KPROBES"):
            live.programs[name].attach()
        assert source_type("kprobe") is None
        return
    require(kind)
    # Given a directory's descriptor, Python calls unlinkat(2): what the program is attached to.
    root = os.open("/", os.O_RDONLY)
    try:
        with live.programs[name].attach():
            with pytest.raises(OSError, match="nowhere-at-all"):  # not there; or, in a guest, the root is read-only
                os.unlink("nowhere-at-all", dir_fd=root)
            assert hits(live) >= (0 if name == "kernel_many" else 1)
    finally:
        os.close(root)


def test_samples_of_this_process(traced: Callable[..., skep.Object]) -> None:
    live = traced("sample")
    with live.programs["sample"].attach(hooks.PerfEvent("cpu-clock", frequency=1000, pid=os.getpid())):
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        assert hits(live) > 20


def test_samples_of_all_cpus_are_one_link(traced: Callable[..., skep.Object]) -> None:
    live = traced("sample")
    with live.programs["sample"].attach(hooks.PerfEvent("cpu-clock", frequency=99)) as link:
        assert len(link.info()["members"]) == os.cpu_count()


def test_sampling_needs_a_rate_and_an_event(traced: Callable[..., skep.Object]) -> None:
    live = traced("sample")
    with pytest.raises(skep.SkepError, match="frequency or a period"):
        live.programs["sample"].attach(hooks.PerfEvent("cpu-clock"))
    with pytest.raises(skep.SkepError, match="no perf event 'heat'"):
        live.programs["sample"].attach(hooks.PerfEvent("heat", period=1))

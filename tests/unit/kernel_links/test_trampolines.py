"""fentry, fexit, fmod_ret, lsm, lsm_cgroup, attached through skep's hooks. A kernel that refuses them by policy skips.

The functions are those that only BPF_PROG_TEST_RUN calls (net/bpf/test_run.c); the security programs look at one child
process, or at a cgroup of the test's own, and refuse nobody else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import skep
from skep.errors import SkepError
from skep.kernel.links.refusals import missing_options
from skep.model import hooks
from tests.unit.kernel_links.conftest import Load, run_in

pytestmark = pytest.mark.kernel

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
__u32 pid; __u64 hits, argument, result, cookie;
#define MINE (bpf_get_current_pid_tgid() >> 32 == pid)
SEC("fentry/bpf_fentry_test1") int BPF_PROG(enter, int a)
{ if (MINE) { hits++; argument = a; cookie = bpf_get_attach_cookie(ctx); } return 0; }
SEC("fentry/bpf_fentry_test1") int BPF_PROG(enter_again, int a) { if (MINE) hits += 100; return 0; }
SEC("fexit/bpf_fentry_test2") int BPF_PROG(leave, int a, __u64 b, int ret)
{ if (MINE) { hits++; argument = a + b; result = ret; } return 0; }
SEC("fmod_ret/bpf_modify_return_test") int BPF_PROG(replace, int a, int *b, int ret)
{ if (!MINE) return ret; hits++; return 7; }
SEC("fexit/bpf_modify_return_test") int BPF_PROG(after, int a, int *b, int ret) { if (MINE) result = ret; return 0; }
SEC("lsm/socket_create") int BPF_PROG(no_datagrams, int family, int type, int protocol, int kern)
{ if (MINE && type == 2) { hits++; return -1; } return 0; }
SEC("lsm_cgroup/socket_create") int BPF_PROG(allow_streams, int family, int type, int protocol, int kern)
{ __sync_fetch_and_add(&hits, 1); return type == 1; }
SEC("lsm_cgroup/socket_create") int BPF_PROG(allow_all, int family, int type, int protocol, int kern) { return 1; }
char LICENSE[] SEC("license") = "GPL";
"""
#: Waits for a line, then opens a datagram and a stream socket; says which errors there were.
CHILD = """
import socket
def attempt(kind):
    try:
        socket.socket(socket.AF_INET, kind).close()
        return 0
    except OSError as error:
        return error.errno
input()
print(attempt(socket.SOCK_DGRAM), attempt(socket.SOCK_STREAM))
"""


@pytest.fixture
def traced(load: Load) -> Callable[..., skep.Object]:
    def make(*programs: str, pid: int = 0) -> skep.Object:
        try:
            return load(SOURCE, programs=programs, variables={"pid": pid or os.getpid()})
        except SkepError as error:
            if "is not modifiable" in str(error):
                pytest.skip("before Linux 6.2 it needs CONFIG_FUNCTION_ERROR_INJECTION")
            if error.diagnostic.code == "E0222" and "SKEP_KERNEL_ROW" not in os.environ:
                pytest.skip(f"refused here: {error.diagnostic.what}")
            raise

    return make


def value(live: skep.Object, name: str) -> int:
    found = live.variables[name].value
    assert isinstance(found, int)
    return found


def test_fentry_sees_the_argument_and_its_cookie(traced: Callable[..., skep.Object]) -> None:
    live = traced("enter", "enter_again")
    enter = live.programs["enter"]
    with enter.attach(hooks.Fentry(cookie=42)) as link:
        enter.run(b"")
        assert (value(live, "hits"), value(live, "argument"), value(live, "cookie")) == (1, 1, 42)
        info = link.info()
        assert (info["type"], info["attach_type"]) == ("tracing", "trace_fentry")
        link.update(live.programs["enter_again"])
        enter.run(b"")
        assert value(live, "hits") == 101
    enter.run(b"")
    assert value(live, "hits") == 101


def test_fexit_sees_arguments_and_result(traced: Callable[..., skep.Object]) -> None:
    live = traced("leave")
    with live.programs["leave"].attach():
        live.programs["leave"].run(b"")
    assert (value(live, "hits"), value(live, "argument"), value(live, "result")) == (1, 5, 5)


def test_fmod_ret_replaces_the_result(traced: Callable[..., skep.Object]) -> None:
    live = traced("replace", "after")
    replace = live.programs["replace"]
    with live.programs["after"].attach():
        replace.run(b"")
        assert value(live, "result") == 4  # 1 + ++2
        with replace.attach():
            replace.run(b"")
            assert (value(live, "hits"), value(live, "result")) == (1, 7)
        replace.run(b"")
        assert (value(live, "hits"), value(live, "result")) == (1, 4)


def test_lsm_refuses_a_child_and_nobody_else(traced: Callable[..., skep.Object]) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        live = traced("no_datagrams", pid=child.pid)
        with live.programs["no_datagrams"].attach():
            said, _ = child.communicate("\n", timeout=60)
            assert said.split() == ["1", "0"]  # EPERM
            other = subprocess.run(
                [sys.executable, "-c", CHILD], input="\n", capture_output=True, text=True, check=True
            )
            assert other.stdout.split() == ["0", "0"]
        assert value(live, "hits") == 1
    finally:
        child.kill()
        child.communicate()


def test_lsm_of_a_cgroup(traced: Callable[..., skep.Object], cgroup: Path) -> None:
    live = traced("allow_streams", "allow_all")
    code = CHILD.replace("input()\n", "")
    with live.programs["allow_streams"].attach(hooks.LsmCgroup(cgroup)) as link:
        assert run_in(cgroup, code).split() == ["1", "0"]
        assert value(live, "hits") == 2
        assert link.info()["type"] == "cgroup"
        link.update(live.programs["allow_all"])
        assert run_in(cgroup, code).split() == ["0", "0"]
    assert run_in(cgroup, code).split() == ["0", "0"]
    assert value(live, "hits") == 2


def test_what_trampolines_need_is_known() -> None:
    """The option behind them; where a configuration is promised (make test-kernels), these tests cannot be skipped."""
    if "SKEP_KERNEL_ROW" in os.environ:
        assert not missing_options("Fentry")

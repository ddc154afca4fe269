"""Iterators over numbers on the vm: native, interpreted and in the kernel alike; what the interpreter refuses."""

from __future__ import annotations

import os
from functools import partial

import pytest

from skep import compile, load
from skep.diagnostics import SourceFile
from skep.kernel.bpf import programs as kernel_programs
from skep.kernel.host import kernel_version
from skep.vm.engine import VmEngine
from skep.vm.interpreter import Fault
from tests.unit.vm.test_interpreter import proofless

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int sums(struct xdp_md *ctx)
{
    int i, j, n = 0, length = (long)ctx->data_end - (long)ctx->data;
    bpf_for(i, -3, length) {
        if (i == 40)
            break;
        bpf_for(j, 0, i)
            n += j;
    }
    bpf_repeat(5)
        n += 1000;
    return n;
}
static int ask(struct bpf_iter_num *it)
{
    int *next = bpf_iter_num_next(it);
    return next ? *next : -1;
}
SEC("xdp") int borders(struct xdp_md *ctx)
{
    struct bpf_iter_num it;
    int n = 0, round, *next, found = 0;
    found |= (bpf_iter_num_new(&it, 10, 5) == -22) | (ask(&it) == -1) << 1;
    bpf_iter_num_destroy(&it);
    found |= (bpf_iter_num_new(&it, 0, (8 << 20) + 1) == -7) << 2 | (ask(&it) == -1) << 3;
    bpf_iter_num_destroy(&it);
    found |= (bpf_iter_num_new(&it, 0, 8 << 20) == 0) << 4 | (ask(&it) == 0) << 5 | (ask(&it) == 1) << 6;
    bpf_iter_num_destroy(&it);
    bpf_iter_num_new(&it, -2147483647 - 1, -2147483646);
    while ((next = bpf_iter_num_next(&it)))
        n += *next & 0xff;
    found |= (n == 1) << 7 | (ask(&it) == -1) << 8;
    bpf_iter_num_destroy(&it);
    bpf_iter_num_new(&it, 2147483646, 2147483647);
    found |= (ask(&it) == 2147483646) << 9 | (ask(&it) == -1) << 10;
    bpf_iter_num_destroy(&it);
    bpf_iter_num_new(&it, 7, 7);
    found |= (ask(&it) == -1) << 11;
    bpf_iter_num_destroy(&it);
    return found;
}
char _license[] SEC("license") = "GPL";
"""
ENGINES = {"native": VmEngine, "interpreted": partial(VmEngine, interpret=True)}
ALL = (1 << 12) - 1


def expected(length: int) -> int:
    return sum(sum(range(i)) for i in range(-3, min(length, 40))) + 5000


@pytest.mark.parametrize("engine", ENGINES)
def test_sums_and_borders(engine: str) -> None:
    with load(compile(SourceFile("iterators.bpf.c", SOURCE)), engine=ENGINES[engine]()) as live:
        for length in (14, 33, 90):
            assert live.programs["sums"].run(bytes(length)).retval == expected(length)
            assert live.programs["borders"].run(bytes(length)).retval == ALL


@pytest.mark.kernel
def test_the_kernel_does_the_same() -> None:
    if os.geteuid() != 0 or not kernel_programs.is_allowed():
        pytest.skip("needs root and bpf(2): the kernel is the judge")
    if kernel_version()[:2] < (6, 4):
        pytest.skip("bpf_iter_num_new() exists since Linux 6.4")
    with load(compile(SourceFile("iterators.bpf.c", SOURCE)), engine="kernel") as live:
        for length in (14, 33, 90):
            assert live.programs["sums"].run(bytes(length)).retval == expected(length)
            assert live.programs["borders"].run(bytes(length)).retval == ALL


NEW = "r1 = r10\nr1 += -8\nr2 = 0\nr3 = 3\ncall kfunc[bpf_iter_num_new]\n"
AT = "r1 = r10\nr1 += -8\n"
NEXT, DESTROY = AT + "call kfunc[bpf_iter_num_next]\n", AT + "call kfunc[bpf_iter_num_destroy]\n"
END = "r0 = 0\nexit"


@pytest.mark.parametrize(
    "text",
    [
        NEXT + END,
        NEW + DESTROY + DESTROY + END,
        NEW + "*(u8 *)(r10 -8) = 7\n" + NEXT + END,
        "r1 = 64\nr2 = 0\nr3 = 3\ncall kfunc[bpf_iter_num_new]\n" + END,
        NEW.replace("r3 = 3\n", "") + END,
        "call kfunc[bpf_rcu_read_lock]\n" + END,
    ],
    ids=["none", "destroyed", "overwritten", "no-memory", "argument-not-set", "no-such-function"],
)
def test_the_interpreter_faults(text: str) -> None:
    with pytest.raises(Fault):
        proofless(text).run(bytes(64))

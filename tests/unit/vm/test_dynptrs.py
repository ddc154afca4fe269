"""Dynptrs on the vm: native and interpreted alike, records and all; and what the interpreter does not let pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest

from skep import compile, load
from skep.abi.map_types import MapType
from skep.diagnostics import SourceFile
from skep.errors import MapError
from skep.kernel.bpf.programs import is_allowed
from skep.model.maps import MapSpec
from skep.vm.engine import VmEngine
from skep.vm.interpreter import Fault
from tests.unit.vm.test_interpreter import proofless

PACKET = bytes(range(64))
ENGINES: dict[str, Callable[[], VmEngine]] = {"native": VmEngine, "interpreted": partial(VmEngine, interpret=True)}
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
__u8 state[64];
__s64 answers[4];
static long step(__u32 i, struct bpf_dynptr *ptr) { __u8 byte = i; return bpf_dynptr_write(ptr, i, &byte, 1, 0) != 0; }
SEC("xdp") int program(struct xdp_md *ctx) {
    struct bpf_dynptr local, record;
    __u8 copy[8] = {};
    bpf_dynptr_from_mem(state, 12, 0, &local);
    answers[0] = bpf_loop(64, step, &local, 0);
    answers[1] = bpf_dynptr_read(copy, 8, &local, 4, 0);
    answers[2] = bpf_dynptr_read(copy, 8, &local, 5, 0);
    bpf_ringbuf_reserve_dynptr(&events, 10, 0, &record);
    __u8 *bytes = bpf_dynptr_data(&record, 0, 10);
    if (bytes) { bytes[8] = 77; bytes[9] = 78; }
    bpf_dynptr_write(&record, 0, copy, 8, 0);
    bpf_ringbuf_submit_dynptr(&record, 0);
    bpf_ringbuf_reserve_dynptr(&events, 3, 0, &record);
    bpf_ringbuf_discard_dynptr(&record, 0);
    bpf_ringbuf_reserve_dynptr(&events, 8000, 0, &record);
    answers[3] = bpf_dynptr_write(&record, 0, copy, 8, 0);
    bpf_ringbuf_submit_dynptr(&record, 0);
    return copy[7];
}
char _license[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_and_records(engine: str) -> None:
    spec = compile(SourceFile("dynptrs.bpf.c", SOURCE))
    with load(spec, engine=ENGINES[engine]()) as live:
        assert live.programs["program"].run(PACKET).retval == 11
        assert list(live.variables["answers"].value) == [13, 0, -7, -22]
        assert bytes(live.variables["state"].value)[:13] == bytes([*range(12), 0])
        assert list(live.maps["events"].handle.records()) == [bytes([*range(4, 12), 77, 78])]


RESERVE = """
    r1 = map[name:ring]
    r2 = 16
    r3 = 0
    r4 = r10
    r4 += -16
    call bpf_ringbuf_reserve_dynptr#198
"""
DATA = """
    r1 = r10
    r1 += -16
    r2 = 0
    r3 = 8
    call bpf_dynptr_data#203
    r6 = r0
"""
SUBMIT = """
    r1 = r10
    r1 += -16
    r2 = 0
    call bpf_ringbuf_submit_dynptr#199
"""
END = "r0 = 0\nexit"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (RESERVE + DATA + "*(u64 *)(r6 +0) = 1\n" + SUBMIT + END, None),
        (RESERVE + DATA + "*(u64 *)(r6 +4) = 1\n" + SUBMIT + END, "memory of the dynptr"),
        (RESERVE + DATA + SUBMIT + "*(u64 *)(r6 +0) = 1\n" + END, "write of 8 bytes"),
        (RESERVE + SUBMIT + SUBMIT + END, "there is no dynptr"),
        (RESERVE + "*(u8 *)(r10 -8) = 99\n" + SUBMIT + END, "something wrote over it"),
        (DATA + END, "there is no dynptr"),
    ],
)
def test_the_interpreter_watches(code: str, message: str | None) -> None:
    program = proofless(code, [MapSpec("ring", MapType.RINGBUF, max_entries=4096)])
    if message is None:
        assert program.run(PACKET).retval == 0
        return
    with pytest.raises(Fault, match=message):
        program.run(PACKET)


DRAIN = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } commands SEC(".maps");
__s64 sum, drained, lengths;
static long take(struct bpf_dynptr *record, void *stop_at)
{
    __u64 value = 0;
    if (bpf_dynptr_read(&value, 8, record, 0, 0)) { lengths++; return 0; }
    sum += value;
    __u8 *first = bpf_dynptr_data(record, 0, 1);
    return first && *first == *(__u8 *)stop_at;
}
SEC("xdp") int drain(struct xdp_md *ctx)
{
    __u8 stop_at = 200;
    drained = bpf_user_ringbuf_drain(&commands, take, &stop_at, 0);
    return 2;
}
SEC("xdp") int flags(struct xdp_md *ctx)
{
    __u8 stop_at = 200;
    drained = bpf_user_ringbuf_drain(&commands, take, &stop_at, 4);
    return 2;
}
char _license[] SEC("license") = "GPL";
"""


def _drained(engine: object) -> list[object]:
    """What a series of drains gives: the same on every engine."""
    seen: list[object] = []
    with load(compile(SourceFile("drain.bpf.c", DRAIN)), engine=engine) as live:  # type: ignore[arg-type]
        commands = live.maps["commands"]

        def run(name: str = "drain") -> None:
            live.programs[name].run(PACKET)
            seen.append([live.variables[key].value for key in ("drained", "sum", "lengths")])

        run()
        for number in (1, 2, 3):
            assert commands.submit(number.to_bytes(8, "little"))
        run()
        for number in (5, 200, 7):
            assert commands.submit(number.to_bytes(8, "little"))
        assert commands.submit(b"short")
        run()
        run()
        run("flags")
        for turn in range(3):
            count = 0
            while commands.submit((turn * 1000 + count << 8).to_bytes(8, "little")):
                count += 1
            seen.append(count)
            run()
        with pytest.raises(MapError, match="never fits"):
            commands.submit(bytes(5000))
        assert commands.submit(bytes(4088))
        assert not commands.submit(b"", timeout=0.01)
        run()
    return seen


@pytest.mark.parametrize("engine", ENGINES)
def test_user_ring_buffers(engine: str) -> None:
    seen = _drained(ENGINES[engine]())
    assert seen[:5] == [[0, 0, 0], [3, 6, 0], [2, 211, 0], [2, 218, 1], [-22, 218, 1]]
    assert seen[5] == 256


@pytest.mark.kernel
def test_user_ring_buffers_are_the_kernels() -> None:
    if os.geteuid() != 0 or not is_allowed():
        pytest.skip("needs root and bpf(2): the kernel is the judge")
    assert _drained(VmEngine()) == _drained("kernel")

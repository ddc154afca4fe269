"""The interpreter behind the engine's protocol: results of native code, and a Fault where a proof would lie."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from skep import hooks
from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.api import compile, load, open_object
from skep.diagnostics import SourceFile, Span
from skep.errors import ClosedError, UsageError
from skep.linker import link
from skep.model.maps import MapSpec
from skep.model.programs import VerifiedProgram
from skep.testing import check_engine, make_object
from skep.testing.engines import CHECKS
from skep.verifier import verify
from skep.vm.engine import VmEngine
from skep.vm.interpreter import Fault, InterpretedProgram
from skep.vm.programs import MapMemory
from tests.unit.jit.builder import make_program

PACKET = bytes(range(64))


@pytest.mark.parametrize("name", [check.__name__ for check in CHECKS])
def test_it_is_an_engine(name: str) -> None:
    assert check_engine(lambda: VmEngine(interpret=True), only=name) == [name]


def proofless(code: str, maps: Iterable[MapSpec] = (), prog_type: ProgType = ProgType.XDP) -> InterpretedProgram:
    """A program that nobody proved, with its maps."""
    engine = VmEngine()
    made = {spec.name: engine.create_map(spec) for spec in maps}
    program = make_program(code)
    lines = {0: Span("test.c", 7)}
    linked = replace(program.linked, prog_type=prog_type, maps={name: m.spec for name, m in made.items()}, lines=lines)
    memory = {name: MapMemory(handle.address, handle.size) for name, handle in made.items()}
    return InterpretedProgram(VerifiedProgram(linked, program.facts, 0), memory, keep=made)


VALUE = """
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = map[name:m]
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
"""
PACKET_POINTER = "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\n"
BAD = {
    "stack, below": ("r0 = *(u64 *)(r10 -520)\nexit", "read of 8 bytes"),
    "stack, above": ("*(u8 *)(r10 +0) = 1\nr0 = 0\nexit", "write of 1 bytes"),
    "packet, behind": (PACKET_POINTER + "r0 = *(u8 *)(r2 +64)\nexit", "outside packet"),
    "packet, half": (PACKET_POINTER + "r0 = *(u32 *)(r2 +62)\nexit", "outside packet"),
    "map value, behind": (VALUE + "r0 = *(u64 *)(r0 +1)\nout: r0 = 0\nexit", "outside map value"),
    "null": ("r1 = 0\nr0 = *(u8 *)(r1 +0)\nexit", "read of 1 bytes at 0x0"),
    "context, unaligned": ("r0 = *(u32 *)(r1 +2)\nexit", "offset 2 is not aligned"),
    "context, write": ("*(u32 *)(r1 +0) = 1\nr0 = 0\nexit", "cannot be written"),
    "register never written": ("r0 = r3\nexit", "r3 read before"),
    "register after a call": ("r1 = 1\ncall bpf_get_smp_processor_id#8\nr0 = r1\nexit", "r1 read before"),
    "no result": ("exit", "nothing was written to r0"),
    "argument never written": ("r1 = map[name:m]\ncall bpf_map_lookup_elem#1\nr0 = 0\nexit", "r2 given to helper 1"),
    "key outside": (
        "r2 = r10\nr2 += -3\nr1 = map[name:m]\ncall bpf_map_lookup_elem#1\nr0 = 0\nexit",
        "bpf_map_lookup_elem, argument 2",
    ),
    "no map": ("r2 = r10\nr2 += -8\nr1 = r2\ncall bpf_map_lookup_elem#1\nr0 = 0\nexit", "is no map"),
    "not the context": ("r1 = r10\nr2 = 0\ncall bpf_xdp_adjust_head#44\nr0 = 0\nexit", "is not the context"),
    "packet moved": (
        "r6 = r1\nr7 = *(u32 *)(r1 +0)\nr2 = 20\ncall bpf_xdp_adjust_head#44\nr0 = *(u8 *)(r7 +0)\nexit",
        "outside packet",
    ),
    "no such helper": ("call 9999\nr0 = 0\nexit", "there is no helper 9999"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_proof_would_exclude_is_a_fault(name: str) -> None:
    code, said = BAD[name]
    maps = [MapSpec("m", MapType.ARRAY, 4, 8, 1)] if "name:m" in code else []
    program = proofless(code, maps)
    with pytest.raises(Fault, match=said) as caught:
        program.run(PACKET)
    fault = caught.value
    assert fault.slot is not None
    assert fault.span == Span("test.c", 7)
    assert len(fault.registers) == 11
    assert "test.c:7" in str(fault)
    with pytest.raises(Fault):  # and it is in order for the next run
        program.run(PACKET)


def test_records_are_gone_when_submitted() -> None:
    code = """
        r1 = map[name:ring]
        r2 = 16
        r3 = 0
        call bpf_ringbuf_reserve#131
        if r0 == 0 goto out
        r6 = r0
        *(u64 *)(r6 +8) = 1
        r1 = r6
        r2 = 0
        call bpf_ringbuf_submit#132
        *(u64 *)(r6 +8) = 2
        out: r0 = 0
        exit
    """
    with pytest.raises(Fault) as caught:
        proofless(code, [MapSpec("ring", MapType.RINGBUF, max_entries=4096)]).run(PACKET)
    assert caught.value.slot == 11


def test_registers_and_slot_are_those_of_the_instruction() -> None:
    with pytest.raises(Fault) as caught:
        proofless("r3 = 5\nr4 = 6\nr0 = *(u8 *)(r3 +0)\nexit").run(PACKET)
    assert caught.value.slot == 2
    assert caught.value.registers[3:5] == (5, 6)


SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define MAP(kind, count, k, v) __uint(type, BPF_MAP_TYPE_##kind); __uint(max_entries, count); \\
    __type(key, k); __type(value, v)
struct { MAP(PROG_ARRAY, 4, __u32, __u32); } jumps SEC(".maps");
struct { MAP(HASH, 8, __u32, __u64); } seen SEC(".maps");
struct { MAP(PERCPU_ARRAY, 1, __u32, __u64); } per SEC(".maps");
__u64 total;
const volatile __u32 rounds = 5;
static long add(__u32 i, void *ctx) { *(__u64 *)ctx += i; return i == 3; }
static long visit(void *map, __u32 *key, __u64 *value, void *ctx) {
    *(__u64 *)ctx += *value * *key;
    *value += 1;
    return 0;
}
static __attribute__((noinline)) int leave(struct xdp_md *ctx) {
    volatile int verdict = 9;
    bpf_tail_call(ctx, &jumps, 1);
    return verdict;
}
SEC("xdp") int target(struct xdp_md *ctx) { total += 1000; return 3; }
SEC("xdp") int first(struct xdp_md *ctx) {
    __u64 sum = 0; __u32 key = 1, zero = 0; __u64 one = 7, *p;
    bpf_loop(rounds, add, &sum, 0);
    bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
    bpf_for_each_map_elem(&seen, visit, &sum, 0);
    if ((p = bpf_map_lookup_elem(&per, &zero))) *p += sum;
    total += sum;
    if (bpf_xdp_adjust_head(ctx, 2)) return 0;
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 4 > end) return 0;
    *(__u8 *)data = 0xaa;
    int verdict = leave(ctx);
    return verdict + 1;
}
char _license[] SEC("license") = "GPL";
"""

ENGINES = {"native": VmEngine, "interpreted": partial(VmEngine, interpret=True)}


@pytest.mark.parametrize("engine", ENGINES)
def test_loops_callbacks_subprograms_and_tail_calls(engine: str) -> None:
    spec = compile(SourceFile("mixed.bpf.c", SOURCE))
    with load(spec, engine=ENGINES[engine]()) as live:
        live.maps["jumps"][1] = live.programs["target"]
        run = live.programs["first"].run(PACKET)
        assert run.retval == 4  # target's 3, returned to first by leave()
        assert run.data == b"\xaa" + PACKET[3:]
        assert live.variables["total"].value == 0 + 1 + 2 + 3 + 7 + 1000
        assert live.maps["seen"][1] == 8


def test_a_fault_behind_a_tail_call_comes_out() -> None:
    engine = VmEngine(interpret=True)
    jumps = engine.create_map(MapSpec("jumps", MapType.PROG_ARRAY, 4, 4, 2))
    code = "r2 = map[name:jumps]\nr3 = 0\ncall bpf_tail_call#12\nr0 = 1\nexit"
    spec = make_object(code, maps=[jumps.spec])
    first = engine.load_program(verify(link(spec, "program", engine.target)), {"jumps": jumps})
    assert first.run(PACKET).retval == 1
    bad = proofless("r0 = *(u8 *)(r1 +999)\nexit")
    engine.set_program(jumps, 0, bad)
    with pytest.raises(Fault, match="outside context"):
        first.run(PACKET)
    engine.close()


def test_captures_are_interpreted(examples: Path, tmp_path: Path) -> None:
    capture = next(iter(sorted((examples / "data").glob("*.pcap*"))), None)
    if capture is None:
        pytest.skip("no capture among the examples")
    spec = open_object(examples / "counter.bpf.c")
    results = []
    for name, engine in ENGINES.items():
        out = tmp_path / f"{name}.pcap"
        with load(spec, engine=engine()) as live:
            program = next(iter(live.programs.values()))
            with program.attach(hooks.Pcap(capture, out=out)) as attached:
                run = attached.run()
            maps = {key: sorted(map(str, m.contents())) for key, m in live.maps.items()}
        results.append((run.packets, run.verdicts, maps, out.read_bytes()))
    assert results[0] == results[1]


def test_repeat_context_and_bytes_are_the_same_as_native() -> None:
    code = """
        r2 = *(u32 *)(r1 +52)
        r2 += 1
        *(u32 *)(r1 +52) = r2
        r0 = r2
        exit
    """
    spec = make_object(code, prog_type=ProgType.SCHED_CLS)
    ctx = bytearray(192)
    struct.pack_into("<I", ctx, 52, 40)
    for engine in ENGINES.values():
        with load(spec, engine=engine()) as live:
            run = live.programs["program"].run(PACKET, ctx=bytes(ctx), repeat=3)
            assert run.retval == 43
            assert struct.unpack_from("<I", run.ctx, 52) == (43,)


def test_watching_and_closing() -> None:
    program = proofless("r0 = 1\nr0 += 2\nexit")
    seen: list[tuple[int, int]] = []
    program.watch(lambda machine, slot, registers: seen.append((slot, registers[0])))
    assert program.run(PACKET).retval == 3
    assert seen == [(0, 0), (1, 1), (2, 3)]
    with pytest.raises(UsageError, match="interpreted"):
        _ = program.llvm_ir
    program.close()
    with pytest.raises(ClosedError):
        program.run(PACKET)


def test_it_is_an_engine_by_name() -> None:
    spec = make_object("r0 = 2\nexit")
    with load(spec, engine="interpreter") as live:
        program = live.programs["program"]
        assert isinstance(program.handle, InterpretedProgram)
        assert program.run(PACKET).retval == 2

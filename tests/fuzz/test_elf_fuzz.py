"""Hostile object files: whatever the bytes, reading and linking end soon and raise nothing but SkepError."""

from __future__ import annotations

import contextlib
import random
import time

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from skep.errors import SkepError
from skep.linker import link
from skep.model.target import Target
from skep.objfile import read_object
from tests.unit.objfile.build import CODE, DATA, EXIT, Raw, RawElf, compile_c

SOURCE = """
struct { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
struct inner { __uint(type, 2); __uint(max_entries, 7); __type(key, __u32); __type(value, __u32); } leaf SEC(".maps");
struct { __uint(type, 12); __uint(max_entries, 4); __type(key, __u32); __array(values, struct inner); }
    outer SEC(".maps") = { .values = { [3] = &leaf } };
struct task { int pid; int tgid; } __core;
extern int LINUX_KERNEL_VERSION __kconfig;
extern void missing(void) __ksym __weak;
static volatile __u32 first = 5;
volatile const __u32 limit = 3;
static __noinline int local_sub(int x) { return x * first; }
__noinline int global_sub(int x) { return x + limit + local_sub(x); }
SEC("xdp") int pass(void *ctx) { return global_sub(1) + LINUX_KERNEL_VERSION; }
SEC("raw_tp/x") int traced(struct task *t) { __u32 k = 0; if (missing) missing();
    return t->tgid + (bpf_map_lookup_elem(&counts, &k) != 0) + (bpf_map_lookup_elem(&outer, &k) != 0); }
"""
TARGET = Target("fuzz", (6, 18, 0))
MOST_SECONDS = 2.0
_EXAMPLES = 150


def survive(data: bytes) -> None:
    """Read and link everything; SkepError is the only way to fail."""
    began = time.monotonic()
    with contextlib.suppress(SkepError):
        spec = read_object(data, "fuzz.o")
        for program in spec.programs:
            with contextlib.suppress(SkepError):
                link(spec, program, TARGET)
    assert time.monotonic() - began < MOST_SECONDS


def legacy_object() -> bytes:
    return RawElf(
        [Raw("maps", bytes(range(1, 73)), flags=DATA), Raw("2/7", EXIT * 3, flags=CODE), Raw("license", b"GPL\0")],
        [("counts", 0, 0, 0, 1, 1), ("sums", 36, 36, 1, 1, 1), ("entry", 0, 24, 2, 1, 2)],
    ).build()


@given(st.data())
@settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_objects(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([compile_c(SOURCE), compile_c(SOURCE, target="bpfeb"), legacy_object()]))
    mutant = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        value = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 8])))
        mutant[at : at + len(value)] = value
    survive(bytes(mutant))


@given(st.data())
@settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_tables(data: st.DataObject) -> None:
    """Where it hurts most: the section table, symbols, relocations and BTF, not the string tables in between."""
    mutant = bytearray(compile_c(SOURCE))
    table = int.from_bytes(mutant[40:48], "little")
    count = int.from_bytes(mutant[60:62], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        header = table + data.draw(st.integers(0, count - 1)) * 64
        if data.draw(st.booleans()):
            at = header + data.draw(st.integers(0, 15)) * 4
        else:
            start, size = (int.from_bytes(mutant[header + o : header + o + 8], "little") for o in (24, 32))
            at = min(start + data.draw(st.integers(0, max(size - 1, 0))), len(mutant) - 4)
        value = data.draw(st.sampled_from([0, 1, 2, 3, 8, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF, len(mutant)]))
        mutant[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")
    survive(bytes(mutant))


@given(st.binary(max_size=400))
@settings(max_examples=_EXAMPLES, deadline=None)
@example(b"\x7fELF\x02\x01\x01" + bytes(57))
def test_random_bytes(data: bytes) -> None:
    survive(data)
    survive(b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x01\0\xf7\0" + data)


def test_truncations() -> None:
    whole = compile_c(SOURCE)
    for size in random.Random(2).sample(range(len(whole)), 150):
        survive(whole[:size])


def test_many_things_of_one_name_take_linear_time() -> None:
    """20,000 static functions, variables and calls: what is quadratic shows here."""
    count = 20_000
    call = bytes([0x85, 0x10, 0, 0]) + (1).to_bytes(4, "little")
    functions = [("twin", 16 * i, 16, 2, 0, 1) for i in range(count)]
    variables = [("twin", 4 * i, 4, 1, 0, 2) for i in range(count)]
    raw = RawElf(
        [Raw(".text", (call + EXIT) * count + EXIT, flags=CODE), Raw(".data", bytes(4 * count), flags=DATA)],
        [*functions, *variables, ("last", 16 * count, 8, 2, 1, 1), ("entry", 0, 16, 2, 1, 3)],
    )
    raw.sections.append(Raw("xdp", call + EXIT, flags=CODE))
    raw.relocations = {3: [(0, 1, 10)]}
    data = raw.build()
    began = time.monotonic()
    spec = read_object(data, "many.o")
    linked = link(spec, "entry", TARGET)
    assert len(spec.notes) == 1
    assert len(linked.subprograms) == count + 1
    assert time.monotonic() - began < 20

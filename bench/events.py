"""Reading a ring buffer: a ctypes callback for each record, as bcc does it, beside skep's ways. Same records, one run.

The records (24 bytes: a number, a pid, a CPU, a size) are put there by a program of ours that the kernel test-runs;
only the reading is measured, with decoding: every way adds up one field of every record. The ways take turns; the best
of the rounds counts, because the others were disturbed.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

import skep
from skep.kernel.bpf.programs import is_allowed
from skep.kernel.rings.ringbuf import RingBuffer

ROUNDS, RING_BYTES, RECORD_BYTES = 15, 1 << 22, 24
RECORDS = RING_BYTES // (RECORD_BYTES + 8) - 1
SOURCE = f"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct event {{ __u64 number; __u32 pid, cpu; __u64 size; }};
const struct event *unused __attribute__((unused));
struct {{ __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, {RING_BYTES}); }} events SEC(".maps");
__u64 number;
SEC("xdp") int send(struct xdp_md *ctx)
{{
	struct event e = {{ number++, 1, 2, 64 }};
	bpf_ringbuf_output(&events, &e, sizeof(e), BPF_RB_NO_WAKEUP);
	return XDP_PASS;
}}
char LICENSE[] SEC("license") = "GPL";
"""
# What libbpf's ring_buffer__consume() does, for bcc's way: a native loop that calls back into Python for each record.
LOOP = """
define i64 @each(ptr %data, i64 %begin, i64 %end, i64 %mask, ptr %callback) {
entry:
  br label %test
test:
  %position = phi i64 [ %begin, %entry ], [ %next, %body ]
  %more = icmp ult i64 %position, %end
  br i1 %more, label %body, label %done
body:
  %at = and i64 %position, %mask
  %header = getelementptr i8, ptr %data, i64 %at
  %length32 = load atomic i32, ptr %header acquire, align 8
  %length = zext i32 %length32 to i64
  %record = getelementptr i8, ptr %header, i64 8
  %ignored = call i32 %callback(ptr null, ptr %record, i64 %length)
  %with_header = add i64 %length, 15
  %next_size = and i64 %with_header, -8
  %next = add i64 %position, %next_size
  br label %test
done:
  ret i64 %position
}
"""
Way = Callable[[], tuple[int, int]]  # records, sum of their numbers


class Event(ctypes.Structure):
    """As a bcc user declares it."""

    _fields_ = [
        ("number", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("size", ctypes.c_uint64),
    ]


Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def callbacks(reader: RingBuffer) -> Way:
    """bcc: ``ring_buffer.poll()`` calls ``f(ctx, data, size)``, which casts the data to a ctypes structure."""
    import llvmlite.binding as binding

    engine = binding.create_mcjit_compiler(binding.parse_assembly(LOOP), llvm_machine())
    engine.finalize_object()
    each = ctypes.CFUNCTYPE(
        ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, Callback
    )(engine.get_function_address("each"))
    base = np.frombuffer(reader._data, np.uint8).ctypes.data
    found = [0, 0]

    def callback(ctx: int, data: int, size: int) -> int:
        event = ctypes.cast(data, ctypes.POINTER(Event)).contents
        found[0] += 1
        found[1] += event.number
        return 0

    kept = Callback(callback)

    def way() -> tuple[int, int]:
        found[:] = [0, 0]
        _ = engine
        reader._advance(each(base, reader._position, reader._producer[0], reader._mask, kept))
        return found[0], found[1]

    return way


def llvm_machine() -> object:
    """A target machine of llvmlite for this CPU."""
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple().create_target_machine()


def main(console: Console) -> None:
    """Print records a second of each way."""
    if not is_allowed():
        console.print("skipped: bpf(2) is not allowed here (root, CAP_BPF)")
        return
    with skep.load(skep.compile(skep.SourceFile("events.bpf.c", SOURCE)), engine="kernel") as live:
        source = live.maps["events"].handle
        reader = source.reader()  # type: ignore[attr-defined]
        stream = live.maps["events"].stream("event")
        layout = np.dtype({"names": ["number"], "formats": ["<u8"], "offsets": [8], "itemsize": RECORD_BYTES + 8})

        def one_by_one() -> tuple[int, int]:
            events = stream.ready()
            return len(events), sum(event["number"] for event in events)

        def raw() -> tuple[int, int]:
            records = source.drain()  # type: ignore[attr-defined]
            return len(records), sum(int.from_bytes(record[:8], "little") for record in records)

        def arrays() -> tuple[int, int]:
            array = stream.array()
            return len(array), int(array["number"].sum())

        def in_place() -> tuple[int, int]:
            with reader.borrow_fixed(RECORD_BYTES) as records:
                return records.count, int(np.frombuffer(records.data, layout)["number"].sum())

        ways: dict[str, Way] = {
            "a ctypes callback each (as bcc)": callbacks(reader),
            "skep, records as bytes": raw,
            "skep, events decoded by BTF": one_by_one,
            "skep, NumPy arrays (stream.array)": arrays,
            "skep, NumPy in place (borrow_fixed)": in_place,
        }
        best = measure(live, ways)
    table = Table("way", "M events/s", "against callbacks", box=None)
    slowest = best[next(iter(ways))]
    for name, rate in best.items():
        table.add_row(name, f"{rate / 1e6:.2f}", f"{rate / slowest:.1f}x")
    console.print(table)


def measure(live: skep.Object, ways: dict[str, Way]) -> dict[str, float]:
    """Records a second, the best of the rounds. Every way must see every record."""
    best = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            first = live.variables["number"].value
            live.programs["send"].run(bytes(64), repeat=RECORDS)
            started = time.perf_counter()
            count, total = way()
            seconds = time.perf_counter() - started
            assert count == RECORDS, f"{name}: {count} of {RECORDS} records"
            assert total == sum(range(first, first + RECORDS)), f"{name}: wrong records"
            best[name] = max(best[name], count / seconds)
    return best

"""Ring buffers, perf buffers, user ring buffers: order, wraparound, discarded and odd records, lost ones, waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

import skep
from skep.collection.events import find_event_type
from skep.errors import MapError, UnsupportedError, UsageError

pytestmark = pytest.mark.kernel

np = pytest.importorskip("numpy")
RING_BYTES, RECORD_BYTES, STRIDE = 4096, 24, 32
SOURCE = """
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
struct inner { __s16 a; __u8 b[3]; };
struct event { __u64 number; __s32 minus; char name[6]; __u16 tag; };
struct odd { __u32 first : 3, second : 29; };
struct deep { struct inner one; union { __u32 word; __u8 bytes[4]; }; struct inner many[2]; _Bool yes; };
const struct event *unused __attribute__((unused));
const struct odd *unused_odd __attribute__((unused));
const struct deep *unused_deep __attribute__((unused));
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } commands SEC(".maps");
__u64 number, lost, sum;
#define EVENT { number++, -5, "names", 7 }
SEC("xdp") int send(struct xdp_md *ctx)
{ struct event e = EVENT; if (bpf_ringbuf_output(&events, &e, sizeof e, 0)) __sync_fetch_and_add(&lost, 1); return 2; }
SEC("xdp") int mixed(struct xdp_md *ctx)
{
	__u64 n = number++; struct event e = { n, -5, "names", 7 };
	if (n % 7 == 3) {
		__u32 *r = bpf_ringbuf_reserve(&events, 4, 0);
		if (r) { *r = n; bpf_ringbuf_submit(r, 0); }
		return 2;
	}
	if (n % 7 == 5) { void *r = bpf_ringbuf_reserve(&events, 24, 0); if (r) bpf_ringbuf_discard(r, 0); return 2; }
	bpf_ringbuf_output(&events, &e, sizeof e, 0);
	return 2;
}
SEC("xdp") int send_perf(struct xdp_md *ctx)
{ struct event e = EVENT; bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &e, sizeof e); return 2; }
static long take(struct bpf_dynptr *record, void *ctx)
{ __u64 value = 0; bpf_dynptr_read(&value, 8, record, 0, 0); sum += value; return 0; }
SEC("xdp") int drain(struct xdp_md *ctx) { bpf_user_ringbuf_drain(&commands, take, 0, 0); return 2; }
char LICENSE[] SEC("license") = "GPL";
"""
Load = Callable[..., skep.Object]
FRAME = bytes(64)


@pytest.fixture
def live(load: Load) -> skep.Object:
    return load(SOURCE)


def test_order_and_wraparound(live: skep.Object) -> None:
    events = live.maps["events"].stream("event")
    numbers = []
    for _ in range(40):  # 100 records of 32 bytes go three quarters round the ring each time
        live.programs["send"].run(FRAME, repeat=100)
        numbers += [event["number"] for event in events.ready()]
    assert numbers == list(range(4000))


def test_fixed_records_wrap_too(live: skep.Object) -> None:
    events = live.maps["events"].stream("event")
    arrays = []
    for _ in range(40):
        live.programs["send"].run(FRAME, repeat=100)
        arrays.append(events.array())
    assert np.array_equal(np.concatenate(arrays)["number"], np.arange(4000))
    assert set(arrays[0]["minus"]) == {-5}
    assert set(arrays[0]["name"]) == {b"names"}
    assert not events.others


def test_other_sizes_and_discarded_records(live: skep.Object) -> None:
    events = live.maps["events"].stream("event")
    whole, others = [], []
    for _ in range(30):
        live.programs["mixed"].run(FRAME, repeat=100)
        whole.append(events.array()["number"])
    others = [int.from_bytes(other, "little") for other in events.others]
    assert list(np.concatenate(whole)) == [n for n in range(3000) if n % 7 not in (3, 5)]
    assert others == [n for n in range(3000) if n % 7 == 3]
    live.programs["mixed"].run(FRAME, repeat=14)
    assert len(events.ready()) == 12


def test_no_room_is_counted_by_the_program_and_told(live: skep.Object) -> None:
    events = live.maps["events"].stream("event", lost=lambda: live.variables["lost"].value)
    live.programs["send"].run(FRAME, repeat=200)
    got = events.array()
    assert len(got) == RING_BYTES // STRIDE - 1 or len(got) == RING_BYTES // STRIDE
    assert events.lost == 200 - len(got) > 0


def test_records_in_place(live: skep.Object) -> None:
    handle = live.maps["events"].handle
    live.programs["send"].run(FRAME, repeat=50)
    with handle.reader().borrow_fixed(RECORD_BYTES) as records:  # type: ignore[attr-defined]
        assert (records.count, records.stride) == (50, STRIDE)
        assert records.data[records.offset : records.offset + 8] == bytes(8)
    assert handle.drain() == []  # type: ignore[attr-defined]


def test_waiting_and_being_woken(live: skep.Object) -> None:
    events = live.maps["events"].stream("event")
    started = time.monotonic()
    assert events.poll(0.05) == []
    assert 0.04 < time.monotonic() - started < 2
    later = threading.Timer(0.1, lambda: live.programs["send"].run(FRAME))
    later.start()
    (event,) = events.poll(10)
    assert event["number"] == 0
    later.join()
    later = threading.Timer(0.1, events.stop)
    later.start()
    assert list(events) == []
    later.join()


def test_asyncio(live: skep.Object) -> None:
    async def collect(count: int) -> list[int]:
        found = []
        asyncio.get_running_loop().call_later(0.05, lambda: live.programs["send"].run(FRAME, repeat=count))
        async for event in live.maps["events"].stream("event"):
            found.append(event["number"])
            if len(found) == count:
                break
        return found

    assert asyncio.run(asyncio.wait_for(collect(50), 10)) == list(range(50))


def test_perf_buffer_and_its_lost_records(live: skep.Object) -> None:
    with live.maps["perf"].stream("event", pages=1) as events:
        live.programs["send_perf"].run(FRAME, repeat=20)
        assert [event["number"] for event in events.poll(5)] == list(range(20))
        live.programs["send_perf"].run(FRAME, repeat=1000)
        got = len(events.array())
        live.programs["send_perf"].run(FRAME)
        last = events.ready()  # the kernel tells what was lost with the next record that fits
        assert (got + len(last) + events.lost, events.lost > 0) == (1001, True)
        for _ in range(30):
            live.programs["send_perf"].run(FRAME, repeat=50)
            array = events.array()
            assert len(array) == 50
            assert np.array_equal(np.diff(array["number"]), np.ones(49))


def test_user_ring(live: skep.Object) -> None:
    commands = live.maps["commands"]
    expected = 0
    for turn in range(20):
        sent = 0
        while commands.submit((turn * 1000 + sent).to_bytes(8, "little")):
            expected += turn * 1000 + sent
            sent += 1
        assert sent == 256
        live.programs["drain"].run(FRAME)
        assert live.variables["sum"].value == expected
    with pytest.raises(MapError, match="never fits"):
        commands.submit(bytes(5000))


def test_numpy_types(live: skep.Object) -> None:
    from skep.btf.types import Struct
    from skep.collection.dtypes import dtype_of

    btf = live.spec.btf
    assert btf is not None
    deep = dtype_of(btf, btf.find("deep", Struct))
    raw = bytes(range(1, deep.itemsize + 1))
    row = np.frombuffer(raw, deep)[0]
    assert row["one"]["a"] == 0x0201
    assert bytes(row["bytes"]) == int(row["word"]).to_bytes(4, "little")
    assert row["many"].shape == (2,)
    with pytest.raises(UnsupportedError, match="bitfield 'first'"):
        dtype_of(btf, btf.find("odd", Struct))


def test_types_of_records(live: skep.Object) -> None:
    assert find_event_type(live.spec.btf, "events") == "event"
    with pytest.raises(UsageError, match="no type 'nothing'"):
        live.maps["events"].stream("nothing")
    with pytest.raises(UnsupportedError, match="without a type"):
        live.maps["events"].stream().array()


def test_streams_on_the_vm() -> None:
    spec = skep.compile(skep.SourceFile("v.bpf.c", VM))
    with skep.load(spec) as live:
        events = live.maps["events"].stream("event")
        live.programs["send"].run(FRAME, repeat=3)
        assert [event["number"] for event in events.poll(1)] == [0, 1, 2]
        live.programs["send"].run(FRAME, repeat=3)
        assert list(events.array()["number"]) == [3, 4, 5]
        assert events.poll(0.01) == []


VM = (
    SOURCE.partition("struct { __uint(type, BPF_MAP_TYPE_PERF")[0]
    + """
__u64 number;
SEC("xdp") int send(struct xdp_md *ctx)
{ struct event e = { number++, -5, "names", 7 }; bpf_ringbuf_output(&events, &e, sizeof e, 0); return 2; }
char LICENSE[] SEC("license") = "GPL";
"""
)

"""Hostile captures: the native reader never leaves its buffer, ends, and the hook raises nothing but SkepError."""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import mmap
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from skep.errors import SkepError
from skep.model.hooks import Pcap
from skep.vm.hooks.capture import MAX_INTERFACES
from skep.vm.hooks.layout import Capture, Interface, Record
from skep.vm.hooks.pcap import PcapLink
from skep.vm.runtime import runtime
from tests.unit.vm.programs import load
from tests.unit.vm.test_captures import block, pcap, pcapng

SEEDS = [pcap(), pcap(order=">", ns=True), pcapng(), pcapng(">", 6), pcapng() + pcapng(">"), block("<", 3, bytes(8))]
EDGES = [0, 1, 3, 4, 11, 12, 16, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFC, 0xFFFFFFFF]
RECORDS = 64
LIMIT = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


class Cage:
    """A buffer that ends where unreadable memory begins: one byte too far is a crash of the test."""

    def __init__(self, size: int = 1 << 16) -> None:
        self._map = mmap.mmap(-1, size + mmap.PAGESIZE)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self._end = ctypes.addressof(self._anchor) + size
        libc = ctypes.CDLL(None)
        libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        assert libc.mprotect(self._end, mmap.PAGESIZE, 0) == 0

    def put(self, data: bytes) -> int:
        """Copy data to the end; its address."""
        ctypes.memmove(self._end - len(data), data, len(data))
        return self._end - len(data)


CAGE = Cage()
runtime()  # compiled now, so that no example is timed with it


@st.composite
def damaged_captures(draw: st.DrawFn) -> bytes:
    """A capture with fields overwritten by numbers at the edges, bytes inserted and removed, or cut."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(data) - 4, 0)))
        order = draw(st.sampled_from(["little", "big"]))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 4] = draw(st.sampled_from(EDGES)).to_bytes(4, order)
            case 1:
                data[at : at + 2] = (draw(st.sampled_from(EDGES)) & 0xFFFF).to_bytes(2, order)
            case 2:
                del data[at : at + draw(st.integers(1, 40))]
            case _:
                data[at:at] = draw(st.binary(max_size=24))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@LIMIT
@given(damaged_captures() | st.binary(max_size=200))
@example(b"\x0a\x0d\x0d\x0a")
def test_the_reader_stays_in_its_buffer(data: bytes) -> None:
    interfaces, records = (Interface * MAX_INTERFACES)(), (Record * RECORDS)()
    start = CAGE.put(data)
    state = Capture(
        buffer=start, length=len(data), interfaces=ctypes.addressof(interfaces), max_interfaces=MAX_INTERFACES, at_end=1
    )
    begun = time.monotonic()
    for _ in range(1000):
        n = runtime().functions["skep_capture_list"](ctypes.addressof(state), ctypes.addressof(records), RECORDS)
        assert state.position <= len(data)
        for record in records[:n]:
            assert start <= record.data <= record.data + record.captured <= start + len(data)
        if n < RECORDS:
            break
    else:
        raise AssertionError("the reader does not end")
    assert state.error or state.position == len(data)
    assert time.monotonic() - begun < 1


@settings(LIMIT, max_examples=60)
@given(damaged_captures(), st.booleans(), st.booleans())
def test_the_hook_raises_only_skep_errors_and_leaves_no_file(data: bytes, compressed: bool, spoil: bool) -> None:
    if compressed:
        data = gzip.compress(data)
        if spoil:
            data = data[: len(data) // 2] + b"\xff" + data[len(data) // 2 :]
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name, "in"), Path(name, "out")
        path.write_bytes(data)
        done = False
        with contextlib.suppress(SkepError):
            PcapLink(PASS, Pcap(path, out=out)).run()
            done = True
        assert {entry.name for entry in Path(name).iterdir()} == ({"in", "out"} if done else {"in"})


def test_a_gzip_bomb_takes_little_memory() -> None:
    import resource

    bomb = gzip.compress(pcap() + bytes(200 << 20), 9)  # records of no bytes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "in")
        path.write_bytes(bomb)
        result = PcapLink(PASS, Pcap(path)).run()
    assert result.packets == 10 + (200 << 20) // 16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


PASS = load("r0 = 2\nexit")

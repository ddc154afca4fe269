"""From C to native code: helpers that ask the host, and maps that refer to programs and maps of this process."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
import time
from pathlib import Path

import pytest

from skep.errors import MapError
from skep.frontend import compile_c
from skep.linker import link
from skep.model.objects import ObjectSpec
from skep.objfile import read_object
from skep.verifier import verify
from skep.vm.engine import VmEngine
from skep.vm.trace import trace_lines

PACKET = bytes(range(64))


class Loaded:
    """The object, its maps, and runs of its programs."""

    def __init__(self, spec: ObjectSpec) -> None:
        self.engine = VmEngine()
        self.spec = spec
        self.maps = {name: self.engine.create_map(value) for name, value in spec.maps.items()}

    def load(self, name: str):  # type: ignore[no-untyped-def]
        return self.engine.load_program(verify(link(self.spec, name, self.engine.target)), self.maps)

    def run(self, name: str, ctx: bytes | None = None) -> list[int]:
        self.load(name).run(b"" if ctx else PACKET, ctx)
        return [int.from_bytes(self.maps["out"].lookup(u32(i)) or b"", "little", signed=True) for i in range(16)]


def u32(n: int) -> bytes:
    return struct.pack("<I", n)


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    return read_object(compile_c(Path(__file__).with_name("vm_helpers.c")), "vm_helpers")


@pytest.fixture
def loaded(spec: ObjectSpec) -> Loaded:
    return Loaded(spec)


def test_host_facts(loaded: Loaded) -> None:
    before = time.monotonic_ns()
    out = loaded.run("host", bytes(64))
    assert before <= out[0] <= time.monotonic_ns()
    assert abs(out[1] - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < 10**9
    assert out[2] == os.getpid() << 32 | threading.get_native_id()
    assert out[3] == os.getgid() << 32 | os.getuid()
    assert out[4] == 0
    name = Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_bytes().rstrip(b"\n")
    assert out[5].to_bytes(8, "little", signed=True) == name.ljust(16, b"\0")[:8]
    assert out[6] != out[7]
    assert 0 <= out[8] < (os.cpu_count() or 1)
    assert abs(out[10] - time.clock_gettime_ns(time.CLOCK_TAI)) < 10**9


def test_reading_memory_never_faults(loaded: Loaded) -> None:
    number, text = ctypes.c_uint64(0x1234567890), ctypes.create_string_buffer(b"hi!")
    out = loaded.run("memory", struct.pack("<QQQQ", 0, 0, ctypes.addressof(number), ctypes.addressof(text)).ljust(64))
    assert out[:2] == [0, 0x1234567890]
    assert out[2:4] == [-errno.EFAULT, 0]
    assert out[4:7] == [4, int.from_bytes(b"hi!\0", "little"), 4]
    assert out[7] == -errno.EFAULT


def test_printed_lines(loaded: Loaded) -> None:
    list(trace_lines())
    loaded.load("print").run(PACKET)
    assert list(trace_lines()) == ["packet of 64 bytes, text", "1 2 3 4"]


def test_perf_events(loaded: Loaded) -> None:
    assert loaded.run("event")[:3] == [0, -errno.E2BIG, -errno.EFAULT]
    assert list(loaded.maps["events"].records()) == [bytes.fromhex("44332211") + PACKET[:6]]


def test_tail_calls_end_after_33(loaded: Loaded) -> None:
    program = loaded.load("again")
    assert program.run(PACKET).retval == 7
    loaded.engine.set_program(loaded.maps["jumps"], 1, program)
    assert program.run(PACKET).retval == 7
    assert loaded.maps["out"].lookup(u32(0)) == struct.pack("<Q", 1 + 34)
    with pytest.raises(MapError, match="programs of type xdp"):
        loaded.engine.set_program(loaded.maps["jumps"], 2, loaded.load("host"))
    assert loaded.maps["jumps"].delete(u32(1))
    assert program.run(PACKET).retval == 7
    assert loaded.maps["out"].lookup(u32(0)) == struct.pack("<Q", 36)


def test_maps_in_maps(loaded: Loaded) -> None:
    assert loaded.run("inside")[0] == 0
    template = loaded.maps["outer"].spec.inner
    assert template is not None
    inner = loaded.engine.create_map(template.replace(name="one", max_entries=50))
    loaded.engine.set_inner(loaded.maps["outer"], u32(0), inner)
    assert loaded.run("inside")[:4] == [1, 0, 9, 0]
    assert inner.lookup(u32(3)) == struct.pack("<Q", 9)
    inner.close()
    del inner
    assert loaded.run("inside")[:4] == [1, 0, 9, 0]  # it lives on in there


def test_values_of_cpus(loaded: Loaded) -> None:
    out = loaded.run("cpus")
    assert out[0] == 0
    assert out[1] == out[2] >= 40
    assert out[3] == 0


def test_for_each(loaded: Loaded) -> None:
    out = loaded.run("every")
    assert out[:6] == [20, 210, -errno.EINVAL, 20, 0, 2]


def test_ring_records(loaded: Loaded) -> None:
    loaded.load("rings").run(PACKET)
    assert list(loaded.maps["ring"].records()) == [struct.pack("<III", i, i, i) for i in (0, 2)]
    assert list(loaded.maps["ring"].records()) == []

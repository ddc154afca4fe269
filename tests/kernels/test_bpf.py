"""bpf(2) through skep.kernel, end to end on the smallest program: load, test run, maps, pins."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa.assembler import assemble
from skep.isa.codec import encode
from skep.kernel.bpf import maps, objects, programs

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]

_XDP_DROP, _XDP_PASS = 1, 2
_PACKET = bytes(range(64))
# XDP_DROP when the packet has fewer than 15 bytes or its byte 14 is 0; else XDP_PASS and byte 0 becomes 7.
_PROGRAM = """
    r2 = *(u32 *)(r1 +0)
    r3 = *(u32 *)(r1 +4)
    r0 = 1
    r4 = r2
    r4 += 15
    if r4 > r3 goto +4
    r5 = *(u8 *)(r2 +14)
    if r5 == 0 goto +2
    *(u8 *)(r2 +0) = 7
    r0 = 2
    exit
"""


@pytest.mark.parametrize(
    ("packet", "verdict", "first"),
    [(_PACKET, _XDP_PASS, 7), (bytes(64), _XDP_DROP, 0)],
    ids=["passed and changed", "dropped"],
)
def test_xdp_test_run(packet: bytes, verdict: int, first: int) -> None:
    code = encode(assemble(_PROGRAM))
    program, _ = programs.load(programs.LoadRequest(ProgType.XDP, code, name=b"smallest"))
    with program:
        run = programs.test_run(program.number, programs.RunRequest(packet, data_out_size=128))
    assert run.retval == verdict
    assert run.data == bytes([first]) + packet[1:]


def test_a_rejected_program_comes_with_its_log() -> None:
    code = encode(assemble("r0 = r5\nexit"))
    with pytest.raises(OSError, match="PROG_LOAD") as caught:
        programs.load(programs.LoadRequest(ProgType.XDP, code))
    assert "R5 !read_ok" in getattr(caught.value, "log", "")


def test_map_elements() -> None:
    with maps.create(maps.MapRequest(MapType.HASH, 4, 8, 16, name=b"elements")) as table:
        key, value = struct.pack("<I", 5), struct.pack("<Q", 1 << 40)
        assert maps.lookup(table.number, key, 8) is None
        maps.update(table.number, key, value)
        assert maps.lookup(table.number, key, 8) == value
        assert maps.next_key(table.number, None, 4) == key
        maps.delete(table.number, key)
        assert maps.next_key(table.number, None, 4) is None


def test_a_pinned_map_is_found_again() -> None:
    bpffs = Path("/sys/fs/bpf")
    if not os.path.ismount(bpffs):
        pytest.skip("no bpf file system is mounted at /sys/fs/bpf")
    pin = bpffs / f"skep-test-{os.getpid()}"
    try:
        with maps.create(maps.MapRequest(MapType.ARRAY, 4, 4, 1)) as array:
            objects.pin(array.number, pin)
            maps.update(array.number, bytes(4), b"skep")
        with objects.get(pin) as again:
            assert maps.lookup(again.number, bytes(4), 4) == b"skep"
    finally:
        pin.unlink(missing_ok=True)

"""The capture reader and the packet loop, on files made here and on broken ones."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from skep.abi.prog_types import ProgType
from skep.engine import PacketRun, PacketSource
from skep.errors import CaptureError, ClosedError, SkepError, UnsupportedError, UsageError
from skep.model.hooks import Pcap
from skep.vm.hooks.capture import read_packets
from skep.vm.hooks.pcap import PcapLink
from skep.vm.programs import VmProgram
from tests.unit.vm.programs import load

PACKETS = [bytes([i]) * 6 + bytes(6) + b"\x08\x00" + bytes([i]) * (46 + i) for i in range(10)]
TIMES = [1_600_000_000_123_456_789 + i * 1_000_000_001 for i in range(10)]


def pcap(packets: Iterable[bytes] = PACKETS, order: str = "<", ns: bool = False, link: int = 1) -> bytes:
    magic = 0xA1B23C4D if ns else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for time, packet in zip(TIMES, packets, strict=False):
        fraction = time % 10**9 // (1 if ns else 1000)
        out += struct.pack(order + "IIII", time // 10**9, fraction, len(packet), len(packet) + 100) + packet
    return out


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def pcapng(order: str = "<", resolution: int = 9, link: int = 1) -> bytes:
    out = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += block(order, 0x0BAD, b"unknown block")
    option = struct.pack(order + "HHB3x", 9, 1, resolution) + struct.pack(order + "HHq", 14, 8, 5) + bytes(4)
    out += block(order, 1, struct.pack(order + "HHI", link, 0, 0) + option)
    out += block(order, 1, struct.pack(order + "HHI", link, 0, 60))
    for i, packet in enumerate(PACKETS):
        ticks = (TIMES[i] - 5 * 10**9) // (1 if resolution == 9 else 1000)
        head = struct.pack(order + "IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), len(packet) + 100)
        if i == 3:  # obsolete packet block
            head = struct.pack(order + "HHIIII", 0, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), len(packet) + 100)
            out += block(order, 2, head + packet)
        else:
            out += block(order, 6, head + packet + bytes(-len(packet) % 4) + struct.pack(order + "HH4s", 1, 4, b"note"))
    return out


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def go(data: bytes) -> Path:
        path = tmp_path / "in.pcap"
        path.write_bytes(data)
        return path

    return go


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["us", "ns", "ng-us", "ng-ns"])
@pytest.mark.parametrize("compressed", [False, True])
def test_reader(write: Callable[[bytes], Path], order: str, kind: str, compressed: bool) -> None:
    data = pcapng(order, 9 if kind == "ng-ns" else 6) if kind.startswith("ng") else pcap(order=order, ns=kind == "ns")
    packets = list(read_packets(write(gzip.compress(data) if compressed else data)))
    unit = 1 if kind.endswith("ns") else 1000
    assert [packet.data for packet in packets] == PACKETS
    assert [packet.time_ns // unit for packet in packets] == [time // unit for time in TIMES]
    assert [packet.original for packet in packets] == [len(packet) + 100 for packet in PACKETS]


def test_simple_packets_and_snaplen(write: Callable[[bytes], Path]) -> None:
    data = block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    data += block("<", 1, struct.pack("<HHI", 1, 0, 20)) + block("<", 3, struct.pack("<I", 100) + bytes(20))
    (packet,) = read_packets(write(data))
    assert (packet.data, packet.original) == (bytes(20), 100)


def test_two_gzip_members_and_large_files(write: Callable[[bytes], Path]) -> None:
    many = pcap() + (pcap()[24:] * 20000)
    packets = list(read_packets(write(gzip.compress(many[:1000]) + gzip.compress(many[1000:]))))
    assert len(packets) == 200_010
    assert {packet.data for packet in packets} == set(PACKETS)
    assert len(list(read_packets(write(many)))) == 200_010


def damaged(offset: int, value: bytes, data: bytes | None = None) -> bytes:
    data = data or pcap()
    return data[:offset] + value + data[offset + len(value) :]


FIRST_PACKET = 28 + 28 + 44 + 20  # section, unknown block, two interfaces
BROKEN = {
    "empty": (b"", "H0102", "byte 0"),
    "text": (b"hello, world, this is no capture", "H0102", "byte 0"),
    "short header": (pcap()[:20], "H0103", "byte 0"),
    "version": (damaged(4, b"\x09"), "H0107", "byte 4"),
    "cut record header": (pcap()[:-60], "H0103", "packet 10"),
    "cut packet": (pcap()[:-1], "H0103", "packet 10"),
    "huge length": (damaged(24 + 8, b"\xff\xff\xff\x7f"), "H0104", "packet 1, at byte 32"),
    "gzip cut": (gzip.compress(pcap())[:-20], "H0114", "in the middle"),
    "gzip damaged": (damaged(40, b"\xff" * 20, gzip.compress(pcap())), "H0114", ""),
    "block length": (damaged(4, b"\x05", pcapng()), "H0105", "byte 4"),
    "byte order": (damaged(8, b"\x00", pcapng()), "H0107", "byte 8"),
    "trailing length": (damaged(24, b"\x99", pcapng()), "H0105", "byte 24"),
    "no interface": (pcapng()[:28] + pcapng()[FIRST_PACKET:], "H0106", "packet 1"),
    "section version": (damaged(12, b"\x07", pcapng()), "H0107", "byte 12"),
    "packet longer than block": (damaged(FIRST_PACKET + 20, b"\xff\xff", pcapng()), "H0108", "packet 1"),
    "resolution": (pcapng(resolution=127), "H0112", ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_captures_say_where_and_leave_nothing(name: str, tmp_path: Path) -> None:
    data, code, why = BROKEN[name]
    (tmp_path / "in.pcap").write_bytes(data)
    with pytest.raises(CaptureError) as caught:
        list(read_packets(tmp_path / "in.pcap"))
    assert caught.value.diagnostic.code == code
    assert why in " ".join(caught.value.diagnostic.why)
    with pytest.raises(CaptureError) as caught:
        PcapLink(load("r0 = 2\nexit"), Pcap(tmp_path / "in.pcap", out=tmp_path / "out.pcap")).run()
    assert caught.value.diagnostic.code == code
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.pcap"]


def go(program: VmProgram, path: Path, out: Path | None = None, **more: int) -> PacketRun:
    link = PcapLink(program, Pcap(path, out=out, **more))  # type: ignore[arg-type]
    assert isinstance(link, PacketSource)
    return link.run()


@pytest.mark.parametrize("ns", [False, True])
@pytest.mark.parametrize("resizes", [False, True])
def test_xdp_verdicts_and_output(write: Callable[[bytes], Path], tmp_path: Path, ns: bool, resizes: bool) -> None:
    """The program's verdict is the low three bits of the packet's first byte."""
    program = load(READ_FIRST_BYTE, packet=True, resizes_packet=resizes)
    out = tmp_path / "out.pcap"
    result = go(program, write(pcap(ns=ns)), out)
    assert result.verdicts == {"ABORTED": 2, "DROP": 2, "PASS": 1, "TX": 1, "REDIRECT": 1, "5": 1, "6": 1, "7": 1}
    assert (result.packets, result.bytes, result.passed) == (10, sum(map(len, PACKETS)), 1)
    assert out.read_bytes()[:4] == pcap(ns=ns)[:4]
    (packet,) = read_packets(out)
    unit = 1 if ns else 1000
    assert (packet.data, packet.time_ns, packet.original) == (
        PACKETS[2],
        TIMES[2] // unit * unit,
        len(PACKETS[2]) + 100,
    )


def test_output_of_everything_is_the_input(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    out = tmp_path / "out.pcap"
    data = pcap() + pcap()[24:] * 30000  # more than one output buffer
    assert go(load("r0 = 2\nexit"), write(data), out).passed == 300_010
    assert out.read_bytes()[24:] == data[24:]
    assert go(load("r0 = 1\nexit"), write(data), out).passed == 0
    assert out.read_bytes()[24:] == b""


@pytest.mark.parametrize(
    ("kind", "verdict", "name", "passes"),
    [
        (ProgType.SCHED_CLS, 0, "OK", True),
        (ProgType.SCHED_CLS, 2, "SHOT", False),
        (ProgType.SCHED_CLS, -1, "UNSPEC", True),
        (ProgType.SCHED_CLS, 7, "REDIRECT", False),
        (ProgType.SCHED_CLS, 99, "99", True),
        (ProgType.XDP, 99, "99", False),
        (ProgType.CGROUP_SKB, 0, "DENY", False),
        (ProgType.CGROUP_SKB, 1, "ALLOW", True),
        (ProgType.SOCKET_FILTER, 0, "DROP", False),
        (ProgType.SOCKET_FILTER, 20, "PASS", True),
    ],
)
def test_verdicts_by_program_type(
    write: Callable[[bytes], Path], tmp_path: Path, kind: ProgType, verdict: int, name: str, passes: bool
) -> None:
    out = tmp_path / "out.pcap"
    result = go(load(f"r0 = {verdict}\nexit", prog_type=kind), write(pcap()), out)
    assert result.verdicts == {name: 10}
    assert result.passed == (10 if passes else 0)
    kept = verdict if kind is ProgType.SOCKET_FILTER else 1 << 20
    assert [p.data for p in read_packets(out)] == [p[:kept] for p in PACKETS if passes]


def test_contexts(write: Callable[[bytes], Path]) -> None:
    """What fields of the context say: returned as the verdict."""
    tagged = [bytes(12) + b"\x81\x00\x00\x05\x08\x00" + bytes(60)]
    expectations = [
        (ProgType.XDP, 12, 7, PACKETS[:1]),  # ingress_ifindex
        (ProgType.SCHED_CLS, 0, 60, PACKETS[:1]),  # len
        (ProgType.SCHED_CLS, 16, 0x0008, PACKETS[:1]),  # protocol
        (ProgType.SCHED_CLS, 16, 0x0081, tagged),
        (ProgType.SCHED_CLS, 40, 7, PACKETS[:1]),  # ifindex
        (ProgType.CGROUP_SKB, 0, 46, PACKETS[:1]),
        (ProgType.SCHED_CLS, 4, 1, [b"\xff" * 12 + bytes(50)]),  # pkt_type: broadcast
    ]
    for kind, offset, value, packets in expectations:
        program = load(f"r0 = *(u32 *)(r1 + {offset})\nexit", prog_type=kind, context=True)
        verdicts = go(program, write(pcap(packets)), ifindex=7).verdicts
        expected = load(f"r0 = {value}\nexit", prog_type=kind)
        assert verdicts == go(expected, write(pcap(packets))).verdicts, (kind, offset)


def test_link_types(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    assert go(load("r0 = 2\nexit"), write(pcap(link=101))).verdicts == {"PASS": 10}
    with pytest.raises(UnsupportedError, match="link type is 113"):
        go(load("r0 = 2\nexit"), write(pcap(link=113)))
    mixed = pcapng() + pcapng(link=101)
    assert go(load("r0 = 2\nexit"), write(mixed)).passed == 20
    with pytest.raises(CaptureError, match="different link types"):
        go(load("r0 = 2\nexit"), write(mixed), tmp_path / "out.pcap")
    assert not (tmp_path / "out.pcap").exists()


def test_progress_update_and_interrupt(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    path = write(pcap() + pcap()[24:] * 30000)
    link = PcapLink(load("r0 = 2\nexit"), Pcap(path, out=tmp_path / "out.pcap"))
    drop = load("r0 = 1\nexit")
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 3:
            link.update(drop)

    result = link.run(progress)
    assert set(result.verdicts) == {"PASS", "DROP"}
    assert sum(result.verdicts.values()) == 300_010
    assert told[-1] == (path.stat().st_size, path.stat().st_size)
    (tmp_path / "out.pcap").unlink()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.run(interrupt)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.pcap"]
    link.close()
    with pytest.raises(ClosedError):
        link.run()


def test_wrong_use(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    path, program = write(pcap()), load("r0 = 2\nexit")
    cases: list[tuple[type[SkepError], Callable[[], object]]] = [
        (UsageError, lambda: PcapLink(program, Pcap(tmp_path / "missing"))),
        (UsageError, lambda: PcapLink(program, Pcap(tmp_path))),
        (UsageError, lambda: PcapLink(program, Pcap(path, out=tmp_path / "no" / "out.pcap"))),
        (UsageError, lambda: PcapLink(program, Pcap(path, out=tmp_path))),
        (UnsupportedError, lambda: PcapLink(load("r0 = 0\nexit", prog_type=ProgType.KPROBE), Pcap(path))),
        (UsageError, lambda: PcapLink(program, Pcap(path)).update(load("r0 = 0\nexit", prog_type=ProgType.SCHED_CLS))),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()


def test_output_to_a_device_is_written_not_replaced(write: Callable[[bytes], Path]) -> None:
    assert go(load("r0 = 2\nexit"), write(pcap()), Path("/dev/null")).passed == 10
    assert Path("/dev/null").is_char_device()


READ_FIRST_BYTE = """
r2 = *(u32 *)(r1 + 0)
r0 = *(u8 *)(r2 + 0)
r0 &= 7
exit
"""


def test_the_clock_of_the_capture(write: Callable[[bytes], Path]) -> None:
    path = write(pcap(ns=True))
    by_capture = PcapLink(load("call 5\nr0 &= 7\nexit"), Pcap(path, clock="capture")).run()
    expected: dict[int, int] = {}
    for time in TIMES:
        expected[time & 7] = expected.get(time & 7, 0) + 1
    names = {0: "ABORTED", 1: "DROP", 2: "PASS", 3: "TX", 4: "REDIRECT", 5: "5", 6: "6", 7: "7"}
    assert by_capture.verdicts == {names[value]: count for value, count in sorted(expected.items())}
    with pytest.raises(UsageError, match="no clock"):
        PcapLink(load("r0 = 2\nexit"), Pcap(path, clock="sundial"))

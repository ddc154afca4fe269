"""skep capture and skep run --iface, as a user types them: in namespaces of their own, read back by tcpdump."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skep.tools.capture.files import CaptureFiles, Rotation
from skep.tools.capture.lines import describe, line_of
from skep.tools.capture.pcapng import count_blocks
from skep.vm.hooks.capture import Packet, read_packets
from tests.conftest import Run
from tests.unit.vm_live.network import frame, in_namespace, ip, make_veth, number_of, wire

READY = "receiving"


def blocks_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """A reader of its own: (type, body) of every block, checked for both lengths."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        assert length % 4 == 0
        assert struct.unpack_from("<I", data, at + length - 4)[0] == length
        yield kind, data[at + 8 : at + length - 4]
        at += length


def options_of(body: bytes, at: int) -> dict[int, bytes]:
    found = {}
    while True:
        code, size = struct.unpack_from("<HH", body, at)
        if code == 0:
            return found
        found[code] = body[at + 4 : at + 4 + size]
        at += 4 + (size + 3) // 4 * 4


class Running:
    """The command line in a process of its own, started and receiving."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "skep", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"NO_COLOR": "1"},
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith(READY):
                break

    def end(self, number: int | None = signal.SIGINT) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out, errors


def read(path: Path) -> list[Packet]:
    return list(read_packets(path))


@in_namespace
def test_expression_to_a_file_with_statistics(tmp_path: Path) -> None:
    make_veth()
    out = tmp_path / "out.pcapng"
    run = Running("capture", "-i", "vb", "-w", out, "-s", 40, "ether proto 0x88b5 and ether[17] & 1 = 0")
    with wire("va") as a:
        for number in range(100):
            a.send(frame(number, size=100))
    time.sleep(0.2)
    assert not out.exists()
    status, printed, errors = run.end()
    assert (status, printed) == (0, "")
    assert "50 of 100 packets captured, none lost" in errors
    packets = read(out)
    assert [number_of(packet.data) for packet in packets] == list(range(0, 100, 2))
    assert {len(packet.data) for packet in packets} == {40}
    assert {packet.original for packet in packets} == {100}
    assert all(abs(packet.time_ns - time.time_ns()) < 60e9 for packet in packets)
    assert [packet.time_ns for packet in packets] == sorted(packet.time_ns for packet in packets)
    blocks = list(blocks_of(out))
    assert [kind for kind, _ in blocks] == [0x0A0D0D0A, 1, *[6] * 50, 5]
    interface = options_of(blocks[1][1], 8)
    assert struct.unpack_from("<HHI", blocks[1][1]) == (1, 0, 40)
    assert (interface[2], interface[9]) == (b"vb", b"\x09")
    assert interface[11] == b"\0ether proto 0x88b5 and ether[17] & 1 = 0"
    statistics = {code: struct.unpack("<Q", value)[0] for code, value in options_of(blocks[-1][1], 12).items()}
    assert (statistics[4], statistics[6], statistics[7]) == (100, 50, 0)
    if shutil.which("tcpdump"):
        read_back = subprocess.run(["tcpdump", "-nn", "-r", out], capture_output=True, text=True, check=True)
        assert read_back.stdout.count("0x88b5") == 50


PROGRAM = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
volatile const __u32 rest = 0;
SEC("xdp") int odd(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	return data + 18 <= end && (data[17] & 3) == rest ? XDP_PASS : XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""


@in_namespace
def test_a_program_decides_and_count_ends_it(tmp_path: Path) -> None:
    make_veth()
    source, out = tmp_path / "odd.bpf.c", tmp_path / "out.pcapng"
    source.write_text(PROGRAM)
    run = Running("capture", "-i", "vb", "-w", out, "--program", source, "--set", "rest=3", "-c", "5")
    with wire("va") as a:
        for number in range(100):
            a.send(frame(number))
    status, _, errors = run.end(None)
    assert status == 0, errors
    assert [number_of(packet.data) for packet in read(out)] == [3, 7, 11, 15, 19]


@in_namespace
def test_rotation_by_size_loses_nothing(tmp_path: Path) -> None:
    make_veth()
    out = tmp_path / "out.pcapng"
    run = Running("capture", "-i", "vb", "-w", out, "--rotate-bytes", "10000", "--flow", "in")
    with wire("va") as a:
        for number in range(1000):
            a.send(frame(number, size=200))
    time.sleep(0.2)
    status, _, errors = run.end(signal.SIGTERM)
    assert status == 0, errors
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"out-{n:05}.pcapng" for n in range(1, len(files) + 1)]
    assert [number_of(packet.data) for file in files for packet in read(file)] == list(range(1000))
    assert all(10000 <= file.stat().st_size < 10600 for file in files[:-1])
    assert all(list(blocks_of(file))[-1][0] == 5 for file in files)


@in_namespace
def test_rotation_by_time_and_keep(tmp_path: Path) -> None:
    make_veth()
    out = tmp_path / "out.pcapng"
    run = Running("capture", "-i", "vb", "-w", out, "--rotate-seconds", "0.2", "--keep", "2")
    with wire("va") as a:
        for number in range(5):
            a.send(frame(number))
            time.sleep(0.25)
    status, _, errors = run.end()
    assert status == 0, errors
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["out-00004.pcapng", "out-00005.pcapng"]
    assert [number_of(packet.data) for file in files for packet in read(file)] == [3, 4]


@in_namespace
def test_lines_and_json_lines() -> None:
    make_veth()
    for name, address in (("va", "10.8.0.1/24"), ("vb", "10.8.0.2/24")):
        ip("addr", "add", address, "dev", name)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"va\0")
        ip("neigh", "add", "10.8.0.9", "lladdr", "02:00:00:00:00:09", "dev", "va")
        run = Running("capture", "-i", "vb", "-c", "3", "udp port 7")
        for _ in range(3):
            sender.sendto(b"hello", ("10.8.0.9", 7))
        status, printed, errors = run.end(None)
        assert status == 0, errors
        lines = printed.splitlines()
        assert len(lines) == 3
        assert all("10.8.0.1:" in line and "> 10.8.0.9:7 UDP length 47" in line for line in lines)
        process = Running.__new__(Running)
        words = [sys.executable, "-m", "skep", "capture", "-i", "vb", "--json", "--duration", "1.5", "udp port 7"]
        process.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.process.poll() is None:
            sender.sendto(b"hello", ("10.8.0.9", 7))
            time.sleep(0.05)
        status, printed, errors = process.end(None) if process.process.poll() is None else (
            process.process.returncode, *process.process.communicate()
        )  # fmt: skip
        assert status == 0, errors
        *packets, numbers = map(json.loads, printed.splitlines())
        assert len(packets) == numbers["captured"] > 0
        assert packets[0]["to_port"] == 7
        assert numbers["ended"] == "duration"
        assert numbers["engine"] == "vm (this process), packet socket on vb"
        assert "copies" in numbers["guarantee"]
        assert "CAP_NET_RAW" in numbers["privileges"]


def test_from_a_capture_file(skep_cli: Run, examples: Path, tmp_path: Path) -> None:
    real = examples / "data" / "real.pcap"
    result = skep_cli("capture", "--pcap", real, "-w", "out.pcapng", "--json", "tcp")
    assert result.returncode == 0, result.stderr
    numbers = json.loads(result.stdout)
    facts = [(p, describe(p.data)) for p in read(real)]
    before = [p for p, found in facts if found.get("protocol") == "TCP" and "vlan" not in found]
    after = read(tmp_path / "out.pcapng")
    assert numbers["captured"] == len(after) == len(before) > 0
    assert [(p.data, p.time_ns, p.original) for p in after] == [(p.data, p.time_ns, p.original) for p in before]
    assert numbers["files"] == ["out.pcapng"]
    result = skep_cli("capture", "--pcap", real, "-c", "2", "-w", "two.pcapng", "tcp")
    assert [p.data for p in read(tmp_path / "two.pcapng")] == [p.data for p in before[:2]]
    result = skep_cli("capture", "--pcap", real, "-c", "2", "tcp")
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["tcp"], "U0603"),
        (["-i", "x", "--pcap", "y"], "U0603"),
        (["--pcap", "no.pcap"], "H0101"),
        (["-i", "no-such-if"], "H0601"),
        (["-i", "lo", "--program", "x.c", "tcp"], "U0603"),
        (["-i", "lo", "--set", "a=1"], "U0603"),
        (["-i", "lo", "--rotate-bytes", "1"], "U0603"),
        (["-i", "lo", "-w", "-", "--rotate-bytes", "1"], "U0601"),
        (["-i", "lo", "-w", "o", "--keep", "1"], "U0601"),
        (["-i", "lo", "-w", "no/o"], "U0602"),
        (["-i", "lo", "tcp", "porrt", "7"], "H04"),
        (["-i", "lo", "-c", "0"], "U0001"),
    ],
)
def test_wrong_use_is_refused_before_anything_starts(words: list[str], code: str, tmp_path: Path) -> None:
    @in_namespace
    def body() -> None:
        command = [sys.executable, "-m", "skep", "capture", *words]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert f"error[{code}" in result.stderr
        assert result.returncode in (1, 2)
        assert list(tmp_path.iterdir()) == []

    body()


@in_namespace
def test_run_live(tmp_path: Path) -> None:
    make_veth()
    source, out = tmp_path / "odd.bpf.c", tmp_path / "out.pcap"
    source.write_text(PROGRAM)
    run = Running("run", source, "--iface", "vb", "--count", "10", "--out", out)
    with wire("va") as a:
        for number in range(20):
            a.send(frame(number))
    status, printed, errors = run.end(None)
    assert status == 0, errors
    assert "odd: 10 packets, 600 bytes" in printed
    assert [number_of(packet.data) for packet in read(out)] == [0, 4, 8]


# ---- parts ----


def packet_blocks(*packets: bytes) -> memoryview:
    made = b""
    for data in packets:
        size = 32 + (len(data) + 3) // 4 * 4
        body = data.ljust((len(data) + 3) // 4 * 4, b"\0")
        made += struct.pack("<7I", 6, size, 0, 0, 1, len(data), len(data)) + body + struct.pack("<I", size)
    return memoryview(made)


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "a.pcapng"
    with pytest.raises(RuntimeError):
        _fail_after(CaptureFiles(out), 1)
    assert list(tmp_path.iterdir()) == []
    with CaptureFiles(out, link_type=101):
        pass
    assert [kind for kind, _ in blocks_of(out)] == [0x0A0D0D0A, 1, 5]
    assert struct.unpack_from("<H", list(blocks_of(out))[1][1])[0] == 101
    with pytest.raises(RuntimeError):
        _fail_after(CaptureFiles(out, rotation=Rotation(bytes=1)), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-00001.pcapng", "a-00002.pcapng", "a.pcapng"]
    assert count_blocks(packet_blocks(b"1", b"22", b"333")) == 3


def _fail_after(files: CaptureFiles, packets: int) -> None:
    with files as writer:
        for _ in range(packets):
            writer.write(packet_blocks(b"1" * 60), 1)
        raise RuntimeError


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    from skep.errors import UsageError

    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    writer = CaptureFiles(tmp_path / "a.pcapng")
    writer._open()
    os.dup2(os.open("/dev/full", os.O_WRONLY), writer._fd)
    with pytest.raises(UsageError, match="No space left"):
        writer.write(packet_blocks(b"1" * 60), 1)
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_no_bytes_break_the_lines(examples: Path) -> None:
    """Every cut of real packets, and of a packet with everything, gives a line."""
    whole = [packet.data for packet in read(examples / "data" / "real.pcap")[:60]]
    for data in whole:
        for end in range(len(data) + 1):
            facts = describe(data[:end])
            assert line_of(facts, 0, end)
    assert any("truncated" in describe(data[:20]) for data in whole)
    deep = b"\0" * 12 + b"\x81\x00\x00\x05" * 20
    assert describe(deep)["vlan"] == [5] * 8

"""`skep filter`, as a user types it; tcpdump is asked where it is installed."""

from __future__ import annotations

import concurrent.futures
import gzip
import json
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from skep.cli import filter as cli
from skep.frontend.pcap import LINK_NAMES, SNAPLEN, LinkLayer, compile_expression
from skep.isa.classic.interpreter import run as run_classic
from tests.conftest import Run
from tests.unit.frontend_pcap import packet_mix
from tests.unit.vm_live.network import frame, in_namespace, make_veth, wire

EXPRESSION = "tcp port 443 and not host 10.0.0.1"
needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="the oracle is missing: tcpdump")


def write(path: Path, link_type: int, packets: Iterable[bytes], snaplen: int = 1 << 18) -> Path:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, link_type)
    for packet in packets:
        kept = packet[:snaplen]
        data += struct.pack("<IIII", 1, 2, len(kept), len(packet)) + kept
    path.write_bytes(data)
    return path


def block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def pcapng(path: Path, packets: Iterable[tuple[int, bytes]]) -> Path:
    """Interface 0 has Ethernet, interface 1 raw IP."""
    data = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    data += block(1, struct.pack("<HHI", 1, 0, 0)) + block(1, struct.pack("<HHI", 101, 0, 0))
    for interface, packet in packets:
        padded = packet + bytes(-len(packet) % 4)
        data += block(6, struct.pack("<IIIII", interface, 0, 0, len(packet), len(packet)) + padded)
    path.write_bytes(data)
    return path


def tcpdump(*words: object) -> str:
    done = subprocess.run(["tcpdump", *map(str, words)], capture_output=True, text=True, check=True)
    return done.stdout


def filtered(skep_cli: Run, tmp_path: Path, capture: Path, *words: object) -> tuple[dict[str, object], list[bytes]]:
    out = tmp_path / "out.pcap"
    done = skep_cli("filter", "--pcap", capture, "--out", out, "--json", *words)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    packets = packet_mix.read_pcap(out)
    assert answer["matched"] == len(packets)
    return answer, packets


def test_the_main_job(skep_cli: Run, tmp_path: Path) -> None:
    capture = write(tmp_path / "in.pcap", 1, packet_mix.frames())
    program = compile_expression(EXPRESSION).insns
    answer, packets = filtered(skep_cli, tmp_path, capture, EXPRESSION)
    assert packets == [packet for packet in packet_mix.frames() if run_classic(program, packet)]
    assert answer["packets"] == len(packet_mix.frames())
    assert answer["expression"] == EXPRESSION
    assert answer["link_type"] == "EN10MB"


def test_words_for_people(skep_cli: Run, examples: Path) -> None:
    done = skep_cli("filter", "--pcap", examples / "data" / "real.pcap", "icmp6", "or", "arp")
    assert done.returncode == 0
    assert done.stdout.startswith("19 of 133 packets match (38296 bytes, ")
    assert "engine: vm" in done.stderr
    assert "needs no privileges" in done.stderr


@needs_tcpdump
@pytest.mark.parametrize("expression", [EXPRESSION, "vlan and ip6", "less 100 and not arp", "udp[4:2] > 20 or icmp"])
def test_the_packets_of_tcpdump(expression: str, skep_cli: Run, tmp_path: Path) -> None:
    capture = write(tmp_path / "in.pcap", 1, packet_mix.frames(), snaplen=80)
    tcpdump("-r", capture, "-w", tmp_path / "theirs.pcap", expression)
    _, packets = filtered(skep_cli, tmp_path, capture, expression)
    assert packets == packet_mix.read_pcap(tmp_path / "theirs.pcap")
    assert packets


def test_len_is_the_length_on_the_wire(skep_cli: Run, tmp_path: Path) -> None:
    capture = write(tmp_path / "in.pcap", 1, [bytes(60), bytes(1000)], snaplen=60)
    answer, packets = filtered(skep_cli, tmp_path, capture, "greater 1000")
    assert packets == [bytes(60)]
    assert answer["bytes"] == 120


@pytest.mark.parametrize(
    ("number", "link", "packets"),
    [
        (101, LinkLayer.RAW, packet_mix.raw_packets()),
        (12, LinkLayer.RAW, packet_mix.raw_packets()),
        (113, LinkLayer.LINUX_SLL, packet_mix.cooked()),
        (0, LinkLayer.NULL, packet_mix.null_frames("<")),
        (108, LinkLayer.LOOP, packet_mix.null_frames(">")),
    ],
    ids=["raw", "raw12", "sll", "null", "loop"],
)
def test_link_types(number: int, link: LinkLayer, packets: tuple[bytes, ...], skep_cli: Run, tmp_path: Path) -> None:
    capture = write(tmp_path / "in.pcap", number, packets)
    capture.write_bytes(gzip.compress(capture.read_bytes()))
    answer, found = filtered(skep_cli, tmp_path, capture, "udp port 53 or icmp")
    program = compile_expression("udp port 53 or icmp", link=link).insns
    assert found == [packet for packet in packets if run_classic(program, packet)]
    assert found
    assert answer["link_type"] == link.name


def test_pcapng_takes_the_link_type_of_its_packets(skep_cli: Run, tmp_path: Path) -> None:
    raw = packet_mix.ipv4(17, packet_mix.udp(53, 1))
    answer, _ = filtered(skep_cli, tmp_path, pcapng(tmp_path / "a.pcapng", [(1, raw)]), "udp")
    assert (answer["link_type"], answer["matched"]) == ("RAW", 1)
    mixed = pcapng(tmp_path / "b.pcapng", [(1, raw), (0, packet_mix.ethernet(0x800, raw))])
    done = skep_cli("filter", "udp", "--pcap", mixed)
    assert done.returncode == 2
    assert "link type" in done.stderr


def test_an_unknown_link_type_is_named(skep_cli: Run, tmp_path: Path) -> None:
    capture = write(tmp_path / "in.pcap", 105, [bytes(60)])
    done = skep_cli("filter", "tcp", "--pcap", capture)
    assert done.returncode == 1
    assert "H0413" in done.stderr
    assert "105" in done.stderr


@needs_tcpdump
@pytest.mark.parametrize("option", ["-d", "-dd", "-ddd"])
def test_listings(option: str, skep_cli: Run) -> None:
    done = skep_cli("filter", option, EXPRESSION)
    assert done.stdout == tcpdump("-y", "EN10MB", option, EXPRESSION)


def test_reading_what_tcpdump_printed(skep_cli: Run, tmp_path: Path) -> None:
    """Also programs for link types that skep does not compile for."""
    listed = tmp_path / "filter.ddd"
    listed.write_text("4\n48 0 0 0\n21 0 1 7\n6 0 0 2\n6 0 0 0\n")
    capture = write(tmp_path / "in.pcap", 1, [b"\x07" + bytes(59), bytes(60)])
    _, packets = filtered(skep_cli, tmp_path, capture, "--read-ddd", listed)
    assert packets == [b"\x07\x00"]
    other = write(tmp_path / "other.pcap", 105, [b"\x07" + bytes(59), bytes(60)])
    answer, _ = filtered(skep_cli, tmp_path, other, "--read-ddd", listed)
    assert (answer["matched"], answer["link_type"]) == (1, None)


def test_the_translation_is_shown(skep_cli: Run) -> None:
    done = skep_cli("filter", "--ebpf", "-d", "ip", "--json")
    answer = json.loads(done.stdout)
    assert answer["insns"][0] == {"code": 40, "jt": 0, "jf": 0, "k": 12, "text": "ldh      [12]"}
    assert "r0 = *(u16 *)skb[12]" in answer["ebpf"][3]
    assert "exit" in skep_cli("filter", "--ebpf", "ip").stdout


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("tcp port 443 and nto host 10.0.0.1", "-d"), "H0402", 1),
        (("tcp",), "U0501", 2),
        (("tcp", "--engine", "kernel", "--pcap", "x"), "U0504", 2),
        (("tcp", "--iface", "lo", "--pcap", "x"), "U0504", 2),
        (("tcp", "--iface", "no-such-interface"), "H0601", 2),
        (("tcp", "-d", "--out", "x"), "U0342", 2),
        (("tcp", "--pcap", "nosuch.pcap"), "H0101", 2),
        (("--read-ddd", "nosuch", "-d"), "U0003", 2),
        (("tcp", "--read-ddd", "-", "-d"), "U0502", 2),
        (("tcp", "--netmask", "x", "-d"), "U0503", 2),
        (("geneve", "-d"), "H0407", 1),
        (("tcp", "-y", "BOGUS", "-d"), "U0001", 2),
    ],
)
def test_wrong_use(words: tuple[str, ...], code: str, status: int, skep_cli: Run) -> None:
    done = skep_cli("filter", *words, "--json")
    assert done.returncode == status, done.stderr
    assert json.loads(done.stderr)["diagnostics"][0]["code"] == code


def test_broken_captures(skep_cli: Run, tmp_path: Path) -> None:
    for name, data in {
        "empty": b"",
        "text": b"hello, world",
        "cut": b"\xd4\xc3\xb2\xa1",
        "gzip": b"\x1f\x8b\x08",
    }.items():
        (tmp_path / name).write_bytes(data)
        done = skep_cli("filter", "tcp", "--pcap", tmp_path / name)
        assert done.returncode == 2, name
        assert "error[H01" in done.stderr


def test_the_command_line_knows_all_link_types() -> None:
    assert set(cli.LINK_TYPES) == set(LINK_NAMES)
    assert cli.SNAPLEN == SNAPLEN


@pytest.mark.parametrize("engine", ["vm", pytest.param("kernel", marks=[pytest.mark.kernel])])
@in_namespace
def test_live_packets(skep_cli: Run, tmp_path: Path, request: pytest.FixtureRequest, engine: str) -> None:
    if engine == "kernel":
        request.getfixturevalue("kernel")
    make_veth()
    out = tmp_path / "out.pcap"
    ended = threading.Event()

    def send() -> None:
        with wire("va") as a:
            while not ended.wait(0.02):
                a.send(frame(1))
                a.send(frame(2, kind=b"\x08\x00"))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        try:
            words = ("--iface", "vb", "--engine", engine, "--count", "5", "--duration", "30", "--out", out)
            done = skep_cli("filter", *words, "ether", "proto", "0x88b5")
        finally:
            ended.set()
        sending.result()
    assert done.returncode == 0, done.stderr
    assert "5 packets written" in done.stdout
    assert "guarantee: " in done.stderr
    assert "privileges: CAP_NET_RAW" in done.stderr
    assert packet_mix.read_pcap(out) == [frame(1)] * 5

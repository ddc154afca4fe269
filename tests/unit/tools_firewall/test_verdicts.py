"""The program against the model: every packet, its verdict, its reason, its rule."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skep
from skep.tools.firewall import Firewall, parse_rules
from tests.conftest import ROOT
from tests.unit.tools_firewall.firewall_model import Model
from tests.unit.tools_firewall.traffic import frames, rules_text, write_pcap

INTERFACES = {"eth0": 1, "eth1": 2}
START_US = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def live() -> Iterator[Firewall]:
    empty = parse_rules("default: deny")
    with Firewall(empty, traced=1 << 14, interfaces=INTERFACES, capacity=50_000) as firewall:
        yield firewall


def run(firewall: Firewall, path: Path, text: str, ifindex: int = 1) -> list[tuple[int, str, int | None]]:
    firewall.replace(parse_rules(text))
    firewall.forget_connections()
    firewall.forget_decisions()
    firewall.run(skep.hooks.Pcap(path, ifindex=ifindex, clock="capture"))
    return [(int(d.action), d.reason, d.rule) for d in firewall.decisions()]


def compare(
    firewall: Firewall, text: str, packets: list[bytes], times: list[int], folder: Path, ifindex: int = 1
) -> set[str]:
    path = folder / "in.pcap"
    write_pcap(path, packets, times)
    got = run(firewall, path, text, ifindex)
    names = {number: name for name, number in INTERFACES.items()}
    model = Model(parse_rules(text), interface=names.get(ifindex, "other"))
    assert len(got) == len(packets)
    for number, (data, now, answer) in enumerate(zip(packets, times, got, strict=True)):
        expected = model.judge(data, now * 1000)
        assert answer == expected, f"packet {number}: {data.hex()}\n{text}"
    return {reason for _, reason, _ in got}


@pytest.mark.parametrize("seed", range(40))
def test_random_rules_over_random_packets(live: Firewall, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    text = rules_text(chance, chance.choice([0, 1, 3, 8, 20, 60, 200]))
    packets = frames(chance, 300)
    times, now = [], START_US
    for _ in packets:
        now += chance.choice([1000, 10_000, 100_000, 3_000_000])
        times.append(now)
    compare(live, text, packets, times, tmp_path, ifindex=chance.choice([1, 1, 2, 3]))


def real_packets() -> tuple[list[bytes], list[int]]:
    data, at = (ROOT / "examples" / "data" / "real.pcap").read_bytes(), 24
    packets, times = [], []
    while at < len(data):
        seconds, micros, size, _ = struct.unpack_from("<IIII", data, at)
        packets.append(data[at + 16 : at + 16 + size])
        times.append(seconds * 1_000_000 + micros)
        at += 16 + size
    return packets, times


def test_the_real_capture(live: Firewall, tmp_path: Path) -> None:
    packets, times = real_packets()
    for seed in range(6):
        chance = random.Random(seed)
        compare(live, rules_text(chance, 20), packets, times, tmp_path)
    text = "default: deny\nstateful: true\nrules:\n  - allow: {proto: tcp, port: [80, 443, 8000-9000]}\n"
    text += "  - allow: {proto: udp}\n"
    assert "reply" in compare(live, text, packets, times, tmp_path)


def test_the_random_worlds_reach_everything(live: Firewall, tmp_path: Path) -> None:
    """A test of the tests: each reason that a packet can have comes up."""
    reached: set[str] = set()
    for seed in range(100, 125):
        chance = random.Random(seed)
        packets = frames(chance, 400)
        times = [START_US + n * 50_000 for n in range(len(packets))]
        reached |= compare(live, rules_text(chance, chance.choice([5, 15])), packets, times, tmp_path)
    wanted = {
        "related",
        "rule",
        "default",
        "reply",
        "non_ip",
        "ndp",
        "over_rate",
        "later_fragment",
        "unknown_fragment",
    }
    assert wanted | {"fragment", "malformed"} <= reached


MUTATION = st.tuples(st.integers(0, 132), st.integers(12, 90), st.integers(0, 255))
CUT = st.tuples(st.integers(0, 132), st.integers(14, 120))


@settings(max_examples=60)
@given(st.integers(0, 7), st.lists(MUTATION, max_size=150), st.lists(CUT, max_size=20))
def test_damaged_packets(
    live: Firewall,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    mutations: list[tuple[int, int, int]],
    cuts: list[tuple[int, int]],
) -> None:
    """Packets of the real capture with bytes changed and ends cut off: nobody gets a verdict but the policy's."""
    packets, times = real_packets()
    damaged = [bytearray(packet) for packet in packets]
    for number, at, value in mutations:
        if at < len(damaged[number]):
            damaged[number][at] = value
    for number, size in cuts:
        del damaged[number][size:]
    text = rules_text(random.Random(seed), 15)
    compare(live, text, [bytes(packet) for packet in damaged], times, tmp_path_factory.getbasetemp())

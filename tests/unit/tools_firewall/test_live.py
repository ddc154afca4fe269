"""A firewall that runs: live entries, replacement while packets run, floods, counters."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import skep
from skep.errors import SkepError
from skep.testing.captures import write_capture
from skep.tools.firewall import Action, Firewall, parse_rules
from skep.tools.firewall.words import parse_network

from .traffic import write_pcap


def syn(source: bytes, port: int = 80, flags: int = 2, source_port: int = 1000) -> bytes:
    tcp = struct.pack(">HHIIBBHHH", source_port, port, 1, 0, 0x50, flags, 100, 0, 0)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + bytes((192, 0, 2, 1))
    return bytes(12) + b"\x08\x00" + ip + tcp


@pytest.fixture(scope="module")
def firewall() -> Iterator[Firewall]:
    with Firewall(parse_rules("default: deny"), programs=("firewall_in", "firewall_out")) as live:
        yield live


def passes(firewall: Firewall, packet: bytes) -> bool:
    return firewall.object.programs["firewall_in"].run(packet).retval == 2


def leaves(firewall: Firewall, packet: bytes) -> bool:
    return firewall.object.programs["firewall_out"].run(packet).retval == 0


def test_live_entries_come_before_the_rules(firewall: Firewall) -> None:
    firewall.replace(parse_rules("default: deny\nrules:\n  - allow: {from: 10.0.0.0/8}\n"))
    packet = syn(bytes((10, 1, 2, 3)))
    assert passes(firewall, packet)
    firewall.deny(parse_network("10.1.0.0/16"))
    assert not passes(firewall, packet)
    firewall.allow(parse_network("10.1.2.3"))
    assert passes(firewall, packet)
    entries = firewall.live_entries()
    assert entries[parse_network("10.1.0.0/16")][1].packets == 1
    assert entries[parse_network("10.1.2.3")][0] is Action.ALLOW
    assert firewall.forget(parse_network("10.1.2.3"))
    assert not passes(firewall, packet)
    assert firewall.forget(parse_network("10.1.0.0/16"))
    assert not firewall.forget(parse_network("10.1.0.0/16"))
    assert passes(firewall, packet)


def test_what_goes_out_lets_replies_in(firewall: Firewall) -> None:
    firewall.replace(parse_rules("default: {in: deny, out: allow}\nstateful: true"))
    firewall.forget_connections()
    there, here = bytes((10, 9, 9, 9)), bytes((192, 0, 2, 1))

    def packet(source: bytes, target: bytes, ports: tuple[int, int], flags: int) -> bytes:
        tcp = struct.pack(">HHIIBBHHH", *ports, 1, 0, 0x50, flags, 100, 0, 0)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + target
        return bytes(12) + b"\x08\x00" + ip + tcp

    answer = packet(there, here, (443, 5000), 0x12)
    assert not passes(firewall, answer)
    assert leaves(firewall, packet(here, there, (5000, 443), 2))
    assert not passes(firewall, packet(there, here, (443, 5000), 0x10))  # an ACK does not answer a SYN
    assert not passes(firewall, packet(there, here, (443, 5000), 2))  # nor does a SYN
    assert not passes(firewall, packet(there, here, (444, 5000), 0x12))
    assert passes(firewall, answer)
    assert passes(firewall, packet(there, here, (443, 5000), 0x10))
    assert firewall.forget_connections() == 1
    assert not passes(firewall, answer)


def test_a_set_is_replaced_whole(firewall: Firewall, tmp_path: Path) -> None:
    """Two rule sets that allow the same packets by different rules. With half of one in force, some would be denied."""
    capture = tmp_path / "in.pcap"
    write_capture(capture, 8 << 20)
    filler = "".join(f"  - deny: {{from: 1.{n}.0.0/16, proto: tcp, port: {n + 1}}}\n" for n in range(200))
    one = "  - allow: {from: 10.0.0.0/8, to: 192.0.2.0/24, proto: [tcp, udp]}\n"
    two = "  - allow: {proto: tcp, port: 0-65535}\n  - allow: {proto: udp, to: 192.0.0.0/16}\n"
    sets = [parse_rules(f"default: deny\nrules:\n{text}") for text in (filler + one, two + filler)]
    firewall.replace(sets[0])
    done = threading.Event()
    total: list[int] = []
    denied: list[int] = []

    def packets() -> None:
        while not done.is_set():
            run = firewall.run(skep.hooks.Pcap(capture))
            total.append(run.packets)
            denied.append(run.verdicts.get("DROP", 0))

    worker = threading.Thread(target=packets)
    firewall.run(skep.hooks.Pcap(capture))  # the packet loop is compiled
    worker.start()
    replaced = 0
    while len(total) < 30 and worker.is_alive():
        replaced += 1
        firewall.replace(sets[replaced % 2])
    done.set()
    worker.join()
    assert replaced > 10
    assert sum(denied) == 0


def test_counters_go_on_over_a_replacement(firewall: Firewall) -> None:
    text = "default: deny\nrules:\n  - allow: {proto: tcp, port: 81}\n"
    firewall.replace(parse_rules(text))
    assert passes(firewall, syn(bytes((10, 0, 0, 1)), 81))
    firewall.replace(parse_rules(text + "  - deny: {proto: udp}\n"))
    assert passes(firewall, syn(bytes((10, 0, 0, 1)), 81))
    assert [count.packets for count in firewall.counters()] == [2, 0]


def test_a_set_that_does_not_fit_leaves_the_old_one_in_force(firewall: Firewall) -> None:
    firewall.replace(parse_rules("default: deny\nrules:\n  - allow: {proto: tcp, port: 82}\n"))
    many = "default: allow\nrules:\n" + "".join(
        f"  - deny: {{from: 10.{n >> 8 & 255}.{n & 255}.0/24}}\n" for n in range(9000)
    )
    with pytest.raises(SkepError) as caught:
        firewall.replace(parse_rules(many))
    assert caught.value.diagnostic.code == "F0203"
    assert passes(firewall, syn(bytes((10, 0, 0, 1)), 82))
    assert not passes(firewall, syn(bytes((10, 0, 0, 1)), 83))


def syn_flood(sources: int) -> bytes:
    """A capture with a SYN from each of so many addresses."""
    packet = syn(bytes(4))
    record = struct.pack("<IIII", 1, 0, len(packet), len(packet)) + packet
    records = np.tile(np.frombuffer(record, np.uint8), (sources, 1))
    addresses = (np.arange(sources, dtype=np.uint64) * 2654435761 % (1 << 32)).astype(">u4")  # odd: all different
    source = record.index(packet) + 14 + 12
    records[:, source : source + 4] = addresses.view(np.uint8).reshape(-1, 4)
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1) + records.tobytes()


def test_a_flood_of_a_million_sources(tmp_path: Path) -> None:
    """Half-open connections push each other out, never those that went both ways; nothing that is denied gets in."""
    chance = random.Random(7)
    good = bytes((203, 0, 113, 5))
    back = syn(good)  # made below: the answer of the server
    path = tmp_path / "flood.pcap"
    path.write_bytes(syn_flood(1_000_000))
    rules = parse_rules(
        "default: {in: deny, out: deny}\nstateful: true\nrules:\n  - allow: {proto: tcp, port: 80, direction: in}\n"
    )
    with Firewall(rules, programs=("firewall_in", "firewall_out")) as live:
        tcp = struct.pack(">HHIIBBHHH", 80, 1000, 1, 0, 0x50, 0x12, 100, 0, 0)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + bytes((192, 0, 2, 1)) + good
        answer = bytes(12) + b"\x08\x00" + ip + tcp
        assert passes(live, back)
        assert leaves(live, answer)
        assert passes(live, syn(good, flags=0x10))  # now it is kept
        assert live.run(skep.hooks.Pcap(path)).verdicts == {"PASS": 1_000_000}
        assert leaves(live, answer)
        events = live.events()
        assert events["connection_kept"].packets == 1
        assert events["connection_opened"].packets > 900_000
        openings = live.object.maps["openings"]
        assert sum(1 for _ in openings.handle.items()) <= openings.spec.max_entries
        assert not passes(live, syn(chance.randbytes(4), port=81))


def test_rate_limits_of_more_sources_than_there_is_room_for(tmp_path: Path) -> None:
    chance = random.Random(8)
    packets = [syn(chance.randbytes(4)) for _ in range(100_000)]
    path = tmp_path / "rates.pcap"
    write_pcap(path, packets, list(range(len(packets))))
    rules = parse_rules("default: deny\nrules:\n  - allow: {proto: tcp, port: 80, rate: 1/h, burst: 1}\n")
    with Firewall(rules) as live:
        run = live.run(skep.hooks.Pcap(path, clock="capture"))
        assert run.packets == len(packets)
        assert live.events()["bucket_opened"].packets + live.reasons().get(
            "over_rate", live.counters()[0]
        ).packets >= len(packets)
        assert passes(live, syn(b"\x01\x02\x03\x04"))
        assert not passes(live, syn(b"\x01\x02\x03\x04"))

"""A load balancer that runs: backends come, go, drain and fail, and connections stay; changes while packets run."""

from __future__ import annotations

import random
import struct
import threading
from pathlib import Path

import pytest

import skep
from skep.errors import SkepError, UnsupportedError, UsageError
from skep.tools.lb import Backend, Config, Decision, LoadBalancer, parse_config
from skep.tools.lb import layout as lb_layout
from skep.tools.lb.balancer import program_spec
from skep.tools.lb.config import parse_address
from skep.tools.lb.frames import make_frame
from skep.tools.names import TCP, UDP
from tests.unit.tools_firewall.traffic import write_pcap
from tests.unit.tools_lb.conftest import Start

TEXT = """source4: 192.0.2.1
services:
  - {vip: 203.0.113.10, proto: tcp, port: 80, forward: ipip, name: web, backends: [10.0.0.1, 10.0.0.2, 10.0.0.3]}
  - {vip: 203.0.113.10, proto: udp, port: 53, forward: ipip, name: dns, backends: [10.0.0.1, 10.0.0.2, 10.0.0.3]}
"""
VIP, CLIENT = parse_address("203.0.113.10"), parse_address("198.51.100.7")
SYN, ACK, FIN, RST = 2, 16, 1, 4


def tcp(sport: int, flags: int) -> bytes:
    frame = bytearray(make_frame(TCP, CLIENT, sport, VIP, 80))
    frame[14 + 20 + 13] = flags
    return bytes(frame)


def udp(sport: int) -> bytes:
    return make_frame(UDP, CLIENT, sport, VIP, 53)


def decide(balancer: LoadBalancer, frame: bytes) -> Decision:
    balancer.forget_decisions()
    balancer.object.programs["lb"].run(frame)
    return next(balancer.decisions())


def backend_of(balancer: LoadBalancer, frame: bytes) -> str | None:
    decision = decide(balancer, frame)
    found = balancer.find_member(decision.backend) if decision.backend is not None else None
    return found[1].name if found else None


def opened(balancer: LoadBalancer, count: int = 60) -> dict[int, str | None]:
    """Connections that are established, by port."""
    for sport in range(5000, 5000 + count):
        backend_of(balancer, tcp(sport, SYN))
    return {sport: backend_of(balancer, tcp(sport, ACK)) for sport in range(5000, 5000 + count)}


def test_a_backend_more_takes_new_connections_only(start: Start) -> None:
    balancer = start(TEXT)
    before = opened(balancer)
    balancer.add("web", Backend(parse_address("10.0.0.4"), 80))
    assert {sport: backend_of(balancer, tcp(sport, ACK)) for sport in before} == before
    after = {backend_of(balancer, tcp(sport, SYN)) for sport in range(6000, 6060)}
    assert "10.0.0.4:80" in after
    assert sum(balancer.shares("web").values()) == pytest.approx(1)
    assert balancer.shares("web")["10.0.0.4:80"] == pytest.approx(0.25, abs=0.001)


def test_draining(start: Start) -> None:
    balancer = start(TEXT)
    before = opened(balancer)
    half_open = next(s for s in range(7000, 7100) if backend_of(balancer, tcp(s, SYN)) == "10.0.0.2:80")
    balancer.drain("web", "10.0.0.2")
    assert {sport: backend_of(balancer, tcp(sport, ACK)) for sport in before} == before
    assert backend_of(balancer, tcp(half_open, SYN)) == "10.0.0.2:80"  # sent again
    assert "10.0.0.2:80" not in {backend_of(balancer, tcp(sport, SYN)) for sport in range(8000, 8060)}
    ours = next(sport for sport, name in before.items() if name == "10.0.0.2:80")
    backend_of(balancer, tcp(ours, FIN | ACK))
    assert backend_of(balancer, tcp(ours, ACK)) == "10.0.0.2:80"  # the last ACK
    assert backend_of(balancer, tcp(ours, SYN)) != "10.0.0.2:80"  # a new connection with the same ports
    states = {each["name"]: each["state"] for each in balancer.services()[0]["backends"]}
    assert states["10.0.0.2:80"] == "draining"
    balancer.drain("web", "10.0.0.2", drain=False)
    assert "10.0.0.2:80" in {backend_of(balancer, tcp(sport, SYN)) for sport in range(9000, 9060)}


def test_a_backend_that_is_down(start: Start) -> None:
    balancer = start(TEXT)
    before = opened(balancer)
    datagrams = {sport: backend_of(balancer, udp(sport)) for sport in range(60)}
    balancer.mark("web", "10.0.0.3", False)
    balancer.mark("dns", "10.0.0.3", False)
    assert {sport: backend_of(balancer, tcp(sport, ACK)) for sport in before} == before
    assert "10.0.0.3:80" not in {backend_of(balancer, tcp(sport, SYN)) for sport in range(6000, 6060)}
    after = {sport: backend_of(balancer, udp(sport)) for sport in datagrams}
    assert "10.0.0.3:53" not in after.values()
    assert all(after[sport] == name for sport, name in datagrams.items() if name != "10.0.0.3:53")
    for name in ("10.0.0.1", "10.0.0.2"):
        balancer.mark("dns", name, False)
    assert decide(balancer, udp(9999)).reason == "no_backend"
    balancer.mark("dns", "10.0.0.3", True)
    assert backend_of(balancer, udp(9999)) == "10.0.0.3:53"


def test_a_backend_less_moves_only_its_connections(start: Start) -> None:
    balancer = start(TEXT)
    before = opened(balancer)
    balancer.remove("web", "10.0.0.1:80")
    after = {sport: backend_of(balancer, tcp(sport, ACK)) for sport in before}
    assert "10.0.0.1:80" not in after.values()
    assert all(after[sport] == name for sport, name in before.items() if name != "10.0.0.1:80")
    assert balancer.events()["moved"].packets >= 1
    balancer.add("web", Backend(parse_address("10.0.0.1"), 80))
    assert {sport: backend_of(balancer, tcp(sport, ACK)) for sport in before} == after


def test_weights(start: Start) -> None:
    balancer = start(TEXT)
    balancer.weight("web", "10.0.0.2", 8)
    assert balancer.shares("web")["10.0.0.2:80"] == pytest.approx(0.8, abs=0.001)


def test_all_connections_of_a_client_go_to_one_backend(start: Start) -> None:
    balancer = start(TEXT.replace("ipip, name: web", "ipip, hash: source, name: web"))
    assert len({backend_of(balancer, tcp(sport, SYN)) for sport in range(5000, 5050)}) == 1


def test_another_configuration_keeps_what_is_in_both(start: Start) -> None:
    balancer = start(TEXT)
    before = opened(balancer)
    changed = TEXT.replace("name: web, backends: [10.0.0.1,", "name: web, backends: [10.0.0.9,").replace("dns", "dns2")
    balancer.replace(parse_config(changed))
    after = {sport: backend_of(balancer, tcp(sport, ACK)) for sport in before}
    assert all(after[sport] == name for sport, name in before.items() if name != "10.0.0.1:80")
    assert [service["name"] for service in balancer.services()] == ["web", "dns2"]
    balancer.replace(Config())
    assert decide(balancer, tcp(5000, ACK)).reason == "not_ours"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda b: b.add("nope", Backend(parse_address("10.0.0.4"), 80)), "N0204"),
        (lambda b: b.drain("web", "10.0.0.77"), "N0205"),
        (lambda b: b.add("web", Backend(parse_address("10.0.0.1"), 80)), "N0206"),
        (lambda b: b.add("web", Backend(parse_address("10.0.0.4"), 81)), "N0206"),
        (lambda b: b.add("web", Backend(VIP, 80)), "N0206"),
        (lambda b: b.weight("web", "10.0.0.1", 0), "N0207"),
        (lambda b: b.add("web", Backend(parse_address("10.0.0.4"), 80, interface="nope0")), "N0201"),
    ],
)
def test_what_cannot_be_done_changes_nothing(start: Start, change: object, code: str) -> None:
    balancer = start(TEXT)
    before = balancer.services()
    with pytest.raises(UsageError) as caught:
        change(balancer)  # type: ignore[operator]
    assert caught.value.diagnostic.code == code
    assert balancer.services() == before


def test_more_backends_than_there_is_room_for() -> None:
    with LoadBalancer(parse_config(TEXT)) as balancer:
        many = ", ".join(f"10.1.{n >> 8}.{n & 255}" for n in range(300))
        with pytest.raises(UnsupportedError) as caught:
            balancer.replace(parse_config(TEXT.replace("10.0.0.1, 10.0.0.2", many)))
        assert caught.value.diagnostic.code == "N0203"
        assert len(balancer.services()[0]["backends"]) == 3


def test_backends_behind_nat_change_places(start: Start) -> None:
    """Each answers for the service that it is in now."""
    text = """services:
  - {vip: 203.0.113.10, proto: tcp, port: 80, forward: nat, name: one, backends: ['10.0.0.1:8080']}
  - {vip: 203.0.113.10, proto: tcp, port: 81, forward: nat, name: two, backends: ['10.0.0.2:8080']}
"""
    balancer = start(text)
    swapped = text.replace("0.1:", "0.9:").replace("0.2:", "0.1:").replace("0.9:", "0.2:")
    balancer.replace(parse_config(swapped))
    request = make_frame(TCP, CLIENT, 4000, VIP, 81)
    answer = make_frame(TCP, parse_address("10.0.0.1"), 8080, CLIENT, 4000)
    assert backend_of(balancer, request) == "10.0.0.1:8080"
    balancer.forget_decisions()
    sent = balancer.object.programs["lb"].run(answer).data
    assert next(balancer.decisions()).reason == "replied"
    assert sent[26:30] + sent[34:36] == VIP.packed + (81).to_bytes(2, "big")
    other = make_frame(TCP, parse_address("10.0.0.2"), 8080, CLIENT, 4000)
    assert decide(balancer, other).reason == "not_ours"


def test_backends_change_while_packets_run(tmp_path: Path) -> None:
    """No packet is dropped or left to the host, whatever is added, weighed, drained and removed."""
    packets = [tcp(sport, SYN) for sport in range(1024, 9216)] + [tcp(sport, ACK) for sport in range(1024, 9216)] * 4
    path = tmp_path / "in.pcap"
    write_pcap(path, packets, list(range(len(packets))))
    done = threading.Event()
    runs: list[dict[str, int]] = []
    with LoadBalancer(parse_config(TEXT)) as balancer:
        balancer.run(skep.hooks.Pcap(path))

        def traffic() -> None:
            while not done.is_set():
                runs.append(dict(balancer.run(skep.hooks.Pcap(path)).verdicts))

        worker = threading.Thread(target=traffic)
        worker.start()
        chance = random.Random(3)
        changes = 0
        while len(runs) < 20 and worker.is_alive():
            name = f"10.0.7.{changes % 50 + 1}"
            balancer.add("web", Backend(parse_address(name), 80, weight=chance.randrange(1, 9)))
            balancer.weight("web", "10.0.0.2", chance.randrange(1, 9))
            balancer.drain("web", name)
            if changes % 50 == 49:
                for number in range(1, 51):
                    balancer.remove("web", f"10.0.7.{number}")
            changes += 1
        done.set()
        worker.join()
        assert changes > 5
        assert all(set(verdicts) == {"TX"} for verdicts in runs)
        assert set(balancer.reasons()) == {"forwarded"}


def test_a_flood_of_syns_does_not_push_out_connections(tmp_path: Path) -> None:
    """A million half-open connections; then the backends change, and those that went on stay where they were."""
    chance = random.Random(9)
    flood = []
    for _ in range(250_000):
        frame = bytearray(tcp(chance.randrange(1024, 65536), SYN))
        frame[26:30] = chance.randbytes(4)
        flood.append(bytes(frame))
    path = tmp_path / "flood.pcap"
    write_pcap(path, flood, list(range(len(flood))))
    with LoadBalancer(parse_config(TEXT), traced=1, connections=1 << 14) as balancer:
        before = opened(balancer)
        for _ in range(4):
            assert balancer.run(skep.hooks.Pcap(path)).verdicts == {"TX": len(flood)}
        for number in range(20):
            balancer.add("web", Backend(parse_address(f"10.0.8.{number}"), 80))
        assert {sport: backend_of(balancer, tcp(sport, ACK)) for sport in before} == before


def test_structs_are_those_of_the_program() -> None:
    maps = program_spec().maps
    sizes = {
        "settings_of": lb_layout.SETTINGS,
        "services": lb_layout.SERVICE,
        "backends": lb_layout.BACKEND,
        "origins": lb_layout.ORIGIN,
        "connections": lb_layout.CONNECTION,
        "trace": lb_layout.DECISION,
        "tables": lb_layout.TABLE_ENTRIES,
        "traffics": struct.Struct("=5Q"),
    }
    assert {name: maps[name].value_size for name in sizes} == {name: made.size for name, made in sizes.items()}
    assert maps["services"].key_size == maps["origins"].key_size == lb_layout.SERVICE_KEY.size
    assert maps["vips"].key_size == lb_layout.VIP.size


def test_a_failure_at_the_start_leaves_nothing() -> None:
    text = TEXT.replace("[10.0.0.1,", "[{address: 10.0.0.1, interface: nope0},")
    with pytest.raises(SkepError) as caught:
        LoadBalancer(parse_config(text))
    assert caught.value.diagnostic.code == "N0201"

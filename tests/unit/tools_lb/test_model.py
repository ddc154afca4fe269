"""The program against the model: every packet of random worlds, what becomes of it, its backend, and what leaves."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skep
from skep.tools.lb import Config, Decision, LoadBalancer, parse_config
from tests.unit.tools_firewall.test_verdicts import CUT, MUTATION, real_packets
from tests.unit.tools_firewall.traffic import write_pcap
from tests.unit.tools_lb.lb_model import Model, is_routed, l3_length, l3_offset
from tests.unit.tools_lb.lb_traffic import world_frames

START_US = 1_700_000_000_000_000
SENT = ("forwarded", "replied", "error_forwarded", "error_replied", "later_fragment")


def config_text(chance: random.Random, timeouts: str = "{}") -> str:
    """Services at the addresses of the random traffic; behind NAT its other hosts, so that answers come by."""
    encapsulated = chance.choice(["ipip", "gue"])
    lines = [
        "source4: 198.51.100.1",
        "source6: 2001:db8:99::1",
        f"fragments: {chance.choice(['track', 'track', 'drop', 'pass'])}",
        f"seed: {chance.randrange(100)}",
        f"mtu: {chance.choice([1340, 1500])}",
        f"timeouts: {timeouts}",
        "services:",
    ]
    for vip in ("192.0.2.1", "fd00::1", "203.0.113.9"):
        nat = {"192.0.2.1": ["10.0.0.1", "10.0.0.2", "10.0.1.1"], "fd00::1": ["fd00::2", "fd00:0:0:1::1"]}.get(vip)
        for protocol, port in chance.sample([("tcp", 80), ("tcp", 443), ("udp", 53), ("udp", 80), ("tcp", 22)], 3):
            backends = [f"10.9.9.{n}" for n in range(1, 5)] + ["'2001:db8:77::1'"]
            forward = encapsulated
            if nat and chance.random() < 0.6:
                forward = "nat"
                to = chance.choice([81, 8000, 8050, 40000, 40001])
                backends = [f"'[{host}]:{to}'" if ":" in host else f"{host}:{to}" for host in nat]
                nat = None  # one service of these hosts
            kind = chance.choice(["flow", "flow", "source"])
            lines.append(
                f"  - {{vip: '{vip}', proto: {protocol}, port: {port}, forward: {forward}, hash: {kind}, "
                f"backends: [{', '.join(backends[: chance.randrange(len(backends) + 1)])}]}}"
            )
    return "\n".join(lines)


def change_states(chance: random.Random, balancer: LoadBalancer, model: Model) -> None:
    """Drain some backends, mark some down: in the middle of traffic."""
    for service in model.config.services:
        for backend in service.backends:
            key = (service.name, backend.name)
            state = chance.choice(["active", "active", "active", "draining", "down"])
            if model.states.get(key, "active") != state:
                model.states[key] = state
                balancer.drain(*key, drain=state == "draining")
                balancer.mark(*key, is_up=state != "down")


def sum_of(data: bytes) -> int:
    """The sum of 16-bit words modulo 0xffff: what no translation may change with its checksum."""
    return sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1])) % 0xFFFF


def check_encapsulated(frame: bytes, sent: bytes, model: Model, backend: Any, gue: bool) -> None:
    at = l3_offset(frame)
    extra = (20 if backend.address.version == 4 else 40) + (12 if gue else 0)
    assert sent[at + extra :] == frame[at:]
    assert sent[:12] == frame[6:12] + frame[:6]
    assert sent[12 : at - 2] == frame[12 : at - 2]
    outer, inner = sent[at : at + extra], 4 if frame[at] >> 4 == 4 else 41
    length = l3_length(frame) + extra
    if backend.address.version == 4:
        assert sent[at - 2 : at] == b"\x08\x00"
        assert sum_of(outer[:20]) == 0
        assert outer[:1] + outer[2:4] == b"\x45" + length.to_bytes(2, "big")
        assert outer[12:20] == model.config.source4.packed + backend.address.packed
        protocol, rest = outer[9], outer[20:]
    else:
        assert sent[at - 2 : at] == b"\x86\xdd"
        assert (outer[0] >> 4, outer[4:6]) == (6, (length - 40).to_bytes(2, "big"))
        assert outer[8:40] == model.config.source6.packed + backend.address.packed
        protocol, rest = outer[6], outer[40:]
    assert protocol == (17 if gue else inner)
    if gue:
        ports = struct.unpack(">4H", rest[:8])
        assert ports[1:] == (6080, l3_length(frame) + 12, 0)
        assert rest[8:] == bytes((0, inner, 0, 0))


def check_translated(frame: bytes, sent: bytes, service: Any, backend: Any, back: bool) -> None:
    """Nothing but addresses, ports and checksums differ, and each checksum is as right as it was."""
    assert len(sent) == len(frame)
    at = l3_offset(frame)
    v4 = frame[at] >> 4 == 4
    size = 4 if v4 else 16
    source = at + (12 if v4 else 8)
    new = service.address.packed if back else backend.address.packed
    where = source if back else source + size
    assert sent[where : where + size] == new
    untouched = source + size if back else source
    assert sent[untouched : untouched + size] == frame[untouched : untouched + size]
    if v4:
        header = (frame[at] & 15) * 4
        assert sum_of(sent[at : at + header]) == sum_of(frame[at : at + header])


def check_bytes(frame: bytes, sent: bytes, model: Model, decision: Decision, found: Any) -> None:
    service, backend = found
    if service.forward.name != "NAT":
        check_encapsulated(frame, sent, model, backend, service.forward.name == "GUE")
    elif decision.reason in ("forwarded", "replied"):
        check_translated(frame, sent, service, backend, decision.reason == "replied")


@pytest.mark.parametrize("seed", range(6))
def test_random_worlds(one: LoadBalancer, seed: int) -> None:
    chance = random.Random(seed)
    text = config_text(chance)
    one.replace(Config())
    one.replace(parse_config(text))
    model = Model(parse_config(text))
    program = one.object.programs["lb"]
    services = {service.name: service for service in model.config.services}
    for number, frame in enumerate(world_frames(chance, model.config, 400)):
        if number % 100 == 99:
            change_states(chance, one, model)
        one.forget_decisions()
        sent = program.run(frame).data if len(frame) >= 14 else b""
        decision = next(one.decisions())
        found = one.find_member(decision.backend) if decision.backend is not None else None
        expected = model.judge(frame, 0)
        got = decision.reason, found[1].name if found else None
        assert got == expected, f"packet {number}: {frame.hex()}\n{text}"
        if decision.reason in SENT and found:
            assert decision.verdict == "TX"
            check_bytes(frame, sent, model, decision, (services[found[0]], found[1]))
        elif decision.verdict == "PASS":
            assert sent == frame


def run_capture(balancer: LoadBalancer, model: Model, packets: list[bytes], times: list[int], folder: Path) -> set[str]:
    path = folder / "in.pcap"
    write_pcap(path, packets, times)
    balancer.forget_decisions()
    balancer.run(skep.hooks.Pcap(path, clock="capture"))
    got = list(balancer.decisions())
    assert len(got) == len(packets)
    for number, (frame, now, decision) in enumerate(zip(packets, times, got, strict=True)):
        found = balancer.find_member(decision.backend) if decision.backend is not None else None
        expected = model.judge(frame, now * 1000)
        assert (decision.reason, found[1].name if found else None) == expected, f"packet {number}: {frame.hex()}"
    return {decision.reason for decision in got}


@pytest.fixture(scope="module")
def on_vm() -> Any:
    with LoadBalancer(Config(), traced=1 << 12, connections=4096) as made:
        yield made


def world(balancer: LoadBalancer, seed: int) -> Model:
    text = config_text(random.Random(seed), "{tcp: 60s, tcp_opening: 5, tcp_closing: 3, udp: 10, fragment: 4}")
    balancer.replace(Config())
    balancer.replace(parse_config(text))
    return Model(parse_config(text))


def test_time_passes_and_everything_is_reached(on_vm: LoadBalancer, tmp_path: Path) -> None:
    """Timeouts of connections and fragments; and a test of the tests: each outcome comes up."""
    reached: set[str] = set()
    for seed in range(200, 214):
        chance = random.Random(seed)
        model = world(on_vm, seed)
        times, now = [], START_US
        packets = world_frames(chance, model.config, 400)
        for _ in packets:
            now += chance.choice([1000, 10_000, 100_000, 3_000_000])
            times.append(now)
        reached |= run_capture(on_vm, model, packets, times, tmp_path)
    assert {*SENT, "not_ours", "no_service", "no_backend", "malformed", "echoed", "unknown_fragment"} <= reached
    assert {"fragment_passed", "fragment_dropped"} <= reached


REAL = """source4: 198.51.100.1
services:
  - {vip: 10.77.0.2, proto: tcp, port: 80, forward: ipip, backends: [10.9.9.1, 10.9.9.2, 10.9.9.3]}
  - {vip: 10.77.0.2, proto: udp, port: 53, forward: gue, backends: [10.9.9.1, 10.9.9.2]}
"""


@settings(max_examples=20)
@given(st.lists(MUTATION, max_size=150), st.lists(CUT, max_size=20))
def test_damaged_packets(
    on_vm: LoadBalancer,
    tmp_path_factory: pytest.TempPathFactory,
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
    on_vm.replace(Config())
    on_vm.replace(parse_config(REAL))
    frames_ = [bytes(packet) for packet in damaged]
    run_capture(on_vm, Model(parse_config(REAL)), frames_, times, tmp_path_factory.getbasetemp())


def test_the_model_sees_routing_headers() -> None:
    header = bytes([43, 3, 2, 1]) + bytes(20)
    frame = bytes(12) + b"\x86\xdd" + b"\x60" + bytes(3) + b"\0\x20" + bytes([43, 64]) + bytes(32) + header
    assert is_routed(frame)

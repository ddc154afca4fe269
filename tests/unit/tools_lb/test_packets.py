"""What leaves, on both engines: taken apart again by scapy, with right checksums."""

from __future__ import annotations

import logging

import pytest

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
scapy = pytest.importorskip("scapy.all")

from skep.tools.lb import LoadBalancer  # noqa: E402
from skep.tools.lb.decisions import Decision  # noqa: E402
from skep.tools.lb.layout import Device  # noqa: E402
from tests.unit.tools_lb.conftest import Start  # noqa: E402

Ether, IP, IPv6, TCP, UDP, ICMP, Dot1Q, Dot1AD, Raw = (
    scapy.Ether, scapy.IP, scapy.IPv6, scapy.TCP, scapy.UDP, scapy.ICMP, scapy.Dot1Q, scapy.Dot1AD, scapy.Raw,
)  # fmt: skip
ICMPv6EchoRequest, ICMPv6PacketTooBig, ICMPv6DestUnreach = (
    scapy.ICMPv6EchoRequest, scapy.ICMPv6PacketTooBig, scapy.ICMPv6DestUnreach,
)  # fmt: skip

CLIENT, VIP, BACKEND = "198.51.100.7", "203.0.113.10", "10.0.0.1"
CLIENT6, VIP6, BACKEND6 = "2001:db8:c::7", "2001:db8:f::10", "2001:db8:b::1"
ROUTER, HERE = "02:00:00:00:00:01", "02:00:00:00:00:02"
LINK = Ether(src=ROUTER, dst=HERE)


def config(forward: str, vip: str = VIP, backend: str = BACKEND, more: str = "", port: str = "") -> str:
    extra = f"port: {port}, " if port else ""
    return (
        f"source4: 192.0.2.1\nsource6: 2001:db8::1\n{more}services:\n"
        f"  - {{vip: '{vip}', proto: tcp, port: 80, forward: {forward}, name: web, "
        f"backends: [{{address: '{backend}', {extra}weight: 1}}]}}\n"
        f"  - {{vip: '{vip}', proto: udp, port: 53, forward: {forward}, name: dns, "
        f"backends: [{{address: '{backend}', {extra}weight: 1}}]}}\n"
    )


def send(balancer: LoadBalancer, packet: object) -> tuple[Decision, object]:
    """What became of a packet, and what leaves, taken apart."""
    balancer.forget_decisions()
    run = balancer.object.programs["lb"].run(bytes(packet))  # type: ignore[call-overload]
    decision = next(balancer.decisions())
    assert {1: "DROP", 2: "PASS", 3: "TX", 4: "REDIRECT"}[run.retval] == decision.verdict
    return decision, Ether(run.data)


def assert_checksums(packet: object) -> None:
    """scapy computes each of them again to the same value."""
    again = packet.copy()  # type: ignore[attr-defined]
    layer = again
    while layer:
        for name in ("chksum", "cksum"):
            if name in layer.fields and not (isinstance(layer, UDP) and layer.chksum == 0):
                delattr(layer, name)
        if "ICMP" in type(layer).__name__:
            break  # what is quoted in an error is as it was
        layer = layer.payload
    assert bytes(again) == bytes(packet)  # type: ignore[call-overload]


def flow(vip: str = VIP, sport: int = 4711, payload: bytes = b"", flags: str = "S") -> object:
    ip = IPv6(src=CLIENT6, dst=vip) if ":" in vip else IP(src=CLIENT, dst=vip, tos=0xB9)
    return LINK / ip / TCP(sport=sport, dport=80, flags=flags) / Raw(payload)


@pytest.mark.parametrize(
    ("vip", "backend", "outer", "protocol"),
    [(VIP, BACKEND, IP, 4), (VIP6, BACKEND6, IPv6, 41), (VIP, BACKEND6, IPv6, 4), (VIP6, BACKEND, IP, 41)],
)
def test_ipip(start: Start, vip: str, backend: str, outer: type, protocol: int) -> None:
    sent = flow(vip, payload=b"hello")
    decision, packet = send(start(config("ipip", vip, backend)), sent)
    assert (decision.reason, decision.verdict) == ("forwarded", "TX")
    assert (packet.src, packet.dst) == (HERE, ROUTER)  # type: ignore[attr-defined]
    header = packet.payload  # type: ignore[attr-defined]
    assert isinstance(header, outer)
    assert header.dst == backend
    assert header.src == ("192.0.2.1" if outer is IP else "2001:db8::1")
    assert (header.proto if outer is IP else header.nh) == protocol
    assert bytes(header.payload) == bytes(sent.payload)  # type: ignore[attr-defined]
    assert (header.tos if outer is IP else header.tc) == (0xB9 if vip == VIP else 0)
    assert_checksums(packet)


@pytest.mark.parametrize("vip", [VIP, VIP6])
@pytest.mark.parametrize("backend", [BACKEND, BACKEND6])
def test_gue(start: Start, vip: str, backend: str) -> None:
    sent = flow(vip)
    _, packet = send(start(config("gue", vip, backend, "gue_port: 6666\n")), sent)
    udp = packet[UDP]  # type: ignore[index]
    assert (udp.dport, udp.chksum) == (6666, 0)
    assert udp.sport >= 0xC000
    assert udp.len == len(udp)
    data = bytes(udp.payload)
    assert data[:4] == bytes((0, 4 if vip == VIP else 41, 0, 0))  # variant 0, no flags
    assert data[4:] == bytes(sent.payload)  # type: ignore[attr-defined]
    assert_checksums(packet)


def test_gue_spreads_flows_over_source_ports(start: Start) -> None:
    balancer = start(config("gue"))
    ports = {send(balancer, flow(sport=n))[1][UDP].sport for n in range(2000, 2100)}  # type: ignore[index]
    assert len(ports) > 95


@pytest.mark.parametrize("tags", [[Dot1Q(vlan=5)], [Dot1AD(vlan=7), Dot1Q(vlan=5)]])
@pytest.mark.parametrize("forward", ["ipip", "gue", "nat"])
def test_vlan_tags_stay(start: Start, forward: str, tags: list[object]) -> None:
    sent = LINK.copy()
    for tag in tags:
        sent = sent / tag
    sent = sent / IP(src=CLIENT, dst=VIP) / UDP(sport=9, dport=53) / b"1234"
    for backend in (BACKEND,) if forward == "nat" else (BACKEND, BACKEND6):
        decision, packet = send(start(config(forward, VIP, backend)), sent)
        assert decision.reason == "forwarded"
        found = [layer.vlan for layer in packet.iterpayloads() if isinstance(layer, Dot1Q | Dot1AD)]  # type: ignore[attr-defined]
        assert found == [tag.vlan for tag in tags]  # type: ignore[attr-defined]
        assert_checksums(packet)


@pytest.mark.parametrize(("vip", "backend", "client"), [(VIP, BACKEND, CLIENT), (VIP6, BACKEND6, CLIENT6)])
@pytest.mark.parametrize("udp", [False, True])
def test_nat_there_and_back(start: Start, vip: str, backend: str, client: str, udp: bool) -> None:
    ip = IPv6 if ":" in vip else IP
    balancer = start(config("nat", vip, backend, port="8080"))
    answers = LINK / ip(src=backend, dst=client)
    l4 = TCP(sport=8080, dport=4711, flags="SA") if not udp else UDP(sport=8080, dport=4711)
    assert send(balancer, answers / l4 / b"early")[0].reason == "not_ours"
    request = UDP(sport=4711, dport=53) if udp else TCP(sport=4711, dport=80)
    decision, packet = send(balancer, LINK / ip(src=client, dst=vip) / request / b"request")
    assert decision.reason == "forwarded"
    assert (packet[ip].src, packet[ip].dst, packet[ip].payload.dport) == (client, backend, 8080)  # type: ignore[index]
    assert_checksums(packet)
    other = Ether(src="02:00:00:00:00:09", dst=HERE)
    decision, packet = send(balancer, other / ip(src=backend, dst=client) / l4 / b"odd")
    assert (decision.reason, decision.verdict) == ("replied", "TX")
    assert (packet.src, packet.dst) == (HERE, ROUTER)  # type: ignore[attr-defined]
    assert (packet[ip].src, packet[ip].dst) == (vip, client)  # type: ignore[index]
    assert packet[ip].payload.sport == (53 if udp else 80)  # type: ignore[index]
    assert_checksums(packet)
    service = balancer.services()[1 if udp else 0]["backends"][0]
    assert (service["packets"], service["replies"], service["opened"]) == (1, 1, 1)


def test_nat_leaves_a_udp_checksum_of_none_alone(start: Start) -> None:
    sent = LINK / IP(src=CLIENT, dst=VIP) / UDP(sport=5, dport=53, chksum=0) / b"x"
    _, packet = send(start(config("nat")), sent)
    assert (packet[IP].dst, packet[UDP].chksum) == (BACKEND, 0)  # type: ignore[index]


def test_a_next_hop_of_its_own(start: Start) -> None:
    text = config("ipip").replace("weight: 1", "mac: '02:00:00:00:00:aa', interface: eth7")
    balancer = start(text, devices={"eth7": Device(77, b"\2\0\0\0\0\xbb")})
    decision, packet = send(balancer, flow())
    assert decision.verdict == "REDIRECT"
    assert (packet.dst, packet.src) == ("02:00:00:00:00:aa", "02:00:00:00:00:bb")  # type: ignore[attr-defined]


# ---- ICMP ----


@pytest.mark.parametrize("forward", ["ipip", "gue"])
def test_too_big_comes_back_to_the_backend_that_sent(start: Start, forward: str) -> None:
    """Path MTU discovery of an answer: the router's error goes to the VIP, and must reach who answered."""
    text = config(forward).replace("weight: 1}", "weight: 1}, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5")
    balancer = start(text)
    chosen = set()
    for sport in range(3000, 3030):
        there, _ = send(balancer, flow(sport=sport))
        inner = IP(src=VIP, dst=CLIENT) / TCP(sport=80, dport=sport)
        error = LINK / IP(src="192.0.2.99", dst=VIP) / ICMP(type=3, code=4, nexthopmtu=1400) / bytes(inner)[:28]
        back, packet = send(balancer, error)
        assert (back.reason, back.backend) == ("error_forwarded", there.backend)
        assert bytes(error.payload) in bytes(packet)  # type: ignore[call-overload]
        chosen.add(back.backend)
    assert len(chosen) >= 4


def test_too_big_of_ipv6(start: Start) -> None:
    balancer = start(config("ipip", VIP6, BACKEND))
    send(balancer, flow(VIP6))
    inner = IPv6(src=VIP6, dst=CLIENT6) / TCP(sport=80, dport=4711)
    error = LINK / IPv6(src="2001:db8:9::1", dst=VIP6) / ICMPv6PacketTooBig(mtu=1300) / bytes(inner)
    decision, packet = send(balancer, error)
    assert decision.reason == "error_forwarded"
    assert packet[IP].dst == BACKEND  # type: ignore[index]


@pytest.mark.parametrize("cut", [8, 20, 60])
@pytest.mark.parametrize(("vip", "backend", "client"), [(VIP, BACKEND, CLIENT), (VIP6, BACKEND6, CLIENT6)])
@pytest.mark.parametrize("udp", [False, True])
def test_too_big_through_nat(start: Start, vip: str, backend: str, client: str, udp: bool, cut: int) -> None:
    """Outside and inside are what the backend knows, and all checksums are right."""
    v6 = ":" in vip
    ip = IPv6 if v6 else IP
    balancer = start(config("nat", vip, backend, port="8080"))
    l4 = UDP(sport=4711, dport=53) if udp else TCP(sport=4711, dport=80)
    send(balancer, LINK / ip(src=client, dst=vip) / l4)
    answer = UDP(sport=53, dport=4711) if udp else TCP(sport=80, dport=4711)
    inner = bytes(ip(src=vip, dst=client) / answer / bytes(60))[: (40 if v6 else 20) + cut]
    kind = ICMPv6PacketTooBig(mtu=1300) if v6 else ICMP(type=3, code=4, nexthopmtu=1300)
    decision, packet = send(balancer, LINK / ip(src="2001:db8:9::1" if v6 else "192.0.2.9", dst=vip) / kind / inner)
    assert decision.reason == "error_forwarded"
    assert packet[ip].dst == backend  # type: ignore[index]
    data = bytes(packet[ip].payload)[8:]  # type: ignore[index]
    inside = ip(data)
    assert (inside.src, inside.dst) == (backend, client)
    assert data[40 if v6 else 20 :][:2] == (8080).to_bytes(2, "big")
    whole = bytes(ip(src=backend, dst=client) / answer.__class__(sport=8080, dport=4711) / bytes(60))
    if cut >= 20 or udp:
        assert data[40 if v6 else 20 :] == whole[40 if v6 else 20 :][:cut]
    if not v6:
        assert data[:20] == whole[:20]
    assert packet[ip].chksum == IP(bytes(packet[ip])).chksum if not v6 else True  # type: ignore[index]
    again = packet.copy()  # type: ignore[attr-defined]
    layer = again[ip].payload
    field = "cksum" if v6 else "chksum"
    before = getattr(layer, field)
    delattr(layer, field)
    assert getattr(Ether(bytes(again))[ip].payload, field) == before


@pytest.mark.parametrize("sender", ["backend", "router"])
@pytest.mark.parametrize(("vip", "backend", "client"), [(VIP, BACKEND, CLIENT), (VIP6, BACKEND6, CLIENT6)])
def test_errors_about_a_request_through_nat(start: Start, vip: str, backend: str, client: str, sender: str) -> None:
    """A closed port at the backend, or a narrow path to it: the client hears of the VIP only."""
    v6 = ":" in vip
    ip = IPv6 if v6 else IP
    balancer = start(config("nat", vip, backend, port="5353"))
    _, there = send(balancer, LINK / ip(src=client, dst=vip) / UDP(sport=4711, dport=53) / b"question")
    kind = ICMPv6DestUnreach(code=4) if v6 else ICMP(type=3, code=3)
    source = backend if sender == "backend" else "2001:db8:9::1" if v6 else "192.0.2.9"
    error = LINK / ip(src=source, dst=client) / kind / bytes(there[ip])  # type: ignore[index]
    decision, packet = send(balancer, error)
    assert decision.reason == "error_replied"
    assert packet[ip].src == (vip if sender == "backend" else source)  # type: ignore[index]
    expected = bytes(ip(src=client, dst=vip) / UDP(sport=4711, dport=53) / b"question")
    assert bytes(packet[ip].payload)[8:] == expected  # type: ignore[index]
    checked = LINK / ip(src=packet[ip].src, dst=client) / kind / expected  # type: ignore[index]
    assert bytes(packet[ip]) == bytes(Ether(bytes(checked))[ip])  # type: ignore[index]


@pytest.mark.parametrize("tags", [0, 1])
@pytest.mark.parametrize("backend", [BACKEND, BACKEND6])
@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_what_does_not_fit_is_answered(start: Start, vip: str, backend: str, tags: int) -> None:
    balancer = start(config("gue", vip, backend))
    extra = (20 if backend == BACKEND else 40) + 12
    link = LINK / Dot1Q(vlan=3) if tags else LINK
    ip = IPv6(src=CLIENT6, dst=vip) if ":" in vip else IP(src=CLIENT, dst=vip, flags="DF")
    head = len(ip / TCP())
    fits = link / ip / TCP(sport=4711, dport=80) / bytes(1500 - extra - head)
    assert send(balancer, fits)[0].reason == "forwarded"
    decision, packet = send(balancer, fits / b"x")
    assert (decision.reason, decision.verdict) == ("too_big", "TX")
    assert (packet.src, packet.dst) == (HERE, ROUTER)  # type: ignore[attr-defined]
    assert_checksums(packet)
    if vip == VIP:
        icmp = packet[ICMP]  # type: ignore[index]
        assert (packet[IP].src, packet[IP].dst) == (VIP, CLIENT)  # type: ignore[index]
        assert (icmp.type, icmp.code, icmp.nexthopmtu) == (3, 4, 1500 - extra)
        assert packet.original[-256:] == bytes((fits / b"x")[IP])[:256]  # type: ignore[attr-defined]
    else:
        icmp = packet[ICMPv6PacketTooBig]  # type: ignore[index]
        assert (packet[IPv6].src, icmp.mtu) == (VIP6, 1500 - extra)  # type: ignore[index]
        assert packet.original[-256:] == bytes((fits / b"x")[IPv6])[:256]  # type: ignore[attr-defined]


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_a_ping_is_answered(start: Start, vip: str) -> None:
    ping = ICMPv6EchoRequest(id=7, seq=1, data=b"abc") if ":" in vip else ICMP(id=7, seq=1) / b"abc"
    ip = IPv6(src=CLIENT6, dst=vip, hlim=9) if ":" in vip else IP(src=CLIENT, dst=vip, ttl=9)
    decision, packet = send(start(config("ipip", vip)), LINK / ip / ping)
    assert (decision.reason, decision.verdict) == ("echoed", "TX")
    layer = packet.payload  # type: ignore[attr-defined]
    assert (layer.src, layer.dst, layer.payload.type) == (ip.dst, ip.src, 129 if ":" in vip else 0)
    assert (layer.hlim if ":" in vip else layer.ttl) == 64
    assert_checksums(packet)


# ---- fragments and extension headers ----


@pytest.mark.parametrize("forward", ["ipip", "gue", "nat"])
def test_fragments_follow_their_first(start: Start, forward: str) -> None:
    text = config(forward).replace("weight: 1}", "weight: 1}, 10.0.0.2, 10.0.0.3, 10.0.0.4")
    balancer = start(text)
    whole = IP(src=CLIENT, dst=VIP, id=99) / UDP(sport=7, dport=53) / (bytes(range(200)) * 5)
    pieces = scapy.fragment(whole, fragsize=400)
    assert len(pieces) == 3
    assert send(balancer, LINK / pieces[1])[0].reason == "unknown_fragment"
    first, packet = send(balancer, LINK / pieces[0])
    assert first.reason == "forwarded"
    out = [packet[IP] if forward == "nat" else packet]  # type: ignore[index]
    for piece in pieces[1:]:
        later, packet = send(balancer, LINK / piece)
        assert (later.reason, later.backend) == ("later_fragment", first.backend)
        assert_checksums(packet)
        out.append(packet[IP] if forward == "nat" else packet)  # type: ignore[index]
    if forward == "nat":
        joined = scapy.defragment(out)[0]
        assert bytes(joined[UDP].payload) == bytes(whole[UDP].payload)
        before = joined[UDP].chksum
        del joined[UDP].chksum
        assert IP(bytes(joined))[UDP].chksum == before


def test_fragments_of_answers_through_nat(start: Start) -> None:
    balancer = start(config("nat", port="8080"))
    send(balancer, LINK / IP(src=CLIENT, dst=VIP) / UDP(sport=7, dport=53) / b"?")
    whole = IP(src=BACKEND, dst=CLIENT, id=5) / UDP(sport=8080, dport=7) / bytes(1000)
    out = []
    for number, piece in enumerate(scapy.fragment(whole, fragsize=400)):
        decision, packet = send(balancer, LINK / piece)
        assert decision.reason == ("later_fragment" if number else "replied")
        out.append(packet[IP])  # type: ignore[index]
    joined = scapy.defragment(out)[0]
    assert (joined.src, joined[UDP].sport) == (VIP, 53)
    before = joined[UDP].chksum
    del joined[UDP].chksum
    assert IP(bytes(joined))[UDP].chksum == before


@pytest.mark.parametrize(
    ("policy", "first", "verdict"), [("drop", "fragment_dropped", "DROP"), ("pass", "fragment_passed", "PASS")]
)
def test_fragments_by_other_policies(start: Start, policy: str, first: str, verdict: str) -> None:
    balancer = start(config("ipip", more=f"fragments: {policy}\n"))
    for piece in scapy.fragment(IP(src=CLIENT, dst=VIP, id=9) / UDP(sport=7, dport=53) / bytes(900), fragsize=400):
        decision, _ = send(balancer, LINK / piece)
        assert (decision.reason, decision.verdict) == (first, verdict)


@pytest.mark.parametrize("forward", ["ipip", "nat"])
def test_ipv6_extension_headers(start: Start, forward: str) -> None:
    balancer = start(config(forward, VIP6, BACKEND6))
    chain = IPv6(src=CLIENT6, dst=VIP6) / scapy.IPv6ExtHdrHopByHop() / scapy.IPv6ExtHdrDestOpt()
    decision, packet = send(balancer, LINK / chain / TCP(sport=4711, dport=80))
    assert decision.reason == "forwarded"
    assert packet[IPv6].dst == BACKEND6  # type: ignore[index]
    assert_checksums(packet)
    routed = IPv6(src=CLIENT6, dst=VIP6) / scapy.IPv6ExtHdrRouting(type=2, segleft=1, addresses=["::1"])
    assert send(balancer, LINK / routed / TCP(sport=1, dport=80))[0].reason == "no_service"


# ---- what is not for a backend ----


def test_what_is_the_hosts(start: Start) -> None:
    balancer = start(config("ipip"))
    for packet, reason in (
        (LINK / scapy.ARP(), "not_ours"),
        (LINK / IP(src=CLIENT, dst="203.0.113.11") / TCP(dport=80), "not_ours"),
        (LINK / IP(src=CLIENT, dst=VIP) / TCP(dport=81), "no_service"),
        (LINK / IP(src=CLIENT, dst=VIP) / UDP(dport=80), "no_service"),
        (LINK / IP(src=CLIENT, dst=VIP, proto=47) / b"gre?", "no_service"),
    ):
        decision, same = send(balancer, packet)
        assert (decision.reason, decision.verdict) == (reason, "PASS")
        assert bytes(same) == bytes(packet)  # type: ignore[call-overload]


def test_no_backend(start: Start) -> None:
    decision, _ = send(start(config("ipip").replace(f"{{address: '{BACKEND}', weight: 1}}", "")), flow())
    assert (decision.reason, decision.verdict) == ("no_backend", "DROP")

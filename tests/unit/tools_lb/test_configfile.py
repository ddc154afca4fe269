"""Configuration files: what is understood, and what each error says and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from skep.errors import InputError
from skep.tools.lb import Forward, parse_config, read_config
from skep.tools.lb.config import CheckKind, FragmentPolicy

GOOD = """source4: 192.0.2.1
source6: 2001:db8::1
mtu: 1400
seed: 7
fragments: drop
timeouts: {udp: 10s, tcp: 1h}
health: {check: http, path: /ok, every: 1s, status: 200-204}
services:
  - vip: 203.0.113.10
    proto: tcp
    port: https
    forward: ipip
    hash: source
    backends: [10.0.0.1, '2001:db8:1::1', {address: 10.0.0.2, weight: 3, mac: '02:00:00:00:00:05', interface: eth1}]
  - {vip: '2001:db8:f::1', proto: udp, port: 53, forward: nat, name: dns, backends: ['[2001:db8:2::1]:5353']}
"""


def test_everything_that_can_be_said() -> None:
    config = parse_config(GOOD)
    assert (config.mtu, config.seed, config.fragments) == (1400, 7, FragmentPolicy.DROP)
    assert config.timeouts["udp"] == 10
    assert config.timeouts["tcp_opening"] == 30
    web, dns = config.services
    assert (web.name, web.port, web.forward, web.by_source) == ("tcp/203.0.113.10:443", 443, Forward.IPIP, True)
    assert [backend.name for backend in web.backends] == ["10.0.0.1:443", "[2001:db8:1::1]:443", "10.0.0.2:443"]
    assert (web.backends[2].weight, web.backends[2].mac, web.backends[2].interface) == (3, b"\2\0\0\0\0\5", "eth1")
    assert web.health is not None
    assert (web.health.kind, web.health.path, web.health.statuses) == (CheckKind.HTTP, "/ok", (200, 204))
    assert (dns.name, dns.health, dns.backends[0].port) == ("dns", None, 5353)


SERVICE = "  - {vip: 203.0.113.10, proto: tcp, port: 80, forward: ipip, backends: [10.0.0.1]}\n"
HEAD = "source4: 192.0.2.1\nservices:\n"


@pytest.mark.parametrize(
    ("text", "code", "line", "said"),
    [
        ("- a\n", "N0101", 1, "mapping"),
        (HEAD.replace("source4", "sourc4") + SERVICE, "N0102", 1, "source4"),
        (HEAD + "  - {vip: 203.0.113.300, proto: tcp, port: 80, forward: ipip}\n", "N0103", 3, "not an IP address"),
        (HEAD + SERVICE + SERVICE.replace("tcp", "sctp"), "N0103", 4, "not one of: tcp, udp"),
        (HEAD + SERVICE.replace("port: 80", "port: 0"), "N0103", 3, "no port 0"),
        (HEAD + SERVICE.replace("ipip", "ipip, hash: cookie"), "N0103", 3, "flow, source"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "[10.0.0.1:x]"), "N0103", 3, "not a port"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "[{address: 10.0.0.1, weight: 300}]"), "N0103", 3, "1 to 256"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "[{address: 10.0.0.1, mac: '01:00:00:00:00:00'}]"), "N0103", 3, "mac"),
        ("mtu: 1000\n" + HEAD + SERVICE, "N0103", 1, "1340 to 9216"),
        ("source4: ::1\nservices:\n" + SERVICE, "N0103", 1, "not an IPv4 address"),
        ("services: []\n", "N0104", 1, "a list"),
        (HEAD + "  - 5\n", "N0104", 3, "mapping"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "10.0.0.1"), "N0104", 3, "a list"),
        (HEAD + SERVICE.replace(", port: 80", ""), "N0105", 3, "no 'port'"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "[{weight: 2}]"), "N0105", 3, "no 'address'"),
        (HEAD + SERVICE.replace("tcp", "udp, health: {check: tcp}"), "N0106", 3, "TCP port"),
        (HEAD + SERVICE + SERVICE, "N0107", 4, "line 3 already"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "[10.0.0.1, 10.0.0.1]"), "N0107", 3, "twice"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "[203.0.113.10]"), "N0108", 3, "circles"),
        (
            HEAD + SERVICE.replace("ipip", "nat") + SERVICE.replace("ipip", "nat").replace("113.10", "113.11"),
            "N0108",
            4,
            "whose are its packets",
        ),
        (HEAD + SERVICE.replace("ipip", "nat").replace("10.0.0.1]", "'2001:db8::1']"), "N0109", 3, "IPv4 into IPv6"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "[10.0.0.1:81]"), "N0109", 3, "stays as it is"),
        (HEAD + SERVICE.replace("[10.0.0.1]", "['2001:db8::1']"), "N0109", 3, "no source address"),
        (HEAD + SERVICE + "    port: [\n", "F0101", 4, "not YAML"),
        (HEAD + SERVICE.replace("vip: ", "vip: &a "), "F0102", 3, "anchors"),
    ],
)
def test_errors_name_the_line(text: str, code: str, line: int, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_config(text, "lb.yaml")
    found = caught.value.diagnostics[0]
    assert (found.code, found.span.line if found.span else None) == (code, line)
    assert said in found.what + (found.help or "")


def test_an_error_far_down_and_many_at_once() -> None:
    many = "".join(SERVICE.replace("203.0.113.10", f"203.0.{n >> 8}.{n & 255}") for n in range(1, 3000))
    with pytest.raises(InputError) as caught:
        parse_config(HEAD + many + "  - {vip: 1.2.3, proto: tcp, port: 80, forward: ipip}\n" * 30)
    assert len(caught.value.diagnostics) == 20
    assert caught.value.diagnostics[0].span is not None
    assert caught.value.diagnostics[0].span.line == 3002


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_config(tmp_path / "none.yaml")
    assert caught.value.diagnostic.code == "F0103"

"""Rule files: what they mean, and what is said about wrong ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.diagnostics import Severity
from skep.errors import InputError, SkepError
from skep.tools.firewall import Action, Network, Service, parse_rules
from skep.tools.firewall.overlaps import find_overlaps
from skep.tools.firewall.rules import Direction, Rate


def findings(text: str) -> list[tuple[str, int, str]]:
    with pytest.raises(SkepError) as caught:
        parse_rules(text, "rules.yaml")
    return [(d.code, d.span.line if d.span else 0, d.what) for d in caught.value.diagnostics]


def test_every_key_of_a_rule() -> None:
    text = """
default: {in: deny, out: allow}
stateful: true
rules:
  - allow: {from: [10.0.0.0/8, 'fd00::/8'], to: 192.0.2.1, proto: [tcp, udp], port: [ssh, 8000-8099], sport: 1024-65535,
            interface: eth0, direction: in, rate: 30/m, burst: 5, name: admin}
"""
    rules = parse_rules(text)
    (rule,) = rules.rules
    assert rules.defaults == (Action.DENY, Action.ALLOW)
    assert rules.stateful
    assert rule.sources == (Network(4, 10 << 24, 8), Network(6, 0xFD << 120, 8))
    assert rule.destinations == (Network(4, 0xC0000201, 32),)
    assert rule.services == (Service(6, 22, 22), Service(6, 8000, 8099), Service(17, 22, 22), Service(17, 8000, 8099))
    assert rule.source_ports == ((1024, 65535),)
    assert rule.interfaces == ("eth0",)
    assert rule.direction is Direction.IN
    assert rule.rate == Rate(30, 60, 5)
    assert rule.rate.interval_ns == 2_000_000_000
    assert rule.line == 5


@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        ("- deny: {from: 10.0.0.1/8}", "F0113", "write 10.0.0.0/8"),
        ("- deny: {from: 10.0.0.256}", "F0113", "'10.0.0.256' is not an IP address"),
        ("- deny: {from: 10.0.0.0/33}", "F0113", "prefix length between 0 and 32"),
        ("- deny: {from: '::ffff:1.2.3.4'}", "F0113", "IPv4 address"),
        ("- deny: {fro: 10.0.0.1}", "F0112", "there is no 'fro'"),
        ("- deny: {port: 22}", "F0116", "'port' without 'proto'"),
        ("- deny: {proto: tpc}", "F0113", "there is no protocol 'tpc'"),
        ("- deny: {proto: 44}", "F0113", "extension header"),
        ("- deny: {proto: gre, port: 1}", "F0116", "gre has no ports"),
        ("- deny: {proto: tcp, port: 90-80}", "F0113", "ends before it begins"),
        ("- deny: {proto: tcp, port: 65536}", "F0113", "is not a port"),
        ("- deny: {proto: tcp, port: ١}", "F0113", "is not a port"),
        ("- deny: {proto: icmp, icmp: ping}", "F0113", "there is no icmp type 'ping'"),
        ("- deny: {proto: tcp, icmp: 8}", "F0116", "'icmp' goes with"),
        ("- deny: {from: 10.0.0.1, rate: 1/s}", "F0117", "allow rule"),
        ("- allow: {from: 10.0.0.1, rate: 1/year}", "F0113", "is not a rate"),
        ("- allow: {from: 10.0.0.1, burst: 1}", "F0117", "'burst' without 'rate'"),
        ("- allow: {from: 10.0.0.1, to: '::1'}", "F0118", "no packet can match"),
        ("- allow: {from: '::/0', proto: icmp}", "F0118", "no packet can match"),
        ("- allow: {}", "F0115", "asks for nothing"),
        ("- allow: {from: []}", "F0113", "empty list"),
        ("- reject: any", "F0115", "does not begin with 'reject'"),
        ("- any", "F0115", "one key"),
        ("- allow: {interface: a/b, proto: tcp}", "F0113", "not an interface's name"),
        ("- allow: {direction: up}", "F0113", "not one of: in, out"),
        ("- allow: {from: 10.0.0.1, from: 10.0.0.2}", "F0101", "written twice"),
        ("- allow: *x", "F0102", "anchors"),
        ("- allow: {from: 10.0.0.1", "F0101", "not YAML"),
    ],
)
def test_wrong_rules_are_named_with_their_line(line: str, code: str, part: str) -> None:
    with pytest.raises(SkepError) as caught:
        parse_rules(f"default: deny\nrules:\n  - allow: any\n  {line}\n")
    found = caught.value.diagnostic
    assert found.code == code
    assert found.span is not None
    assert found.span.line in (4, 5)  # libyaml sees a missing bracket on the line after
    assert part in f"{found.what} {found.help}"


def test_an_error_on_line_7000() -> None:
    lines = ["default: deny", "rules:", *(f"  - deny: {{from: 10.{n >> 8}.{n & 255}.0/24}}" for n in range(10_000))]
    lines[6999] = "  - deny: {from: 10.27.88/24}"
    lines[8000] = "  - deny: {from: 10.27.88.0/24, port: 1}"
    found = findings("\n".join(lines))
    assert [(code, line) for code, line, _ in found] == [("F0113", 7000), ("F0116", 8001)]


def test_a_file_without_a_default_is_not_taken() -> None:
    assert findings("rules: []") == [("F0111", 1, "what happens to packets that no rule matches is not said")]


@given(st.text(alphabet="default: deny\nrules-[]{}'\"&*!#,.10/\t", max_size=80) | st.text(max_size=40))
def test_any_text_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_rules(text)


def test_warnings_name_both_lines() -> None:
    text = """default: deny
rules:
  - deny: {from: 10.0.0.0/8}
  - allow: {from: 10.1.0.0/16, proto: tcp, port: 22}
  - deny: {from: 10.2.0.0/16}
  - allow: {to: 192.0.2.0/24, proto: tcp}
  - deny: {from: 172.16.0.0/12, proto: tcp, port: 80}
  - allow: any
"""
    found = [(d.code, d.span.line if d.span else 0, d.what) for d in find_overlaps(parse_rules(text))]
    assert [(code, line) for code, line, _ in found] == [("F0302", 4), ("F0301", 5), ("F0303", 6), ("F0303", 7)]
    assert "line 3" in found[0][2]
    assert "line 3" in found[1][2]
    assert "line 6" in found[3][2]
    assert {d.severity for d in find_overlaps(parse_rules(text))} == {Severity.WARNING}


def test_an_exception_before_a_wider_rule_is_no_finding() -> None:
    text = "default: deny\nrules:\n  - allow: {from: 10.1.0.0/16}\n  - deny: {from: 10.0.0.0/8}\n"
    assert find_overlaps(parse_rules(text)) == []

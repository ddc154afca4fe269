"""nftables and iptables: what can be said is said, each other line is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.errors import InputError, SkepError
from skep.tools.firewall import Action, parse_rules
from skep.tools.firewall.importers import IMPORTERS

NFT = """table inet filter {
    set blocked {
        type ipv4_addr
        flags interval
        elements = { 203.0.113.0/24, 198.51.100.7,
                     192.0.2.1 }
    }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        ct state invalid drop
        iifname "lo" accept
        ip saddr @blocked counter packets 0 bytes 0 drop
        tcp dport { 22, 80, 8000-8099 } ct state new accept comment "web and ssh"
        meta l4proto { tcp, udp } th dport 53 accept
        icmp type echo-request limit rate 5/second accept
        ip saddr != 10.0.0.0/8 tcp dport 5432 drop
        jump other
    }
    chain other {
        tcp dport 25 reject with tcp reset
    }
}
"""

IPTABLES = """*nat
-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080
COMMIT
*filter
:INPUT DROP [0:0]
:OUTPUT ACCEPT [5:400]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -s 203.0.113.0/24 -j DROP
-A INPUT -p tcp -m multiport --dports 22,80,8000:8099 -m comment --comment "it's web" -j ACCEPT
-A INPUT ! -s 10.0.0.0/8 -p tcp --dport 5432 -j DROP
-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A INPUT -j LOGDROP
COMMIT
"""


def test_nftables(tmp_path: Path) -> None:
    file = tmp_path / "ruleset.nft"
    file.write_text(NFT)
    found = IMPORTERS["nftables"](file)
    rules = parse_rules(found.text)
    assert rules.defaults == (Action.DENY, Action.ALLOW)
    assert rules.stateful
    assert [rule.text.split("  #")[0] for rule in rules.rules] == [
        "allow: {interface: lo, direction: in}",
        "deny: {from: [203.0.113.0/24, 198.51.100.7, 192.0.2.1], direction: in}",
        "allow: {proto: tcp, port: [22, 80, 8000-8099], direction: in, name: 'web and ssh'}",
        "allow: {proto: [tcp, udp], port: 53, direction: in}",
    ]
    assert [diagnostic.span and diagnostic.span.line for diagnostic in found.left_out] == [11, 16, 17, 18, 21]


def test_iptables(tmp_path: Path) -> None:
    file = tmp_path / "rules.v4"
    file.write_text(IPTABLES)
    found = IMPORTERS["iptables"](file)
    rules = parse_rules(found.text)
    assert rules.defaults == (Action.DENY, Action.ALLOW)
    assert [rule.text.split("  #")[0] for rule in rules.rules] == [
        "allow: {interface: lo, from: any4, direction: in}",
        "deny: {from: 203.0.113.0/24, direction: in}",
        "allow: {proto: tcp, port: [22, 80, 8000-8099], from: any4, direction: in, name: 'it''s web'}",
        "allow: {proto: icmp, icmp: 8, direction: in}",
    ]
    assert [diagnostic.span and diagnostic.span.line for diagnostic in found.left_out] == [2, 11, 13]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_text(IPTABLES)
    with pytest.raises(InputError, match="F0502"):
        IMPORTERS["nftables"](file)


@given(st.sampled_from([NFT, IPTABLES]), st.data())
def test_damaged_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(text)))
    damage = data.draw(st.text(alphabet=" {}\"'!@:;,-\nabc0129/.", max_size=6))
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_text(text[:at] + damage + text[at + data.draw(st.integers(0, 5)) :])
    for read in IMPORTERS.values():
        try:
            found = read(file)
        except SkepError:
            continue
        parse_rules(found.text)

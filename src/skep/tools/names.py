"""Words of rule files for protocols, ports and ICMP types, with their numbers (IANA), and where the program looks
them up.
"""

from __future__ import annotations

from collections.abc import Mapping

TCP, UDP, SCTP, DCCP, UDPLITE, ICMP, ICMPV6 = 6, 17, 132, 33, 136, 1, 58

PROTOCOLS: Mapping[str, int] = {
    "icmp": ICMP,
    "igmp": 2,
    "ipip": 4,
    "tcp": TCP,
    "udp": UDP,
    "dccp": DCCP,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": ICMPV6,
    "ospf": 89,
    "pim": 103,
    "vrrp": 112,
    "sctp": SCTP,
    "udplite": UDPLITE,
}

#: Headers that the program walks over (parse.h): no packet ever has one of these as its protocol.
IPV6_EXTENSIONS = frozenset({0, 43, 44, 60, 135, 139, 140})

WITH_PORTS = frozenset({TCP, UDP, SCTP, DCCP, UDPLITE})

#: enum service_slot, parse.h: tables of ports or ICMP types; every other protocol is looked up in table 0 by its
#: number.
SERVICE_SLOTS: Mapping[int, int] = {TCP: 1, UDP: 2, SCTP: 3, DCCP: 4, UDPLITE: 5, ICMP: 6, ICMPV6: 7}
SOURCE_PORT_SLOT = 8

PORTS: Mapping[str, int] = {
    "ftp": 21,
    "ssh": 22,
    "telnet": 23,
    "smtp": 25,
    "domain": 53,
    "dns": 53,
    "bootps": 67,
    "bootpc": 68,
    "tftp": 69,
    "http": 80,
    "pop3": 110,
    "ntp": 123,
    "imap": 143,
    "imap2": 143,
    "snmp": 161,
    "bgp": 179,
    "ldap": 389,
    "https": 443,
    "microsoft-ds": 445,
    "submission": 587,
    "ldaps": 636,
    "imaps": 993,
    "pop3s": 995,
    "mysql": 3306,
    "postgresql": 5432,
    "mdns": 5353,
}

ICMP_TYPES: Mapping[str, int] = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "source-quench": 4,
    "redirect": 5,
    "echo-request": 8,
    "router-advertisement": 9,
    "router-solicitation": 10,
    "time-exceeded": 11,
    "parameter-problem": 12,
    "timestamp-request": 13,
    "timestamp-reply": 14,
}

ICMPV6_TYPES: Mapping[str, int] = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "mld-listener-query": 130,
    "mld-listener-report": 131,
    "mld-listener-done": 132,
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "nd-redirect": 137,
    "mld2-listener-report": 143,
}

TYPES: Mapping[int, Mapping[str, int]] = {ICMP: ICMP_TYPES, ICMPV6: ICMPV6_TYPES}


def protocol_name(number: int) -> str:
    """``tcp`` for 6; the number where there is no word."""
    return next((name for name, value in PROTOCOLS.items() if value == number), str(number))

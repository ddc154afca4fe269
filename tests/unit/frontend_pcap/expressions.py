"""Expressions to compare with libpcap: every primitive with every qualifier it takes, and what people type."""

from __future__ import annotations

PROTOCOLS = (
    "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah",
    "esp", "atalk", "aarp", "decnet", "lat", "sca", "moprc", "mopdl", "iso", "esis", "isis", "clnp", "stp", "ipx",
    "netbeui", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp",
)  # fmt: skip

_HOSTS = [
    f"{protocol}{direction}host {address}"
    for protocol in ("", "ip ", "arp ", "rarp ")
    for direction in ("", "src ", "dst ", "src or dst ", "src and dst ")
    for address in ("10.0.0.1",)
]
_HOSTS6 = [
    f"{protocol}{direction}{kind}"
    for protocol in ("", "ip6 ")
    for direction in ("", "src ", "dst ", "src and dst ")
    for kind in ("host 2001:db8::1", "net 2001:db8::/32", "net fe80::/10")
]
_NETS = [
    "net 10", "net 10.0", "net 192.168.1", "net 10.0.0.0/8", "net 10.0.0.0/30", "src net 192.168.0.0/16",
    "dst net 224.0.0.0/4", "net 10.0.0.0 mask 255.0.0.0", "net 0.0.0.0/0", "net 1.2.3.4/32", "ip net 10.0.0.0/24",
    "arp net 10.0.0.0/24", "src and dst net 10.0.0.0/24", "net 0", "net ::/0", "host 10.0", "net 2001:db8:1::/48",
    "src 10.0.0.1", "dst 10.0.0.2", "src or dst 8.8.8.8", "not src 10.0.0.1", "host 167772161",
]  # fmt: skip
_ETHERS = [
    f"ether {direction}{address}"
    for direction in ("host ", "src ", "dst ", "src and dst ", "src or dst host ", "src host ")
    for address in ("00:11:22:33:44:55", "a-b-c-d-e-f")
]
_PORTS = [
    f"{protocol}{direction}{kind}"
    for protocol in ("", "tcp ", "udp ", "sctp ")
    for direction in ("", "src ", "dst ", "src and dst ", "src or dst ")
    for kind in ("port 80", "portrange 20-443")
]
_NAMED_PORTS = [
    "port http", "port domain", "tcp port ssh", "udp port domain", "port ntp", "portrange ssh-http", "portrange 80",
    "port ftp-data", "portrange 443-80", "dst port https", "port (80 or 443)", "port 80 or 443 or 22",
    "tcp dst port 80 or (443 or 8080)", "port not 80", "port 80 and not 443", "port 0x50", "port 0120",
]  # fmt: skip
_PROTO = [
    "ip6 protochain 6", "ip protochain 6", "protochain 17", "ip6 protochain \\icmp", "protochain 58", "protochain 51",
    "ip6 protochain 44", "vlan and protochain 6", "ip protochain 17 and len > 96", "not protochain 6",
    "ip6 protochain 59",
    "proto 6", "proto 17", "ip proto 6", "ip6 proto 6", "ip proto \\tcp", "ip proto \\icmp", "ip6 proto \\udp",
    "proto \\udp", "ether proto 0x800", "ether proto \\ip", "ether proto \\arp", "ether proto \\ip6",
    "ether proto 0x42", "ether proto \\stp", "ether proto 0x88cc", "ether proto \\loopback", "iso proto \\isis",
    "iso proto 0x83", "isis proto 15", "ip proto 47", "ip proto 89", "proto gre", "ip proto ospf",
    "ip proto (6 or 17)", "ether proto \\iso", "ether proto \\ipx", "ether proto \\netbeui", "ether proto \\atalk",
    "ether proto 1500", "ether proto 1501", "proto 58", "ip6 proto 44", "ip proto 0",
]  # fmt: skip
_CASTS = [
    "broadcast", "ether broadcast", "multicast", "ether multicast", "ip multicast", "ip6 multicast", "not broadcast",
    "ip and not multicast",
]  # fmt: skip
_SIZES = [
    "less 96", "greater 97", "less 60 or greater 1000", "len > 96", "len <= 96", "len = 96", "len != 96", "96 < len",
    "length >= 100", "len - 14 > ip[2:2]", "ip[2:2] = len - 14",
]  # fmt: skip
_BYTES = [
    "ether[0] & 1 != 0", "ether[12:2] = 0x800", "ip[0] = 0x45", "ip[0] & 0xf > 5", "ip[0] & 0xf != 5",
    "ip[6:2] & 0x1fff = 0", "ip[8] < 65", "ip[9] = 6 or ip[9] = 17", "ip[16] >= 224", "ip[2:2] > 60",
    "ip[12:4] = 0x0a000001", "tcp[13] = 2", "tcp[13] & 2 != 0", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[tcpflags] = tcp-syn", "tcp[tcpflags] & (tcp-syn|tcp-ack) = (tcp-syn|tcp-ack)",
    "tcp[tcpflags] & tcp-rst != 0", "tcp[2:2] = 80", "tcp[0:2] > 1023", "tcp[12] & 0xf0 = 0x50",
    "tcp[20:4] = 0x47455420", "udp[4:2] > 20", "udp[0:2] = 53",
    "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)", "udp[udp[4:2] - 20] > 100",
    "icmp[icmptype] = icmp-echo", "icmp[0] != icmp-echo and icmp[icmptype] != icmp-echoreply", "icmp[icmpcode] = 1",
    "icmp[icmptype] == icmp-unreach", "icmp6[0] = 128", "icmp6[0] = 135 or icmp6[0] = 136", "icmp6[0:4] > 0x80000000",
    "ip6[6] = 58", "ip6[40] = 128", "ip6[8:4] = 0x20010db8", "arp[6:2] = 1", "arp[6:2] = 2", "arp[14:4] = 0x0a000001",
    "sctp[0:2] = 80", "igmp[0] > 50", "ip[ip[0] & 15] > 10", "ip[(ip[0] & 15) * 4] = 0",
    "tcp[((tcp[12] & 0xf0) >> 2)] > 0", "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", "ether[6:4] = 0x00112233",
    "ether[len - 1] = 0", "ether[len] = 0", "ip[2:2] / 2 > 30", "ip[2:2] % 4 = 0", "ip[8] ^ 64 = 0", "ip[8] | 1 = 65",
    "ip[2:2] * 2 < 200", "ip[8] << 4 = 1024", "ip[8] >> 4 = 4", "ip[8] / ip[1] = 1", "ip[8] % ip[1] = 1",
    "ip[2:2] >> ip[8] = 0", "(ip[8]) = 64", "((ip[8] + 1)) = (65)", "ip[8] - ip[9] * 2 + ip[1] > 30",
    "ip[8] = ip[9] + 58", "tcp[0:2] = tcp[2:2]", "udp[0:2] > udp[2:2]", "ip[12:4] = ip[16:4]",
    "ip[12:4] & 0xffffff00 = ip[16:4] & 0xffffff00", "ether[0:4] = ether[6:4]", "tcp[0:2] + tcp[2:2] = 523",
    "5 % 3 + 2 = 0", "len & 3 = 0", "ip[0] - 0x45 = 0", "ip[10 - 1] = 17", "udp[8:4] & 0x80000000 != 0",
    "tcp[0 - 12] = 64", "ip[2:2] < ip[4:2]", "ip[2:2] >= ip[4:2]", "ip[2:2] <= ip[4:2]", "decnet[0] > 100",
    "atalk[0] > 100", "rarp[6:2] = 1", "lat[0] < 128", "icmp[0] + icmp[1] = 8", "pim[0] > 9", "vrrp[0] & 0xf0 = 0x20",
    "carp[0] > 9",
]  # fmt: skip
_ENCAPSULATED = [
    "vlan", "vlan 5", "vlan 100", "vlan and tcp", "vlan 5 and ip", "vlan 5 and tcp port 80", "vlan and vlan",
    "vlan 5 and vlan 100", "vlan and vlan and ip6", "vlan and vlan 5 and udp port 53", "vlan or tcp", "tcp or vlan 5",
    "ip or (vlan and ip)", "tcp port 80 or (vlan and tcp port 80) or (vlan and tcp port 80)", "not vlan",
    "vlan and host 10.0.0.1", "vlan and ip[8] = 64", "vlan and ether host 00:11:22:33:44:55", "vlan and arp",
    "vlan and ether[14:2] & 0xfff = 5", "vlan and ip6 net 2001:db8::/32", "vlan and (icmp or icmp6)", "vlan and stp",
    "mpls", "mpls 100", "mpls and ip", "mpls and ip6", "mpls 5 and tcp port 80", "mpls and mpls",
    "mpls 100 and mpls 5", "mpls and host 10.0.0.1", "mpls 100 and mpls and host 10.0.0.1", "mpls and ip[8] = 64",
    "mpls and udp", "mpls and mpls and tcp dst port 443", "vlan and mpls", "mpls and icmp",
    "mpls and tcp[13] & 2 != 0", "pppoed", "pppoes", "pppoes 5", "pppoes and ip", "pppoes and ip6",
    "pppoes 0x1234 and tcp", "pppoes and host 10.0.0.1", "pppoes and tcp port 80", "pppoes and udp[0:2] = 53",
    "pppoes 1 and ip6 net 2001:db8::/32", "vlan and pppoes", "vlan and pppoes and tcp", "pppoes and ip[8] = 64",
    "pppoes and icmp6", "not pppoes", "pppoed or pppoes",
]  # fmt: skip
_REAL = [
    "", "tcp port 443 and not host 10.0.0.1", "host 10.0.0.1 or host 10.0.0.2",
    "host 10.0.0.1 or 10.0.0.2 or 8.8.8.8", "tcp and (port 80 or port 443)", "not arp and not icmp6",
    "not (arp or icmp6)", "!arp && !icmp6", "not not tcp", "ip and not tcp and not udp",
    "src net 10 and dst port 443", "host 10.0.0.1 and (10.0.0.2 or 8.8.8.8)", "udp port 53 or tcp port 53",
    "icmp or icmp6 or arp", "tcp or udp and port 80", "(tcp or udp) and port 80",
    "ip host 10.0.0.1 and not net 192.168.1.0/24", "tcp[tcpflags] & tcp-syn != 0 and not dst net 10.0.0.0/8",
    "ether host 00:11:22:33:44:55 and ip", "port 67 or port 68", "portrange 1024-65535 and tcp", "ip6 and not icmp6",
    "ip[6:2] & 0x3fff != 0", "tcp and greater 90", "host 10.0.0.1 and not port 22 and not port 443",
    "src host 10.0.0.1 and tcp dst port 80 or 443", "tcp src port 80 and tcp dst port 443", "ip or ip6",
    "tcp or not tcp", "ip broadcast", "arp or rarp or ip or ip6", "ip and ip[0] & 15 > 5 and tcp",
    "tcp && host 10.0.0.1 || udp", "byte 0 = 0x00", "byte 12 > 7", "byte 23 < 10",
]  # fmt: skip

ETHERNET: tuple[str, ...] = tuple(
    dict.fromkeys(
        [*PROTOCOLS, *(f"not {name}" for name in ("tcp", "ip", "ip6", "udp", "iso", "ipx")), *_HOSTS, *_HOSTS6, *_NETS,
         *_ETHERS, *_PORTS, *_NAMED_PORTS, *_PROTO, *_CASTS, *_SIZES, *_BYTES, *_ENCAPSULATED, *_REAL]
    )
)  # fmt: skip

#: For links without Ethernet addresses and tags.
OTHERS: tuple[str, ...] = (
    "", "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "sctp", "host 10.0.0.1", "src host 10.0.0.1", "net 10.0.0.0/8",
    "port 80", "tcp port 443", "udp dst port 53", "portrange 20-443", "ip6 net 2001:db8::/32", "src host 2001:db8::1",
    "tcp[tcpflags] & tcp-syn != 0", "ip[8] = 64", "ip6[6] = 58", "icmp[0] = 8", "icmp6[0] = 128", "ip proto 47",
    "proto 58", "ip multicast", "ip6 multicast", "less 90", "len > 100", "ether[0] > 4", "ip[2:2] > 60 and not tcp",
    "not ip", "ah or esp", "igmp", "tcp or udp port 53", "udp[4:2] > 20", "tcp[((tcp[12] & 0xf0) >> 2)] > 0",
    "byte 0 > 4",
)  # fmt: skip
COOKED: tuple[str, ...] = (
    *OTHERS, "arp", "rarp", "arp host 10.0.0.1", "atalk", "aarp", "ipx", "stp", "iso", "isis", "netbeui", "inbound",
    "outbound", "inbound and tcp", "outbound and not udp", "ether proto 0x800", "ether proto 0x42", "decnet", "lat",
    "pppoed", "pppoes and tcp", "ether[0:2] = 4",
)  # fmt: skip

#: libpcap drops the test for the protocol of an operator's right operand (it reads other protocols' bytes there); skep
#: keeps it, as pcap-filter(7) says. What skep matches, libpcap matches too.
DEVIATIONS: tuple[str, ...] = ("100 / ip[9] > 10", "1 << ip[9] > 64", "1 << tcp[13] = 4", "0xff & ip[9] = 6")

#: What libpcap refuses, and skep must refuse too.
WRONG: tuple[str, ...] = (
    "10.0.0.1", "host", "tcp port", "port 70000", "net 10.0.0.1/8", "net 10.0.0.0/33", "host 10.0.0.0/8",
    "tcp[0:3] = 1", "ip[0] = 1 /0", "ip[0] >> 32 = 1", "tcp and", "and tcp", "(tcp", "tcp)", "ip proto tcp",
    "tcp host 10.0.0.1", "icmp port 80", "ether host 10.0.0.1", "ip host 2001:db8::1", "ip6 host 10.0.0.1",
    "host 300.1.1.1", "net 10.0.0.0 mask 0.255.0.0.0", "vlan 5000", "mpls 1048576", "tcp 80", "port http-",
    "src proto 6", "ip[", "ip[]", "len >", "tcp or 80", "host 00:11:22:33:44:55", "ether port 80", "less",
    "arp broadcast", "arp proto 6", "tcp proto 6", "ether", "net 2001:db8::1/32", "host 2001:db8::/129",
    "mpls and vlan", "mpls and arp", "type mgt", "addr1 00:11:22:33:44:55", "portrange a-b", "port nosuchservice",
    "ip proto nosuchproto", "#", "udp port ssh", "tcp and udp and ip6 and ip", "ip and arp", "gateway 10.0.0.1",
)  # fmt: skip

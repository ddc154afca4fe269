"""The words and numbers of pcap-filter(7), and the bundled tables that stand in for /etc/protocols and /etc/services.

A filter means the same on every machine, so nothing is asked of the host or of a name server.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Spelling -> the keyword it stands for. Words that only other link types know are here too: they get named errors.
_WORDS = """
dst src ether arp rarp ip sctp tcp udp icmp igmp igrp pim vrrp carp radio ip6 icmp6 ah esp atalk aarp
decnet lat sca moprc mopdl iso esis isis l1 l2 iih lsp snp csnp psnp clnp stp ipx netbeui host net mask
port portrange proto protochain gateway type subtype addr1 addr2 addr3 addr4 ra ta less greater byte
broadcast multicast and or not len inbound outbound vlan mpls pppoed pppoes geneve lane metac bcc oam
oamf4 connectmsg metaconnect vpi vci ifname rulenum rnr srnr rset reason action llc fisu lssu lsu msu
hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls ilmic sc
"""
KEYWORDS: Mapping[str, str] = {
    **{word: word for word in _WORDS.split()},
    "link": "ether", "fddi": "ether", "tr": "ether", "wlan": "ether", "ppp": "ether", "slip": "ether",
    "es-is": "esis", "is-is": "isis", "length": "len", "dir": "direction", "direction": "direction",
    "address1": "addr1", "address2": "addr2", "address3": "addr3", "address4": "addr4", "on": "ifname",
    "ruleset": "rset", "subrulenum": "srnr",
}  # fmt: skip

#: Names of numbers, usable wherever a number is.
CONSTANTS: Mapping[str, int] = {
    "icmptype": 0, "icmpcode": 1, "icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5,
    "icmp-echo": 8, "icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12,
    "icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17,
    "icmp-maskreply": 18,
    "icmp6type": 0, "icmp6code": 1, "icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3,
    "icmp6-parameterproblem": 4, "icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-multicastlistenerquery": 130,
    "icmp6-multicastlistenerreportv1": 131, "icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133,
    "icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136, "icmp6-redirect": 137,
    "icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139, "icmp6-nodeinformationresponse": 140,
    "icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142,
    "icmp6-multicastlistenerreportv2": 143, "icmp6-homeagentdiscoveryrequest": 144,
    "icmp6-homeagentdiscoveryreply": 145, "icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147,
    "icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149, "icmp6-multicastrouteradvert": 151,
    "icmp6-multicastroutersolicit": 152, "icmp6-multicastrouterterm": 153,
    "tcpflags": 13, "tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10,
    "tcp-urg": 0x20, "tcp-ece": 0x40, "tcp-cwr": 0x80,
}  # fmt: skip

#: IANA protocol numbers under the names of /etc/protocols.
IP_PROTOCOLS: Mapping[str, int] = {
    "ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9,
    "igrp": 9, "pup": 12, "udp": 17, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36,
    "ddp": 37, "idpr-cmtp": 38, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46, "gre": 47,
    "esp": 50, "ah": 51, "skip": 57, "ipv6-icmp": 58, "icmp6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73,
    "vmtp": 81, "eigrp": 88, "ospf": 89, "ax.25": 93, "ipip": 94, "etherip": 97, "encap": 98, "pim": 103,
    "ipcomp": 108, "vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132, "fc": 133, "udplite": 136, "mpls-in-ip": 137,
    "manet": 138, "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142,
}  # fmt: skip

IP, ARP, RARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
ATALK, AARP = 0x809B, 0x80F3
VLAN, QINQ, OLD_QINQ = 0x8100, 0x88A8, 0x9100
MPLS, PPPOE_DISCOVERY, PPPOE_SESSION = 0x8847, 0x8863, 0x8864
LLC_ISO, LLC_IPX, LLC_STP, LLC_NETBEUI = 0xFE, 0xE0, 0x42, 0xF0

#: Ether types and LLC service access points (numbers up to 255) that `ether proto` knows by name.
ETHER_PROTOCOLS: Mapping[str, int] = {
    "ip": IP, "arp": ARP, "rarp": RARP, "ip6": IPV6, "atalk": ATALK, "aarp": AARP, "pup": 0x0200, "xns": 0x0600,
    "sprite": 0x0500, "trail": 0x1000, "mopdl": 0x6001, "moprc": 0x6002, "decnet": 0x6003, "lat": 0x6004,
    "sca": 0x6007, "vexp": 0x805B, "vprod": 0x805C, "loopback": 0x9000,
    "iso": LLC_ISO, "stp": LLC_STP, "ipx": LLC_IPX, "netbeui": LLC_NETBEUI,
}  # fmt: skip

ISO_PROTOCOLS: Mapping[str, int] = {"clnp": 0x81, "esis": 0x82, "isis": 0x83}

#: Service -> (port, protocols), the common part of /etc/services ("both" is tcp and udp).
SERVICES: Mapping[str, tuple[int, str]] = {
    "tcpmux": (1, "tcp"), "echo": (7, "both"), "discard": (9, "both"), "systat": (11, "tcp"), "daytime": (13, "both"),
    "netstat": (15, "tcp"), "qotd": (17, "tcp"), "chargen": (19, "both"), "ftp-data": (20, "tcp"), "ftp": (21, "tcp"),
    "ssh": (22, "tcp"), "telnet": (23, "tcp"), "smtp": (25, "tcp"), "mail": (25, "tcp"), "time": (37, "both"),
    "whois": (43, "tcp"), "tacacs": (49, "both"), "domain": (53, "both"), "bootps": (67, "udp"), "bootpc": (68, "udp"),
    "tftp": (69, "udp"), "gopher": (70, "tcp"), "finger": (79, "tcp"), "http": (80, "tcp"), "www": (80, "tcp"),
    "kerberos": (88, "both"), "iso-tsap": (102, "tcp"), "pop3": (110, "tcp"), "sunrpc": (111, "both"),
    "portmapper": (111, "both"), "auth": (113, "tcp"), "ident": (113, "tcp"), "nntp": (119, "tcp"), "ntp": (123, "udp"),
    "epmap": (135, "both"), "netbios-ns": (137, "udp"), "netbios-dgm": (138, "udp"), "netbios-ssn": (139, "tcp"),
    "imap": (143, "tcp"), "imap2": (143, "tcp"), "snmp": (161, "both"), "snmp-trap": (162, "both"),
    "xdmcp": (177, "udp"),
    "bgp": (179, "tcp"), "irc": (194, "both"), "ldap": (389, "both"), "https": (443, "both"),
    "microsoft-ds": (445, "both"), "kpasswd": (464, "both"), "submissions": (465, "tcp"), "isakmp": (500, "udp"),
    "exec": (512, "tcp"), "biff": (512, "udp"), "login": (513, "tcp"), "who": (513, "udp"), "shell": (514, "tcp"),
    "syslog": (514, "udp"), "printer": (515, "tcp"), "talk": (517, "udp"), "route": (520, "udp"),
    "router": (520, "udp"),
    "uucp": (540, "tcp"), "dhcpv6-client": (546, "udp"), "dhcpv6-server": (547, "udp"), "rtsp": (554, "both"),
    "nntps": (563, "tcp"), "submission": (587, "tcp"), "ipp": (631, "tcp"), "ldaps": (636, "both"),
    "rsync": (873, "tcp"), "ftps": (990, "tcp"), "telnets": (992, "tcp"), "imaps": (993, "tcp"), "pop3s": (995, "tcp"),
    "socks": (1080, "tcp"), "openvpn": (1194, "both"), "ms-sql-s": (1433, "tcp"), "ms-sql-m": (1434, "udp"),
    "l2f": (1701, "udp"), "radius": (1812, "both"), "radius-acct": (1813, "both"), "nfs": (2049, "both"),
    "mysql": (3306, "tcp"), "rdp": (3389, "tcp"), "svn": (3690, "tcp"), "iax": (4569, "udp"), "sip": (5060, "both"),
    "sip-tls": (5061, "both"), "xmpp-client": (5222, "tcp"), "mdns": (5353, "udp"), "postgresql": (5432, "tcp"),
    "amqp": (5672, "tcp"), "x11": (6000, "tcp"), "redis": (6379, "tcp"), "http-alt": (8080, "both"),
}  # fmt: skip

#: Hosts that have the same addresses everywhere.
HOSTS: Mapping[str, tuple[str, ...]] = {"localhost": ("::1", "127.0.0.1")}

/* A packet taken apart: what the tools' programs share. Structs that are keys or values of maps have no padding. */
#ifndef SKEP_PACKET_H
#define SKEP_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VLAN_TAGS 2
#define MAX_EXTENSIONS 8

#define MAP(NAME, TYPE, ENTRIES, FLAGS, KEY, VALUE)          \
	struct {                                             \
		__uint(type, TYPE);                          \
		__uint(max_entries, ENTRIES);                \
		__uint(map_flags, FLAGS);                    \
		__type(key, KEY);                            \
		__type(value, VALUE);                        \
	} NAME SEC(".maps")

enum direction { INGRESS, EGRESS };

struct counter {
	__u64 packets, bytes;
};

struct flow {
	__u8 source[16], destination[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u16 source_port, destination_port; /* ICMP echo: the id, twice */
	__u8 protocol, family;
	__u16 unused;
} __attribute__((aligned(8)));

/* All fragments of one packet. */
struct fragment_key {
	__u8 source[16], destination[16];
	__u32 id;
	__u8 protocol, family; /* IPv6: protocol 0 */
	__u16 unused;
};

#define ETH_HEADER 14
#define NOT_A_FRAGMENT 0
#define FIRST_FRAGMENT 1
#define LATER_FRAGMENT_OF 2
#define LARGEST_PACKET 65535

enum outcome { PARSED, IS_NON_IP, IS_MALFORMED };

enum service_slot { BY_PROTOCOL, TCP_PORTS, UDP_PORTS, SCTP_PORTS, DCCP_PORTS, UDPLITE_PORTS, ICMP_TYPES, ICMPV6_TYPES,
		    SOURCE_PORTS, SERVICE_SLOTS };

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

struct packet {
	struct flow flow;
	struct flow inner;       /* of the packet that an ICMP error is about */
	__u64 now;               /* ns */
	__u32 length;            /* bytes on the wire */
	__u32 interface, direction;
	__u32 slot;              /* firewall: of the rule set that judges it */
	__u32 l3_offset, l3_length; /* where IP begins; bytes of the whole IP packet */
	__u32 l4_offset, l4_length; /* 0, 0: nothing there to look at */
	__u32 fragment_id;
	__u8 to_mac[6], from_mac[6];
	__u16 service;           /* destination port, or ICMP type * 256 + code */
	__u8 service_slot;
	__u8 fragment;
	__u8 tcp_flags;
	__u8 has_inner;
	__u8 is_ndp;
	__u8 icmp_opens;         /* an echo request, or no ICMP at all */
	__u8 hop_limit;
	__u8 is_routed;          /* a routing header will send it on from its destination */
};

/* The flow of the other direction. */
static __always_inline void turn(struct flow *to, const struct flow *from)
{
	__builtin_memcpy(to->source, from->destination, 16);
	__builtin_memcpy(to->destination, from->source, 16);
	to->source_port = from->destination_port;
	to->destination_port = from->source_port;
	to->protocol = from->protocol;
	to->family = from->family;
	to->unused = 0;
}

static __always_inline void set_fragment_key(struct fragment_key *key, const struct packet *packet)
{
	__builtin_memcpy(key->source, packet->flow.source, 16);
	__builtin_memcpy(key->destination, packet->flow.destination, 16);
	key->id = packet->fragment_id;
	key->family = packet->flow.family;
	key->protocol = packet->flow.family == 4 ? packet->flow.protocol : 0;
	key->unused = 0;
}

#endif

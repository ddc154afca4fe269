/* From bytes to what rules can ask for. Nothing here decides; what is not what it claims to be is MALFORMED. */
#ifndef SKEP_FIREWALL_PARSE_H
#define SKEP_FIREWALL_PARSE_H

#include "packet.h"

static __always_inline int parse_tcp(void *l4, void *end, __u32 rest, struct packet *packet)
{
	struct tcphdr *tcp = l4;
	__u8 flags;

	if (rest < sizeof(*tcp) || (void *)(tcp + 1) > end)
		return IS_MALFORMED;
	if (tcp->doff < 5 || tcp->doff * 4 > rest)
		return IS_MALFORMED;
	flags = ((__u8 *)tcp)[13];
	if (!(flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)))
		return IS_MALFORMED;
	if ((flags & TCP_SYN) && (flags & (TCP_FIN | TCP_RST)))
		return IS_MALFORMED;
	packet->tcp_flags = flags;
	packet->flow.source_port = bpf_ntohs(tcp->source);
	packet->flow.destination_port = packet->service = bpf_ntohs(tcp->dest);
	return PARSED;
}

static __always_inline int parse_udp(void *l4, void *end, __u32 rest, struct packet *packet)
{
	struct udphdr *udp = l4;
	__u16 length;

	if (rest < sizeof(*udp) || (void *)(udp + 1) > end)
		return IS_MALFORMED;
	length = bpf_ntohs(udp->len);
	if (packet->flow.protocol == IPPROTO_UDP) { /* UDP-Lite has a checksum coverage there */
		if (length < sizeof(*udp) || (packet->fragment == NOT_A_FRAGMENT && length > rest))
			return IS_MALFORMED;
	}
	packet->flow.source_port = bpf_ntohs(udp->source);
	packet->flow.destination_port = packet->service = bpf_ntohs(udp->dest);
	return PARSED;
}

/* SCTP and DCCP: the common header has at least 12 bytes, ports first. */
static __always_inline int parse_ports(void *l4, void *end, __u32 rest, struct packet *packet)
{
	__be16 *ports = l4;

	if (rest < 12 || l4 + 12 > end)
		return IS_MALFORMED;
	packet->flow.source_port = bpf_ntohs(ports[0]);
	packet->flow.destination_port = packet->service = bpf_ntohs(ports[1]);
	return PARSED;
}

static __always_inline int is_icmp_error(__u8 family, __u8 type)
{
	return family == 4 ? type == 3 || type == 4 || type == 11 || type == 12 : type >= 1 && type <= 4;
}

static __always_inline void map_ipv4(__u8 *to, const __be32 *address)
{
	__builtin_memset(to, 0, 10);
	to[10] = to[11] = 0xff;
	__builtin_memcpy(to + 12, address, 4);
}

/* The ports of the packet that an ICMP error carries; the first 8 bytes of its L4 header are always there. */
static __always_inline void parse_inner_ports(void *l4, void *end, struct flow *inner, __u8 family, __u8 *has_inner)
{
	__be16 *words = l4;

	if (l4 + 8 > end)
		return;
	switch (inner->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_UDPLITE:
		inner->source_port = bpf_ntohs(words[0]);
		inner->destination_port = bpf_ntohs(words[1]);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (((__u8 *)l4)[0] != (family == 4 ? 8 : 128) && ((__u8 *)l4)[0] != (family == 4 ? 0 : 129))
			return;
		inner->source_port = inner->destination_port = bpf_ntohs(words[2]);
		break;
	}
	*has_inner = 1;
}

static __always_inline void parse_inner(void *l3, void *end, struct packet *packet)
{
	struct flow *inner = &packet->inner;

	if (packet->flow.family == 4) {
		struct iphdr *ip = l3;

		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
			return;
		if (bpf_ntohs(ip->frag_off) & 0x1fff)
			return;
		map_ipv4(inner->source, &ip->saddr);
		map_ipv4(inner->destination, &ip->daddr);
		inner->protocol = ip->protocol;
		inner->family = 4;
		parse_inner_ports(l3 + ip->ihl * 4, end, inner, 4, &packet->has_inner);
	} else {
		struct ipv6hdr *ip = l3;

		if ((void *)(ip + 1) > end || ip->version != 6)
			return;
		__builtin_memcpy(inner->source, &ip->saddr, 16);
		__builtin_memcpy(inner->destination, &ip->daddr, 16);
		inner->protocol = ip->nexthdr; /* an error about a packet with extension headers is judged by the rules */
		inner->family = 6;
		parse_inner_ports(ip + 1, end, inner, 6, &packet->has_inner);
	}
}

static __always_inline int parse_icmp(void *l4, void *end, __u32 rest, struct packet *packet)
{
	__u8 *icmp = l4, family = packet->flow.family, type;

	if (rest < 8 || l4 + 8 > end)
		return IS_MALFORMED;
	type = icmp[0];
	packet->service = type << 8 | icmp[1];
	packet->icmp_opens = 0;
	if (type == (family == 4 ? 8 : 128) || type == (family == 4 ? 0 : 129)) {
		packet->flow.source_port = packet->flow.destination_port = bpf_ntohs(((__be16 *)l4)[2]);
		packet->icmp_opens = type == (family == 4 ? 8 : 128);
	} else if (is_icmp_error(family, type)) {
		parse_inner(l4 + 8, end, packet);
	} else if (family == 6 && type >= 133 && type <= 136) {
		packet->is_ndp = packet->hop_limit == 255 && icmp[1] == 0; /* RFC 4861: nobody beyond the link sent it */
	}
	return PARSED;
}

static __always_inline int parse_l4(void *data, void *end, struct packet *packet)
{
	__u32 rest = packet->l4_length;
	void *l4 = data + (packet->l4_offset & 0x7fff); /* the mask is for the verifier */

	switch (packet->flow.protocol) {
	case IPPROTO_TCP:
		packet->service_slot = TCP_PORTS;
		return parse_tcp(l4, end, rest, packet);
	case IPPROTO_UDP:
		packet->service_slot = UDP_PORTS;
		return parse_udp(l4, end, rest, packet);
	case IPPROTO_UDPLITE:
		packet->service_slot = UDPLITE_PORTS;
		return parse_udp(l4, end, rest, packet);
	case IPPROTO_SCTP:
		packet->service_slot = SCTP_PORTS;
		return parse_ports(l4, end, rest, packet);
	case IPPROTO_DCCP:
		packet->service_slot = DCCP_PORTS;
		return parse_ports(l4, end, rest, packet);
	case IPPROTO_ICMP:
		if (packet->flow.family != 4)
			return IS_MALFORMED;
		packet->service_slot = ICMP_TYPES;
		return parse_icmp(l4, end, rest, packet);
	case IPPROTO_ICMPV6:
		if (packet->flow.family != 6)
			return IS_MALFORMED;
		packet->service_slot = ICMPV6_TYPES;
		return parse_icmp(l4, end, rest, packet);
	}
	packet->service_slot = BY_PROTOCOL;
	packet->service = packet->flow.protocol;
	return PARSED;
}

/* offset in units of 8 bytes; what no sender makes: an empty or odd piece before the last, an end beyond 64 KiB. */
static __always_inline int is_bad_fragment(__u32 offset, int more, __u32 rest, __u32 header)
{
	return (more && (rest == 0 || rest % 8)) || header + offset * 8 + rest > LARGEST_PACKET;
}

static __always_inline int parse_ipv4(void *data, __u32 l3_offset, void *end, __u32 length, struct packet *packet)
{
	struct iphdr *ip = data + l3_offset;
	__u32 header, total, offset, rest;
	__u16 fragment;
	int more;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return IS_MALFORMED;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	packet->flow.family = 4;
	packet->flow.protocol = ip->protocol;
	map_ipv4(packet->flow.source, &ip->saddr);
	map_ipv4(packet->flow.destination, &ip->daddr);
	if (total < header || total > length)
		return IS_MALFORMED;
	rest = total - header;
	packet->l3_length = total;
	fragment = bpf_ntohs(ip->frag_off);
	offset = fragment & 0x1fff;
	more = fragment & 0x2000;
	if (offset || more) {
		if (is_bad_fragment(offset, more, rest, header))
			return IS_MALFORMED;
		packet->fragment_id = bpf_ntohs(ip->id);
		packet->fragment = offset ? LATER_FRAGMENT_OF : FIRST_FRAGMENT;
		if (offset == 1 && ip->protocol == IPPROTO_TCP)
			return IS_MALFORMED; /* RFC 3128: would write over the flags of the first */
		if (offset)
			return PARSED;
	}
	packet->l4_offset = l3_offset + header;
	packet->l4_length = rest;
	return PARSED;
}

static __always_inline int parse_ipv6(void *data, __u32 l3_offset, void *end, __u32 length, struct packet *packet)
{
	struct ipv6hdr *ip = data + l3_offset;
	__u32 rest, offset = l3_offset + sizeof(*ip);
	__u8 next;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return IS_MALFORMED;
	rest = bpf_ntohs(ip->payload_len); /* 0 with a jumbo option: there is no header left, so malformed below */
	packet->flow.family = 6;
	packet->hop_limit = ip->hop_limit;
	__builtin_memcpy(packet->flow.source, &ip->saddr, 16);
	__builtin_memcpy(packet->flow.destination, &ip->daddr, 16);
	if (rest + sizeof(*ip) > length)
		return IS_MALFORMED;
	packet->l3_length = rest + sizeof(*ip);
	next = ip->nexthdr;

	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		__u8 *extension = data + (offset & 0x7fff);
		__u32 size;

		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
		case IPPROTO_DSTOPTS:
		case IPPROTO_MH:
		case 139: /* HIP */
		case 140: /* Shim6 */
			break;
		default:
			packet->flow.protocol = next;
			packet->l4_offset = offset;
			packet->l4_length = rest;
			return PARSED;
		}
		if (i == MAX_EXTENSIONS || rest < 8 || (void *)extension + 8 > end)
			return IS_MALFORMED;
		if (next == IPPROTO_HOPOPTS && i)
			return IS_MALFORMED; /* RFC 8200: only directly after the IPv6 header */
		if (next == IPPROTO_ROUTING && extension[2] == 0)
			return IS_MALFORMED; /* RFC 5095: type 0 is not to be used */
		if (next == IPPROTO_ROUTING && extension[3])
			packet->is_routed = 1; /* segments are left */
		size = (extension[1] + 1) * 8;
		if (next == IPPROTO_AH)
			size = (extension[1] + 2) * 4;
		if (next == IPPROTO_FRAGMENT) {
			__u16 field = (__u16)extension[2] << 8 | extension[3];
			__u32 piece = field >> 3;
			int more = field & 1;

			size = 8;
			if (packet->fragment || is_bad_fragment(piece, more, rest - 8, 0))
				return IS_MALFORMED;
			packet->fragment_id = (__u32)extension[4] << 24 | (__u32)extension[5] << 16 |
					      (__u32)extension[6] << 8 | extension[7];
			if (piece) {
				packet->fragment = LATER_FRAGMENT_OF;
				packet->flow.protocol = extension[0];
				return piece == 1 && extension[0] == IPPROTO_TCP ? IS_MALFORMED : PARSED;
			}
			packet->fragment = more ? FIRST_FRAGMENT : NOT_A_FRAGMENT; /* RFC 6946: atomic fragments */
		}
		if (size > rest)
			return IS_MALFORMED;
		next = extension[0];
		offset += size;
		rest -= size;
	}
	return IS_MALFORMED;
}

/* Ethernet, VLAN tags and IP. length: bytes on the wire; end - data may be less where only headers are at hand (tc). */
static __always_inline int parse_l3(void *data, void *end, __u32 length, struct packet *packet)
{
	struct ethhdr *eth = data;
	__u32 offset = ETH_HEADER;
	__u16 type;

	if (data + ETH_HEADER > end)
		return IS_MALFORMED;
	__builtin_memcpy(packet->to_mac, eth->h_dest, 6);
	__builtin_memcpy(packet->from_mac, eth->h_source, 6);
	type = bpf_ntohs(eth->h_proto);
	for (int i = 0; i <= MAX_VLAN_TAGS; i++) {
		__be16 *tag = data + offset; /* tci, type */

		if (type != ETH_P_8021Q && type != ETH_P_8021AD && type != ETH_P_QINQ1)
			break;
		if (i == MAX_VLAN_TAGS || (void *)(tag + 2) > end)
			return IS_MALFORMED;
		type = bpf_ntohs(tag[1]);
		offset += 4;
	}
	packet->icmp_opens = 1;
	packet->l3_offset = offset;
	if (type == ETH_P_IP)
		return parse_ipv4(data, offset, end, length - offset, packet);
	if (type == ETH_P_IPV6)
		return parse_ipv6(data, offset, end, length - offset, packet);
	return IS_NON_IP;
}

#endif

/* Link headers, checksums, and NAT: what changes inside a packet that keeps its length. */
#ifndef SKEP_LB_REWRITE_H
#define SKEP_LB_REWRITE_H

#define LINK_MOST 22 /* Ethernet and two tags */

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* A checksum after words changed whose new sum is `delta` more than their old one (RFC 1624). */
static __always_inline __u16 adjusted(__u16 checksum, __u64 delta)
{
	return ~fold((__u64)(__u16)~checksum + delta);
}

/* UDP: 0 means that there is none. */
static __always_inline __u16 adjusted_udp(__u16 checksum, __u64 delta)
{
	return adjusted(checksum, delta) ?: 0xffff;
}

static __always_inline int is_set(const __u8 *mac)
{
	return mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5];
}

/* Link addresses of a packet to a backend. */
static __always_inline void set_link(__u8 *link, const struct packet *packet, const struct backend *backend)
{
	__builtin_memcpy(link, is_set(backend->mac) ? backend->mac : packet->from_mac, 6);
	__builtin_memcpy(link + 6, is_set(backend->from_mac) ? backend->from_mac : packet->to_mac, 6);
}

static __always_inline int out_by(const struct packet *packet, __u32 ifindex)
{
	return ifindex && ifindex != packet->interface ? bpf_redirect(ifindex, 0) : XDP_TX;
}

/* One side of a flow becomes another: its address and its port. */
struct translation {
	__u8 from[16], to[16];
	__u16 from_port, to_port;
	__u32 is_destination;
	__u8 link[12]; /* where the packet goes on the wire */
	__u32 outer;   /* ICMP errors: which address of the outer header changes, too */
};

enum outer_change { OUTER_STAYS, OUTER_SOURCE, OUTER_DESTINATION };

static __always_inline int set_address(void *l3, void *end, __u8 family, const __u8 *to, int is_destination, __u64 delta)
{
	if (family == 4) {
		struct iphdr *ip = l3;

		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(is_destination ? &ip->daddr : &ip->saddr, to + 12, 4);
		ip->check = adjusted(ip->check, delta);
		return 0;
	}
	struct ipv6hdr *ip = l3;

	if ((void *)(ip + 1) > end)
		return -1;
	__builtin_memcpy(is_destination ? &ip->daddr : &ip->saddr, to, 16);
	return 0;
}

/* The sum of the new address minus that of the old one. Both begin alike where they are IPv4: that part cancels out. */
static __always_inline __u64 address_delta(const struct translation *how)
{
	return (__u32)bpf_csum_diff((__be32 *)how->from, 16, (__be32 *)how->to, 16, 0);
}

static __always_inline __u64 port_delta(const struct translation *how)
{
	return (__u64)(__u16)~bpf_htons(how->from_port) + bpf_htons(how->to_port);
}

/* Addresses, port and checksums of a packet. 0, or -1: it is shorter than it was. */
__noinline int translate(struct xdp_md *ctx, const struct packet *packet, const struct translation *how)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *l4;
	__u64 delta;
	__be16 *ports;

	if (!packet || !how || data + ETH_HEADER > end)
		return -1;
	delta = address_delta(how);
	__builtin_memcpy(data, how->link, 12);
	if (set_address(data + (packet->l3_offset & 31), end, packet->flow.family, how->to, how->is_destination, delta))
		return -1;
	if (packet->fragment == LATER_FRAGMENT_OF)
		return 0;
	delta += port_delta(how);
	l4 = data + (packet->l4_offset & 0x7fff);
	ports = l4;
	if (packet->flow.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			return -1;
		tcp->check = adjusted(tcp->check, delta);
	} else {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > end)
			return -1;
		if (udp->check)
			udp->check = adjusted_udp(udp->check, delta);
	}
	ports[how->is_destination ? 1 : 0] = bpf_htons(how->to_port);
	return 0;
}

/* The packet inside an ICMP error: the same changes on its side. Returns what the ICMP checksum must take up. */
static __always_inline __u64 translate_inner(void *l4, void *end, const struct packet *packet,
					     const struct translation *how, __u64 delta)
{
	__u64 ports_delta = port_delta(how), sum = ports_delta;
	__be16 *ports = l4, *checksum;

	if (l4 + 8 > end)
		return 0;
	ports[how->is_destination ? 1 : 0] = bpf_htons(how->to_port);
	checksum = packet->inner.protocol == IPPROTO_TCP ? l4 + 16 : l4 + 6;
	if ((void *)(checksum + 1) <= end && (*checksum || packet->inner.protocol == IPPROTO_TCP)) {
		__u16 before = *checksum;

		*checksum = packet->inner.protocol == IPPROTO_TCP ? adjusted(before, delta + ports_delta)
								  : adjusted_udp(before, delta + ports_delta);
		sum += (__u64)(__u16)~before + *checksum;
	}
	return sum;
}

/* An ICMP error about a flow that is translated: outside, inside, and its own checksum. */
__noinline int translate_error(struct xdp_md *ctx, const struct packet *packet, const struct translation *how)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *inner;
	__u64 delta, sum = 0;
	__u32 header = sizeof(struct ipv6hdr);
	__u8 family;
	__be16 *icmp;

	if (!packet || !how || data + ETH_HEADER > end)
		return -1;
	family = packet->flow.family;
	delta = address_delta(how);
	__builtin_memcpy(data, how->link, 12);
	if (how->outer) {
		int is_destination = how->outer == OUTER_DESTINATION;

		if (set_address(data + (packet->l3_offset & 31), end, family, how->to, is_destination, delta))
			return -1;
		if (family == 6)
			sum += delta; /* the pseudo header of ICMPv6 */
	}
	icmp = data + (packet->l4_offset & 0x7fff);
	inner = (void *)icmp + 8;
	if (inner + sizeof(struct iphdr) > end)
		return -1;
	if (family == 4)
		header = ((struct iphdr *)inner)->ihl * 4;
	if (set_address(inner, end, family, how->to, how->is_destination, delta))
		return -1;
	if (family == 6)
		sum += delta; /* IPv4: the inner header's own checksum makes up for it */
	sum += translate_inner(inner + (header & 0x7f), end, packet, how, delta);
	icmp[1] = adjusted(icmp[1], sum);
	return 0;
}

#endif

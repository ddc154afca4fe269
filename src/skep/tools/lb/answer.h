/* What the load balancer answers itself: pings of a VIP, and packets that do not fit with their outer header. */
#ifndef SKEP_LB_ANSWER_H
#define SKEP_LB_ANSWER_H

#define QUOTED 256 /* bytes of the packet that an ICMP error of ours carries; packets that are too big have more */

static __always_inline void swap_link(void *data, const struct packet *packet)
{
	__builtin_memcpy(data, packet->from_mac, 6);
	__builtin_memcpy(data + 6, packet->to_mac, 6);
}

/* Echo request to echo reply, in place. */
__noinline int answer_echo(struct xdp_md *ctx, const struct packet *packet)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *l3;
	__be16 *icmp, before;

	if (!packet || data + ETH_HEADER > end)
		return -1;
	swap_link(data, packet);
	l3 = data + (packet->l3_offset & 31);
	if (packet->flow.family == 4) {
		struct iphdr *ip = l3;
		__be16 *words = l3;

		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(&ip->saddr, packet->flow.destination + 12, 4);
		__builtin_memcpy(&ip->daddr, packet->flow.source + 12, 4);
		before = words[4];
		ip->ttl = OUTER_TTL;
		ip->check = adjusted(ip->check, (__u64)(__u16)~before + words[4]);
	} else {
		struct ipv6hdr *ip = l3;

		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(&ip->saddr, packet->flow.destination, 16);
		__builtin_memcpy(&ip->daddr, packet->flow.source, 16);
		ip->hop_limit = OUTER_TTL;
	}
	icmp = data + (packet->l4_offset & 0x7fff);
	if ((void *)(icmp + 2) > end)
		return -1;
	before = icmp[0];
	icmp[0] = packet->flow.family == 4 ? 0 : bpf_htons(129 << 8);
	icmp[1] = adjusted(icmp[1], (__u64)(__u16)~before + icmp[0]);
	return 0;
}

static __always_inline int put_too_big4(void *l3, void *end, const struct packet *packet, __u32 mtu)
{
	struct iphdr *ip = l3;
	__u8 *icmp = l3 + sizeof(*ip);

	if ((void *)icmp + 8 + QUOTED > end)
		return -1;
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(sizeof(*ip) + 8 + QUOTED);
	ip->id = 0;
	ip->frag_off = 0;
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_ICMP;
	ip->check = 0;
	__builtin_memcpy(&ip->saddr, packet->flow.destination + 12, 4);
	__builtin_memcpy(&ip->daddr, packet->flow.source + 12, 4);
	ip->check = header_checksum(ip);
	icmp[0] = 3; /* destination unreachable */
	icmp[1] = 4; /* fragmentation needed */
	*(__be16 *)(icmp + 2) = 0;
	*(__be32 *)(icmp + 4) = bpf_htonl(mtu);
	*(__be16 *)(icmp + 2) = ~fold((__u32)bpf_csum_diff(NULL, 0, (__be32 *)icmp, 8 + QUOTED, 0));
	return 0;
}

static __always_inline int put_too_big6(void *l3, void *end, const struct packet *packet, __u32 mtu)
{
	struct ipv6hdr *ip = l3;
	__u8 *icmp = l3 + sizeof(*ip);
	struct {
		__u8 source[16], destination[16];
		__be32 length, next;
	} pseudo;
	__u32 sum;

	if ((void *)icmp + 8 + QUOTED > end)
		return -1;
	__builtin_memcpy(pseudo.source, packet->flow.destination, 16);
	__builtin_memcpy(pseudo.destination, packet->flow.source, 16);
	pseudo.length = bpf_htonl(8 + QUOTED);
	pseudo.next = bpf_htonl(IPPROTO_ICMPV6);
	*(__be32 *)ip = bpf_htonl(6u << 28);
	ip->payload_len = bpf_htons(8 + QUOTED);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = OUTER_TTL;
	__builtin_memcpy(&ip->saddr, pseudo.source, 32);
	icmp[0] = 2; /* packet too big */
	icmp[1] = 0;
	*(__be16 *)(icmp + 2) = 0;
	*(__be32 *)(icmp + 4) = bpf_htonl(mtu);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	*(__be16 *)(icmp + 2) = ~fold((__u32)bpf_csum_diff(NULL, 0, (__be32 *)icmp, 8 + QUOTED, sum));
	return 0;
}

/* The packet becomes an ICMP error to its sender. 0, or -1: the driver has no room. */
__noinline int answer_too_big(struct xdp_md *ctx, const struct packet *packet, __u32 mtu)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 link[LINK_MOST + 2] __attribute__((aligned(8)));
	__u32 offset;
	int extra;

	if (!packet || data + LINK_MOST > end)
		return -1;
	__builtin_memcpy(link, data, LINK_MOST);
	swap_link(link, packet);
	offset = packet->l3_offset & 31;
	extra = 8 + (packet->flow.family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	if (bpf_xdp_adjust_tail(ctx, (int)(offset + QUOTED) - (int)packet->length) || bpf_xdp_adjust_head(ctx, -extra))
		return -1;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + LINK_MOST > end)
		return -1;
	__builtin_memcpy(data, link, LINK_MOST);
	return packet->flow.family == 4 ? put_too_big4(data + offset, end, packet, mtu)
					: put_too_big6(data + offset, end, packet, mtu);
}

#endif

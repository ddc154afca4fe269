/* Direct server return: the packet as it is, behind a header of ours (RFC 2003, RFC 2473, GUE variant 0). */
#ifndef SKEP_LB_ENCAPSULATE_H
#define SKEP_LB_ENCAPSULATE_H

#define GUE_HEADER 4
#define OUTER_TTL 64

static __always_inline __u32 overhead(const struct backend *backend)
{
	__u32 ip = backend->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);

	return ip + (backend->method == GUE ? sizeof(struct udphdr) + GUE_HEADER : 0);
}

static __always_inline __u16 header_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u64 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += words[i];
	return ~fold(sum);
}

/* DSCP and ECN go along (RFC 6040). */
static __always_inline int traffic_class(void *l3, void *end, __u8 family)
{
	__u8 *bytes = l3;

	if (l3 + 2 > end)
		return 0;
	return family == 4 ? bytes[1] : (__u8)(bytes[0] << 4 | bytes[1] >> 4);
}

static __always_inline void put_ipv4(struct iphdr *ip, const struct settings *settings, const struct backend *backend,
				     __u32 length, __u8 protocol, __u8 tos)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = bpf_htons(length);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000); /* it fits: that was checked */
	ip->ttl = OUTER_TTL;
	ip->protocol = protocol;
	ip->check = 0;
	__builtin_memcpy(&ip->saddr, settings->source4, 4);
	__builtin_memcpy(&ip->daddr, backend->address + 12, 4);
	ip->check = header_checksum(ip);
}

static __always_inline void put_ipv6(struct ipv6hdr *ip, const struct settings *settings, const struct backend *backend,
				     __u32 length, __u8 protocol, __u8 tos, __u32 hash)
{
	*(__be32 *)ip = bpf_htonl(6u << 28 | (__u32)tos << 20 | (hash & 0xfffff));
	ip->payload_len = bpf_htons(length - sizeof(*ip));
	ip->nexthdr = protocol;
	ip->hop_limit = OUTER_TTL;
	__builtin_memcpy(&ip->saddr, settings->source6, 16);
	__builtin_memcpy(&ip->daddr, backend->address, 16);
}

/* UDP without a checksum (RFC 6935), its source port by flow so that routers spread flows; then the GUE header. */
static __always_inline int put_gue(void *at, void *end, const struct settings *settings, __u32 length, __u8 inner,
				   __u32 hash)
{
	struct udphdr *udp = at;
	__u8 *gue = (void *)(udp + 1);

	if ((void *)gue + GUE_HEADER > end)
		return -1;
	udp->source = bpf_htons(0xc000 | (hash & 0x3fff));
	udp->dest = bpf_htons(settings->gue_port);
	udp->len = bpf_htons(length);
	udp->check = 0;
	gue[0] = 0; /* variant 0, no extension */
	gue[1] = inner;
	gue[2] = gue[3] = 0;
	return 0;
}

/* XDP_ABORTED: there is no room. */
__noinline int encapsulate(struct xdp_md *ctx, const struct request *request, const struct settings *settings,
			   const struct backend *backend)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *l3;
	__u8 link[LINK_MOST + 2] __attribute__((aligned(8)));
	__u32 offset, extra, length;
	__u8 inner, outer, tos;
	__be16 type;

	if (!request || !settings || !backend || data + LINK_MOST > end)
		return XDP_ABORTED;
	offset = request->packet.l3_offset;
	if (offset != 14 && offset != 18 && offset != 22)
		return XDP_ABORTED;
	tos = traffic_class(data + offset, end, request->packet.flow.family);
	inner = request->packet.flow.family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	outer = backend->method == GUE ? IPPROTO_UDP : inner;
	type = backend->family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	__builtin_memcpy(link, data, LINK_MOST);
	set_link(link, &request->packet, backend);
	if (offset == 14)
		*(__be16 *)(link + 12) = type;
	else if (offset == 18)
		*(__be16 *)(link + 16) = type;
	else
		*(__be16 *)(link + 20) = type;

	extra = overhead(backend);
	length = request->packet.l3_length + extra;
	if (bpf_xdp_adjust_head(ctx, -(int)extra))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + LINK_MOST > end)
		return XDP_ABORTED;
	__builtin_memcpy(data, link, LINK_MOST);
	l3 = data + offset;
	if (backend->family == 4) {
		if (l3 + sizeof(struct iphdr) > end)
			return XDP_ABORTED;
		put_ipv4(l3, settings, backend, length, outer, tos);
		l3 += sizeof(struct iphdr);
		length -= sizeof(struct iphdr);
	} else {
		if (l3 + sizeof(struct ipv6hdr) > end)
			return XDP_ABORTED;
		put_ipv6(l3, settings, backend, length, outer, tos, request->hash);
		l3 += sizeof(struct ipv6hdr);
		length -= sizeof(struct ipv6hdr);
	}
	if (backend->method == GUE && put_gue(l3, end, settings, length, inner, request->hash))
		return XDP_ABORTED;
	return out_by(&request->packet, backend->ifindex);
}

#endif

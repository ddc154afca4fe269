/* Connections: what was allowed, so that its replies are. Two tables: SYNs of a flood fill `openings` only. */
#ifndef SKEP_FIREWALL_CONNECTIONS_H
#define SKEP_FIREWALL_CONNECTIONS_H

static __always_inline __u64 lifetime(const struct policy *policy, const struct flow *flow, __u32 state)
{
	switch (flow->protocol) {
	case IPPROTO_TCP:
		if (!(state & REPLIED))
			return policy->tcp_opening_ns;
		if ((state & RESET) || (state & (FIN_THERE | FIN_BACK)) == (FIN_THERE | FIN_BACK))
			return policy->tcp_closing_ns;
		return policy->tcp_ns;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return policy->udp_ns;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return policy->icmp_ns;
	}
	return policy->other_ns;
}

static __always_inline struct connection *find_connection(const struct flow *flow)
{
	struct connection *connection;

	connection = bpf_map_lookup_elem(&connections, flow);
	return connection ?: bpf_map_lookup_elem(&openings, flow);
}

static __always_inline struct connection *find_alive(const struct policy *policy, const struct flow *flow, __u64 now)
{
	struct connection *connection = find_connection(flow);

	if (!connection || now - connection->seen_ns > lifetime(policy, flow, connection->state))
		return NULL;
	return connection;
}

static __always_inline __u32 closing_bits(__u8 flags, __u32 fin)
{
	return (flags & TCP_FIN ? fin : 0) | (flags & TCP_RST ? RESET : 0);
}

__noinline int is_reply(const struct policy *policy, const struct packet *packet)
{
	struct flow back;
	struct connection *connection;
	__u8 flags;
	__u32 state;

	if (!policy || !packet)
		return 0;
	flags = packet->tcp_flags;
	if (flags & TCP_SYN && !(flags & TCP_ACK))
		return 0; /* starts a connection of its own */
	if (packet->flow.protocol == IPPROTO_ICMP || packet->flow.protocol == IPPROTO_ICMPV6) {
		if (packet->service != (packet->flow.family == 4 ? 0 : 129 << 8))
			return 0; /* only an echo reply answers */
	}
	turn(&back, &packet->flow);
	connection = find_alive(policy, &back, packet->now);
	if (!connection)
		return 0;
	state = connection->state;
	if (back.protocol == IPPROTO_TCP && !(state & REPLIED) && !(flags & (TCP_SYN | TCP_RST)))
		return 0; /* the answer to a SYN is SYN+ACK or RST */
	connection->state = state | REPLIED | closing_bits(flags, FIN_BACK);
	connection->seen_ns = packet->now;
	return 1;
}

__noinline int is_related(const struct policy *policy, const struct packet *packet)
{
	struct flow back;

	if (!policy || !packet || !packet->has_inner)
		return 0;
	for (int i = 0; i < 16; i++) /* an error goes to who sent the packet */
		if (packet->flow.destination[i] != packet->inner.source[i])
			return 0;
	if (find_alive(policy, &packet->inner, packet->now))
		return 1;
	turn(&back, &packet->inner);
	return find_alive(policy, &back, packet->now) != NULL;
}

/* A packet was allowed: its connection is opened, or kept alive. */
__noinline int remember(const struct policy *policy, const struct packet *packet)
{
	struct connection fresh = {}, *connection;
	__u32 length;
	__u8 flags;
	int is_syn;

	if (!policy || !packet)
		return 0;
	fresh.seen_ns = packet->now;
	length = packet->length;
	flags = packet->tcp_flags;
	is_syn = flags & TCP_SYN && !(flags & TCP_ACK);
	connection = find_alive(policy, &packet->flow, packet->now);
	if (connection) {
		__u32 state = connection->state;
		int is_over = (state & RESET) || (state & (FIN_THERE | FIN_BACK)) == (FIN_THERE | FIN_BACK);

		if (!is_syn || !is_over) {
			state |= closing_bits(flags, FIN_THERE);
			connection->state = state;
			connection->seen_ns = packet->now;
			/* Went there, back and there again: out of the table that a flood can fill. */
			if (!is_syn && state & REPLIED && bpf_map_lookup_elem(&openings, &packet->flow)) {
				fresh.state = state;
				if (bpf_map_update_elem(&connections, &packet->flow, &fresh, BPF_ANY)) {
					count(CONNECTION_LOST, length);
				} else {
					bpf_map_delete_elem(&openings, &packet->flow);
					count(CONNECTION_KEPT, length);
				}
			}
			return 0;
		}
	} else if (packet->flow.protocol == IPPROTO_TCP && !is_syn) {
		return 0; /* in the middle of something that was not seen to begin */
	}
	if (!packet->icmp_opens)
		return 0;
	bpf_map_delete_elem(&connections, &packet->flow); /* what is over or has timed out */
	if (bpf_map_update_elem(&openings, &packet->flow, &fresh, BPF_ANY))
		count(CONNECTION_LOST, length);
	else
		count(CONNECTION_OPENED, length);
	return 0;
}

#endif

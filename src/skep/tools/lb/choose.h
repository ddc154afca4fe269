/* Which backend: the one that has the connection, else the one that the Maglev table says. */
#ifndef SKEP_LB_CHOOSE_H
#define SKEP_LB_CHOOSE_H

/* 64-bit multiply and fold for each word; the upper half is well mixed. */
static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 32;
}

static __always_inline __u32 hash_flow(__u64 seed, const struct flow *flow, __u32 flags)
{
	__u64 words[5], hash = seed;

	__builtin_memcpy(words, flow, sizeof(words));
	hash = mix(mix(hash, words[0]), words[1]);
	if (!(flags & BY_SOURCE))
		hash = mix(mix(mix(hash, words[2]), words[3]), words[4]);
	return mix(hash, seed) >> 32;
}

static __always_inline __u32 by_table(__u32 table, __u32 hash)
{
	struct table *found = bpf_map_lookup_elem(&tables, &table);

	return found ? found->backend[((__u64)hash * TABLE) >> 32] : NOBODY;
}

static __always_inline int is_over(__u32 state)
{
	return (state & RESET) || (state & FIN_THERE && state & (FIN_BACK | ONE_WAY));
}

static __always_inline __u64 lifetime(const struct settings *settings, __u8 protocol, __u32 state, int is_opening)
{
	if (protocol != IPPROTO_TCP)
		return settings->udp_ns;
	if (is_over(state))
		return settings->tcp_closing_ns;
	return is_opening ? settings->tcp_opening_ns : settings->tcp_ns;
}

static __always_inline int is_alive(const struct settings *settings, __u8 protocol, const struct connection *connection,
				    __u64 now, int is_opening)
{
	/* signed: another CPU may have written a moment that this one's coarse clock has not reached */
	return (__s64)(now - connection->seen_ns) <= (__s64)lifetime(settings, protocol, connection->state, is_opening);
}

/* May a connection go on with a backend in this state? */
static __always_inline int may_stay(__u32 state, int is_tcp, int is_syn, int is_opening)
{
	if (state == ACTIVE)
		return 1;
	if (state == DRAINING)
		return !is_syn || is_opening; /* also a SYN that was sent again */
	return state == DOWN && is_tcp && !is_syn; /* nobody else could go on with it, and the check may be wrong */
}

static __always_inline __u32 closing_bits(__u8 flags, __u32 fin)
{
	return (flags & TCP_FIN ? fin : 0) | (flags & TCP_RST ? RESET : 0);
}

static __always_inline void keep(const struct request *request, struct connection *connection, int is_opening, int is_syn)
{
	const struct packet *packet = &request->packet;
	struct connection kept;

	connection->state |= closing_bits(packet->tcp_flags, FIN_THERE);
	connection->seen_ns = packet->now;
	if (!is_opening || is_syn)
		return;
	kept = *connection;
	if (bpf_map_update_elem(&connections, &request->flow, &kept, BPF_ANY)) {
		count(LOST, packet->length);
		return;
	}
	bpf_map_delete_elem(&openings, &request->flow);
	count(KEPT, packet->length);
}

static __always_inline void open(const struct request *request, __u32 id, const struct backend *backend)
{
	const struct packet *packet = &request->packet;
	struct connection fresh = { .seen_ns = packet->now, .backend = id, .generation = backend->generation };
	struct traffic *traffic = bpf_map_lookup_elem(&traffics, &id);

	fresh.state = (backend->method == NAT ? 0 : ONE_WAY) | closing_bits(packet->tcp_flags, FIN_THERE);
	fresh.ifindex = packet->interface;
	__builtin_memcpy(fresh.client_mac, packet->from_mac, 6);
	__builtin_memcpy(fresh.our_mac, packet->to_mac, 6);
	bpf_map_delete_elem(&connections, &request->flow); /* what is over, or had another backend */
	if (bpf_map_update_elem(&openings, &request->flow, &fresh, BPF_ANY))
		count(LOST, packet->length);
	else
		count(OPENED, packet->length);
	if (traffic)
		traffic->opened++;
}

/* The backend's number, or NOBODY. */
__noinline __u32 choose(const struct settings *settings, const struct request *request)
{
	struct connection *connection;
	struct backend *backend;
	int is_opening = 0, is_tcp, is_syn;
	__u32 id;
	__u8 protocol;

	if (!settings || !request)
		return NOBODY;
	protocol = request->flow.protocol;
	is_tcp = protocol == IPPROTO_TCP;
	is_syn = is_tcp && request->remembers && (request->packet.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	connection = bpf_map_lookup_elem(&connections, &request->flow);
	if (!connection) {
		connection = bpf_map_lookup_elem(&openings, &request->flow);
		is_opening = 1;
	}
	if (connection && is_alive(settings, protocol, connection, request->packet.now, is_opening) &&
	    !(is_syn && is_over(connection->state))) {
		id = connection->backend;
		backend = bpf_map_lookup_elem(&backends, &id);
		if (backend && backend->generation == connection->generation &&
		    may_stay(backend->state, is_tcp, is_syn, is_opening)) {
			if (request->remembers)
				keep(request, connection, is_opening, is_syn);
			return id;
		}
		if (request->remembers)
			count(MOVED, request->packet.length);
	}
	id = by_table(request->table, request->hash);
	backend = bpf_map_lookup_elem(&backends, &id);
	if (!backend || id == NOBODY)
		return NOBODY;
	if (request->remembers)
		open(request, id, backend);
	return id;
}

#endif

/* skep lb: a layer-4 load balancer at XDP.
 *
 * A packet is taken apart once (parse.h). To a VIP: its service, then its backend (choose.h), then out with an outer
 * header (encapsulate.h) or with another destination (rewrite.h). From a backend behind NAT: back to the client. All
 * else is the host's. Nothing here is written for one of the two engines.
 *
 * The control side changes maps while packets run: a service names the table in force (two have room for each), a table
 * names backends by number, and a number that is used again gets a new generation.
 */
#include "../packet/xdp.h"
#include "lb.h"

/* The sizes are changed when the tool loads the program. */
MAP(settings_of, BPF_MAP_TYPE_ARRAY, 1, 0, __u32, struct settings);
MAP(vips, BPF_MAP_TYPE_HASH, 64, 0, struct vip, __u32);
MAP(services, BPF_MAP_TYPE_HASH, 64, 0, struct service_key, struct service);
MAP(tables, BPF_MAP_TYPE_ARRAY, 32, 0, __u32, struct table);
MAP(backends, BPF_MAP_TYPE_ARRAY, 4096, 0, __u32, struct backend);
MAP(origins, BPF_MAP_TYPE_HASH, 4096, 0, struct origin_key, struct origin);
MAP(connections, BPF_MAP_TYPE_LRU_HASH, 262144, 0, struct flow, struct connection);
MAP(openings, BPF_MAP_TYPE_LRU_HASH, 65536, 0, struct flow, struct connection);
MAP(fragments, BPF_MAP_TYPE_LRU_HASH, 16384, 0, struct fragment_key, struct fragment_entry);
MAP(traffics, BPF_MAP_TYPE_PERCPU_ARRAY, 4096, 0, __u32, struct traffic);
MAP(reasons, BPF_MAP_TYPE_PERCPU_ARRAY, REASONS, 0, __u32, struct counter);
MAP(trace, BPF_MAP_TYPE_ARRAY, 1, 0, __u32, struct decision);

const volatile __u32 tracing = 0; /* write down every decision */
__u32 traced = 0;

static __always_inline void count(__u32 reason, __u32 length)
{
	struct counter *counter = bpf_map_lookup_elem(&reasons, &reason);

	if (counter) {
		counter->packets++;
		counter->bytes += length;
	}
}

#include "rewrite.h" /* after the maps and count(), which they use */
#include "encapsulate.h"
#include "answer.h"
#include "choose.h"

/* What becomes of a packet: why, and the verdict. */
static __always_inline __u32 outcome_of(__u32 reason, __u32 action)
{
	return reason << 8 | action;
}

static __always_inline int is_same(const __u8 *one, const __u8 *other)
{
	__u64 a[2], b[2];

	__builtin_memcpy(a, one, 16);
	__builtin_memcpy(b, other, 16);
	return a[0] == b[0] && a[1] == b[1];
}

static __always_inline int is_icmp(__u8 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static __always_inline int is_vip(const __u8 *address, __u8 family)
{
	struct vip key = { .family = family };

	__builtin_memcpy(key.address, address, 16);
	return bpf_map_lookup_elem(&vips, &key) != NULL;
}

/* The service of request->flow; 0: there is none. */
static __always_inline int find_service(const struct settings *settings, struct request *request)
{
	struct service_key key = { .port = request->flow.destination_port, .protocol = request->flow.protocol,
				   .family = request->flow.family };
	struct service *service;

	if (key.protocol != IPPROTO_TCP && key.protocol != IPPROTO_UDP)
		return 0;
	__builtin_memcpy(key.address, request->flow.destination, 16);
	service = bpf_map_lookup_elem(&services, &key);
	if (!service)
		return 0;
	request->table = service->table;
	request->service_flags = service->flags;
	request->hash = hash_flow(settings->seed, &request->flow, service->flags);
	return 1;
}

static __always_inline void count_backend(__u32 id, __u32 length, int is_reply)
{
	struct traffic *traffic = bpf_map_lookup_elem(&traffics, &id);

	if (!traffic)
		return;
	if (is_reply) {
		traffic->replies++;
		traffic->reply_bytes += length;
	} else {
		traffic->packets++;
		traffic->bytes += length;
	}
}

/* ---- to a backend ---- */

static __always_inline int to_backend(struct xdp_md *ctx, const struct request *request, const struct backend *backend)
{
	struct translation how = { .from_port = request->flow.destination_port, .to_port = backend->port };

	__builtin_memcpy(how.from, request->flow.destination, 16);
	__builtin_memcpy(how.to, backend->address, 16);
	set_link(how.link, &request->packet, backend);
	if (request->remembers || request->packet.fragment == LATER_FRAGMENT_OF) {
		how.is_destination = 1;
		if (translate(ctx, &request->packet, &how))
			return XDP_ABORTED;
	} else {
		how.outer = OUTER_DESTINATION; /* inside is an answer: its source was the VIP's address */
		if (translate_error(ctx, &request->packet, &how))
			return XDP_ABORTED;
	}
	return out_by(&request->packet, backend->ifindex);
}

/* Send the packet to request->backend, in the way of that backend. */
__noinline __u32 send(struct xdp_md *ctx, const struct settings *settings, const struct request *request, __u32 reason)
{
	struct backend *backend;
	__u32 id, extra;
	int action;

	if (!settings || !request)
		return outcome_of(NO_BACKEND, XDP_DROP);
	id = request->backend;
	backend = bpf_map_lookup_elem(&backends, &id);
	if (!backend || id == NOBODY)
		return outcome_of(NO_BACKEND, XDP_DROP);
	if (backend->method == NAT) {
		action = to_backend(ctx, request, backend);
	} else {
		extra = overhead(backend);
		if (request->packet.l3_length + extra > settings->mtu) {
			if (answer_too_big(ctx, &request->packet, settings->mtu - extra))
				return outcome_of(NO_ROOM, XDP_DROP);
			return outcome_of(TOO_BIG, XDP_TX);
		}
		action = encapsulate(ctx, request, settings, backend);
	}
	if (action == XDP_ABORTED)
		return outcome_of(NO_ROOM, XDP_DROP);
	count_backend(id, request->packet.length, 0);
	return outcome_of(reason, action);
}

__noinline int note_fragment(const struct settings *settings, const struct request *request, __u32 is_reply)
{
	struct fragment_key key;
	struct fragment_entry entry = { .is_reply = is_reply };
	struct backend *backend;
	__u32 id;

	if (!settings || !request || settings->fragments != FRAGMENTS_TRACK)
		return 0;
	id = entry.backend = request->backend;
	backend = bpf_map_lookup_elem(&backends, &id);
	if (!backend)
		return 0;
	entry.seen_ns = request->packet.now;
	entry.generation = backend->generation;
	entry.ifindex = request->ifindex;
	__builtin_memcpy(entry.client_mac, request->client_mac, 6);
	__builtin_memcpy(entry.our_mac, request->our_mac, 6);
	__builtin_memcpy(entry.vip, request->flow.destination, 16);
	set_fragment_key(&key, &request->packet);
	bpf_map_update_elem(&fragments, &key, &entry, BPF_ANY); /* else: unknown, dropped */
	return 1;
}

static __always_inline __u32 serve_request(struct xdp_md *ctx, const struct settings *settings, struct request *request)
{
	request->flow = request->packet.flow;
	request->remembers = 1;
	if (request->packet.is_routed || !find_service(settings, request))
		return outcome_of(NO_SERVICE, XDP_PASS);
	if (request->packet.fragment == FIRST_FRAGMENT && settings->fragments == FRAGMENTS_PASS)
		return outcome_of(FRAGMENT_PASSED, XDP_PASS);
	if (request->packet.fragment == FIRST_FRAGMENT && settings->fragments == FRAGMENTS_DROP)
		return outcome_of(FRAGMENT_DROPPED, XDP_DROP);
	request->backend = choose(settings, request);
	if (request->packet.fragment == FIRST_FRAGMENT)
		note_fragment(settings, request, 0);
	return send(ctx, settings, request, FORWARDED);
}

/* ICMP to a VIP: an error about an answer of a backend, or a ping. */
static __always_inline __u32 serve_icmp(struct xdp_md *ctx, const struct settings *settings, struct request *request)
{
	if (request->packet.fragment)
		return outcome_of(NO_SERVICE, XDP_PASS);
	if (request->packet.has_inner) {
		turn(&request->flow, &request->packet.inner);
		if (!is_same(request->flow.destination, request->packet.flow.destination) || !find_service(settings, request))
			return outcome_of(NO_SERVICE, XDP_PASS); /* an error goes to who sent the packet inside */
		request->backend = choose(settings, request);
		return send(ctx, settings, request, ERROR_FORWARDED);
	}
	if (!request->packet.icmp_opens)
		return outcome_of(NO_SERVICE, XDP_PASS);
	return answer_echo(ctx, &request->packet) ? outcome_of(MALFORMED, XDP_DROP) : outcome_of(ECHOED, XDP_TX);
}

/* ---- NAT, back to the client ---- */

/* The packet belongs to (backend to client): find the VIP and the connection. */
__noinline int find_origin(const struct settings *settings, struct request *request, const struct flow *back, int closes)
{
	struct origin_key key;
	struct connection *connection;
	struct origin *origin;
	struct backend *backend;
	int is_opening = 0;
	__u32 id;

	if (!settings || !request || !back)
		return 0;
	key.port = back->source_port;
	key.protocol = back->protocol;
	key.family = back->family;
	__builtin_memcpy(key.address, back->source, 16);
	origin = bpf_map_lookup_elem(&origins, &key);
	if (!origin)
		return 0;
	turn(&request->flow, back);
	__builtin_memcpy(request->flow.destination, origin->address, 16);
	request->flow.destination_port = origin->port;
	connection = bpf_map_lookup_elem(&connections, &request->flow);
	if (!connection) {
		connection = bpf_map_lookup_elem(&openings, &request->flow);
		is_opening = 1;
	}
	if (!connection || !is_alive(settings, back->protocol, connection, request->packet.now, is_opening))
		return 0;
	id = connection->backend;
	backend = bpf_map_lookup_elem(&backends, &id);
	if (!backend || backend->generation != connection->generation || backend->port != back->source_port)
		return 0;
	if (!is_same(backend->address, back->source))
		return 0;
	if (closes) {
		connection->state |= closing_bits(request->packet.tcp_flags, FIN_BACK);
		connection->seen_ns = request->packet.now;
	}
	request->backend = id;
	request->ifindex = connection->ifindex;
	__builtin_memcpy(request->client_mac, connection->client_mac, 6);
	__builtin_memcpy(request->our_mac, connection->our_mac, 6);
	return 1;
}

static __always_inline void set_back(struct translation *how, const struct request *request, __u16 port)
{
	__builtin_memcpy(how->to, request->flow.destination, 16);
	how->from_port = port;
	how->to_port = request->flow.destination_port;
	__builtin_memcpy(how->link, request->client_mac, 6);
	__builtin_memcpy(how->link + 6, request->our_mac, 6);
}

__noinline __u32 back_to_client(struct xdp_md *ctx, const struct settings *settings, struct request *request)
{
	struct translation how = {};

	if (!settings || !request || !find_origin(settings, request, &request->packet.flow, 1))
		return outcome_of(NOT_OURS, XDP_PASS);
	if (request->packet.fragment == FIRST_FRAGMENT)
		note_fragment(settings, request, 1);
	__builtin_memcpy(how.from, request->packet.flow.source, 16);
	set_back(&how, request, request->packet.flow.source_port);
	if (translate(ctx, &request->packet, &how))
		return outcome_of(NO_ROOM, XDP_DROP);
	count_backend(request->backend, request->packet.length, 1);
	return outcome_of(REPLIED, out_by(&request->packet, request->ifindex));
}

/* An ICMP error on its way to a client, about a request that was translated: from the backend, or a router before it. */
__noinline __u32 error_to_client(struct xdp_md *ctx, const struct settings *settings, struct request *request)
{
	struct translation how = { .is_destination = 1 };
	struct flow back;

	if (!settings || !request)
		return outcome_of(NOT_OURS, XDP_PASS);
	turn(&back, &request->packet.inner);
	if (!is_same(back.destination, request->packet.flow.destination) || !find_origin(settings, request, &back, 0))
		return outcome_of(NOT_OURS, XDP_PASS);
	__builtin_memcpy(how.from, back.source, 16);
	how.outer = is_same(back.source, request->packet.flow.source) ? OUTER_SOURCE : OUTER_STAYS;
	set_back(&how, request, back.source_port);
	if (translate_error(ctx, &request->packet, &how))
		return outcome_of(NO_ROOM, XDP_DROP);
	return outcome_of(ERROR_REPLIED, out_by(&request->packet, request->ifindex));
}

/* ---- fragments after the first: without ports ---- */

enum first_fragment { NOT_SEEN, WAS_REQUEST, WAS_REPLY };

__noinline int find_first(const struct settings *settings, struct request *request)
{
	struct fragment_key key;
	struct fragment_entry *first;
	struct backend *backend;
	__u32 id;

	if (!settings || !request)
		return NOT_SEEN;
	set_fragment_key(&key, &request->packet);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first || (__s64)(request->packet.now - first->seen_ns) > (__s64)settings->fragment_ns)
		return NOT_SEEN;
	id = first->backend;
	backend = bpf_map_lookup_elem(&backends, &id);
	if (!backend || backend->generation != first->generation)
		return NOT_SEEN;
	request->backend = id;
	request->ifindex = first->ifindex;
	request->flow = request->packet.flow;
	request->hash = hash_flow(settings->seed, &request->flow, 0);
	__builtin_memcpy(request->flow.destination, first->vip, 16);
	__builtin_memcpy(request->client_mac, first->client_mac, 6);
	__builtin_memcpy(request->our_mac, first->our_mac, 6);
	return first->is_reply ? WAS_REPLY : WAS_REQUEST;
}

__noinline __u32 back_as_first(struct xdp_md *ctx, const struct request *request)
{
	struct translation how = {};

	if (!request)
		return outcome_of(NO_ROOM, XDP_DROP);
	__builtin_memcpy(how.from, request->packet.flow.source, 16);
	set_back(&how, request, 0);
	if (translate(ctx, &request->packet, &how))
		return outcome_of(NO_ROOM, XDP_DROP);
	count_backend(request->backend, request->packet.length, 1);
	return outcome_of(LATER_FRAGMENT, out_by(&request->packet, request->ifindex));
}

/* `unknown`: what becomes of a fragment whose first one was not seen. */
static __always_inline __u32 serve_later_fragment(struct xdp_md *ctx, const struct settings *settings,
						  struct request *request, __u32 unknown)
{
	int first = find_first(settings, request);

	if (first == NOT_SEEN)
		return unknown;
	return first == WAS_REPLY ? back_as_first(ctx, request) : send(ctx, settings, request, LATER_FRAGMENT);
}

/* ---- the order of things ---- */

static __always_inline __u32 serve_vip(struct xdp_md *ctx, const struct settings *settings, struct request *request)
{
	if (is_icmp(request->packet.flow.protocol) && request->packet.fragment != LATER_FRAGMENT_OF)
		return serve_icmp(ctx, settings, request);
	if (request->packet.fragment != LATER_FRAGMENT_OF)
		return serve_request(ctx, settings, request);
	if (settings->fragments == FRAGMENTS_PASS)
		return outcome_of(FRAGMENT_PASSED, XDP_PASS);
	if (settings->fragments == FRAGMENTS_DROP)
		return outcome_of(FRAGMENT_DROPPED, XDP_DROP);
	return serve_later_fragment(ctx, settings, request, outcome_of(UNKNOWN_FRAGMENT, XDP_DROP));
}

static __always_inline __u32 serve_others(struct xdp_md *ctx, const struct settings *settings, struct request *request)
{
	const struct packet *packet = &request->packet;

	if (!(settings->flags & HAS_NAT) || packet->is_routed)
		return outcome_of(NOT_OURS, XDP_PASS);
	if (packet->fragment == LATER_FRAGMENT_OF && settings->fragments == FRAGMENTS_TRACK)
		return serve_later_fragment(ctx, settings, request, outcome_of(NOT_OURS, XDP_PASS));
	if (packet->fragment == LATER_FRAGMENT_OF)
		return outcome_of(NOT_OURS, XDP_PASS);
	if (!is_icmp(packet->flow.protocol))
		return back_to_client(ctx, settings, request);
	if (packet->has_inner && !packet->fragment)
		return error_to_client(ctx, settings, request);
	return outcome_of(NOT_OURS, XDP_PASS);
}

static __always_inline __u32 serve(struct xdp_md *ctx, const struct settings *settings, struct request *request,
				   int parsed)
{
	__u8 family = request->packet.flow.family;

	if (parsed == IS_NON_IP || !family)
		return outcome_of(NOT_OURS, XDP_PASS);
	request->packet.now = bpf_ktime_get_coarse_ns();
	if (is_vip(request->packet.flow.destination, family))
		return parsed == IS_MALFORMED ? outcome_of(MALFORMED, XDP_DROP) : serve_vip(ctx, settings, request);
	return parsed == IS_MALFORMED ? outcome_of(NOT_OURS, XDP_PASS) : serve_others(ctx, settings, request);
}

static __always_inline void write_down(const struct request *request, __u32 outcome)
{
	__u32 index = __sync_fetch_and_add(&traced, 1);
	struct decision *decision = bpf_map_lookup_elem(&trace, &index);

	if (!decision)
		return;
	__builtin_memcpy(decision->source, request->packet.flow.source, 16);
	__builtin_memcpy(decision->destination, request->packet.flow.destination, 16);
	decision->source_port = request->packet.flow.source_port;
	decision->destination_port = request->packet.flow.destination_port;
	decision->protocol = request->packet.flow.protocol;
	decision->family = request->packet.flow.family;
	decision->reason = outcome >> 8;
	decision->action = outcome & 0xff;
	decision->backend = request->backend;
	decision->length = request->packet.length;
}

SEC("xdp")
int lb(struct xdp_md *ctx)
{
	struct request request = { .backend = NOBODY };
	int parsed = read_xdp(ctx, &request.packet);
	__u32 zero = 0, outcome = outcome_of(NOT_LOADED, XDP_PASS);
	struct settings *settings = bpf_map_lookup_elem(&settings_of, &zero);

	if (settings && settings->loaded)
		outcome = serve(ctx, settings, &request, parsed);
	count(outcome >> 8, request.packet.length);
	if (tracing)
		write_down(&request, outcome);
	return outcome & 0xff;
}

char LICENSE[] SEC("license") = "GPL";

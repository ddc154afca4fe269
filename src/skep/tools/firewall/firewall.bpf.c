/* skep firewall: one decision for XDP (what comes in) and tc (what goes out).
 *
 * A packet is taken apart once (parse.h). Then, in this order: live entries, fragments, neighbour discovery, replies of
 * known connections, the rules (the first that matches, classify()), the default. The rules are compiled by classes.py:
 * whatever their number, a packet costs one LPM lookup for each address and at most TABLES hash lookups.
 * Two rule sets have room ("slots"); a packet reads once which one is in force.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "firewall.h"
#include "parse.h"

#define MAP(NAME, TYPE, ENTRIES, FLAGS, KEY, VALUE)          \
	struct {                                             \
		__uint(type, TYPE);                          \
		__uint(max_entries, ENTRIES);                \
		__uint(map_flags, FLAGS);                    \
		__type(key, KEY);                            \
		__type(value, VALUE);                        \
	} NAME SEC(".maps")

/* The sizes are changed when the tool loads the program; these serve small rule sets. */
MAP(sources4, BPF_MAP_TYPE_LPM_TRIE, 65536, BPF_F_NO_PREALLOC, struct network4, struct leaf);
MAP(sources6, BPF_MAP_TYPE_LPM_TRIE, 65536, BPF_F_NO_PREALLOC, struct network6, struct leaf);
MAP(targets4, BPF_MAP_TYPE_LPM_TRIE, 65536, BPF_F_NO_PREALLOC, struct network4, struct leaf);
MAP(targets6, BPF_MAP_TYPE_LPM_TRIE, 65536, BPF_F_NO_PREALLOC, struct network6, struct leaf);
MAP(live4, BPF_MAP_TYPE_LPM_TRIE, 65536, BPF_F_NO_PREALLOC, struct live4, struct live_entry);
MAP(live6, BPF_MAP_TYPE_LPM_TRIE, 65536, BPF_F_NO_PREALLOC, struct live6, struct live_entry);
struct ports {
	__u16 leaf[65536];
};
MAP(services, BPF_MAP_TYPE_ARRAY, SLOTS * SERVICE_SLOTS, 0, __u32, struct ports);
MAP(places, BPF_MAP_TYPE_HASH, 4096, BPF_F_NO_PREALLOC, struct place, __u32);
MAP(leaves, BPF_MAP_TYPE_ARRAY, SLOTS * LEAVES, 0, __u32, struct leaf);
MAP(combinations, BPF_MAP_TYPE_HASH, 65536, BPF_F_NO_PREALLOC, struct combination, __u32);
MAP(rules, BPF_MAP_TYPE_ARRAY, 65536, 0, __u32, struct rule);
MAP(counters, BPF_MAP_TYPE_PERCPU_ARRAY, 65536, 0, __u32, struct counter);
MAP(policies, BPF_MAP_TYPE_ARRAY, SLOTS, 0, __u32, struct policy);
MAP(in_force, BPF_MAP_TYPE_ARRAY, 1, 0, __u32, struct active);
MAP(reasons, BPF_MAP_TYPE_PERCPU_ARRAY, REASONS, 0, __u32, struct counter);
MAP(openings, BPF_MAP_TYPE_LRU_HASH, 65536, 0, struct flow, struct connection);
MAP(connections, BPF_MAP_TYPE_LRU_HASH, 262144, 0, struct flow, struct connection);
MAP(buckets, BPF_MAP_TYPE_LRU_HASH, 65536, 0, struct bucket_key, __u64);
MAP(fragments, BPF_MAP_TYPE_LRU_HASH, 16384, 0, struct fragment_key, struct fragment_verdict);
MAP(trace, BPF_MAP_TYPE_ARRAY, 1, 0, __u32, struct decision);

const volatile __u32 rule_room = 32768; /* rules of one slot: half of the map's max_entries */
const volatile __u32 tracing = 0;       /* write down every decision */
__u32 traced = 0;

struct judgement {
	__u32 action, reason, rule;
};

static __always_inline void count(__u32 reason, __u32 length)
{
	struct counter *counter = bpf_map_lookup_elem(&reasons, &reason);

	if (counter) {
		counter->packets++;
		counter->bytes += length;
	}
}

/* ---- connections ---- */

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

/* ---- rules ---- */

static __always_inline const struct leaf *find_leaf(__u32 slot, __u32 number, const struct leaf *absent)
{
	__u32 index = slot * LEAVES + number;
	const struct leaf *leaf = bpf_map_lookup_elem(&leaves, &index);

	return leaf ?: absent;
}

static __always_inline const struct leaf *find_port(__u32 slot, __u32 table, __u16 port, const struct leaf *absent)
{
	__u32 index = slot * SERVICE_SLOTS + table;
	const struct ports *ports = bpf_map_lookup_elem(&services, &index);

	return ports ? find_leaf(slot, ports->leaf[port], absent) : absent;
}

static __always_inline const struct leaf *find_network(void *trie4, void *trie6, __u32 slot, const __u8 *address,
							__u8 family, const struct leaf *absent)
{
	const struct leaf *leaf;

	if (family == 4) {
		struct network4 key = { .prefixlen = 64, .slot = slot };

		__builtin_memcpy(key.address, address + 12, 4);
		leaf = bpf_map_lookup_elem(trie4, &key);
	} else {
		struct network6 key = { .prefixlen = 160, .slot = slot };

		__builtin_memcpy(key.address, address, 16);
		leaf = bpf_map_lookup_elem(trie6, &key);
	}
	return leaf ?: absent;
}

static __always_inline __u32 lower(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

/* The number of the first rule that matches, or NO_RULE. */
__noinline __u32 classify(const struct policy *policy, const struct packet *packet)
{
	const struct leaf *source, *target, *service, *port, *place;
	const struct flow *flow;
	__u32 best, tables, slot;

	if (!policy || !packet)
		return NO_RULE;
	flow = &packet->flow;
	slot = packet->slot;
	port = &policy->absent[SOURCE_PORT];
	place = &policy->absent[PLACE];
	source = find_network(&sources4, &sources6, slot, flow->source, flow->family, &policy->absent[SOURCE]);
	target = find_network(&targets4, &targets6, slot, flow->destination, flow->family, &policy->absent[DESTINATION]);
	service = find_port(slot, packet->service_slot, packet->service, &policy->absent[SERVICE]);
	if (policy->flags & USES_SOURCE_PORT && packet->service_slot >= TCP_PORTS && packet->service_slot <= UDPLITE_PORTS)
		port = find_port(slot, SOURCE_PORTS, flow->source_port, &policy->absent[SOURCE_PORT]);
	if (policy->flags & USES_PLACE) {
		struct place key = { .slot = slot, .interface = packet->interface, .direction = packet->direction };
		__u32 *number = bpf_map_lookup_elem(&places, &key);

		if (!number) { /* an interface that no rule names */
			key.interface = 0;
			number = bpf_map_lookup_elem(&places, &key);
		}
		if (number)
			place = find_leaf(slot, *number, &policy->absent[PLACE]);
	}
	best = lower(source->rule, lower(target->rule, lower(service->rule, lower(port->rule, place->rule))));
	tables = source->tables & target->tables & service->tables & port->tables & place->tables;
	if (!tables)
		return best;
	for (__u32 i = 0; i < TABLES; i++) {
		struct combination key;
		__u32 *rule;

		if (!(tables & 1u << i) || policy->first[i] >= best)
			continue;
		key.table = i * SLOTS + slot;
		key.classes[SOURCE] = source->classes[i];
		key.classes[DESTINATION] = target->classes[i];
		key.classes[SERVICE] = service->classes[i];
		key.classes[SOURCE_PORT] = port->classes[i];
		key.classes[PLACE] = place->classes[i];
		rule = bpf_map_lookup_elem(&combinations, &key);
		if (rule)
			best = lower(best, *rule);
	}
	return best;
}

/* A token bucket for each source: `seen` is the time at which all tokens will be back. */
__noinline int is_over_rate(const struct rule *rule, const struct packet *packet, __u32 number)
{
	struct bucket_key key = { .rule = number };
	__u64 full, fresh, now, *bucket;

	if (!rule || !packet)
		return 1;
	now = packet->now;
	fresh = now + rule->interval_ns;
	key.slot = packet->slot;
	__builtin_memcpy(key.source, packet->flow.source, 8);
	if (packet->flow.family == 4)
		__builtin_memcpy(key.source + 8, packet->flow.source + 8, 8);
	bucket = bpf_map_lookup_elem(&buckets, &key);
	if (!bucket) {
		bpf_map_update_elem(&buckets, &key, &fresh, BPF_ANY);
		count(BUCKET_OPENED, packet->length);
		return 0;
	}
	for (int i = 0; i < 4; i++) {
		full = *bucket;
		if (full > now) {
			if (full - now > rule->burst_ns)
				return 1;
			fresh = full + rule->interval_ns;
		} else {
			fresh = now + rule->interval_ns;
		}
		if (__sync_val_compare_and_swap(bucket, full, fresh) == full)
			return 0;
	}
	return 1; /* four others were faster: that is a flood */
}

static __always_inline void judge_by_rules(const struct policy *policy, const struct packet *packet,
					   struct judgement *result)
{
	__u32 number = classify(policy, packet);

	result->reason = BY_DEFAULT;
	result->rule = NO_RULE;
	result->action = policy->default_action[packet->direction & 1];
	if (number < rule_room) {
		__u32 index = packet->slot * rule_room + number;
		struct rule *rule = bpf_map_lookup_elem(&rules, &index);
		struct counter *counter = bpf_map_lookup_elem(&counters, &index);

		if (!rule || !counter) {
			result->action = DENY;
			return;
		}
		counter->packets++;
		counter->bytes += packet->length;
		result->reason = BY_RULE;
		result->rule = number;
		result->action = rule->action;
		if (rule->interval_ns && is_over_rate(rule, packet, number)) {
			result->action = DENY;
			result->reason = OVER_RATE;
		}
	}
	if (result->action == ALLOW && policy->flags & STATEFUL)
		remember(policy, packet);
}

/* ---- the order of things ---- */

static __always_inline struct live_entry *find_live(const struct packet *packet)
{
	const __u8 *peer = packet->direction == INGRESS ? packet->flow.source : packet->flow.destination;

	if (packet->flow.family == 4) {
		struct live4 key = { .prefixlen = 32 };

		__builtin_memcpy(key.address, peer + 12, 4);
		return bpf_map_lookup_elem(&live4, &key);
	}
	struct live6 key = { .prefixlen = 128 };

	__builtin_memcpy(key.address, peer, 16);
	return bpf_map_lookup_elem(&live6, &key);
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

static __always_inline void judge_later_fragment(const struct policy *policy, const struct packet *packet,
						 struct judgement *result)
{
	struct fragment_key key;
	struct fragment_verdict *first;

	result->rule = NO_RULE;
	result->action = policy->fragments == FRAGMENTS_ALLOW;
	result->reason = FRAGMENT;
	if (policy->fragments != FRAGMENTS_TRACK)
		return;
	set_fragment_key(&key, packet);
	first = bpf_map_lookup_elem(&fragments, &key);
	result->reason = UNKNOWN_FRAGMENT;
	if (!first || packet->now - first->seen_ns > policy->fragment_ns)
		return;
	result->reason = LATER_FRAGMENT;
	result->action = first->action;
	result->rule = first->rule;
}

static __always_inline void judge_ip(const struct policy *policy, const struct packet *packet, __u32 live,
				     struct judgement *result)
{
	struct live_entry *entry = live ? find_live(packet) : NULL;

	result->rule = NO_RULE;
	if (entry) {
		__sync_fetch_and_add(&entry->packets, 1);
		__sync_fetch_and_add(&entry->bytes, packet->length);
		result->action = entry->action;
		result->reason = BY_LIVE;
		return;
	}
	if (packet->fragment == LATER_FRAGMENT_OF) {
		judge_later_fragment(policy, packet, result);
		return;
	}
	if (packet->fragment == FIRST_FRAGMENT && policy->fragments == FRAGMENTS_DENY) {
		result->action = DENY;
		result->reason = FRAGMENT;
		return;
	}
	if (packet->is_ndp && !(policy->flags & DENY_NDP)) {
		result->action = ALLOW;
		result->reason = NDP;
	} else if (policy->flags & STATEFUL && is_reply(policy, packet)) {
		result->action = ALLOW;
		result->reason = REPLY;
	} else if (policy->flags & STATEFUL && is_related(policy, packet)) {
		result->action = ALLOW;
		result->reason = RELATED;
	} else {
		judge_by_rules(policy, packet, result);
	}
	if (packet->fragment == FIRST_FRAGMENT && policy->fragments == FRAGMENTS_TRACK) {
		struct fragment_key key;
		struct fragment_verdict verdict = { .seen_ns = packet->now, .action = result->action, .rule = result->rule };

		set_fragment_key(&key, packet);
		bpf_map_update_elem(&fragments, &key, &verdict, BPF_ANY); /* else: unknown, dropped */
	}
}

static __always_inline void write_down(const struct packet *packet, const struct judgement *result)
{
	__u32 index = __sync_fetch_and_add(&traced, 1);
	struct decision *decision = bpf_map_lookup_elem(&trace, &index);

	if (!decision)
		return;
	__builtin_memcpy(decision->source, packet->flow.source, 16);
	__builtin_memcpy(decision->destination, packet->flow.destination, 16);
	decision->source_port = packet->flow.source_port;
	decision->destination_port = packet->flow.destination_port;
	decision->protocol = packet->flow.protocol;
	decision->family = packet->flow.family;
	decision->action = result->action;
	decision->reason = result->reason;
	decision->rule = result->rule;
	decision->length = packet->length;
}

static __always_inline __u32 judge(struct packet *packet, int outcome)
{
	struct judgement result = { .action = DENY, .reason = NOT_LOADED, .rule = NO_RULE };
	__u32 zero = 0, slot;
	struct active *active = bpf_map_lookup_elem(&in_force, &zero);
	struct policy *policy;

	if (active) {
		slot = packet->slot = active->slot & 1; /* read once: this packet sees one rule set */
		policy = bpf_map_lookup_elem(&policies, &slot);
		if (policy && policy->loaded) {
			if (outcome == IS_MALFORMED) {
				result.reason = MALFORMED;
			} else if (outcome == IS_NON_IP) {
				result.reason = NON_IP;
				result.action = policy->flags & DENY_NON_IP ? DENY : ALLOW;
			} else {
				if (policy->flags & USES_CLOCK || packet->fragment)
					packet->now = bpf_ktime_get_ns();
				judge_ip(policy, packet, active->live, &result);
			}
		}
	}
	count(result.reason, packet->length);
	if (tracing)
		write_down(packet, &result);
	return result.action;
}

__noinline int parse_xdp(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (!packet)
		return IS_MALFORMED;
	packet->interface = ctx->ingress_ifindex;
	packet->direction = INGRESS;
	packet->length = end - data;
	return parse_l3(data, end, packet->length, packet);
}

__noinline int parse_xdp_l4(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return packet ? parse_l4(data, end, packet) : IS_MALFORMED;
}

static __always_inline int read_xdp(struct xdp_md *ctx, struct packet *packet)
{
	int outcome = parse_xdp(ctx, packet);

	return outcome == PARSED && packet->l4_offset ? parse_xdp_l4(ctx, packet) : outcome;
}

SEC("xdp")
int firewall_in(struct xdp_md *ctx)
{
	struct packet packet = {};
	int outcome = read_xdp(ctx, &packet);

	return judge(&packet, outcome) == ALLOW ? XDP_PASS : XDP_DROP;
}

#define HEADERS 512 /* of a packet in pieces: what is beyond is not looked at */

__noinline int parse_skb(struct __sk_buff *skb, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (!packet)
		return IS_MALFORMED;
	packet->interface = skb->ifindex;
	packet->direction = EGRESS;
	packet->length = skb->len;
	return parse_l3(data, end, packet->length, packet);
}

__noinline int parse_skb_l4(struct __sk_buff *skb, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return packet ? parse_l4(data, end, packet) : IS_MALFORMED;
}

static __always_inline int read_skb(struct __sk_buff *skb, struct packet *packet)
{
	int outcome = parse_skb(skb, packet);

	return outcome == PARSED && packet->l4_offset ? parse_skb_l4(skb, packet) : outcome;
}

SEC("tcx/egress")
int firewall_out(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 headers = skb->len < HEADERS ? skb->len : HEADERS;
	struct packet packet = {};
	int outcome;

	if (data + headers > end)
		bpf_skb_pull_data(skb, headers);
	outcome = read_skb(skb, &packet);
	return judge(&packet, outcome) == ALLOW ? TC_ACT_OK : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";

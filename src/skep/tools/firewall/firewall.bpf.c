/* skep firewall: one decision for XDP (what comes in) and tc (what goes out).
 *
 * A packet is taken apart once (parse.h). Then, in this order: live entries, fragments, neighbour discovery, replies of
 * known connections, the rules (the first that matches, classify()), the default. The rules are compiled by classes.py:
 * whatever their number, a packet costs one LPM lookup for each address and at most TABLES hash lookups.
 * Two rule sets have room ("slots"); a packet reads once which one is in force.
 */
#include <linux/pkt_cls.h>

#include "../packet/xdp.h"
#include "firewall.h"

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

#include "connections.h" /* after the maps and count(), which they use */
#include "classify.h"

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

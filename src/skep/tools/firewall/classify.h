/* The first rule that matches: leaves of the packet's values, then hash tables (classes.py lays them out). */
#ifndef SKEP_FIREWALL_CLASSIFY_H
#define SKEP_FIREWALL_CLASSIFY_H

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

#endif

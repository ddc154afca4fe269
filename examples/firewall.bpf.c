// A firewall: drop packets from blocked networks (longest prefix wins) and to blocked ports, and count per rule.
//
//   skep run examples/firewall.bpf.c --pcap examples/data/real.pcap --out passed.pcap --map networks=examples/data/networks.json
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VLAN_TAGS 2

const volatile __u16 blocked_port = 0; // 0: none; set it with --set blocked_port=23

struct network { // IPv4 networks are written as ::ffff:a.b.c.d with 96 more bits of prefix
	__u32 prefixlen;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 100000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network);
	__type(value, __u32); // the number of the rule
} networks SEC(".maps");

struct counter {
	__u64 packets;
	__u64 bytes;
};

enum rule {
	RULE_PASSED,
	RULE_PORT,
	RULE_MALFORMED,
	RULE_FIRST_NETWORK, // networks use this number and the ones after it
	RULES = 64,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RULES);
	__type(key, __u32);
	__type(value, struct counter);
} rules SEC(".maps");

struct vlan_tag {
	__be16 tci;
	__be16 protocol;
};

static __always_inline int decide(struct xdp_md *ctx, __u32 rule, int verdict)
{
	struct counter *counter = bpf_map_lookup_elem(&rules, &rule);

	if (counter) {
		counter->packets++;
		counter->bytes += ctx->data_end - ctx->data;
	}
	return verdict;
}

static __always_inline int port_is_blocked(void *l4, void *end, __u8 protocol)
{
	__be16 *ports = l4; // source, destination: at the same place in TCP and UDP

	if (!blocked_port || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
		return 0;
	if ((void *)(ports + 2) > end)
		return 0;
	return ports[1] == bpf_htons(blocked_port);
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct network key = { .prefixlen = 128 };
	__u8 protocol;
	void *l3, *l4;

	if ((void *)(eth + 1) > end)
		return decide(ctx, RULE_MALFORMED, XDP_DROP);
	__be16 type = eth->h_proto;
	l3 = eth + 1;

	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlan_tag *tag = l3;

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return decide(ctx, RULE_MALFORMED, XDP_DROP);
		type = tag->protocol;
		l3 = tag + 1;
	}

	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = l3;

		if ((void *)(ip + 1) > end || ip->ihl < 5)
			return decide(ctx, RULE_MALFORMED, XDP_DROP);
		key.address[10] = key.address[11] = 0xff;
		__builtin_memcpy(&key.address[12], &ip->saddr, 4);
		protocol = ip->protocol;
		l4 = l3 + ip->ihl * 4;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = l3;

		if ((void *)(ip6 + 1) > end)
			return decide(ctx, RULE_MALFORMED, XDP_DROP);
		__builtin_memcpy(key.address, &ip6->saddr, 16);
		protocol = ip6->nexthdr;
		l4 = ip6 + 1;
	} else {
		return decide(ctx, RULE_PASSED, XDP_PASS); // ARP and the like
	}

	__u32 *rule = bpf_map_lookup_elem(&networks, &key);

	if (rule)
		return decide(ctx, *rule, XDP_DROP);
	if (port_is_blocked(l4, end, protocol))
		return decide(ctx, RULE_PORT, XDP_DROP);
	return decide(ctx, RULE_PASSED, XDP_PASS);
}

char LICENSE[] SEC("license") = "GPL";

// Count packets and bytes for each protocol and each source address.
//
//   skep run examples/counter.bpf.c --pcap examples/data/real.pcap
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16); // ethertype, in host byte order
	__type(value, struct traffic);
} ethertypes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32);
	__type(value, struct traffic);
} sources SEC(".maps");

__u64 packets; // all of them

static __always_inline void count(void *map, const void *key, __u64 bytes)
{
	struct traffic *known = bpf_map_lookup_elem(map, key);

	if (known) {
		__sync_fetch_and_add(&known->packets, 1);
		__sync_fetch_and_add(&known->bytes, bytes);
	} else {
		struct traffic first = { 1, bytes };

		bpf_map_update_elem(map, key, &first, BPF_ANY);
	}
}

SEC("xdp")
int counter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u64 bytes = end - data;

	__sync_fetch_and_add(&packets, 1);
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	__u16 type = bpf_ntohs(eth->h_proto);

	count(&ethertypes, &type, bytes);
	if (type == ETH_P_IP) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) <= end) {
			__be32 source = ip->saddr;

			count(&sources, &source, bytes);
		}
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";

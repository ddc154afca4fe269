// A rate limiter at tc: a token bucket for each IPv4 source. Packets beyond the rate are dropped.
//
// Time is the packet's own (skb->tstamp: the capture's clock), so a capture gives the same result every time.
//
//   skep run examples/ratelimit.bpf.c --pcap examples/data/real.pcap --set packets_per_second=10 --set burst=5
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NS_PER_SECOND 1000000000ULL

const volatile __u64 packets_per_second = 100;
const volatile __u64 burst = 20;

struct bucket {
	__u64 tokens; // in billionths of a packet: one packet costs NS_PER_SECOND
	__u64 filled_at_ns;
	__u64 dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32);
	__type(value, struct bucket);
} buckets SEC(".maps");

SEC("tc")
int ratelimit(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u64 now = skb->tstamp, full = burst * NS_PER_SECOND;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	__be32 source = ip->saddr;
	struct bucket *bucket = bpf_map_lookup_elem(&buckets, &source);

	if (!bucket) {
		struct bucket first = { full - NS_PER_SECOND, now, 0 };

		bpf_map_update_elem(&buckets, &source, &first, BPF_ANY);
		return TC_ACT_OK;
	}
	if (now > bucket->filled_at_ns) {
		__u64 elapsed = now - bucket->filled_at_ns;

		// A long pause fills the bucket; the product below could overflow.
		if (elapsed > burst * NS_PER_SECOND)
			elapsed = burst * NS_PER_SECOND;
		bucket->tokens += elapsed * packets_per_second;
		if (bucket->tokens > full)
			bucket->tokens = full;
		bucket->filled_at_ns = now;
	}
	if (bucket->tokens < NS_PER_SECOND) {
		bucket->dropped++;
		return TC_ACT_SHOT;
	}
	bucket->tokens -= NS_PER_SECOND;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";

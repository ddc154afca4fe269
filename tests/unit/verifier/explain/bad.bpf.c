#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

struct slots {
	__u32 counters[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slots);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

const volatile int limit = 10;

SEC("xdp")
int null_check(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *counter = bpf_map_lookup_elem(&hits, &key);
	*counter += 1;
	return XDP_PASS;
}

SEC("xdp")
int packet_bounds(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return XDP_DROP;
	return XDP_PASS;
}

SEC("xdp")
int map_bounds(struct xdp_md *ctx)
{
	__u32 key = 0, i = ctx->ingress_ifindex;
	struct slots *value = bpf_map_lookup_elem(&table, &key);
	if (value && i <= 16)
		value->counters[i]++;
	return XDP_PASS;
}

SEC("xdp")
int unbounded(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct slots *value = bpf_map_lookup_elem(&table, &key);
	if (value)
		value->counters[ctx->ingress_ifindex]++;
	return XDP_PASS;
}

SEC("xdp")
int leak(struct xdp_md *ctx)
{
	__u64 *event = bpf_ringbuf_reserve(&events, 8, 0);
	if (!event)
		return XDP_PASS;
	if (ctx->ingress_ifindex == 7)
		return XDP_DROP;
	*event = 1;
	bpf_ringbuf_submit(event, 0);
	return XDP_PASS;
}

SEC("xdp")
int number_as_pointer(struct xdp_md *ctx)
{
	return *(int *)(long)ctx->ingress_ifindex;
}

SEC("xdp")
int write_constant(struct xdp_md *ctx)
{
	*(volatile int *)&limit = 20;
	return XDP_PASS;
}

SEC("xdp")
int wrong_map(struct xdp_md *ctx)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&events, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int wrong_type(struct xdp_md *ctx)
{
	return bpf_get_current_cgroup_id() ? bpf_skb_pull_data((void *)ctx, 10) : XDP_PASS;
}

SEC("cgroup_skb/ingress")
int wrong_result(struct __sk_buff *skb)
{
	return skb->len > 100 ? 7 : 1;
}

SEC("xdp")
int endless(struct xdp_md *ctx)
{
	while (ctx->ingress_ifindex)
		asm volatile("" ::: "memory");
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";

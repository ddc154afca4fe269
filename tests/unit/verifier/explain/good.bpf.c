#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
struct val { __u64 packets; __u8 name[16]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10); __type(key, __u32); __type(value, struct val);} hits SEC(".maps");
static __attribute__((noinline)) int pick(struct val *v, unsigned index)
{
    if (index >= 16)
        return 0;
    return v->name[index];
}
SEC("xdp") int prog(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *data_end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    if (data + sizeof(*eth) > data_end)
        return XDP_DROP;
    __u32 key = eth->h_proto;
    struct val *v = bpf_map_lookup_elem(&hits, &key);
    if (!v)
        return XDP_PASS;
    v->packets++;
    return pick(v, ctx->rx_queue_index) ? XDP_PASS : XDP_DROP;
}
char _license[] SEC("license") = "GPL";

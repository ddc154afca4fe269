#include <vmlinux.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct hit {
	__u64 packets;
	__u64 bytes;
};

struct network {
	__u32 prefixlen;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct hit);
	__uint(max_entries, 256);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 2);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__type(value, __u32);
	__uint(max_entries, 8);
} line SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__type(value, __u32);
	__uint(max_entries, 8);
} pile SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct network);
	__type(value, __u32);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} networks SEC(".maps");

struct inner_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner_map);
} outer SEC(".maps") = { .values = { [1] = &inner } };

int target(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = { .values = { [1] = &target } };

const volatile int step = 1;
int counter = 5;
char text[8] = "skep";
__u32 pushed;

SEC("xdp") int globals(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	if (data + 2 > (__u8 *)(long)ctx->data_end)
		return 0;
	data[0] = 0xaa;
	data[1] = step;
	counter += step;
	return counter > 100 ? XDP_DROP : XDP_PASS;
}

SEC("xdp") int count(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct hit *hit, first = {};
	__u32 key;

	if (data + 14 > end)
		return XDP_ABORTED;
	key = bpf_ntohs(*(__u16 *)(data + 12));
	hit = bpf_map_lookup_elem(&hits, &key);
	if (!hit) {
		bpf_map_update_elem(&hits, &key, &first, BPF_NOEXIST);
		hit = bpf_map_lookup_elem(&hits, &key);
		if (!hit)
			return XDP_ABORTED;
	}
	hit->packets++;
	hit->bytes += end - data;
	return XDP_PASS;
}

SEC("xdp") int per_cpu(struct xdp_md *ctx)
{
	__u32 key = 0, *value = bpf_map_lookup_elem(&cpus, &key);

	if (value)
		*value += 1;
	return XDP_PASS;
}

SEC("xdp") int push(struct xdp_md *ctx)
{
	__u32 value = ++pushed;

	bpf_map_push_elem(&line, &value, 0);
	bpf_map_push_elem(&pile, &value, 0);
	return XDP_PASS;
}

SEC("xdp") int emit(struct xdp_md *ctx)
{
	__u32 *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return XDP_ABORTED;
	record[0] = ctx->data_end - ctx->data;
	record[1] = 42;
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

SEC("xdp") int prefix(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct network key = { .prefixlen = 32 };
	__u32 *value;

	if (data + 34 > end)
		return 99;
	__builtin_memcpy(key.address, data + 30, 4);
	value = bpf_map_lookup_elem(&networks, &key);
	return value ? *value : 0;
}

SEC("xdp") int jump(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 1);
	return 5;
}

SEC("xdp") int target(struct xdp_md *ctx)
{
	return 77;
}

SEC("xdp") int inner_count(struct xdp_md *ctx)
{
	__u32 index = 1, key = 0;
	void *found = bpf_map_lookup_elem(&outer, &index);
	__u64 *value;

	if (!found)
		return 98;
	value = bpf_map_lookup_elem(found, &key);
	if (!value)
		return 99;
	*value += 1;
	return *value;
}

static __noinline __u32 add(__u32 sum, __u8 byte)
{
	return sum + byte;
}

SEC("xdp") int checksum(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u32 sum = 0;

	if (data + 40 > (__u8 *)(long)ctx->data_end)
		return -1;
	for (int i = 0; i < 40; i++)
		sum = add(sum, data[i]);
	return sum & 0xffff;
}

SEC("tc") int mark(struct __sk_buff *skb)
{
	skb->mark += 1;
	return skb->len;
}

SEC("raw_tp/sys_enter") int raw(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[0] + ctx->args[1];
}

struct numbers {
	__u32 in, out;
};

SEC("syscall") int call(struct numbers *ctx)
{
	ctx->out = ctx->in * 2;
	return 1;
}

SEC("?xdp") int bad(struct xdp_md *ctx)
{
	__u32 key = 1, *value = bpf_map_lookup_elem(&cpus, &key);

	*value += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";

// Protect: deny connections outside an allowed list to a command and its children. Run it with examples/guard.py.
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define PORTS 8

struct network { // IPv4 networks are written as ::ffff:a.b.c.d with 96 more bits of prefix
	__u32 prefixlen;
	__u8 address[16];
};

struct rule {
	__u16 ports[PORTS]; // those that are allowed; all 0: every port
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 10000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network);
	__type(value, struct rule);
} allowed SEC(".maps");

struct denial {
	__u32 pid;
	__u16 port;
	__u16 protocol;
	__u8 address[16];
	char comm[16];
};
const struct denial *unused __attribute__((unused)); // keeps the struct in the type information, for who reads events

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} denials SEC(".maps");

__u64 passed, denied, lost;

static __always_inline int is_allowed(const struct network *target, __u16 port)
{
	struct rule *rule = bpf_map_lookup_elem(&allowed, target);

	if (!rule)
		return 0;
	if (!rule->ports[0])
		return 1;
	for (int i = 0; i < PORTS; i++)
		if (rule->ports[i] == port)
			return 1;
	return 0;
}

static __always_inline int judge(struct bpf_sock_addr *ctx, const struct network *target)
{
	__u16 port = bpf_ntohs(ctx->user_port);
	struct denial *denial;

	if (is_allowed(target, port)) {
		__sync_fetch_and_add(&passed, 1);
		return 1;
	}
	__sync_fetch_and_add(&denied, 1);
	denial = bpf_ringbuf_reserve(&denials, sizeof(*denial), 0);
	if (!denial) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	denial->pid = bpf_get_current_pid_tgid() >> 32;
	denial->port = port;
	denial->protocol = ctx->protocol;
	__builtin_memcpy(denial->address, target->address, sizeof(denial->address));
	bpf_get_current_comm(denial->comm, sizeof(denial->comm));
	bpf_ringbuf_submit(denial, 0);
	return 0;
}

static __always_inline int judge4(struct bpf_sock_addr *ctx)
{
	struct network target = { .prefixlen = 128 };
	__u32 address = ctx->user_ip4;

	target.address[10] = target.address[11] = 0xff;
	__builtin_memcpy(&target.address[12], &address, sizeof(address));
	return judge(ctx, &target);
}

static __always_inline int judge6(struct bpf_sock_addr *ctx)
{
	struct network target = { .prefixlen = 128 };
	__u32 words[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };

	__builtin_memcpy(target.address, words, sizeof(words));
	return judge(ctx, &target);
}

SEC("cgroup/connect4")
int guard_connect4(struct bpf_sock_addr *ctx)
{
	return judge4(ctx);
}

SEC("cgroup/connect6")
int guard_connect6(struct bpf_sock_addr *ctx)
{
	return judge6(ctx);
}

// Datagrams can be sent without connecting first.
SEC("cgroup/sendmsg4")
int guard_sendmsg4(struct bpf_sock_addr *ctx)
{
	return judge4(ctx);
}

SEC("cgroup/sendmsg6")
int guard_sendmsg6(struct bpf_sock_addr *ctx)
{
	return judge6(ctx);
}

char LICENSE[] SEC("license") = "GPL";

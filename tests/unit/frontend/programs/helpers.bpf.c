// Every macro of bpf_helpers.h and bpf_endian.h, on UAPI headers.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stdint.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

char _license[] SEC("license") = "GPL";
int _version SEC("version") = KERNEL_VERSION(5, 10, 300);

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, __u64);
} inner_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
	__array(values, struct inner);
} outer SEC(".maps") = {.values = {[1] = &inner_map}};

int tail(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(int));
	__array(values, int(void *));
} progs SEC(".maps") = {.values = {[2] = (void *)&tail}};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 10);
	__ulong(map_extra, 0x1ull << 44);
	__ulong(other, 1);
} arena SEC(".maps") __weak;

struct object {
	int id;
	void __kptr *owned;
	void __kptr_untrusted *seen;
	void __percpu_kptr *each;
	void __uptr *user;
};
struct object objects;

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_BPF __kconfig __weak;
extern enum libbpf_tristate CONFIG_TUN __kconfig __weak;
extern const int bpf_prog_active __ksym;
extern void bpf_rcu_read_lock(void) __ksym __weak;

struct wrapper {
	long before;
	int member;
};

static __noinline int add(int a, int b) { return a + b; }
__hidden int hidden(int a) { return a * 2; }
__weak int global(struct __sk_buff *ctx __arg_ctx, int *a __arg_nonnull, int *b __arg_nullable)
{
	return b ? *a + *b : *a;
}

SEC("tc") int tail(struct __sk_buff *skb) { return TC_ACT_OK; }

SEC("tc") int all(struct __sk_buff *skb)
{
	struct wrapper w = {.member = 3};
	int *member = &w.member, sum = 0, i, one = 1;
	__u32 key = skb->mark;
	__u64 *value;
	char text[64];

	if (likely(container_of(member, struct wrapper, member) == &w) && offsetof(struct wrapper, member) == 8)
		sum += add(skb->len, one) + hidden(one) + global(skb, &one, NULL);
	barrier();
	barrier_var(sum);
	if (bpf_ksym_exists(bpf_rcu_read_lock))
		bpf_rcu_read_lock();
	if (LINUX_KERNEL_VERSION > KERNEL_VERSION(6, 0, 0) && CONFIG_BPF && CONFIG_TUN != TRI_NO)
		sum += *(volatile int *)&bpf_prog_active;
	value = bpf_map_lookup_elem(&hits, &key);
	if (value)
		__sync_fetch_and_add(value, 1);

	bpf_printk("none");
	bpf_printk("%d", 1);
	bpf_printk("%d %d %d", 1, 2, 3);
	bpf_printk("%d %d %d %d", 1, 2, 3, 4);
	bpf_printk("%d%d%d%d%d%d%d%d%d%d%d%s", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "twelve");
	BPF_SNPRINTF(text, sizeof(text), "%d %s", sum, "x");
	bpf_stream_printk(1, "%d", sum);

	bpf_for(i, 0, 10) sum += i;
	bpf_repeat(5) sum++;
	int *p;
	bpf_for_each(num, p, 0, 5) sum += *p;

	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		sum += bpf_ntohs(skb->vlan_proto);
		break;
	case __bpf_constant_htons(ETH_P_IPV6):
		sum += bpf_ntohl(skb->remote_ip4) + bpf_htonl(7);
		break;
	}
	sum += bpf_cpu_to_be64(key) + bpf_be64_to_cpu(key);
	_Static_assert(bpf_htons(0x1234) == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0x3412 : 0x1234), "");
	bpf_tail_call_static(skb, &progs, 2);
	return sum;
}

SEC("iter/task") int print(void *ctx)
{
	struct seq_file *seq = *(struct seq_file **)ctx;
	BPF_SEQ_PRINTF(seq, "%d %d %s\n", 1, 2, "three");
	BPF_SEQ_PRINTF(seq, "nothing\n");
	return 0;
}

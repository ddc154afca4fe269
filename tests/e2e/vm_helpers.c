/* Helpers whose results depend on the host, and what only the vm can show: see test_vm_helpers.py. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} out SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(key_size, 4);
    __uint(value_size, 4);
} events SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 4);
    __uint(key_size, 4);
    __uint(value_size, 4);
} jumps SEC(".maps");
struct inner {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u64);
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} percpu SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 100);
    __type(key, __u32);
    __type(value, __u64);
} table SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

static __always_inline void put(__u32 i, __s64 value)
{
    bpf_map_update_elem(&out, &i, &value, 0);
}

SEC("tracepoint/syscalls/sys_enter_openat") int host(void *ctx)
{
    char comm[16];
    put(0, bpf_ktime_get_ns()), put(1, bpf_ktime_get_boot_ns()), put(2, bpf_get_current_pid_tgid());
    put(3, bpf_get_current_uid_gid()), put(4, bpf_get_current_comm(comm, sizeof(comm))), put(5, *(__u64 *)comm);
    put(6, bpf_get_prandom_u32()), put(7, bpf_get_prandom_u32()), put(8, bpf_get_smp_processor_id());
    put(9, bpf_jiffies64()), put(10, bpf_ktime_get_tai_ns());
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_openat") int memory(__u64 *ctx)
{
    __u64 v = 5;
    char text[8];
    put(0, bpf_probe_read_kernel(&v, 8, (void *)ctx[2])), put(1, v);
    put(2, bpf_probe_read_user(&v, 8, (void *)16)), put(3, v);
    put(4, bpf_probe_read_kernel_str(text, 8, (void *)ctx[3])), put(5, *(__u64 *)text);
    put(6, bpf_probe_read_kernel_str(text, 4, (void *)ctx[3]));
    put(7, bpf_probe_read_user_str(text, 8, (void *)-8));
    return 0;
}

SEC("xdp") int print(struct xdp_md *ctx)
{
    bpf_printk("packet of %d bytes, %s", ctx->data_end - ctx->data, "text");
    bpf_printk("%d %d %d %d", 1, 2, 3, 4);
    return XDP_PASS;
}

SEC("xdp") int event(struct xdp_md *ctx)
{
    __u32 mark = 0x11223344;
    put(0, bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU | 6ull << 32, &mark, 4));
    put(1, bpf_perf_event_output(ctx, &events, 1 << 20, &mark, 4));
    put(2, bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU | 5000ull << 32, &mark, 4));
    return XDP_PASS;
}

SEC("xdp") int again(struct xdp_md *ctx)
{
    __u32 zero = 0;
    __u64 *n = bpf_map_lookup_elem(&out, &zero);
    if (n)
        ++*n;
    bpf_tail_call(ctx, &jumps, 1);
    return 7;
}

SEC("xdp") int inside(struct xdp_md *ctx)
{
    __u32 i = 0, key = 3;
    __u64 v = 9, *found;
    void *map = bpf_map_lookup_elem(&outer, &i);
    put(0, !!map);
    if (!map)
        return 0;
    put(1, bpf_map_update_elem(map, &key, &v, 0));
    found = bpf_map_lookup_elem(map, &key);
    put(2, found ? *found : -1);
    i = 1, put(3, !!bpf_map_lookup_elem(&outer, &i));
    return 0;
}

SEC("xdp") int cpus(struct xdp_md *ctx)
{
    __u32 key = 1;
    __u64 v = 40 + bpf_get_smp_processor_id(), *p;
    put(0, bpf_map_update_elem(&percpu, &key, &v, 0));
    p = bpf_map_lookup_percpu_elem(&percpu, &key, bpf_get_smp_processor_id());
    put(1, p ? *p : -1), put(2, v);
    p = bpf_map_lookup_percpu_elem(&percpu, &key, 4096);
    put(3, !!p);
    return 0;
}

static long visit(void *map, __u32 *key, __u64 *value, __u64 *sum)
{
    *sum += *value;
    return *value == 50;
}
static long drop(void *map, __u32 *key, __u64 *value, __u64 *sum)
{
    bpf_map_delete_elem(map, key);
    return 0;
}
SEC("xdp") int every(struct xdp_md *ctx)
{
    __u64 sum = 0, v = 1;
    for (__u32 i = 0; i < 20; i++, v++)
        bpf_map_update_elem(&table, &i, &v, 0);
    put(0, bpf_for_each_map_elem(&table, visit, &sum, 0)), put(1, sum);
    put(2, bpf_for_each_map_elem(&table, visit, &sum, 1));
    put(3, bpf_for_each_map_elem(&table, drop, &sum, 0));
    put(4, bpf_for_each_map_elem(&table, drop, &sum, 0));
    sum = 0, put(5, bpf_for_each_map_elem(&percpu, visit, &sum, 0));
    return 0;
}

SEC("xdp") int rings(struct xdp_md *ctx)
{
    for (int i = 0; i < 3; i++) {
        __u32 *p = bpf_ringbuf_reserve(&ring, 12, 0);
        if (!p)
            return 1;
        p[0] = p[1] = p[2] = i;
        if (i == 1)
            bpf_ringbuf_discard(p, 0);
        else
            bpf_ringbuf_submit(p, 0);
    }
    return 0;
}

char LICENSE[] SEC("license") = "GPL";

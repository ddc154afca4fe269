/* One program per case: the kernel and the vm must agree on the return value, the packet, the context and `out`. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} out SEC(".maps");

#define MAP(name, kind, flag, K, V, n)                                                                               \
    struct {                                                                                                         \
        __uint(type, kind);                                                                                          \
        __uint(max_entries, n);                                                                                      \
        __uint(map_flags, flag);                                                                                     \
        __type(key, K);                                                                                              \
        __type(value, V);                                                                                            \
    } name SEC(".maps")

struct prefix {
    __u32 length;
    __u8 data[4];
};
MAP(hash, BPF_MAP_TYPE_HASH, 0, __u32, __u64, 4);
MAP(lru, BPF_MAP_TYPE_LRU_HASH, 0, __u32, __u64, 64);
MAP(percpu, BPF_MAP_TYPE_PERCPU_HASH, 0, __u32, __u64, 4);
MAP(array, BPF_MAP_TYPE_ARRAY, 0, __u32, __u64, 4);
MAP(lpm, BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC, struct prefix, __u64, 3);
MAP(devmap, BPF_MAP_TYPE_DEVMAP, 0, __u32, __u32, 4);

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 2);
    __uint(value_size, 8);
} queue SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_STACK);
    __uint(max_entries, 2);
    __uint(value_size, 8);
} stack SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, 4);
    __uint(value_size, 64);
} scratch SEC(".maps");

MAP(wide, BPF_MAP_TYPE_HASH, 0, __u32, struct { __u8 bytes[64]; }, 1);

static __always_inline void put(__u32 i, __s64 value)
{
    bpf_map_update_elem(&out, &i, &value, 0);
}

#define XDP(name) SEC("xdp") int xdp_##name(struct xdp_md *ctx)
#define TC(name) SEC("tc") int tc_##name(struct __sk_buff *ctx)

static __always_inline int updates(void *map)
{
    __u64 v = 7;
    __u32 k = 1, i;
    put(0, bpf_map_update_elem(map, &k, &v, BPF_EXIST));
    put(1, bpf_map_update_elem(map, &k, &v, BPF_NOEXIST));
    put(2, bpf_map_update_elem(map, &k, &v, BPF_NOEXIST));
    put(3, bpf_map_update_elem(map, &k, &v, 77));
    put(4, bpf_map_update_elem(map, &k, &v, BPF_F_LOCK));
    k = 100;
    put(5, bpf_map_delete_elem(map, &k));
    k = 2, put(6, bpf_map_update_elem(map, &k, &v, 0));
    k = 3, put(7, bpf_map_update_elem(map, &k, &v, 0));
    k = 4, put(8, bpf_map_update_elem(map, &k, &v, 0));
    k = 5, put(9, bpf_map_update_elem(map, &k, &v, 0));
    __u64 *p = bpf_map_lookup_elem(map, &k);
    put(10, p ? *p : -1);
    k = 1, put(11, bpf_map_delete_elem(map, &k));
    p = bpf_map_lookup_elem(map, &k);
    put(12, p ? *p : -1);
    return 0;
}
XDP(hash) { return updates(&hash); }
XDP(lru) { return updates(&lru); }
XDP(percpu) { return updates(&percpu); }
XDP(array) { return updates(&array); }

XDP(lpm)
{
    struct prefix p = {8, {10, 9, 9, 9}};
    __u64 v = 1, *found;
    put(0, bpf_map_update_elem(&lpm, &p, &v, BPF_EXIST));
    put(1, bpf_map_update_elem(&lpm, &p, &v, 0));
    p.length = 33, put(2, bpf_map_update_elem(&lpm, &p, &v, 0));
    p.length = 24, v = 2, put(3, bpf_map_update_elem(&lpm, &p, &v, 0));
    p.length = 0, v = 3, put(4, bpf_map_update_elem(&lpm, &p, &v, 0));
    p.length = 1, put(5, bpf_map_update_elem(&lpm, &p, &v, 0));
    p.length = 32, found = bpf_map_lookup_elem(&lpm, &p), put(6, found ? *found : -1);
    p.data[1] = 1, found = bpf_map_lookup_elem(&lpm, &p), put(7, found ? *found : -1);
    p.data[0] = 1, found = bpf_map_lookup_elem(&lpm, &p), put(8, found ? *found : -1);
    p.length = 0, put(9, bpf_map_delete_elem(&lpm, &p));
    put(10, bpf_map_delete_elem(&lpm, &p));
    p.length = 40, put(11, bpf_map_delete_elem(&lpm, &p));
    return 0;
}

#define LINE(map)                                                                                                    \
    __u64 v = 1;                                                                                                     \
    put(0, bpf_map_peek_elem(&map, &v)), put(1, v);                                                                  \
    v = 1, put(2, bpf_map_push_elem(&map, &v, 0));                                                                   \
    v = 2, put(3, bpf_map_push_elem(&map, &v, 0));                                                                   \
    v = 3, put(4, bpf_map_push_elem(&map, &v, 0));                                                                   \
    v = 4, put(5, bpf_map_push_elem(&map, &v, BPF_EXIST));                                                           \
    put(6, bpf_map_push_elem(&map, &v, BPF_NOEXIST));                                                                \
    put(7, bpf_map_peek_elem(&map, &v)), put(8, v);                                                                  \
    put(9, bpf_map_pop_elem(&map, &v)), put(10, v);                                                                  \
    put(11, bpf_map_pop_elem(&map, &v)), put(12, v);                                                                 \
    put(13, bpf_map_pop_elem(&map, &v)), put(14, v);                                                                 \
    return 0
XDP(queue) { LINE(queue); }
XDP(stack) { LINE(stack); }

XDP(ring)
{
    __u64 v = 1;
    put(0, bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE));
    put(1, bpf_ringbuf_output(&ring, &v, 8, 0));
    put(2, bpf_ringbuf_output(&ring, &v, 8, 16));
    put(3, bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA));
    void *p = bpf_ringbuf_reserve(&ring, 4096, 0);
    put(4, !!p);
    if (p)
        bpf_ringbuf_discard(p, 0);
    p = bpf_ringbuf_reserve(&ring, 4000, 0);
    put(5, !!p);
    if (p)
        bpf_ringbuf_submit(p, 0);
    put(6, bpf_ringbuf_query(&ring, BPF_RB_PROD_POS));
    put(7, bpf_ringbuf_query(&ring, BPF_RB_CONS_POS));
    put(8, bpf_ringbuf_output(&ring, &v, 8, 0));
    put(9, bpf_ringbuf_output(&ring, &v, 8, 0));
    put(10, bpf_ringbuf_output(&ring, &v, 8, 0));
    put(11, bpf_ringbuf_output(&ring, &v, 8, 0));
    put(12, bpf_ringbuf_output(&ring, &v, 8, 0));
    put(13, bpf_ringbuf_output(&ring, &v, 8, 0));
    put(14, bpf_ringbuf_query(&ring, 9));
    return 0;
}

XDP(redirect_map)
{
    put(0, bpf_redirect_map(&devmap, 1, 2));
    put(1, bpf_redirect_map(&devmap, 9, 1));
    put(2, bpf_redirect_map(&devmap, 1, 1 << 20));
    put(3, bpf_redirect(1, 1));
    return 0;
}

XDP(head) { put(0, bpf_xdp_adjust_head(ctx, -14)); return 2; }
XDP(head_far) { put(0, bpf_xdp_adjust_head(ctx, -217)); put(1, bpf_xdp_adjust_head(ctx, -216)); return 2; }
XDP(head_in) { put(0, bpf_xdp_adjust_head(ctx, 14)); put(1, bpf_xdp_adjust_head(ctx, 1000)); return 2; }
XDP(head_all) { put(0, bpf_xdp_adjust_head(ctx, 86)); put(1, bpf_xdp_adjust_head(ctx, 1)); return 2; }
XDP(tail) { put(0, bpf_xdp_adjust_tail(ctx, 40)); put(1, bpf_xdp_adjust_tail(ctx, -10)); return 2; }
XDP(tail_far) { put(0, bpf_xdp_adjust_tail(ctx, 4000)); put(1, bpf_xdp_adjust_tail(ctx, 3420)); put(2, bpf_xdp_adjust_tail(ctx, 1)); return 2; }
XDP(tail_cut) { put(0, bpf_xdp_adjust_tail(ctx, -87)); put(1, bpf_xdp_adjust_tail(ctx, -86)); return 2; }
XDP(meta)
{
    put(0, bpf_xdp_adjust_meta(ctx, -3)), put(1, bpf_xdp_adjust_meta(ctx, -32)), put(2, bpf_xdp_adjust_meta(ctx, -220));
    put(3, bpf_xdp_adjust_meta(ctx, 40)), put(4, bpf_xdp_adjust_meta(ctx, 28));
    __u32 *p = (void *)(long)ctx->data_meta;
    if ((void *)(p + 1) <= (void *)(long)ctx->data)
        *p = 0x12345678;
    put(5, ctx->data - ctx->data_meta);
    return 2;
}
XDP(bytes)
{
    __u64 v = 0x1122334455667788;
    put(0, bpf_xdp_store_bytes(ctx, 20, &v, 8)), put(1, bpf_xdp_load_bytes(ctx, 17, &v, 8)), put(2, v);
    put(3, bpf_xdp_store_bytes(ctx, 93, &v, 8)), put(4, bpf_xdp_load_bytes(ctx, 0x10000, &v, 8));
    put(5, bpf_xdp_get_buff_len(ctx));
    return 2;
}
XDP(csum)
{
    __u32 a[4] = {1, 0xffffffff, 0x80001234, 7}, b[4] = {0xfffffffe, 3, 0, 0x12345678};
    put(0, bpf_csum_diff(a, 16, b, 16, 0)), put(1, bpf_csum_diff(0, 0, b, 16, 0x1234));
    put(2, bpf_csum_diff(a, 16, 0, 0, 0x1234)), put(3, bpf_csum_diff(a, 16, b, 8, 0xffffffff));
    put(4, bpf_csum_diff(0, 0, 0, 0, 0x12345678)), put(5, bpf_csum_diff(a, 6, b, 16, 0));
    put(8, bpf_csum_diff(a, 3, b, 0, 0)), put(9, bpf_csum_diff(0, 0, b, 13, 9)), put(6, bpf_csum_diff(a, 8, b, 16, 0xffff0000)), put(7, bpf_csum_diff(a, 4, a, 4, 0));
    return 0;
}

TC(load)
{
    __u64 v = 1;
    put(0, bpf_skb_load_bytes(ctx, 12, &v, 8)), put(1, v);
    put(2, bpf_skb_load_bytes(ctx, 93, &v, 8)), put(3, v);
    put(4, bpf_skb_load_bytes_relative(ctx, 0, &v, 8, BPF_HDR_START_NET)), put(5, v);
    put(6, bpf_skb_load_bytes_relative(ctx, 0, &v, 8, BPF_HDR_START_MAC)), put(7, v);
    put(8, bpf_skb_load_bytes_relative(ctx, 90, &v, 8, BPF_HDR_START_NET)), put(9, v);
    put(10, bpf_skb_load_bytes_relative(ctx, 0, &v, 8, 2)), put(11, v);
    put(12, bpf_skb_pull_data(ctx, 100)), put(13, bpf_skb_pull_data(ctx, 101)), put(14, bpf_skb_pull_data(ctx, 0));
    return 0;
}
TC(store)
{
    __u64 v = 0x1122334455667788;
    put(0, bpf_skb_store_bytes(ctx, 20, &v, 8, 0)), put(1, bpf_skb_store_bytes(ctx, 93, &v, 8, 0));
    put(2, bpf_skb_store_bytes(ctx, 20, &v, 8, 8)), put(3, bpf_skb_store_bytes(ctx, 40, &v, 3, BPF_F_RECOMPUTE_CSUM));
    return 0;
}
TC(l3)
{
    put(0, bpf_l3_csum_replace(ctx, 24, 0x1234, 0x4321, 2)), put(1, bpf_l3_csum_replace(ctx, 24, 0x12345678, 0x87654321, 4));
    put(2, bpf_l3_csum_replace(ctx, 24, 0, 0x12345, 0)), put(3, bpf_l3_csum_replace(ctx, 24, 1, 0x12345, 0));
    put(4, bpf_l3_csum_replace(ctx, 25, 0, 1, 2)), put(5, bpf_l3_csum_replace(ctx, 100, 0, 1, 2));
    put(6, bpf_l3_csum_replace(ctx, 24, 0, 1, 3)), put(7, bpf_l3_csum_replace(ctx, 24, 0, 1, 0x12));
    return 0;
}
TC(l4)
{
    put(0, bpf_l4_csum_replace(ctx, 40, 0x1234, 0x4321, 2 | BPF_F_PSEUDO_HDR));
    put(1, bpf_l4_csum_replace(ctx, 40, 0x12345678, 0x87654321, 4)), put(2, bpf_l4_csum_replace(ctx, 40, 0, 0x12345, 0));
    put(3, bpf_l4_csum_replace(ctx, 40, 0, 1, 2 | 0x1000)), put(4, bpf_l4_csum_replace(ctx, 60, 0, 1, 2 | BPF_F_MARK_MANGLED_0));
    put(5, bpf_l4_csum_replace(ctx, 62, 0, 1, 2 | BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE));
    put(6, bpf_l4_csum_replace(ctx, 99, 0, 1, 2));
    return 0;
}
TC(csum_misc) { put(0, bpf_csum_update(ctx, 1)), put(1, bpf_csum_level(ctx, 0)), put(2, bpf_csum_level(ctx, 9)); return 0; }
TC(vlan)
{
    put(0, ctx->vlan_present), put(1, bpf_skb_vlan_push(ctx, 0x0081, 5)), put(2, ctx->vlan_present), put(3, ctx->vlan_tci);
    put(4, ctx->vlan_proto), put(5, ctx->protocol), put(6, bpf_skb_vlan_push(ctx, 0xa888, 6)), put(7, ctx->vlan_tci);
    put(8, ctx->vlan_proto), put(9, ctx->protocol), put(10, ctx->len), put(11, bpf_skb_vlan_pop(ctx));
    put(12, ctx->vlan_tci), put(13, ctx->protocol), put(14, ctx->len);
    return 0;
}
TC(vlan_pop) { put(0, bpf_skb_vlan_push(ctx, 1, 5)), put(1, bpf_skb_vlan_pop(ctx)), put(2, ctx->vlan_present), put(3, bpf_skb_vlan_pop(ctx)), put(4, ctx->len); return 0; }
TC(proto) { put(0, bpf_skb_change_proto(ctx, 0xdd86, 0)), put(1, ctx->protocol), put(2, ctx->len), put(3, bpf_skb_change_proto(ctx, 0x0608, 0)); return 0; }
TC(proto_back) { put(0, bpf_skb_change_proto(ctx, 0xdd86, 0)), put(1, bpf_skb_change_proto(ctx, 0x0008, 0)), put(2, ctx->len), put(3, bpf_skb_change_proto(ctx, 0x0008, 1)); return 0; }
TC(tail) { put(0, bpf_skb_change_tail(ctx, 140, 0)), put(1, ctx->len), put(2, bpf_skb_change_tail(ctx, 60, 0)), put(3, bpf_skb_change_tail(ctx, 10, 0)), put(4, bpf_skb_change_tail(ctx, 1 << 20, 0)), put(5, bpf_skb_change_tail(ctx, 60, 1)); return 0; }
TC(head) { put(0, bpf_skb_change_head(ctx, 20, 0)), put(1, ctx->len), put(2, bpf_skb_change_head(ctx, -1, 0)), put(3, bpf_skb_change_head(ctx, 20, 1)), put(4, bpf_skb_change_head(ctx, 20000, 0)); return 0; }
TC(type) { put(0, bpf_skb_change_type(ctx, 3)), put(1, ctx->pkt_type), put(2, bpf_skb_change_type(ctx, 4)); return 0; }
TC(room_mac) { put(0, bpf_skb_adjust_room(ctx, 20, BPF_ADJ_ROOM_MAC, 0)), put(1, ctx->len), put(2, bpf_skb_adjust_room(ctx, -8, BPF_ADJ_ROOM_MAC, 0)), put(3, ctx->len); return 0; }
TC(room_net) { put(0, bpf_skb_adjust_room(ctx, 20, BPF_ADJ_ROOM_NET, 0)), put(1, ctx->len), put(2, bpf_skb_adjust_room(ctx, -90, BPF_ADJ_ROOM_NET, 0)), put(3, bpf_skb_adjust_room(ctx, 0x1000, BPF_ADJ_ROOM_NET, 0)), put(4, bpf_skb_adjust_room(ctx, 8, 2, 0)), put(5, bpf_skb_adjust_room(ctx, 8, 0, 1 << 20)); return 0; }
TC(room_encap) { put(0, bpf_skb_adjust_room(ctx, 40, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)), put(1, ctx->protocol), put(2, ctx->len), put(3, bpf_skb_adjust_room(ctx, -40, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_DECAP_L3_IPV4)), put(4, ctx->protocol); return 0; }
TC(ecn) { put(0, bpf_skb_ecn_set_ce(ctx)); return 0; }
TC(hash) { put(0, bpf_set_hash(ctx, 77)), put(1, ctx->hash), put(2, bpf_get_hash_recalc(ctx)); return 0; }
TC(realm) { put(0, bpf_get_route_realm(ctx)); return 0; }
TC(tstamp) { put(0, bpf_skb_set_tstamp(ctx, 5, 1)), put(1, ctx->tstamp), put(2, bpf_skb_set_tstamp(ctx, 5, 0)), put(3, bpf_skb_set_tstamp(ctx, 0, 1)), put(4, bpf_skb_set_tstamp(ctx, 0, 0)), put(5, ctx->tstamp), put(6, bpf_skb_set_tstamp(ctx, 9, 2)), put(7, bpf_skb_set_tstamp(ctx, 9, 3)), put(8, ctx->tstamp_type); return 0; }
TC(redirect) { put(0, bpf_redirect(1, 2)); return bpf_redirect(1, 0); }

#define TEXT(i, fmt, ...)                                                                                            \
    ({                                                                                                               \
        static const char f[] = fmt;                                                                                 \
        __u64 args[] = {__VA_ARGS__};                                                                                \
        __u32 zero = 0;                                                                                              \
        char *text = bpf_map_lookup_elem(&scratch, &zero);                                                           \
        if (text) {                                                                                                  \
            __builtin_memset(text, 0, 64);                                                                           \
            put(i, bpf_snprintf(text, 64, f, args, sizeof(args)));                                                   \
            put(i + 1, ((__u64 *)text)[0]), put(i + 2, ((__u64 *)text)[1]), put(i + 3, ((__u64 *)text)[2]);           \
            put(i + 4, ((__u64 *)text)[3]);                                                                          \
        }                                                                                                            \
    })
TC(print_numbers) { TEXT(0, "%d %5d|%-5d|%05d", -1, 42, 42, 42); TEXT(5, "%u %x %lx %llu", -1, 255, -1, -1); TEXT(10, "%i %+d % d %c%%", 7, 7, 7, 'x'); return 0; }
TC(print_more) { TEXT(0, "%ld %08x %3u", -5, 0xabc, 12345); TEXT(5, "%-8xend %lu", 0xabc, 1); TEXT(10, "%lld%%", -(1LL << 62)); return 0; }
TC(print_short) { char b[8] = {}; static const char f[] = "0123456789 %d"; __u64 a[1] = {5}; put(0, bpf_snprintf(b, 8, f, a, 8)), put(1, *(__u64 *)b); return 0; }
TC(print_address)
{
    __u32 v4 = 0x0100a8c0;
    TEXT(0, "%pi4 %pI4", (unsigned long)&v4, (unsigned long)&v4);
    __u64 v6[2] = {0x0000000000000120, 0x0100000000000000};
    TEXT(5, "%pI6", (unsigned long)v6);
    TEXT(10, "%pi6", (unsigned long)v6);
    return 0;
}

#define PARSE(i, text, flags)                                                                                        \
    ({                                                                                                               \
        char t[] = text;                                                                                             \
        long r = 99;                                                                                                 \
        unsigned long u = 99;                                                                                        \
        put(i, bpf_strtol(t, sizeof(t), flags, &r)), put(i + 1, r), put(i + 2, bpf_strtoul(t, sizeof(t), flags, &u));  \
        put(i + 3, u);                                                                                               \
    })
TC(parse1) { PARSE(0, "  -42xyz", 0); PARSE(4, "0x1fZ", 0); PARSE(8, "0755", 0); PARSE(12, "abc", 16); return 0; }
TC(parse2) { PARSE(0, "", 0); PARSE(4, "+5", 10); PARSE(8, "99999999999999999999", 0); PARSE(12, "0x", 0); return 0; }
TC(parse3) { PARSE(0, "-9223372036854775808", 10); PARSE(4, "9223372036854775808", 10); PARSE(8, "12", 7); PARSE(12, "18446744073709551615", 10); return 0; }
static const char word[] = "hello";
TC(strncmp) { char a[] = "hello", b[] = "help", c[] = "hell"; put(0, bpf_strncmp(a, 6, word)), put(1, bpf_strncmp(b, 5, word)), put(2, bpf_strncmp(c, 4, word)), put(3, bpf_strncmp(c, 5, word)); return 0; }

unsigned long long load_byte(void *skb, unsigned long long off) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long off) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long off) asm("llvm.bpf.load.word");
#define SOCKET(name) SEC("socket") int socket_##name(struct __sk_buff *ctx)
#define CGROUP(name) SEC("cgroup_skb/ingress") int cgroup_##name(struct __sk_buff *ctx)

SOCKET(fields)
{
    __u64 v = 0;
    put(0, ctx->len), put(1, ctx->protocol), put(2, ctx->pkt_type), put(3, bpf_skb_load_bytes(ctx, 0, &v, 8)), put(4, v);
    put(5, bpf_skb_load_bytes_relative(ctx, 0, &v, 8, BPF_HDR_START_NET)), put(6, v), put(7, ctx->vlan_present);
    put(8, bpf_skb_load_bytes_relative(ctx, 0, &v, 8, BPF_HDR_START_MAC)), put(9, v);
    return ctx->len;
}
SOCKET(absolute)
{
    put(0, load_byte(ctx, 9)), put(1, load_half(ctx, 2)), put(2, load_word(ctx, 12)), put(3, load_byte(ctx, -0x100000 + 9));
    put(4, load_half(ctx, -0x200000 + 12)), put(5, load_word(ctx, ctx->len - 4));
    return 7;
}
SOCKET(absolute_end) { put(0, 1); put(1, load_word(ctx, ctx->len - 3)); return 7; }
SOCKET(absolute_before) { put(0, 1); put(1, load_byte(ctx, -1)); return 7; }
CGROUP(fields)
{
    put(0, ctx->len), put(1, ctx->protocol), put(2, ctx->data_end - ctx->data);
    __u8 *p = (void *)(long)ctx->data;
    if ((void *)(p + 20) <= (void *)(long)ctx->data_end)
        put(3, p[0]), put(4, p[9]);
    return 1;
}
TC(fields)
{
    put(0, ctx->len), put(1, ctx->protocol), put(2, ctx->data_end - ctx->data), put(3, ctx->pkt_type), put(4, ctx->mark);
    put(5, ctx->vlan_tci), put(6, ctx->cb[0]), put(7, ctx->tc_index), put(8, ctx->wire_len), put(9, ctx->gso_segs);
    put(10, ctx->data - ctx->data_meta), put(11, ctx->tc_classid), put(12, ctx->queue_mapping), put(13, ctx->priority);
    put(14, ctx->ingress_ifindex), put(15, ctx->ifindex);
    ctx->mark = 9, ctx->cb[2] = 5;
    return ctx->cb[2];
}

char LICENSE[] SEC("license") = "GPL";

/* Dynptrs */
static __u8 block[64];

TC(dynptr_of_a_map)
{
    struct bpf_dynptr ptr;
    __u8 copy[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    put(0, bpf_dynptr_from_mem(block, 16, 0, &ptr));
    put(1, bpf_dynptr_write(&ptr, 4, copy, 8, 0));
    put(2, bpf_dynptr_read(copy, 8, &ptr, 6, 0));
    put(3, *(__s64 *)copy);
    put(4, bpf_dynptr_write(&ptr, 9, copy, 8, 0));
    put(5, bpf_dynptr_read(copy, 8, &ptr, -1, 0));
    put(6, bpf_dynptr_read(copy, 8, &ptr, 8, 1));
    put(7, bpf_dynptr_write(&ptr, 8, copy, 8, 1));
    put(8, bpf_dynptr_write(&ptr, 16, copy, 0, 0));
    __u8 *inside = bpf_dynptr_data(&ptr, 8, 8), *outside = bpf_dynptr_data(&ptr, 9, 8);
    if (inside)
        put(9, inside[0] + inside[3]);
    put(10, !inside + !outside);
    return block[7];
}

TC(dynptr_that_overlaps)
{
    struct bpf_dynptr ptr;
    for (__u32 i = 0; i < 64; i++)
        block[i] = i;
    bpf_dynptr_from_mem(block, 64, 0, &ptr);
    put(0, bpf_dynptr_write(&ptr, 3, block, 32, 0));
    put(1, bpf_dynptr_read(block + 1, 32, &ptr, 8, 0));
    return block[3] + block[33] + block[34];
}

TC(dynptr_with_bad_flags)
{
    struct bpf_dynptr ptr;
    __u8 copy[4] = {};
    put(0, bpf_dynptr_from_mem(block, 16, 1, &ptr));
    put(1, bpf_dynptr_read(copy, 4, &ptr, 0, 0));
    put(2, bpf_dynptr_write(&ptr, 0, copy, 4, 0));
    put(3, !bpf_dynptr_data(&ptr, 0, 4));
    put(4, bpf_dynptr_from_mem(block, 0, 0, &ptr));
    put(5, bpf_dynptr_read(copy, 0, &ptr, 0, 0));
    put(6, bpf_dynptr_read(copy, 1, &ptr, 0, 0));
    return 0;
}

TC(dynptr_of_a_hash)
{
    struct bpf_dynptr ptr;
    __u32 key = 1, size = ctx->len & 63;
    __u8 big[64] = {};
    bpf_map_update_elem(&wide, &key, big, 0);
    void *value = bpf_map_lookup_elem(&wide, &key);
    if (!value)
        return 0;
    put(0, bpf_dynptr_from_mem(value, size, 0, &ptr));
    put(1, bpf_dynptr_write(&ptr, size - 8, &size, 4, 0));
    put(2, bpf_dynptr_write(&ptr, size - 3, &size, 4, 0));
    __u32 *four = bpf_dynptr_data(&ptr, 28, 4);
    return four ? *four : -1;
}

static __noinline int fill(struct bpf_dynptr *ptr, __u32 at)
{
    __u64 number = 0x1122334455667788ull;
    return bpf_dynptr_write(ptr, at, &number, 8, 0);
}

TC(dynptr_in_a_function)
{
    struct bpf_dynptr one, two;
    bpf_dynptr_from_mem(block, 16, 0, &one);
    bpf_dynptr_from_mem(block + 16, 16, 0, &two);
    put(0, fill(&one, 8));
    put(1, fill(&two, ctx->len & 8));
    put(2, fill(&two, 12));
    return block[8] + block[16] + block[24];
}

TC(dynptr_of_a_record)
{
    struct bpf_dynptr ptr;
    __u64 number = 7;
    put(0, bpf_ringbuf_reserve_dynptr(&ring, ctx->len & 31, 0, &ptr));
    put(1, bpf_dynptr_write(&ptr, 0, &number, 4, 0));
    __u32 *four = bpf_dynptr_data(&ptr, 0, 4);
    if (four)
        put(2, *four);
    bpf_ringbuf_submit_dynptr(&ptr, 0);
    put(3, bpf_ringbuf_query(&ring, 0));
    put(4, bpf_ringbuf_reserve_dynptr(&ring, 16, 1, &ptr));
    bpf_ringbuf_submit_dynptr(&ptr, 0);
    put(5, bpf_ringbuf_reserve_dynptr(&ring, 5000, 0, &ptr));
    put(6, bpf_dynptr_write(&ptr, 0, &number, 4, 0));
    bpf_ringbuf_discard_dynptr(&ptr, 0);
    put(7, bpf_ringbuf_reserve_dynptr(&ring, 1 << 24, 0, &ptr));
    bpf_ringbuf_discard_dynptr(&ptr, 0);
    put(8, bpf_ringbuf_reserve_dynptr(&ring, 40, 0, &ptr));
    bpf_ringbuf_discard_dynptr(&ptr, 0);
    put(9, bpf_ringbuf_query(&ring, 0));
    return 0;
}

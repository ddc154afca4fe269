/* Helpers of programs on socket buffers (net/core/filter.c). Packets are linear; the context's len follows the packet. */
#define SKB_MAX_ALLOC 16064 /* SKB_MAX_ALLOC with 4 KiB pages: BPF_SKB_MAX_LEN */
#define PROTO_IP 0x0008     /* ETH_P_IP in network order */
#define PROTO_IPV6 0xdd86
#define PROTO_8021Q 0x0081
#define PROTO_8021AD 0xa888

static INLINE struct __sk_buff *skb_of(struct skep_run *run) { return (struct __sk_buff *)run->ctx; }

NOINLINE s64 skep_skb_load_bytes(struct skep_run *run, u64 offset, u8 *to, u64 size)
{
    offset &= 0xffffffffu;
    if (offset > 0x7fffffff || offset + size > packet_length(run)) {
        memset(to, 0, size);
        return -EFAULT;
    }
    memmove(to, run->data + offset, size);
    return 0;
}

/* `from_header`: 0 the link header, 1 the network header. */
NOINLINE s64 skep_skb_load_bytes_relative(struct skep_run *run, u64 offset, u8 *to, u64 size, u64 from_header)
{
    offset &= 0xffffffffu;
    u8 *start = from_header == 0 ? run->data - run->link : run->data + run->net;
    if (offset > 0xffff || from_header > 1 || start > run->data_end || offset + size > (u64)(run->data_end - start)) {
        memset(to, 0, size);
        return -EFAULT;
    }
    memmove(to, start + offset, size);
    return 0;
}

NOINLINE s64 skep_skb_store_bytes(struct skep_run *run, u64 offset, const u8 *from, u64 size, u64 flags)
{
    offset &= 0xffffffffu;
    if (flags & ~3ull)
        return -EINVAL;
    if (offset > 0x7fffffff || offset + size > packet_length(run))
        return -EFAULT;
    memmove(run->data + offset, from, size);
    if (flags & 2) /* BPF_F_INVALIDATE_HASH */
        run->hash_is_set = 0;
    return 0;
}

/* Packets are linear already: only the length is checked. */
INLINE s64 skep_skb_pull_data(struct skep_run *run, u64 size) { return (u32)size > packet_length(run) ? -ENOMEM : 0; }

/* Make `size` bytes of room at `offset`, or take them away there, by moving the front. */
static s64 skb_room(struct skep_run *run, u64 offset, s64 size)
{
    if (offset > packet_length(run) || (size < 0 && offset + (u64)-size > packet_length(run)))
        return -ENOMEM;
    if (size > run->data - run->hard_start)
        return -ENOMEM;
    memmove(run->data - size, run->data, offset);
    run->data -= size;
    if (size > 0)
        memset(run->data + offset, 0, (u64)size);
    run->data_meta = run->data;
    skb_length_update(run);
    return 0;
}

NOINLINE s64 skep_skb_change_head(struct skep_run *run, u64 room, u64 flags)
{
    u32 size = (u32)room;
    if (flags || size > 0x7fffffff || packet_length(run) + size > SKB_MAX_ALLOC)
        return -EINVAL;
    s64 error = skb_room(run, 0, size);
    if (!error)
        run->net += size;
    return error;
}

NOINLINE s64 skep_skb_change_tail(struct skep_run *run, u64 new_length, u64 flags)
{
    u64 length = (u32)new_length;
    if (flags || length > SKB_MAX_ALLOC || length < run->net)
        return -EINVAL;
    if (run->data + length > run->hard_end)
        return -ENOMEM;
    if (run->data + length > run->data_end)
        memset(run->data_end, 0, (u64)(run->data + length - run->data_end));
    run->data_end = run->data + length;
    skb_length_update(run);
    return 0;
}

/* IPv4 <-> IPv6: 20 bytes more or less after the link header; the program writes the new header. */
NOINLINE s64 skep_skb_change_proto(struct skep_run *run, u64 proto, u64 flags)
{
    struct __sk_buff *skb = skb_of(run);
    if (flags)
        return -EINVAL;
    int grow = skb->protocol == PROTO_IP && (u16)proto == PROTO_IPV6;
    if (!grow && !(skb->protocol == PROTO_IPV6 && (u16)proto == PROTO_IP))
        return -ENOTSUPP;
    s64 error = skb_room(run, run->net, grow ? 20 : -20);
    if (!error) {
        skb->protocol = (u16)proto;
        run->hash_is_set = 0;
    }
    return error;
}

NOINLINE s64 skep_skb_change_type(struct skep_run *run, u64 type)
{
    struct __sk_buff *skb = skb_of(run);
    if (skb->pkt_type > 3 || (u32)type > 3) /* PACKET_OTHERHOST */
        return -EINVAL;
    skb->pkt_type = (u32)type;
    return 0;
}

/* bpf_skb_adjust_room(): room between link and network header (mode 1) or after the network header (mode 0). */
NOINLINE s64 skep_skb_adjust_room(struct skep_run *run, u64 difference, u64 mode, u64 flags)
{
    const u64 encap_ipv4 = 1 << 1, encap_ipv6 = 1 << 2, gre = 1 << 3, udp = 1 << 4, decap_ipv4 = 1 << 7, decap_ipv6 = 1 << 8;
    const u64 encap = encap_ipv4 | encap_ipv6, decap = decap_ipv4 | decap_ipv6;
    struct __sk_buff *skb = skb_of(run);
    s64 by = (s32)difference;
    u64 size = (u64)(by < 0 ? -by : by), left = packet_length(run) - run->net;
    u64 base = skb->protocol == PROTO_IPV6 ? 40 : 20, least = base;
    if (flags & ~(0x1ffull | 0xffull << 56))
        return -EINVAL;
    if (size > 0xfff)
        return -EFAULT;
    if ((skb->protocol != PROTO_IP && skb->protocol != PROTO_IPV6) || mode > 1)
        return -ENOTSUPP;
    if (flags & decap) {
        if (by >= 0 || (flags & decap) == decap)
            return -EINVAL;
        least = flags & decap_ipv4 ? 20 : 40;
    }
    if (by < 0 && flags & (encap | gre | udp | 0xffull << 56))
        return -EINVAL;
    if (by < 0 ? size >= left || left - size < least : packet_length(run) + size > SKB_MAX_ALLOC)
        return -ENOTSUPP;
    if ((flags & encap) == encap || ((flags & gre) && (flags & udp)) || (flags & (gre | udp) && !(flags & encap)))
        return -EINVAL;
    s64 error = skb_room(run, run->net + (mode == 0 ? base : 0), by);
    if (!error && flags & (encap_ipv6 | decap_ipv6))
        skb->protocol = PROTO_IPV6;
    else if (!error && flags & (encap_ipv4 | decap_ipv4))
        skb->protocol = PROTO_IP;
    return error;
}

static INLINE int is_vlan(u32 proto) { return proto == PROTO_8021Q || proto == PROTO_8021AD; }

/* The newest tag is metadata (vlan_present, vlan_tci), an older one moves into the packet: skb_vlan_push(). */
NOINLINE s64 skep_skb_vlan_push(struct skep_run *run, u64 proto, u64 tci)
{
    struct __sk_buff *skb = skb_of(run);
    if (!is_vlan((u16)proto))
        proto = PROTO_8021Q;
    if (skb->vlan_present) {
        if (packet_length(run) < ETH_HLEN)
            return -EINVAL;
        s64 error = skb_room(run, 12, 4);
        if (error)
            return error;
        u16 inner = __builtin_bswap16((u16)skb->vlan_tci);
        memcpy(run->data + 12, &skb->vlan_proto, 2);
        memcpy(run->data + 14, &inner, 2);
        skb->protocol = (u16)skb->vlan_proto;
    }
    skb->vlan_present = 1;
    skb->vlan_proto = (u16)proto;
    skb->vlan_tci = (u16)tci;
    return 0;
}

/* Take the tag that lies in the packet out of it. */
static s64 vlan_take(struct skep_run *run, u32 *tci)
{
    struct __sk_buff *skb = skb_of(run);
    if (packet_length(run) < ETH_HLEN + 4)
        return -ENOMEM;
    u16 next;
    *tci = big16(run->data + 14);
    memcpy(&next, run->data + 16, 2);
    skb->protocol = next;
    return skb_room(run, 12, -4);
}

NOINLINE s64 skep_skb_vlan_pop(struct skep_run *run)
{
    struct __sk_buff *skb = skb_of(run);
    u32 tci;
    if (skb->vlan_present) {
        skb->vlan_present = skb->vlan_tci = skb->vlan_proto = 0;
    } else {
        if (!is_vlan(skb->protocol))
            return 0;
        s64 error = vlan_take(run, &tci);
        if (error)
            return error;
    }
    if (!is_vlan(skb->protocol))
        return 0;
    u32 proto = skb->protocol;
    s64 error = vlan_take(run, &tci); /* the next tag becomes metadata */
    if (error)
        return error;
    skb->vlan_present = 1;
    skb->vlan_proto = proto;
    skb->vlan_tci = tci;
    return 0;
}

/* A hash of addresses, protocol and ports; the same in every run of this version. */
NOINLINE u64 skep_get_hash_recalc(struct skep_run *run)
{
    struct __sk_buff *skb = skb_of(run);
    if (run->hash_is_set)
        return skb->hash;
    const u8 *ip = run->data + run->net;
    u64 left = packet_length(run) > run->net ? packet_length(run) - run->net : 0;
    u8 flow[37] = {0};
    u64 header = 0;
    if (left >= 20 && ip[0] >> 4 == 4) {
        memcpy(flow, ip + 12, 8);
        flow[36] = ip[9];
        header = big16(ip + 6) & 0x1fff ? 0 : (u64)(ip[0] & 15) * 4;
    } else if (left >= 40 && ip[0] >> 4 == 6) {
        memcpy(flow, ip + 8, 32);
        flow[36] = ip[6];
        header = 40;
    }
    if (header && (flow[36] == 6 || flow[36] == 17) && left >= header + 4)
        memcpy(flow + 32, ip + header, 4);
    u32 hash = hash_bytes(flow, sizeof(flow), 0x736b6570);
    skb->hash = hash ? hash : 1;
    run->hash_is_set = 1;
    return skb->hash;
}

INLINE void skep_set_hash_invalid(struct skep_run *run)
{
    skb_of(run)->hash = 0;
    run->hash_is_set = 0;
}

INLINE s64 skep_set_hash(struct skep_run *run, u64 hash)
{
    skb_of(run)->hash = (u32)hash;
    run->hash_is_set = 1;
    return 0;
}

/* skb_protocol(skb, true): the protocol behind VLAN tags in the packet. The network header does not move with it. */
static u32 inner_protocol(struct skep_run *run)
{
    u32 proto = skb_of(run)->protocol;
    for (u64 at = ETH_HLEN + 2; is_vlan(proto) && at + 2 <= packet_length(run); at += 4)
        proto = (u32)run->data[at] | (u32)run->data[at + 1] << 8;
    return proto;
}

/* bpf_skb_ecn_set_ce(): 1 if the packet says "congestion experienced" now. */
NOINLINE s64 skep_skb_ecn_set_ce(struct skep_run *run)
{
    u8 *ip = run->data + run->net;
    u64 left = packet_length(run) > run->net ? packet_length(run) - run->net : 0;
    u32 proto = inner_protocol(run);
    if (proto == PROTO_IP && left >= 20) {
        if (!(ip[1] & 3))
            return 0;
        u16 old = (u16)(ip[0] | ip[1] << 8);
        ip[1] |= 3;
        csum_replace(ip + 10, old, (u16)(ip[0] | ip[1] << 8), 2);
        return 1;
    }
    if (proto == PROTO_IPV6 && left >= 40) {
        if (!(ip[1] & 0x30))
            return 0;
        ip[1] |= 0x30;
        return 1;
    }
    return 0;
}

/* bpf_skb_set_tstamp(): type 0 real time, 1 monotonic, 2 TAI; the last two want a time. */
NOINLINE s64 skep_skb_set_tstamp(struct skep_run *run, u64 tstamp, u64 type)
{
    struct __sk_buff *skb = skb_of(run);
    type &= 0xffffffffu;
    if (skb->protocol != PROTO_IP && skb->protocol != PROTO_IPV6)
        return -EOPNOTSUPP;
    if (type > 2 || (type && !tstamp))
        return -EINVAL;
    skb->tstamp = tstamp;
    skb->tstamp_type = (u8)type;
    return 0;
}

static INLINE s64 load_number(const u8 *from, const u8 *end, u64 at, u64 size)
{
    if (unlikely(from > end || at + size > (u64)(end - from)))
        return -1;
    const u8 *p = from + at;
    return size == 1 ? p[0] : size == 2 ? big16(p) : (s64)((u64)big16(p) << 16 | big16(p + 2));
}

/* Offsets from -0x100000 on count from the network header, from -0x200000 on from the link header. */
static NOINLINE s64 load_from_header(struct skep_run *run, s64 at, u64 size)
{
    if (at >= -0x100000)
        return load_number(run->data + run->net, run->data_end, (u64)(at + 0x100000), size);
    if (at >= -0x200000)
        return load_number(run->data - run->link, run->data_end, (u64)(at + 0x200000), size);
    return -1;
}

/* LD_ABS, LD_IND (bpf_load_pointer()): the value in host order, -1: outside the packet. */
INLINE s64 skep_load_packet(struct skep_run *run, u64 offset, u64 size)
{
    s64 at = (s32)offset;
    if (unlikely(at < 0))
        return load_from_header(run, at, size);
    return load_number(run->data, run->data_end, (u64)at, size);
}

/* What a packet from a file does not have: socket, route, cgroup. The kernel says 0 for such packets, too. */
INLINE u64 skep_nothing(void) { return 0; }
INLINE u64 skep_get_socket_uid(void) { return 65534; } /* overflowuid */

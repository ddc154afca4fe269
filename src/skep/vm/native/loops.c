/* Loops that run a program: over the packets of a capture, and repeatedly on one input (BPF_PROG_TEST_RUN).
 *
 * The JIT links the program in as skep_program(), so LLVM inlines it into the loop it is used with.
 */
#define LINK_ETHERNET 1
#define VERDICTS 17 /* 0..15, and -1 */
#define OTHERS 32

#define OUTPUT_ROOM (CAPTURE_MAX_PACKET + 2 * SKB_MAX_LENGTH) /* what one packet may need; a full buffer has less left */

struct skep_output {
    u8 *buffer; /* NULL: packets are not written */
    u64 length, capacity;
    u32 blocks;  /* 0: records of classic pcap; 1: Enhanced Packet Blocks of pcapng, interface 0, nanoseconds */
    u32 snaplen; /* bytes of a packet that are kept; 0: all */
};

struct skep_job {
    struct skep_capture *capture;
    struct skep_output *output;
    u8 *work; /* one packet with room around it; programs that do not resize run in the capture's buffer */
    u64 work_size;
    u32 prog_type;
    u32 ifindex;
    u32 pass_mask;   /* bit v: verdict v lets the packet pass; bit 16: verdict -1 */
    u32 pass_others;
    u32 capture_clock; /* the program's clocks show the packet's time */
    u32 reserved;
    u64 passed;
    u64 verdicts[VERDICTS];
    u64 more; /* other verdicts that `others` had no room for */
    struct {
        u64 verdict, count;
    } others[OTHERS];
    u64 limit; /* packets that may pass; 0: any number */
};

/* Link types whose packets start with Ethernet or directly with IP. */
static INLINE int link_is_ip(u32 type) { return type == 101 || type == 12 || type == 14 || type == 228 || type == 229; }

static NOINLINE void count_other(struct skep_job *job, u32 verdict)
{
    for (u32 i = 0; i < OTHERS; i++) {
        if (!job->others[i].count)
            job->others[i].verdict = verdict;
        if (job->others[i].verdict == verdict) {
            job->others[i].count++;
            return;
        }
    }
    job->more++;
}

/* Count the verdict; true: the packet passes. */
static INLINE int judge(struct skep_job *job, u32 verdict)
{
    if (job->prog_type == PROG_SOCKET_FILTER)
        verdict = verdict != 0; /* the length to keep */
    if (likely(verdict < 16)) {
        job->verdicts[verdict]++;
        return job->pass_mask >> verdict & 1;
    }
    if (verdict == 0xffffffffu) {
        job->verdicts[16]++;
        return job->pass_mask >> 16 & 1;
    }
    count_other(job, verdict);
    return (int)job->pass_others;
}

/* A frame as it leaves the program: a VLAN tag that the program pushed goes back in. Returns its length. */
static INLINE u64 frame_copy(u8 *to, const u8 *data, u64 length, const struct __sk_buff *skb)
{
    if (likely(!(skb && skb->vlan_present && length >= 12))) {
        memcpy(to, data, length);
        return length;
    }
    u16 tci = __builtin_bswap16((u16)skb->vlan_tci);
    memcpy(to, data, 12);
    memcpy(to + 12, &skb->vlan_proto, 2);
    memcpy(to + 14, &tci, 2);
    memcpy(to + 16, data + 12, length - 12);
    return length + 4;
}

/* Append a packet to the output: a record of a classic pcap, or a block of a pcapng. */
static INLINE void emit(struct skep_output *out, const struct skep_capture *c, const struct skep_record *r, const u8 *data,
                        u64 length, const struct __sk_buff *skb)
{
    u8 *p = out->buffer + out->length;
    u64 header_size = out->blocks ? 28 : 16;
    u32 kept = (u32)frame_copy(p + header_size, data, length, skb);
    u32 original = r->original + kept - r->captured;
    if (unlikely(out->snaplen && kept > out->snaplen))
        kept = out->snaplen;
    if (out->blocks) {
        u32 padding = -kept & 3, size = 32 + kept + padding, zero = 0;
        u32 block[7] = {6, size, 0, (u32)(r->time_ns >> 32), (u32)r->time_ns, kept, original};
        memcpy(p, block, 28);
        memcpy(p + 28 + kept, &zero, 4);
        memcpy(p + 28 + kept + padding, &size, 4);
        out->length += size;
        return;
    }
    u32 header[4] = {(u32)(r->time_ns / 1000000000), (u32)(r->time_ns % 1000000000), kept, original};
    if (!c->nanoseconds)
        header[1] /= 1000;
    memcpy(p, header, 16);
    out->length += 16 + (u64)kept;
}

static INLINE int output_full(const struct skep_output *out)
{
    return out->buffer && out->capacity - out->length < OUTPUT_ROOM;
}

/* __sk_buff for a packet whose Ethernet header (if any) is at `data`. */
static INLINE void skb_fill(struct __sk_buff *skb, const u8 *data, u64 length, u32 link_type)
{
    memset(skb, 0, sizeof(*skb));
    skb->len = (u32)length;
    skb->wire_len = (u32)length;
    if (link_type == LINK_ETHERNET && length >= ETH_HLEN) {
        u16 type;
        memcpy(&type, data + 12, 2);
        skb->protocol = __builtin_bswap16(type) >= 0x600 ? type : __builtin_bswap16(4); /* ETH_P_802_2 */
        static const u8 everyone[6] = {255, 255, 255, 255, 255, 255};
        if (data[0] & 1)
            skb->pkt_type = memcmp(data, everyone, 6) == 0 ? 1 : 2; /* PACKET_BROADCAST, PACKET_MULTICAST */
    } else if (link_type != LINK_ETHERNET && length) {
        skb->protocol = __builtin_bswap16(data[0] >> 4 == 6 ? 0x86dd : 0x0800);
    }
    skb->family = skb->protocol == 0x0008 ? 2 : skb->protocol == 0xdd86 ? 10 : 0;
}

union packet_context {
    struct xdp_md xdp;
    struct __sk_buff skb;
};

/* Make a record the run's packet: where it lies, how far its bounds may move, what the context says. Returns the bytes of
 * link header before the packet's start: programs of control groups and tunnels see the network header first. */
static INLINE u64 packet_place(struct skep_run *run, const struct skep_job *job, const struct skep_record *r,
                               union packet_context *ctx, int xdp, int inplace)
{
    u8 *data = r->data;
    u64 link = r->link_type == LINK_ETHERNET ? ETH_HLEN : 0;
    if (inplace) {
        run->hard_start = data;
        run->hard_end = data + r->captured;
    } else {
        data = job->work + (xdp ? XDP_HEADROOM : SKB_HEADROOM);
        memcpy(data, r->data, r->captured);
        u64 frame = round_up(XDP_HEADROOM + r->captured + XDP_TAILROOM, 4096) - XDP_TAILROOM;
        run->hard_start = job->work + (xdp ? 0 : 16); /* the link header may lie before the start */
        run->hard_end = job->work + (xdp ? frame : job->work_size);
    }
    run->data = run->data_meta = data;
    run->data_end = data + r->captured;
    run->net = (u32)link;
    run->link = 0;
    run->tail_calls = 0;
    run->hash_is_set = 0;
    run->now_ns = job->capture_clock ? r->time_ns : 0;
    if (xdp) {
        ctx->xdp.ingress_ifindex = job->ifindex;
        ctx->xdp.rx_queue_index = 0;
        return 0;
    }
    skb_fill(&ctx->skb, data, r->captured, r->link_type);
    ctx->skb.ifindex = ctx->skb.ingress_ifindex = job->ifindex;
    ctx->skb.tstamp = r->time_ns;
    if (job->prog_type == PROG_SOCKET_FILTER) {
        ctx->skb.len = r->original; /* a socket sees packets whole, the capture may have cut them */
        return 0;
    }
    if (sees_link_header(job->prog_type) || r->captured < link)
        return 0;
    run->data = run->data_meta = data + link;
    run->net = 0;
    run->link = (u32)link;
    ctx->skb.len -= (u32)link;
    return link;
}

/* Write a packet that passed. */
static INLINE void pass(struct skep_run *run, const struct skep_job *job, const struct skep_record *r, u64 link, u32 verdict,
                        const struct __sk_buff *skb)
{
    const u8 *start = run->data - link;
    u64 length = (u64)(run->data_end - start);
    if (job->prog_type == PROG_SOCKET_FILTER && verdict < length)
        length = verdict;
    emit(job->output, job->capture, r, start, length, skb);
}

/* The loop. `xdp` and `inplace` are constants in each instance below. */
static INLINE s64 run_capture(struct skep_run *state, struct skep_job *job, int xdp, int inplace)
{
    struct skep_run local = *state, *run = &local; /* a copy that LLVM can keep in registers */
    struct skep_capture *c = job->capture;
    struct skep_output *out = job->output;
    union packet_context ctx;
    struct skep_record r;
    s64 status;
    memset(&ctx, 0, sizeof(ctx));
    run->ctx = &ctx;
    run->prog_type = job->prog_type;
    for (;;) {
        if (unlikely(output_full(out))) {
            status = 2; /* the caller writes the output and comes again */
            break;
        }
        status = capture_next(c, &r);
        if (unlikely(status <= 0))
            break;
        /* Socket filters see bytes of any link type; a filter is made for one. */
        int is_filter = job->prog_type == PROG_SOCKET_FILTER;
        if (unlikely(r.link_type != LINK_ETHERNET && !link_is_ip(r.link_type) && !is_filter)) {
            status = capture_fail(c, CAPTURE_BAD_LINK, c->position, r.link_type);
            break;
        }
        if (unlikely((out->buffer || is_filter) && r.link_type != c->link_type)) {
            status = capture_fail(c, CAPTURE_MIXED_LINKS, c->position, r.link_type);
            break;
        }
        u64 link = packet_place(run, job, &r, &ctx, xdp, inplace);
        u32 verdict = (u32)skep_program(run, &ctx);
        if (judge(job, verdict)) {
            if (out->buffer)
                pass(run, job, &r, link, verdict, xdp ? NULL : &ctx.skb);
            if (unlikely(++job->passed == job->limit)) {
                status = 3;
                break;
            }
        }
    }
    state->random = run->random;
    return status;
}

NOINLINE s64 skep_loop_xdp(struct skep_run *run, struct skep_job *job) { return run_capture(run, job, 1, 0); }
NOINLINE s64 skep_loop_xdp_inplace(struct skep_run *run, struct skep_job *job) { return run_capture(run, job, 1, 1); }
NOINLINE s64 skep_loop_skb(struct skep_run *run, struct skep_job *job) { return run_capture(run, job, 0, 0); }
NOINLINE s64 skep_loop_skb_inplace(struct skep_run *run, struct skep_job *job) { return run_capture(run, job, 0, 1); }

/* ---- one input ---- */
struct skep_test {
    u8 *work; /* the caller put nothing in it */
    u64 work_size;
    const u8 *data;
    u64 length;
    u8 *ctx; /* in and out; NULL: none given. Size of the program type's context */
    u32 has_ctx;
    u32 repeat;
    u32 retval;
    u32 reserved;
    u64 duration_ns; /* of one run, on average */
    u64 out_at;      /* where the packet is in `work` afterwards */
    u64 out_length;
};

static INLINE u64 monotonic_ns(void)
{
    struct timespec64 now;
    clock_gettime(1, &now);
    return (u64)now.seconds * 1000000000ull + (u64)now.nanoseconds;
}

static INLINE void repeat_program(struct skep_run *run, struct skep_test *test, void *ctx)
{
    u32 n = test->repeat ? test->repeat : 1, retval = 0;
    u64 start = monotonic_ns();
    for (u32 i = 0; i < n; i++) {
        run->tail_calls = 0;
        __asm__ volatile("" : : "r"(run), "r"(ctx) : "memory"); /* every turn does all the work, or it measures nothing */
        retval = (u32)skep_program(run, ctx);
    }
    test->duration_ns = (monotonic_ns() - start) / n;
    test->retval = retval;
}

/* Programs without a packet: the context is what the caller gives. */
NOINLINE s64 skep_test_context(struct skep_run *run, struct skep_test *test)
{
    run->ctx = test->ctx;
    run->data = run->data_end = run->data_meta = run->hard_start = run->hard_end = NULL;
    run->now_ns = 0;
    repeat_program(run, test, test->ctx);
    return 0;
}

/* bpf_prog_test_run_xdp(): with a context, data_in starts with metadata, and ctx->data says how much. */
static INLINE s64 test_xdp_bounds(struct skep_run *run, struct skep_test *test, struct xdp_md *ctx)
{
    u64 meta = 0;
    if (test->has_ctx) {
        memcpy(ctx, test->ctx, sizeof(*ctx));
        meta = ctx->data;
        if (ctx->data_end != test->length || ctx->data_meta || meta > test->length || meta > XDP_HEADROOM - XDP_FRAME_SIZE ||
            meta % 4 || meta > 255)
            return -EINVAL;
    }
    if (test->length - meta < ETH_HLEN)
        return -EINVAL;
    run->hard_start = test->work;
    run->data_meta = test->work + XDP_HEADROOM - meta;
    run->data = test->work + XDP_HEADROOM;
    run->data_end = run->data_meta + test->length;
    run->hard_end = test->work + round_up(XDP_HEADROOM + test->length - meta + XDP_TAILROOM, 4096) - XDP_TAILROOM;
    memcpy(run->data_meta, test->data, test->length);
    return 0;
}

static INLINE s64 test_skb_bounds(struct skep_run *run, struct skep_test *test, struct __sk_buff *ctx)
{
    if (test->length < ETH_HLEN)
        return -EINVAL;
    u8 *start = test->work + SKB_HEADROOM;
    memcpy(start, test->data, test->length);
    skb_fill(ctx, start, test->length, LINK_ETHERNET);
    if (test->length - ETH_HLEN < (ctx->family == 2 ? 20u : ctx->family == 10 ? 40u : 0u))
        return -EINVAL; /* shorter than its IP header (Linux 6.18) */
    ctx->ifindex = 1;
    ctx->wire_len = 0;
    /* The device is the loopback: its address and its broadcast address are all zero. */
    static const u8 zero[6];
    ctx->pkt_type = memcmp(start, zero, 6) == 0 ? 0 : start[0] & 1 ? 2 : 3;
    if (test->has_ctx) {
        struct __sk_buff given;
        memcpy(&given, test->ctx, sizeof(given));
        ctx->mark = given.mark;
        ctx->priority = given.priority;
        ctx->ingress_ifindex = given.ingress_ifindex;
        ctx->ifindex = given.ifindex ? given.ifindex : 1;
        memcpy(ctx->cb, given.cb, sizeof(given.cb));
        ctx->tstamp = given.tstamp;
        ctx->wire_len = given.wire_len ? given.wire_len : ctx->len;
        ctx->gso_segs = given.gso_segs;
        ctx->gso_size = given.gso_size;
        ctx->hwtstamp = given.hwtstamp;
    }
    u64 link = sees_link_header(run->prog_type) ? 0 : ETH_HLEN;
    run->hard_start = test->work + 16; /* room for the link header that is given back */
    run->hard_end = test->work + test->work_size;
    run->data = run->data_meta = start + link;
    run->data_end = start + test->length;
    run->net = link ? 0 : ETH_HLEN;
    run->link = (u32)link;
    ctx->len = (u32)packet_length(run);
    return 0;
}

/* Programs with a packet. Returns 0 or -EINVAL (the kernel's rules for data and context). */
NOINLINE s64 skep_test_packet(struct skep_run *run, struct skep_test *test)
{
    union {
        struct xdp_md xdp;
        struct __sk_buff skb;
    } ctx;
    memset(&ctx, 0, sizeof(ctx));
    u64 room = SKB_HEADROOM + 4096 + XDP_TAILROOM;
    if (test->length > test->work_size || test->work_size - test->length < room)
        return -EINVAL;
    int xdp = is_xdp(run);
    s64 error = xdp ? test_xdp_bounds(run, test, &ctx.xdp) : test_skb_bounds(run, test, &ctx.skb);
    if (error)
        return error;
    u32 given_ifindex = ctx.xdp.ingress_ifindex;
    if (xdp && !given_ifindex)
        ctx.xdp.ingress_ifindex = 1; /* the loopback's, as for socket buffers; it is not given back */
    run->ctx = &ctx;
    run->now_ns = 0;
    run->hash_is_set = 0;
    repeat_program(run, test, &ctx);
    u8 *start = xdp ? run->data_meta : run->data;
    if (!xdp && run->link) { /* the kernel gives a link header back, of zeros */
        start -= ETH_HLEN;
        memset(start, 0, ETH_HLEN);
    }
    test->out_at = (u64)(start - test->work);
    test->out_length = (u64)(run->data_end - start);
    if (xdp) {
        ctx.xdp.data = (u32)(run->data - run->data_meta);
        ctx.xdp.data_end = (u32)(run->data_end - run->data_meta);
        ctx.xdp.data_meta = 0;
        ctx.xdp.ingress_ifindex = given_ifindex;
    }
    if (test->ctx)
        memcpy(test->ctx, &ctx, xdp ? sizeof(ctx.xdp) : sizeof(ctx.skb));
    run->ctx = NULL;
    return 0;
}

/* Sizes that Python must know, so that no layout is written down twice. */
NOINLINE u64 skep_sizeof_run(void) { return sizeof(struct skep_run); }

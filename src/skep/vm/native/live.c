/* Loops over live packets: blocks of a packet socket's ring (TPACKET_V3), frames of a TAP device, frames of an AF_XDP socket.
 *
 * A loop ends when nothing is ready, when the caller must do something (write output, open a device), or after `budget`
 * packets, so that the caller can look for a new program. Its place is kept: the next call goes on with the next packet.
 * Layouts: uapi linux/if_packet.h, linux/if_xdp.h, linux/virtio_net.h.
 */
enum live_kind { LIVE_RING = 1, LIVE_TAP = 2, LIVE_XSK = 3 };
enum live_status { LIVE_EMPTY = 0, LIVE_AGAIN = 1, LIVE_FLUSH = 2, LIVE_ENOUGH = 3, LIVE_SENDER = 4, LIVE_FAILED = -1 };
enum live_direction { LIVE_BOTH = 0, LIVE_IN = 1, LIVE_OUT = 2 };
enum sender_kind { SEND_NOT = 0, SEND_PACKET = 1, SEND_TAP = 2 };

#define BLOCK_STATUS 8 /* struct tpacket_block_desc */
#define BLOCK_PACKETS 12
#define BLOCK_FIRST 16
#define PACKET3_ADDRESS 48 /* struct tpacket3_hdr, then struct sockaddr_ll */
#define PACKET3_MAC 68     /* the earliest place of a packet */
#define TP_STATUS_VLAN_VALID 0x10
#define TP_STATUS_VLAN_TPID_VALID 0x40
#define PACKET_OUTGOING 4
#define VNET_SIZE 10
#define VNET_NEEDS_CSUM 1
#define SENDER_BATCH 64
#define XDP_CALLED_TX 3
#define MSG_DONTWAIT 0x40

extern long read(int fd, void *to, usize size);
extern long write(int fd, const void *from, usize size);
extern int sendmmsg(int fd, void *messages, unsigned int n, int flags);

/* struct virtio_net_hdr: what the kernel still has to do (checksum, segments) when the packet goes on. */
struct skep_vnet {
    u8 flags, gso_type;
    u16 header_length, gso_size, csum_start, csum_offset;
};

struct skep_message { /* struct mmsghdr */
    void *name;
    u32 name_length, pad0;
    struct iovec *pieces;
    usize n_pieces;
    void *control;
    usize control_length;
    int flags, pad1;
    u32 sent, pad2;
};

/* Packets on their way out by one device, sent many at a time. */
struct skep_sender {
    int fd;
    u32 ifindex;
    u32 kind;
    u32 queued;
    u8 *buffer;
    u64 length, capacity;
    u64 sent, failed;
    struct skep_message messages[SENDER_BATCH];
    struct iovec pieces[SENDER_BATCH];
};

struct skep_xsk {
    u32 *rx_producer, *rx_consumer, *fill_producer;
    u8 *rx;    /* struct xdp_desc[] */
    u64 *fill; /* addresses */
    u8 *umem;
    u32 rx_mask, fill_mask;
    u64 chunk; /* bytes of a frame, power of two */
    u64 held;  /* address of the frame in use, + 1 */
};

struct skep_live {
    struct skep_job *job;
    u32 kind;
    u32 direction;
    u32 link_type;
    u32 budget;
    u8 *ring;
    u32 block_size, n_blocks;
    u32 block, left; /* the block that is read, and packets left in it */
    u32 open;        /* it is ours */
    int fd;
    u8 *next;
    u8 *frame; /* where a TAP's frame is read to */
    u64 frame_size;
    struct skep_xsk xsk;
    u32 vnet; /* a virtio_net_hdr comes with each packet */
    u32 transmit;
    s64 *tickets; /* packets that all loops together may still take; NULL: no limit */
    u32 count_passed;
    u32 n_senders;
    struct skep_sender **senders; /* by ifindex */
    struct skep_sender *forward;  /* where passing packets go, or NULL */
    u32 wanted_ifindex;           /* LIVE_SENDER: the device to open */
    int error;
    u8 *pending; /* a packet that waits for its sender */
    u64 pending_length;
    struct skep_vnet pending_vnet;
    u16 pad[3];
    struct __sk_buff pending_skb; /* its VLAN tag */
    u64 packets, bytes;
    u64 not_sent; /* there was no device to send by */
};

struct live_packet {
    struct skep_vnet vnet;
    u32 type; /* PACKET_HOST, _BROADCAST, _MULTICAST, _OTHERHOST, _OUTGOING; ~0: not known */
};

/* ---- sending ---- */
static NOINLINE void sender_flush(struct skep_sender *s)
{
    u32 done = 0;
    while (done < s->queued && s->kind == SEND_PACKET) {
        int n = sendmmsg(s->fd, &s->messages[done], s->queued - done, MSG_DONTWAIT);
        if (n > 0) {
            s->sent += (u32)n;
            done += (u32)n;
        } else if (*__errno_location() != 4) { /* EINTR */
            s->failed++; /* too long, device down, no room: this one is not sent */
            done++;
        }
    }
    for (; done < s->queued; done++) {
        struct iovec *piece = &s->pieces[done];
        if (write(s->fd, piece->base, piece->length) == (long)piece->length)
            s->sent++;
        else
            s->failed++;
    }
    s->queued = 0;
    s->length = 0;
}

static NOINLINE void sender_queue(struct skep_sender *s, const struct skep_vnet *vnet, const u8 *data, u64 length,
                                  const struct __sk_buff *skb)
{
    if (s->kind == SEND_NOT || length + 4 + VNET_SIZE > s->capacity) {
        s->failed++;
        return;
    }
    if (s->queued == SENDER_BATCH || s->capacity - s->length < length + 4 + VNET_SIZE)
        sender_flush(s);
    u8 *to = s->buffer + s->length;
    memcpy(to, vnet, VNET_SIZE);
    u64 size = VNET_SIZE + frame_copy(to + VNET_SIZE, data, length, skb);
    struct iovec *piece = &s->pieces[s->queued];
    struct skep_message *m = &s->messages[s->queued];
    piece->base = to;
    piece->length = size;
    memset(m, 0, sizeof(*m));
    m->pieces = piece;
    m->n_pieces = 1;
    s->length += size;
    s->queued++;
}

static NOINLINE void live_flush(struct skep_live *live)
{
    for (u32 i = 0; i < live->n_senders; i++)
        if (live->senders[i]->queued)
            sender_flush(live->senders[i]);
    if (live->forward && live->forward->queued)
        sender_flush(live->forward);
}

/* The device's queue. 0: the caller must open it first; the packet waits in `pending`. */
static NOINLINE int live_send(struct skep_live *live, u32 ifindex, const struct skep_vnet *vnet, const u8 *data, u64 length,
                              const struct __sk_buff *skb)
{
    for (u32 i = 0; i < live->n_senders; i++) {
        if (live->senders[i]->ifindex == ifindex) {
            sender_queue(live->senders[i], vnet, data, length, skb);
            return 1;
        }
    }
    live->wanted_ifindex = ifindex;
    live->pending = (u8 *)data;
    live->pending_length = length;
    live->pending_vnet = *vnet;
    if (skb)
        live->pending_skb = *skb;
    else
        memset(&live->pending_skb, 0, sizeof(live->pending_skb));
    return 0;
}

/* The packet's start moved (headers added or taken away): the kernel's offsets are from the start. */
static INLINE void vnet_move(struct skep_vnet *vnet, s64 by)
{
    if (!(vnet->flags & VNET_NEEDS_CSUM) || !by)
        return;
    vnet->csum_start = (u16)(vnet->csum_start + by);
    if (vnet->gso_type)
        vnet->header_length = (u16)(vnet->header_length + by);
}

/* ---- receiving ---- */
static INLINE u32 peek32(const u8 *p)
{
    u32 value;
    memcpy(&value, p, 4);
    return value;
}

static INLINE u16 peek16(const u8 *p)
{
    u16 value;
    memcpy(&value, p, 2);
    return value;
}

/* The next packet of the ring. The kernel took a VLAN tag out of the packet: it is put back in front of the type, where the
 * wire had it; the bytes before the packet are free for that (PACKET3_MAC + 4 <= tp_mac: the header area is aligned). */
static INLINE s64 ring_next(struct skep_live *live, struct skep_record *r, struct live_packet *packet)
{
    for (;;) {
        u8 *block = live->ring + (u64)live->block * live->block_size;
        if (!live->left) {
            if (live->open) {
                store_release((u32 *)(block + BLOCK_STATUS), 0);
                live->open = 0;
                live->block = live->block + 1 == live->n_blocks ? 0 : live->block + 1;
                continue;
            }
            if (!(load_acquire((u32 *)(block + BLOCK_STATUS)) & 1))
                return 0;
            live->left = peek32(block + BLOCK_PACKETS);
            live->next = block + peek32(block + BLOCK_FIRST);
            live->open = 1;
            continue;
        }
        u8 *h = live->next;
        live->left--;
        live->next = h + peek32(h);
        __builtin_prefetch(live->next);
        packet->type = h[PACKET3_ADDRESS + 10];
        int outgoing = packet->type == PACKET_OUTGOING;
        if (live->direction != LIVE_BOTH && outgoing != (live->direction == LIVE_OUT))
            continue;
        u32 status = peek32(h + 20), mac = peek16(h + 24);
        r->time_ns = peek32(h + 4) * 1000000000ull + peek32(h + 8);
        r->captured = peek32(h + 12);
        r->original = peek32(h + 16);
        r->data = h + mac;
        if (live->vnet)
            memcpy(&packet->vnet, r->data - VNET_SIZE, VNET_SIZE);
        if (unlikely(status & TP_STATUS_VLAN_VALID) && mac >= PACKET3_MAC + 4 && r->captured >= 12) {
            u16 tpid = status & TP_STATUS_VLAN_TPID_VALID ? peek16(h + 36) : 0x8100;
            u16 tag[2] = {__builtin_bswap16(tpid), __builtin_bswap16((u16)peek32(h + 32))};
            r->data -= 4;
            memmove(r->data, r->data + 4, 12);
            memcpy(r->data + 12, tag, 4);
            r->captured += 4;
            r->original += 4;
            vnet_move(&packet->vnet, 4);
        }
        return 1;
    }
}

static INLINE u64 wall_ns(void)
{
    struct timespec64 now;
    clock_gettime(0, &now);
    return (u64)now.seconds * 1000000000ull + (u64)now.nanoseconds;
}

static INLINE s64 tap_next(struct skep_live *live, struct skep_record *r, struct live_packet *packet)
{
    long n = read(live->fd, live->frame, live->frame_size);
    if (n < VNET_SIZE) {
        int error = n < 0 ? *__errno_location() : 0;
        if (!error || error == EAGAIN || error == 4)
            return 0;
        live->error = error;
        return -1;
    }
    memcpy(&packet->vnet, live->frame, VNET_SIZE);
    packet->type = ~0u;
    r->data = live->frame + VNET_SIZE;
    r->captured = r->original = (u32)(n - VNET_SIZE);
    r->time_ns = wall_ns();
    return 1;
}

/* The frame of the packet before goes back to the kernel; then the next one. */
static INLINE s64 xsk_next(struct skep_live *live, struct skep_record *r, struct live_packet *packet)
{
    struct skep_xsk *x = &live->xsk;
    if (x->held) {
        u32 at = *x->fill_producer;
        x->fill[at & x->fill_mask] = (x->held - 1) & ~(x->chunk - 1);
        store_release(x->fill_producer, at + 1);
        x->held = 0;
    }
    u32 at = *x->rx_consumer;
    if (load_acquire(x->rx_producer) == at)
        return 0;
    u8 *descriptor = x->rx + (u64)(at & x->rx_mask) * 16;
    u64 address;
    memcpy(&address, descriptor, 8);
    r->data = x->umem + address;
    r->captured = r->original = peek32(descriptor + 8);
    r->time_ns = wall_ns();
    store_release(x->rx_consumer, at + 1);
    x->held = address + 1;
    packet->type = ~0u;
    return 1;
}

static INLINE s64 live_next(struct skep_live *live, struct skep_record *r, struct live_packet *packet)
{
    memset(&packet->vnet, 0, sizeof(packet->vnet));
    s64 status = live->kind == LIVE_RING ? ring_next(live, r, packet)
                 : live->kind == LIVE_TAP ? tap_next(live, r, packet)
                                          : xsk_next(live, r, packet);
    r->link_type = live->link_type;
    r->interface = 0;
    return status;
}

/* ---- the loop ---- */

/* What the verdict asks for. 0: a device must be opened first. */
static INLINE int live_act(struct skep_run *run, struct skep_live *live, struct live_packet *packet, const u8 *origin,
                           u32 verdict, int passes, const struct __sk_buff *skb)
{
    int redirect = skb ? sees_link_header(live->job->prog_type) && verdict == TC_ACT_REDIRECT : verdict == XDP_REDIRECT;
    int reflect = !skb && verdict == XDP_CALLED_TX;
    if (likely(!(passes && live->forward) && !(live->transmit && (redirect || reflect))))
        return 1;
    const u8 *start = run->data - run->link;
    u64 length = (u64)(run->data_end - start);
    vnet_move(&packet->vnet, origin - start + (skb && skb->vlan_present ? 4 : 0));
    if (!redirect && !reflect) {
        sender_queue(live->forward, &packet->vnet, start, length, skb);
        return 1;
    }
    u32 to = reflect ? live->job->ifindex : run->redirect_ifindex;
    if (!to || (redirect && skb && run->redirect_flags & 1)) { /* broadcast; BPF_F_INGRESS: only inside a kernel */
        live->not_sent++;
        return 1;
    }
    return live_send(live, to, &packet->vnet, start, length, skb);
}

/* Take a ticket: 0, another loop took the last one. */
static INLINE int live_ticket(struct skep_live *live)
{
    return !live->tickets || __atomic_fetch_sub(live->tickets, 1, __ATOMIC_RELAXED) > 0;
}

static INLINE s64 run_live(struct skep_run *state, struct skep_live *live, int xdp, int inplace)
{
    struct skep_run local = *state, *run = &local;
    struct skep_job *job = live->job;
    struct skep_output *out = job->output;
    union packet_context ctx;
    struct live_packet packet;
    struct skep_record r;
    s64 status;
    memset(&ctx, 0, sizeof(ctx));
    run->ctx = &ctx;
    run->prog_type = job->prog_type;
    const struct __sk_buff *skb = xdp ? NULL : &ctx.skb;
    if (live->pending) {
        u8 *waiting = live->pending;
        struct __sk_buff tag = live->pending_skb;
        struct skep_vnet vnet = live->pending_vnet;
        if (!live_send(live, live->wanted_ifindex, &vnet, waiting, live->pending_length, &tag))
            live->not_sent++;
        live->pending = NULL;
    }
    for (u32 done = 0;; done++) {
        if (unlikely(output_full(out))) {
            status = LIVE_FLUSH;
            break;
        }
        if (unlikely(live->tickets && load(live->tickets) <= 0)) {
            status = LIVE_ENOUGH;
            break;
        }
        if (unlikely(done >= live->budget)) {
            status = LIVE_AGAIN;
            break;
        }
        status = live_next(live, &r, &packet);
        if (unlikely(status <= 0))
            break;
        if (unlikely(!live->count_passed && !live_ticket(live)))
            continue;
        live->packets++;
        live->bytes += r.captured;
        u64 link = packet_place(run, job, &r, &ctx, xdp, inplace);
        const u8 *origin = run->data - link;
        if (!xdp && packet.type <= PACKET_OUTGOING)
            ctx.skb.pkt_type = packet.type;
        run->redirect_ifindex = run->redirect_flags = 0;
        u32 verdict = (u32)skep_program(run, &ctx);
        int passes = judge(job, verdict);
        if (passes && !(live->count_passed && !live_ticket(live))) {
            job->passed++;
            if (out->buffer)
                pass(run, job, &r, link, verdict, skb);
        }
        if (unlikely(!live_act(run, live, &packet, origin, verdict, passes, skb))) {
            status = LIVE_SENDER;
            break;
        }
    }
    live_flush(live);
    state->random = run->random;
    return status;
}

NOINLINE s64 skep_live_xdp(struct skep_run *run, struct skep_live *live) { return run_live(run, live, 1, 0); }
NOINLINE s64 skep_live_xdp_inplace(struct skep_run *run, struct skep_live *live) { return run_live(run, live, 1, 1); }
NOINLINE s64 skep_live_skb(struct skep_run *run, struct skep_live *live) { return run_live(run, live, 0, 0); }
NOINLINE s64 skep_live_skb_inplace(struct skep_run *run, struct skep_live *live) { return run_live(run, live, 0, 1); }

NOINLINE u64 skep_sizeof_live(void) { return sizeof(struct skep_live); }
NOINLINE u64 skep_sizeof_sender(void) { return sizeof(struct skep_sender); }

/* Sending: packets are queued per device and handed to the kernel many at a time. */
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

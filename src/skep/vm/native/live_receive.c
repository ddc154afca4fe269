/* Receiving: the next packet of a packet socket's ring, a TAP device, or an AF_XDP socket. */
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

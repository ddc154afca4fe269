/* ringbuf (kernel/bpf/ringbuf.c): the record headers and the positions are the kernel's, so a consumer of the kernel's
 * memory layout can read it. perf_event_array and the trace are rings too, without reservations.
 *
 * The data pages are mapped twice, one after the other, so that every record is contiguous.
 */
#define RING_BUSY 0x80000000u
#define RING_DISCARD 0x40000000u
#define RING_HEADER 8

static INLINE u8 *ring_reserve(struct skep_run *run, struct skep_map *map, u64 size)
{
    if (unlikely(size > 0xffffffffu / 4))
        return NULL;
    u64 length = round_up(size + RING_HEADER, 8), mask = map->ring_size - 1;
    u64 *consumer = (u64 *)at(map, map->consumer), *producer = (u64 *)at(map, map->producer);
    if (unlikely(length > map->ring_size))
        return NULL;
    u64 taken = load_acquire(consumer);
    lock_take(&map->lock, run);
    u64 start = load(producer);
    if (unlikely(start + length - taken > mask)) {
        lock_give(&map->lock);
        return NULL;
    }
    u8 *record = at(map, map->values) + (start & mask);
    u32 page = (u32)((u64)(record - (u8 *)map) >> 12);
    store((u32 *)record, (u32)size | RING_BUSY);
    store((u32 *)(record + 4), page);
    store_release(producer, start + length);
    lock_give(&map->lock);
    return record + RING_HEADER;
}

static INLINE void ring_commit(u8 *sample, u32 mark)
{
    u32 *header = (u32 *)(sample - RING_HEADER);
    __atomic_exchange_n(header, (load(header) ^ RING_BUSY) | mark, __ATOMIC_SEQ_CST);
}

NOINLINE u8 *skep_ringbuf_reserve(struct skep_run *run, struct skep_map *map, u64 size, u64 flags)
{
    return flags ? NULL : ring_reserve(run, map, size);
}

INLINE void skep_ringbuf_submit(u8 *sample, u64 flags) { ring_commit(sample, 0); }

INLINE void skep_ringbuf_discard(u8 *sample, u64 flags) { ring_commit(sample, RING_DISCARD); }

/* One record made of one or two pieces. */
static s64 ring_output(struct skep_run *run, struct skep_map *map, const void *data, u64 size, const void *more, u64 more_size)
{
    u8 *sample = ring_reserve(run, map, size + more_size);
    if (!sample)
        return -EAGAIN;
    memcpy(sample, data, size);
    memcpy(sample + size, more, more_size);
    ring_commit(sample, 0);
    return 0;
}

NOINLINE s64 skep_ringbuf_output(struct skep_run *run, struct skep_map *map, const void *data, u64 size, u64 flags)
{
    if (flags & ~3ull) /* BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP: nobody sleeps here */
        return -EINVAL;
    return ring_output(run, map, data, size, NULL, 0);
}

NOINLINE u64 skep_ringbuf_query(struct skep_map *map, u64 what)
{
    u64 consumer = load_acquire((u64 *)at(map, map->consumer)), producer = load_acquire((u64 *)at(map, map->producer));
    u64 answers[4] = {producer - consumer, map->ring_size, consumer, producer};
    return what < 4 ? answers[what] : 0;
}

/* bpf_perf_event_output(): every index below max_entries has a buffer; all share one ring, so order is kept.
 * Bits 32..51 of the flags: bytes of the packet to append. */
NOINLINE s64 skep_perf_event_output(struct skep_run *run, struct skep_map *map, u64 flags, const void *data, u64 size)
{
    u64 index = flags & 0xffffffffu, packet = flags >> 32 & 0xfffff;
    if (flags & ~0xfffffffffffffull)
        return -EINVAL;
    if (index == 0xffffffffu)
        index = run->cpu;
    if (index >= map->max_entries)
        return -E2BIG;
    if (packet && (!run->data || packet > (u64)(run->data_end - run->data)))
        return -EFAULT;
    s64 error = ring_output(run, map, data, size, run->data, packet);
    if (error)
        __atomic_fetch_add(&map->lost, 1, __ATOMIC_RELAXED);
    return error ? -ENOSPC : 0;
}

/* Consumer: copy ready records to `out`, each as u32 length and the bytes; returns bytes written. `*needed` is set to what
 * the next record needs if it does not fit into an empty `out`. Discarded records are skipped. */
NOINLINE u64 skep_ring_take(struct skep_map *map, u8 *out, u64 capacity, u64 *needed)
{
    u64 *consumer = (u64 *)at(map, map->consumer), *producer = (u64 *)at(map, map->producer);
    u64 position = load_acquire(consumer), written = 0, mask = map->ring_size - 1;
    *needed = 0;
    for (;;) {
        u64 ready = load_acquire(producer) - position;
        if (!ready || ready > map->ring_size) /* nothing; or nonsense in a ring shared with another process */
            break;
        u8 *record = at(map, map->values) + (position & mask);
        u32 header = load_acquire((u32 *)record), size = header & ~(RING_BUSY | RING_DISCARD);
        if (header & RING_BUSY)
            break;
        if (round_up(size + RING_HEADER, 8) > map->ring_size)
            break; /* nonsense again: stop rather than read outside */
        if (!(header & RING_DISCARD)) {
            if (written + 4 + size > capacity) {
                if (!written)
                    *needed = 4 + (u64)size;
                break;
            }
            memcpy(out + written, &size, 4);
            memcpy(out + written + 4, record + RING_HEADER, size);
            written += 4 + size;
        }
        position += round_up((u64)size + RING_HEADER, 8);
        store_release(consumer, position);
    }
    return written;
}

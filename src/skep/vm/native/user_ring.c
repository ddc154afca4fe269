/* user_ringbuf (kernel/bpf/ringbuf.c): user space writes, programs read. The layout is a ring's. The map's lock is held
 * by who drains, `tail` by who submits.
 */
#define MAX_USER_SAMPLES (128 * 1024) /* BPF_MAX_USER_RINGBUF_SAMPLES */

/* The next record: its header's length in *size; negative: why there is none, -EAGAIN: it was discarded. The positions and
 * the lengths may be anything if another process writes them: a record lies inside what it is said to lie in, or is none. */
static s64 user_ring_peek(struct skep_map *map, u8 **sample, u32 *size)
{
    u64 *consumer = (u64 *)at(map, map->consumer), ready = load_acquire((u64 *)at(map, map->producer));
    u64 position = load_acquire(consumer), mask = map->ring_size - 1;
    if (ready % 8)
        return -EINVAL;
    if (position >= ready)
        return -ENODATA;
    u8 *record = at(map, map->values) + (position & mask & ~7ull);
    u32 header = load_acquire((u32 *)record), length = header & ~(RING_BUSY | RING_DISCARD);
    u64 total = round_up((u64)length + RING_HEADER, 8);
    if (total > ready - position)
        return -EINVAL;
    if (total > map->ring_size || length > DYNPTR_MAX_SIZE)
        return -E2BIG;
    if (header & RING_DISCARD) {
        store_release(consumer, position + total);
        return -EAGAIN;
    }
    if (header & RING_BUSY)
        return -ENODATA;
    *sample = record + RING_HEADER;
    *size = length;
    return 0;
}

/* bpf_user_ringbuf_drain(): the callback gets a dynptr of each record. */
NOINLINE s64 skep_user_ringbuf_drain(
    struct skep_run *run, struct skep_map *map, skep_callback_fn callback, u64 callback_ctx, u64 flags
)
{
    if (flags & ~3ull) /* BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP: who waits looks again */
        return -EINVAL;
    if (!lock_try(&map->lock, run))
        return -EBUSY;
    s64 seen = 0, discarded = 0, result = 0;
    for (; seen < MAX_USER_SAMPLES && !result; seen++) {
        struct dynptr ptr;
        u8 *sample = NULL;
        u32 size = 0;
        s64 error = user_ring_peek(map, &sample, &size);
        if (error == -ENODATA)
            break;
        if (error == -EAGAIN) {
            discarded++;
            continue;
        }
        if (error) {
            lock_give(&map->lock);
            return error;
        }
        dynptr_init(&ptr, sample, size, 0);
        result = callback(run, (u64)&ptr, callback_ctx, 0, 0, 0);
        u64 *consumer = (u64 *)at(map, map->consumer);
        store_release(consumer, load(consumer) + round_up((u64)size + RING_HEADER, 8));
    }
    lock_give(&map->lock);
    return seen - discarded;
}

/* Writer: leave a record. -E2BIG: it never fits; -ENOSPC: there is no room now. */
NOINLINE s64 skep_user_ring_submit(struct skep_run *run, struct skep_map *map, const u8 *data, u64 size)
{
    u64 total = round_up(size + RING_HEADER, 8), mask = map->ring_size - 1;
    if (size > DYNPTR_MAX_SIZE || total > map->ring_size)
        return -E2BIG;
    u64 *producer = (u64 *)at(map, map->producer);
    lock_take(&map->tail, run);
    u64 position = load(producer), taken = position - load_acquire((u64 *)at(map, map->consumer));
    s64 result = -ENOSPC;
    if (taken <= map->ring_size && total <= map->ring_size - taken) {
        u8 *record = at(map, map->values) + (position & mask & ~7ull);
        u32 length = (u32)size;
        memcpy(record, &length, 4);
        memset(record + 4, 0, 4);
        memcpy(record + RING_HEADER, data, size);
        store_release(producer, position + total);
        result = 0;
    }
    lock_give(&map->tail);
    return result;
}

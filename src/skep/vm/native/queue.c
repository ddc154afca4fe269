/* queue, stack (kernel/bpf/queue_stack_maps.c), bloom_filter (kernel/bpf/bloom_filter.c). */

static INLINE u8 *queue_slot(struct skep_map *map, u32 index) { return at(map, map->values) + (u64)index * map->value_stride; }

static INLINE u32 queue_next(struct skep_map *map, u32 index) { return index >= map->max_entries ? 0 : index + 1; }

static s64 bloom_push(struct skep_map *map, const void *value, u64 flags)
{
    if (flags != BPF_ANY)
        return -EINVAL;
    u64 *bits = (u64 *)at(map, map->values);
    for (u32 i = 0; i < map->nhashes; i++) {
        u32 bit = hash_bytes(value, map->value_size, map->seed + i) & (map->nbuckets - 1);
        __atomic_fetch_or(&bits[bit / 64], 1ull << bit % 64, __ATOMIC_RELAXED);
    }
    return 0;
}

static s64 bloom_peek(struct skep_map *map, const void *value)
{
    u64 *bits = (u64 *)at(map, map->values);
    for (u32 i = 0; i < map->nhashes; i++) {
        u32 bit = hash_bytes(value, map->value_size, map->seed + i) & (map->nbuckets - 1);
        if (!(load(&bits[bit / 64]) >> bit % 64 & 1))
            return -ENOENT;
    }
    return 0;
}

/* bpf_map_push_elem(): one slot more than max_entries tells full from empty. BPF_EXIST: the oldest makes room. */
NOINLINE s64 skep_map_push(struct skep_run *run, struct skep_map *map, const void *value, u64 flags)
{
    if (map->type == MAP_BLOOM_FILTER)
        return bloom_push(map, value, flags);
    if ((map->type != MAP_QUEUE && map->type != MAP_STACK) || flags & BPF_NOEXIST || flags > BPF_EXIST)
        return -EINVAL;
    s64 result = 0;
    lock_take(&map->lock, run);
    u32 head = map->head % (map->max_entries + 1);
    if (queue_next(map, head) == map->tail) {
        if (flags & BPF_EXIST)
            map->tail = queue_next(map, map->tail);
        else
            result = -E2BIG;
    }
    if (!result) {
        memmove(queue_slot(map, head), value, map->value_size);
        map->head = queue_next(map, head);
    }
    lock_give(&map->lock);
    return result;
}

/* Look at the next value, or take it. An empty map zeroes the buffer, as the kernel does. */
static s64 queue_get(struct skep_run *run, struct skep_map *map, void *value, int take)
{
    if (map->type != MAP_QUEUE && map->type != MAP_STACK)
        return -EINVAL;
    s64 result = 0;
    lock_take(&map->lock, run);
    if (map->head == map->tail) {
        memset(value, 0, map->value_size);
        result = -ENOENT;
    } else if (map->type == MAP_QUEUE) {
        memmove(value, queue_slot(map, map->tail % (map->max_entries + 1)), map->value_size);
        if (take)
            map->tail = queue_next(map, map->tail);
    } else {
        u32 top = map->head == 0 ? map->max_entries : map->head - 1;
        memmove(value, queue_slot(map, top % (map->max_entries + 1)), map->value_size);
        if (take)
            map->head = top;
    }
    lock_give(&map->lock);
    return result;
}

NOINLINE s64 skep_map_pop(struct skep_run *run, struct skep_map *map, void *value) { return queue_get(run, map, value, 1); }

NOINLINE s64 skep_map_peek(struct skep_run *run, struct skep_map *map, void *value)
{
    return map->type == MAP_BLOOM_FILTER ? bloom_peek(map, value) : queue_get(run, map, value, 0);
}

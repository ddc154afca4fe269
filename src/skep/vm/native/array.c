/* array, percpu_array (kernel/bpf/arraymap.c): values in one block, element i at a fixed place. */

/* Helper: array[key]. Values start at a constant distance from the header, so this folds to one compare and one add. */
INLINE u8 *skep_array_lookup(struct skep_map *map, const void *key, u32 value_size, u32 max_entries)
{
    u32 index;
    memcpy(&index, key, 4);
    if (unlikely(index >= KNOWN(max_entries, map, max_entries)))
        return NULL;
    return at(map, SKEP_HEADER) + (u64)index * round_up(KNOWN(value_size, map, value_size), 8);
}

/* The value of one CPU of a percpu_array. */
static INLINE u8 *percpu_array_value(struct skep_map *map, u32 index, u32 cpu, u32 value_size)
{
    return at(map, SKEP_HEADER) + cpu * map->elem_stride + (u64)index * round_up(KNOWN(value_size, map, value_size), 8);
}

INLINE u8 *skep_percpu_array_lookup(struct skep_run *run, struct skep_map *map, const void *key, u32 value_size,
                                    u32 max_entries)
{
    u32 index;
    memcpy(&index, key, 4);
    if (unlikely(index >= KNOWN(max_entries, map, max_entries)))
        return NULL;
    return percpu_array_value(map, index, run->cpu, value_size);
}

/* bpf_map_lookup_percpu_elem() */
INLINE u8 *skep_percpu_array_lookup_cpu(struct skep_map *map, const void *key, u64 cpu, u32 value_size, u32 max_entries)
{
    u32 index;
    memcpy(&index, key, 4);
    if (unlikely(index >= KNOWN(max_entries, map, max_entries) || cpu >= map->ncpus))
        return NULL;
    return percpu_array_value(map, index, (u32)cpu, value_size);
}

/* array_map_update_elem(): the order of the checks is the kernel's. */
static INLINE s64 array_check(const struct skep_map *map, u32 index, u64 flags, u32 max_entries)
{
    if (unlikely((flags & ~(u64)BPF_F_LOCK) > BPF_EXIST))
        return -EINVAL;
    if (unlikely(index >= max_entries))
        return -E2BIG;
    if (unlikely(flags & BPF_NOEXIST))
        return -EEXIST;
    return flags & BPF_F_LOCK && !map->lock_end ? -EINVAL : 0;
}

INLINE s64 skep_array_update(struct skep_run *run, struct skep_map *map, const void *key, const void *value, u64 flags,
                             u32 value_size, u32 max_entries)
{
    u32 index;
    memcpy(&index, key, 4);
    s64 error = array_check(map, index, flags, KNOWN(max_entries, map, max_entries));
    if (unlikely(error))
        return error;
    u32 size = KNOWN(value_size, map, value_size);
    /* A program may pass a pointer into this very value: memmove. */
    value_change(run, map, at(map, SKEP_HEADER) + (u64)index * round_up(size, 8), value, size, flags);
    return 0;
}

INLINE s64 skep_percpu_array_update(struct skep_run *run, struct skep_map *map, const void *key, const void *value, u64 flags,
                                    u32 value_size, u32 max_entries)
{
    u32 index;
    memcpy(&index, key, 4);
    s64 error = array_check(map, index, flags, KNOWN(max_entries, map, max_entries));
    if (unlikely(error))
        return error;
    memmove(percpu_array_value(map, index, run->cpu, value_size), value, KNOWN(value_size, map, value_size));
    return 0;
}

/* Elements of arrays cannot be deleted. */
INLINE s64 skep_array_delete(void) { return -EINVAL; }

/* bpf_for_each_map_elem() */
INLINE s64 skep_array_for_each(struct skep_run *run, struct skep_map *map, skep_callback_fn callback, u64 callback_ctx,
                               u64 flags, u32 value_size, u32 max_entries)
{
    if (flags)
        return -EINVAL;
    u32 n = KNOWN(max_entries, map, max_entries);
    int percpu = map->type == MAP_PERCPU_ARRAY;
    u64 stride = round_up(KNOWN(value_size, map, value_size), 8);
    for (u32 i = 0; i < n; i++) {
        u32 key = i; /* the callback may not change our counter through it */
        u8 *value = percpu ? percpu_array_value(map, i, run->cpu, value_size) : at(map, SKEP_HEADER) + i * stride;
        if (callback(run, (u64)map, (u64)&key, (u64)value, callback_ctx, 0))
            return (s64)i + 1;
    }
    return n;
}

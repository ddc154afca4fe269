/* Maps whatever their type: what programs call where the map is not known when compiling, and what Python calls. */

static INLINE int is_percpu(u32 type)
{
    return type == MAP_PERCPU_HASH || type == MAP_LRU_PERCPU_HASH || type == MAP_PERCPU_ARRAY;
}

static INLINE int is_lru(u32 type) { return type == MAP_LRU_HASH || type == MAP_LRU_PERCPU_HASH; }

static INLINE int is_hash(u32 type)
{
    return type == MAP_HASH || type == MAP_PERCPU_HASH || is_lru(type) || type == MAP_HASH_OF_MAPS || type == MAP_DEVMAP_HASH;
}

static INLINE int is_array(u32 type)
{
    return type == MAP_ARRAY || type == MAP_PERCPU_ARRAY || type == MAP_PROG_ARRAY || type == MAP_ARRAY_OF_MAPS ||
           type == MAP_DEVMAP;
}

NOINLINE u8 *skep_map_lookup(struct skep_run *run, struct skep_map *map, const void *key)
{
    switch (map->type) {
    case MAP_ARRAY: case MAP_DEVMAP: return skep_array_lookup(map, key, 0, 0);
    case MAP_PERCPU_ARRAY: return skep_percpu_array_lookup(run, map, key, 0, 0);
    case MAP_HASH: case MAP_DEVMAP_HASH: return skep_hash_lookup(run, map, key, 0, 0, 0);
    case MAP_LRU_HASH: return skep_lru_hash_lookup(run, map, key, 0, 0, 0);
    case MAP_PERCPU_HASH: return skep_percpu_hash_lookup(run, map, key, 0, 0, 0);
    case MAP_LRU_PERCPU_HASH: return skep_lru_percpu_hash_lookup(run, map, key, 0, 0, 0);
    case MAP_LPM_TRIE: return skep_lpm_lookup(map, key, 0, 0, 0);
    case MAP_ARRAY_OF_MAPS: return (u8 *)skep_array_of_maps_lookup(run, map, key, 0);
    case MAP_HASH_OF_MAPS: return (u8 *)skep_hash_of_maps_lookup(run, map, key, 0, 0);
    }
    return NULL;
}

NOINLINE s64 skep_map_update(struct skep_run *run, struct skep_map *map, const void *key, const void *value, u64 flags)
{
    switch (map->type) {
    case MAP_ARRAY: return skep_array_update(run, map, key, value, flags, 0, 0);
    case MAP_PERCPU_ARRAY: return skep_percpu_array_update(run, map, key, value, flags, 0, 0);
    case MAP_HASH: return skep_hash_update(run, map, key, value, flags, 0, 0, 0);
    case MAP_LRU_HASH: return skep_lru_hash_update(run, map, key, value, flags, 0, 0, 0);
    case MAP_PERCPU_HASH: return skep_percpu_hash_update(run, map, key, value, flags, 0, 0, 0);
    case MAP_LRU_PERCPU_HASH: return skep_lru_percpu_hash_update(run, map, key, value, flags, 0, 0, 0);
    case MAP_LPM_TRIE: return skep_lpm_update(run, map, key, value, flags);
    }
    return -EINVAL;
}

static s64 any_delete(struct skep_run *run, struct skep_map *map, const void *key, u8 *old)
{
    if (map->type == MAP_LPM_TRIE)
        return skep_lpm_delete(run, map, key);
    if (!is_hash(map->type))
        return -EINVAL;
    struct table t = table_of(map, 0, 0, 0, 1);
    return table_delete(run, &t, key, old, is_percpu(map->type));
}

NOINLINE s64 skep_map_delete(struct skep_run *run, struct skep_map *map, const void *key) { return any_delete(run, map, key, NULL); }

NOINLINE u8 *skep_map_lookup_cpu(struct skep_map *map, const void *key, u64 cpu)
{
    if (map->type == MAP_PERCPU_ARRAY)
        return skep_percpu_array_lookup_cpu(map, key, cpu, 0, 0);
    return is_percpu(map->type) ? skep_percpu_hash_lookup_cpu(map, key, cpu, 0, 0, 0) : NULL;
}

NOINLINE s64 skep_map_for_each(struct skep_run *run, struct skep_map *map, skep_callback_fn callback, u64 callback_ctx, u64 flags)
{
    if (map->type == MAP_ARRAY || map->type == MAP_PERCPU_ARRAY)
        return skep_array_for_each(run, map, callback, callback_ctx, flags, 0, 0);
    return is_hash(map->type) ? skep_hash_for_each(run, map, callback, callback_ctx, flags) : -EINVAL;
}

/* ---- what Python calls (bpf(2) commands). Values of per-CPU maps: one per CPU, each padded to 8 bytes. ---- */

/* The values of an array's element, all CPUs, out or in. */
static void array_copy(struct skep_map *map, u32 index, u8 *outside, int in)
{
    int percpu = map->type == MAP_PERCPU_ARRAY;
    for (u32 cpu = 0; cpu < map->ncpus; cpu++) {
        u8 *inside = percpu ? percpu_array_value(map, index, cpu, 0) : at(map, SKEP_HEADER) + (u64)index * map->value_stride;
        u8 *mine = outside + (u64)cpu * map->value_stride;
        value_copy(map, in ? inside : mine, in ? mine : inside, map->value_size);
        if (!in)
            value_unlock(map, mine);
    }
}

/* Copy key and values of a live element while its bucket cannot change. False: it is not there any more. */
static int elem_copy(struct skep_run *run, const struct table *t, struct elem *e, u8 *key, u8 *value)
{
    u32 hash = load(&e->hash);
    u32 *lock = t->map->type == MAP_LPM_TRIE ? &t->map->lock : &t->buckets[hash & t->mask].lock;
    lock_take(lock, run);
    int there = load(&e->live) && load(&e->hash) == hash;
    if (there && key)
        memcpy(key, e->key, t->key_size);
    if (there && value)
        for (u32 cpu = 0; cpu < t->map->ncpus; cpu++) {
            value_copy(t->map, value + (u64)cpu * t->map->value_stride, elem_value(t, e, cpu), t->value_size);
            value_unlock(t->map, value + (u64)cpu * t->map->value_stride);
        }
    lock_give(lock);
    return there;
}

static struct table user_table(struct skep_map *map)
{
    return map->type == MAP_LPM_TRIE ? lpm_table(map, 0, 0, 0) : table_of(map, 0, 0, 0, 1);
}

NOINLINE s64 skep_user_lookup(struct skep_run *run, struct skep_map *map, const void *key, u8 *value)
{
    u32 index;
    if (is_array(map->type)) {
        memcpy(&index, key, 4);
        if (index >= map->max_entries)
            return -ENOENT;
        array_copy(map, index, value, 0);
        return 0;
    }
    if (is_hash(map->type) || map->type == MAP_LPM_TRIE) {
        struct table t = user_table(map);
        for (;;) {
            struct elem *e = map->type == MAP_LPM_TRIE ? lpm_longest(&t, key)
                                                       : hash_find(&t, key, hash_bytes(key, t.key_size, map->seed));
            if (!e)
                return -ENOENT;
            u8 found[512];
            if (t.key_size > sizeof(found) || map->type == MAP_LPM_TRIE) {
                if (elem_copy(run, &t, e, NULL, value))
                    return 0;
            } else if (elem_copy(run, &t, e, found, value) && memcmp(found, key, t.key_size) == 0) {
                return 0;
            }
        }
    }
    return skep_map_peek(run, map, value);
}

NOINLINE s64 skep_user_update(struct skep_run *run, struct skep_map *map, const void *key, const u8 *value, u64 flags)
{
    u32 index;
    if (is_array(map->type)) {
        memcpy(&index, key, 4);
        s64 error = array_check(map, index, flags, map->max_entries);
        if (error)
            return error;
        if (map->value_size == 4 && map->ncpus == 1 && !map->lock_end)
            store_release((u32 *)(at(map, SKEP_HEADER) + (u64)index * map->value_stride), *(const u32 *)value);
        else if (flags & BPF_F_LOCK)
            value_change(run, map, at(map, SKEP_HEADER) + (u64)index * map->value_stride, value, map->value_size, flags);
        else
            array_copy(map, index, (u8 *)value, 1);
        return 0;
    }
    if (is_hash(map->type)) {
        struct table t = table_of(map, 0, 0, 0, 1);
        return table_update(run, &t, key, value, flags, -1, is_percpu(map->type), is_lru(map->type));
    }
    if (map->type == MAP_LPM_TRIE)
        return skep_lpm_update(run, map, key, value, flags);
    return skep_map_push(run, map, value, flags);
}

/* Remove; `old` (may be NULL) gets the value: BPF_MAP_LOOKUP_AND_DELETE_ELEM. Arrays of references are set to 0. */
NOINLINE s64 skep_user_delete(struct skep_run *run, struct skep_map *map, const void *key, u8 *old)
{
    if (map->type == MAP_QUEUE || map->type == MAP_STACK)
        return old ? skep_map_pop(run, map, old) : -EINVAL;
    if (map->type == MAP_PROG_ARRAY || map->type == MAP_ARRAY_OF_MAPS || map->type == MAP_DEVMAP) {
        u8 *value = skep_array_lookup(map, key, 0, 0);
        if (!value)
            return map->type == MAP_DEVMAP ? -EINVAL : -E2BIG;
        u32 before = __atomic_exchange_n((u32 *)value, 0, __ATOMIC_ACQ_REL);
        return before || map->type == MAP_DEVMAP ? 0 : -ENOENT;
    }
    return any_delete(run, map, key, old);
}

/* Copy up to `wanted` items from position *cursor (0: the start) on: `keys` and `values` packed, either may be NULL.
 * Ends whatever others add or remove, because positions only grow. Returns how many. */
NOINLINE u64 skep_user_batch(struct skep_run *run, struct skep_map *map, u32 *cursor, u64 wanted, u8 *keys, u8 *values)
{
    u64 n = 0, value_bytes = (u64)map->value_stride * map->ncpus;
    if (is_array(map->type)) {
        for (; n < wanted && *cursor < map->max_entries; n++, ++*cursor) {
            if (keys)
                memcpy(keys + n * 4, cursor, 4);
            if (values)
                array_copy(map, *cursor, values + n * value_bytes, 0);
        }
        return n;
    }
    if (!is_hash(map->type) && map->type != MAP_LPM_TRIE)
        return 0;
    struct table t = user_table(map);
    for (; n < wanted && *cursor < load_acquire(&map->unused); ++*cursor) {
        struct elem *e = elem_at(&t, *cursor + 1);
        n += load_acquire(&e->live) && elem_copy(run, &t, e, keys ? keys + n * t.key_size : NULL,
                                                 values ? values + n * value_bytes : NULL);
    }
    return n;
}

/* The key after `key` (NULL, or one that is not there: the first): BPF_MAP_GET_NEXT_KEY. */
NOINLINE s64 skep_user_next_key(struct skep_run *run, struct skep_map *map, const void *key, u8 *next)
{
    u32 cursor = 0;
    if (is_array(map->type)) {
        u32 index = 0xffffffffu;
        if (key)
            memcpy(&index, key, 4);
        cursor = index >= map->max_entries ? 0 : index + 1;
    } else if (is_hash(map->type) || map->type == MAP_LPM_TRIE) {
        struct table t = user_table(map);
        u32 length = 0;
        struct elem *e = NULL;
        if (key && map->type == MAP_LPM_TRIE) {
            memcpy(&length, key, 4);
            if (length <= (t.key_size - 4) * 8)
                e = lpm_find(&t, (const u8 *)key + 4, t.key_size - 4, length);
        } else if (key) {
            e = hash_find(&t, key, hash_bytes(key, t.key_size, map->seed));
        }
        cursor = e ? number_of(&t, e) : 0;
    } else {
        return -EINVAL;
    }
    return skep_user_batch(run, map, &cursor, 1, next, NULL) ? 0 : -ENOENT;
}

/* ---- making a map ---- */

/* Fill in the layout of a map whose type, sizes, ncpus, flags are given. Returns bytes of memory, 0: too large. */
NOINLINE u64 skep_map_layout(struct skep_map *map, u64 page, u64 ring_size, u32 nhashes)
{
    u64 n = map->max_entries;
    unsigned __int128 size = SKEP_HEADER;
    map->magic = SKEP_MAGIC;
    map->version = SKEP_VERSION;
    if (!is_percpu(map->type))
        map->ncpus = 1;
    map->value_stride = (u32)round_up(map->value_size, 8);
    map->values = SKEP_HEADER;
    if (is_array(map->type)) {
        map->elem_stride = round_up(n * map->value_stride, 64);
        size += (unsigned __int128)map->elem_stride * map->ncpus;
    } else if (is_hash(map->type) || map->type == MAP_LPM_TRIE) {
        map->buckets = map->type == MAP_LPM_TRIE ? LPM_BUCKETS : SKEP_HEADER;
        map->nbuckets = bucket_count(map->max_entries);
        map->values = map->buckets + round_up((u64)map->nbuckets * sizeof(struct bucket), 64);
        map->elem_stride = sizeof(struct elem) + round_up(map->key_size, 8) + (u64)map->value_stride * map->ncpus;
        size = map->values + (unsigned __int128)map->elem_stride * n;
    } else if (map->type == MAP_QUEUE || map->type == MAP_STACK) {
        size += (unsigned __int128)(n + 1) * map->value_stride;
    } else if (map->type == MAP_BLOOM_FILTER) {
        /* bloom_map_alloc(): bits = entries * hashes / ln 2, a power of two */
        u64 bits = n * nhashes / 5 * 7, rounded = 64;
        while (rounded < bits && rounded < 1ull << 31)
            rounded *= 2;
        map->nhashes = nhashes;
        map->nbuckets = (u32)rounded;
        size += rounded / 8;
    } else {
        map->consumer = round_up(SKEP_HEADER, page);
        map->producer = map->consumer + page;
        map->values = map->producer + page;
        map->ring_size = ring_size;
        size = map->values + ring_size;
    }
    size = (size + page - 1) & ~(unsigned __int128)(page - 1);
    map->size = (u64)size;
    return size >> 48 ? 0 : (u64)size;
}

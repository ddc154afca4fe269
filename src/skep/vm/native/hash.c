/* hash, lru_hash, percpu_hash, lru_percpu_hash (kernel/bpf/hashtab.c).
 *
 * Buckets are chains of element numbers. Lookups take no lock. As in the kernel, a chain ends with a mark that holds its
 * bucket's number: a reader that was carried into another chain by a recycled element sees the wrong mark and starts again.
 * Writers hold the bucket's lock. Elements are preallocated and found by number; untouched ones cost no memory.
 *
 * Unlike the kernel, an update of an existing key writes the value in place (under the lock) instead of swapping elements:
 * a pointer that the program still holds stays the current value.
 */

#define CHAIN_END 0x80000000u

struct bucket {
    u32 head; /* element number + 1; 0 or CHAIN_END | bucket: empty */
    u32 lock;
};

struct elem {
    u32 next;
    u32 hash;
    u32 free; /* next free element + 1, while free */
    u8 live;  /* in a chain */
    u8 used;  /* the LRU's second chance: set by lookups */
    u16 reserved;
    u8 key[];
};

/* Sizes of one table, folded to constants where the JIT knows the map. */
struct table {
    struct skep_map *map;
    struct bucket *buckets;
    u8 *elems;
    u64 stride;
    u32 mask;
    u32 key_size;
    u32 value_size;
    u32 value_at; /* of the value inside an element */
};

static INLINE u32 bucket_count(u32 max_entries)
{
    return max_entries <= 1 ? 1 : 1u << (32 - __builtin_clz(max_entries - 1));
}

static INLINE struct table table_of(struct skep_map *map, u32 key_size, u32 value_size, u32 max_entries, int percpu)
{
    struct table t;
    t.map = map;
    t.key_size = KNOWN(key_size, map, key_size);
    t.value_size = KNOWN(value_size, map, value_size);
    u32 n = max_entries ? bucket_count(max_entries) : map->nbuckets;
    t.mask = n - 1;
    t.value_at = sizeof(struct elem) + round_up(t.key_size, 8);
    t.stride = percpu ? map->elem_stride : t.value_at + round_up(t.value_size, 8);
    t.buckets = (struct bucket *)at(map, SKEP_HEADER);
    t.elems = at(map, SKEP_HEADER) + round_up((u64)n * sizeof(struct bucket), 64);
    return t;
}

static INLINE struct elem *elem_at(const struct table *t, u32 number) { return (struct elem *)(t->elems + (number - 1) * t->stride); }

static INLINE u64 mix(u64 a, u64 b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (u64)product ^ (u64)(product >> 64);
}

/* A keyed hash of the multiply-and-fold family; `seed` is random per map, so that nobody can prepare collisions. */
static INLINE u32 hash_bytes(const u8 *key, u32 size, u64 seed)
{
    u64 h = seed ^ 0x9e3779b97f4a7c15ull;
    u32 i = 0;
    for (; i + 8 <= size; i += 8) {
        u64 word;
        memcpy(&word, key + i, 8);
        h = mix(h ^ word, 0xd6e8feb86659fd93ull);
    }
    u64 last = 0;
    if (size & 4) {
        u32 word;
        memcpy(&word, key + i, 4);
        last = word;
        i += 4;
    }
    for (; i < size; i++)
        last = last << 8 | key[i];
    h = mix(h ^ last, 0xa0761d6478bd642full ^ size);
    return (u32)(h ^ h >> 32);
}

static INLINE struct elem *hash_find(const struct table *t, const void *key, u32 hash)
{
    u32 bucket = hash & t->mask;
again:;
    u32 number = load_acquire(&t->buckets[bucket].head);
    while (number && !(number & CHAIN_END)) {
        struct elem *e = elem_at(t, number);
        if (e->hash == hash && memcmp(e->key, key, t->key_size) == 0)
            return e;
        number = load_acquire(&e->next);
    }
    if (unlikely(number && number != (CHAIN_END | bucket)))
        goto again;
    return NULL;
}

static INLINE u8 *elem_value(const struct table *t, struct elem *e, u32 cpu)
{
    return (u8 *)e + t->value_at + cpu * round_up(t->value_size, 8);
}

static INLINE u32 number_of(const struct table *t, struct elem *e) { return (u32)(((u8 *)e - t->elems) / t->stride) + 1; }

/* The free list: a stack whose head carries a generation, against the ABA problem. */
static INLINE void elem_free(const struct table *t, struct elem *e)
{
    u64 old = load(&t->map->free), new;
    u32 number = number_of(t, e);
    do {
        store(&e->free, (u32)old);
        new = ((old >> 32) + 1) << 32 | number;
    } while (!__atomic_compare_exchange_n(&t->map->free, &old, new, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

static NOINLINE u32 elem_number_take(struct skep_map *map, u8 *elems, u64 stride)
{
    u64 old = load_acquire(&map->free), new;
    while ((u32)old) {
        struct elem *e = (struct elem *)(elems + ((u32)old - 1) * stride);
        new = ((old >> 32) + 1) << 32 | load(&e->free);
        if (__atomic_compare_exchange_n(&map->free, &old, new, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
            return (u32)old;
    }
    u32 unused = load(&map->unused);
    while (unused < map->max_entries)
        if (__atomic_compare_exchange_n(&map->unused, &unused, unused + 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return unused + 1;
    return 0;
}

static INLINE struct elem *elem_take(const struct table *t)
{
    u32 number = elem_number_take(t->map, t->elems, t->stride);
    return number ? elem_at(t, number) : NULL;
}

/* Take an element out of its chain; the caller holds the bucket's lock. False: it was not there (any more). */
static INLINE int chain_remove(const struct table *t, u32 bucket, struct elem *e)
{
    u32 *link = &t->buckets[bucket].head;
    u32 wanted = number_of(t, e);
    for (u32 number = load(link); number && !(number & CHAIN_END); number = load(link)) {
        if (number == wanted) {
            store_release(link, load(&e->next));
            e->live = 0;
            return 1;
        }
        link = &elem_at(t, number)->next;
    }
    return 0;
}

static INLINE void chain_add(const struct table *t, u32 bucket, struct elem *e)
{
    u32 head = load(&t->buckets[bucket].head);
    store(&e->next, head ? head : CHAIN_END | bucket);
    __atomic_store_n(&e->live, 1, __ATOMIC_RELEASE);
    store_release(&t->buckets[bucket].head, number_of(t, e));
}

/* An element for an LRU map: a free one, or that of a key not used since the clock's hand came by last. */
static NOINLINE u32 lru_number_take(struct skep_run *run, struct skep_map *map)
{
    struct table table = table_of(map, 0, 0, 0, 1), *t = &table;
    for (u64 turn = 0; turn < 64ull * map->max_entries + 65536; turn++) {
        if (turn % 64 == 0) {
            struct elem *free = elem_take(t);
            if (free)
                return number_of(t, free);
        }
        u32 hand = __atomic_fetch_add(&map->hand, 1, __ATOMIC_RELAXED) % map->max_entries;
        struct elem *e = elem_at(t, hand + 1);
        if (load(&e->live)) {
            if (load(&e->used)) {
                store(&e->used, 0);
                continue;
            }
            u32 bucket = load(&e->hash) & t->mask;
            lock_take(&t->buckets[bucket].lock, run);
            int gone = chain_remove(t, bucket, e);
            lock_give(&t->buckets[bucket].lock);
            if (gone)
                return hand + 1;
        }
        if (turn % map->max_entries == map->max_entries - 1)
            sched_yield(); /* every element is in another thread's hands: small maps only */
    }
    return 0;
}

/* Set the value: of this CPU (a program's update; other CPUs of a new element become 0), of all CPUs (cpu < 0). */
static INLINE void value_set(struct skep_run *run, const struct table *t, struct elem *e, const void *value, u64 flags, s32 cpu,
                             int is_new, int percpu)
{
    if (!percpu) {
        if (is_new)
            value_unlock(t->map, elem_value(t, e, 0));
        value_change(run, t->map, elem_value(t, e, 0), value, t->value_size, flags);
        return;
    }
    u64 stride = round_up(t->value_size, 8);
    for (u32 i = 0; i < t->map->ncpus; i++) {
        if (cpu < 0)
            memcpy(elem_value(t, e, i), (const u8 *)value + i * stride, t->value_size);
        else if ((u32)cpu == i)
            memmove(elem_value(t, e, i), value, t->value_size);
        else if (is_new)
            memset(elem_value(t, e, i), 0, t->value_size);
    }
}

static INLINE s64 table_update(struct skep_run *run, const struct table *t, const void *key, const void *value, u64 flags,
                               s32 cpu, int percpu, int lru)
{
    u64 locked = t->map->lock_end ? flags & BPF_F_LOCK : 0;
    flags &= ~locked;
    if (unlikely(flags > BPF_EXIST))
        return -EINVAL;
    u32 hash = hash_bytes(key, t->key_size, t->map->seed);
    u32 bucket = hash & t->mask;
    struct elem *spare = NULL;
    if (lru && flags != BPF_EXIST && !hash_find(t, key, hash)) {
        /* Before the lock: making room takes other buckets' locks. */
        u32 number = lru_number_take(run, t->map);
        if (!number)
            return -ENOMEM;
        spare = elem_at(t, number);
    }
    s64 result = 0;
    lock_take(&t->buckets[bucket].lock, run);
    struct elem *e = hash_find(t, key, hash);
    if (e) {
        if (unlikely(flags == BPF_NOEXIST))
            result = -EEXIST;
        else {
            value_set(run, t, e, value, locked, cpu, 0, percpu);
            if (lru)
                store(&e->used, 1);
        }
    } else if (unlikely(flags == BPF_EXIST)) {
        result = -ENOENT;
    } else {
        e = spare ? spare : lru ? NULL : elem_take(t);
        spare = NULL;
        if (unlikely(!e)) {
            result = lru ? -ENOMEM : -E2BIG;
        } else {
            store(&e->hash, hash);
            store(&e->used, 0);
            memcpy(e->key, key, t->key_size);
            value_set(run, t, e, value, locked, cpu, 1, percpu);
            chain_add(t, bucket, e);
        }
    }
    lock_give(&t->buckets[bucket].lock);
    if (spare)
        elem_free(t, spare);
    return result;
}

/* Remove a key; the old value goes to `old` if not NULL (all CPUs of per-CPU maps). */
static INLINE s64 table_delete(struct skep_run *run, const struct table *t, const void *key, u8 *old, int percpu)
{
    u32 hash = hash_bytes(key, t->key_size, t->map->seed);
    u32 bucket = hash & t->mask;
    lock_take(&t->buckets[bucket].lock, run);
    struct elem *e = hash_find(t, key, hash);
    if (e) {
        if (old)
            memcpy(old, elem_value(t, e, 0), percpu ? t->map->ncpus * round_up(t->value_size, 8) : t->value_size);
        chain_remove(t, bucket, e);
        elem_free(t, e);
    }
    lock_give(&t->buckets[bucket].lock);
    return e ? 0 : -ENOENT;
}

/* ---- what programs call ---- */
#define HASH_FAMILY(name, percpu, lru)                                                                                         \
    INLINE u8 *skep_##name##_lookup(struct skep_run *run, struct skep_map *map, const void *key, u32 key_size, u32 value_size,  \
                                    u32 max_entries)                                                                            \
    {                                                                                                                           \
        struct table t = table_of(map, key_size, value_size, max_entries, percpu);                                              \
        struct elem *e = hash_find(&t, key, hash_bytes(key, t.key_size, map->seed));                                            \
        if (!e)                                                                                                                 \
            return NULL;                                                                                                        \
        if (lru && !load(&e->used))                                                                                             \
            store(&e->used, 1);                                                                                                 \
        return elem_value(&t, e, percpu ? run->cpu : 0);                                                                        \
    }                                                                                                                           \
    INLINE s64 skep_##name##_update(struct skep_run *run, struct skep_map *map, const void *key, const void *value, u64 flags,  \
                                    u32 key_size, u32 value_size, u32 max_entries)                                              \
    {                                                                                                                           \
        struct table t = table_of(map, key_size, value_size, max_entries, percpu);                                              \
        return table_update(run, &t, key, value, flags, percpu ? (s32)run->cpu : 0, percpu, lru);                               \
    }                                                                                                                           \
    INLINE s64 skep_##name##_delete(struct skep_run *run, struct skep_map *map, const void *key, u32 key_size, u32 value_size,  \
                                    u32 max_entries)                                                                            \
    {                                                                                                                           \
        struct table t = table_of(map, key_size, value_size, max_entries, percpu);                                              \
        return table_delete(run, &t, key, NULL, percpu);                                                                        \
    }

HASH_FAMILY(hash, 0, 0)
HASH_FAMILY(lru_hash, 0, 1)
HASH_FAMILY(percpu_hash, 1, 0)
HASH_FAMILY(lru_percpu_hash, 1, 1)

/* bpf_map_lookup_percpu_elem() */
INLINE u8 *skep_percpu_hash_lookup_cpu(struct skep_map *map, const void *key, u64 cpu, u32 key_size, u32 value_size,
                                       u32 max_entries)
{
    struct table t = table_of(map, key_size, value_size, max_entries, 1);
    if (cpu >= map->ncpus)
        return NULL;
    struct elem *e = hash_find(&t, key, hash_bytes(key, t.key_size, map->seed));
    return e ? elem_value(&t, e, (u32)cpu) : NULL;
}

/* bpf_for_each_map_elem(): by element number, so that it ends whatever the callback adds or deletes. */
INLINE s64 skep_hash_for_each(struct skep_run *run, struct skep_map *map, skep_callback_fn callback, u64 callback_ctx,
                              u64 flags)
{
    if (flags)
        return -EINVAL;
    struct table t = table_of(map, 0, 0, 0, 1);
    u32 cpu = map->ncpus > 1 ? run->cpu : 0;
    u32 end = load(&map->unused);
    s64 visited = 0;
    for (u32 number = 1; number <= end; number++) {
        struct elem *e = elem_at(&t, number);
        if (!load_acquire(&e->live))
            continue;
        visited++;
        if (callback(run, (u64)map, (u64)e->key, (u64)elem_value(&t, e, cpu), callback_ctx, 0))
            break;
    }
    return visited;
}

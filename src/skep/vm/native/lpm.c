/* lpm_trie (kernel/bpf/lpm_trie.c): key = u32 prefix length in bits, then the data, most significant bit first.
 *
 * Not a trie: a hash table of prefixes, plus a bitmap of the prefix lengths in use. A lookup tries the lengths in use, the
 * longest first. Real tables use few lengths, and every probe is one cache line. Writers hold one lock; readers none.
 */
#define LPM_MAX_BITS 2048
#define LPM_LENGTHS (LPM_MAX_BITS + 1)
#define LPM_BUCKETS (SKEP_HEADER + 3 * 4096)

struct lengths {
    u64 used[LPM_LENGTHS / 64 + 1];
    u32 count[LPM_LENGTHS];
};
_Static_assert(sizeof(struct lengths) <= LPM_BUCKETS - SKEP_HEADER, "fits between header and buckets");

static INLINE struct table lpm_table(struct skep_map *map, u32 key_size, u32 value_size, u32 max_entries)
{
    struct table t = table_of(map, key_size, value_size, max_entries, 0);
    t.buckets = (struct bucket *)at(map, LPM_BUCKETS);
    t.elems = at(map, LPM_BUCKETS) + round_up((u64)(t.mask + 1) * sizeof(struct bucket), 64);
    return t;
}

/* 64 bits of key data, first bit of the data in bit 63; bytes after the end are 0. */
static INLINE u64 lpm_word(const u8 *data, u32 size, u32 word)
{
    u64 value = 0;
    u32 n = size - word * 8;
    if (n >= 8)
        memcpy(&value, data + word * 8, 8);
    else
        for (u32 i = 0; i < n; i++)
            value |= (u64)data[word * 8 + i] << (8 * i);
    return __builtin_bswap64(value);
}

/* The bits of word `word` that a prefix of `length` bits covers. */
static INLINE u64 lpm_mask(u32 length, u32 word)
{
    s32 bits = (s32)length - (s32)(word * 64);
    return bits <= 0 ? 0 : bits >= 64 ? ~0ull : ~0ull << (64 - bits);
}

static INLINE u32 lpm_hash(const u8 *data, u32 size, u32 length, u64 seed)
{
    u64 h = mix(seed ^ 0x9e3779b97f4a7c15ull, 0xd6e8feb86659fd93ull ^ length);
    for (u32 word = 0; word * 8 < size && word * 64 < length; word++)
        h = mix(h ^ (lpm_word(data, size, word) & lpm_mask(length, word)), 0xa0761d6478bd642full);
    return (u32)(h ^ h >> 32);
}

static INLINE struct elem *lpm_find(const struct table *t, const u8 *data, u32 size, u32 length)
{
    u32 hash = lpm_hash(data, size, length, t->map->seed);
    u32 bucket = hash & t->mask;
again:;
    u32 number = load_acquire(&t->buckets[bucket].head);
    while (number && !(number & CHAIN_END)) {
        struct elem *e = elem_at(t, number);
        u32 stored;
        memcpy(&stored, e->key, 4);
        if (e->hash == hash && stored == length) {
            u64 differ = 0;
            for (u32 word = 0; word * 8 < size && word * 64 < length; word++)
                differ |= (lpm_word(e->key + 4, size, word) ^ lpm_word(data, size, word)) & lpm_mask(length, word);
            if (!differ)
                return e;
        }
        number = load_acquire(&e->next);
    }
    if (unlikely(number && number != (CHAIN_END | bucket)))
        goto again;
    return NULL;
}

static INLINE struct elem *lpm_longest(const struct table *t, const void *key)
{
    u32 size = t->key_size - 4, length;
    memcpy(&length, key, 4);
    if (unlikely(length > size * 8))
        return NULL;
    struct lengths *lengths = (struct lengths *)at(t->map, SKEP_HEADER);
    for (s32 word = (s32)(size * 8 / 64); word >= 0; word--) {
        u64 used = load(&lengths->used[word]);
        if ((u32)word == length / 64)
            used &= ~0ull >> (63 - length % 64);
        else if ((u32)word > length / 64)
            continue;
        while (used) {
            u32 bit = 63 - __builtin_clzll(used);
            used &= ~(1ull << bit);
            struct elem *e = lpm_find(t, (const u8 *)key + 4, size, (u32)word * 64 + bit);
            if (e)
                return e;
        }
    }
    return NULL;
}

INLINE u8 *skep_lpm_lookup(struct skep_map *map, const void *key, u32 key_size, u32 value_size, u32 max_entries)
{
    struct table t = lpm_table(map, key_size, value_size, max_entries);
    struct elem *e = lpm_longest(&t, key);
    return e ? elem_value(&t, e, 0) : NULL;
}

/* trie_update_elem(). -ENOSPC, not -E2BIG, when it is full. */
NOINLINE s64 skep_lpm_update(struct skep_run *run, struct skep_map *map, const void *key, const void *value, u64 flags)
{
    struct table table = lpm_table(map, 0, 0, 0), *t = &table;
    u32 size = t->key_size - 4, length;
    memcpy(&length, key, 4);
    if (flags > BPF_EXIST || length > size * 8)
        return -EINVAL;
    struct lengths *lengths = (struct lengths *)at(map, SKEP_HEADER);
    s64 result = 0;
    lock_take(&map->lock, run);
    struct elem *e = lpm_find(t, (const u8 *)key + 4, size, length);
    if (e) {
        if (flags == BPF_NOEXIST)
            result = -EEXIST;
        else {
            memcpy(e->key, key, t->key_size); /* bits after the prefix are kept as given */
            memmove(elem_value(t, e, 0), value, t->value_size);
        }
    } else if (flags == BPF_EXIST) {
        result = -ENOENT;
    } else if (!(e = elem_take(t))) {
        result = -ENOSPC;
    } else {
        u32 hash = lpm_hash((const u8 *)key + 4, size, length, map->seed);
        store(&e->hash, hash);
        memcpy(e->key, key, t->key_size);
        memmove(elem_value(t, e, 0), value, t->value_size);
        chain_add(t, hash & t->mask, e);
        if (lengths->count[length]++ == 0)
            __atomic_fetch_or(&lengths->used[length / 64], 1ull << length % 64, __ATOMIC_RELEASE);
    }
    lock_give(&map->lock);
    return result;
}

/* trie_delete_elem(): the exact prefix. */
NOINLINE s64 skep_lpm_delete(struct skep_run *run, struct skep_map *map, const void *key)
{
    struct table table = lpm_table(map, 0, 0, 0), *t = &table;
    u32 size = t->key_size - 4, length;
    memcpy(&length, key, 4);
    if (length > size * 8)
        return -EINVAL;
    struct lengths *lengths = (struct lengths *)at(map, SKEP_HEADER);
    lock_take(&map->lock, run);
    struct elem *e = lpm_find(t, (const u8 *)key + 4, size, length);
    if (e) {
        chain_remove(t, load(&e->hash) & t->mask, e);
        elem_free(t, e);
        if (--lengths->count[length] == 0)
            __atomic_fetch_and(&lengths->used[length / 64], ~(1ull << length % 64), __ATOMIC_RELEASE);
    }
    lock_give(&map->lock);
    return e ? 0 : -ENOENT;
}

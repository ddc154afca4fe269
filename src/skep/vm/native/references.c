/* Maps whose values refer to something of this process: array_of_maps, hash_of_maps (values are ids of maps), prog_array
 * (ids of programs), devmap (interfaces). Ids index the process-wide tables in skep_run; 0 is nothing. */

static INLINE struct skep_map *map_by_id(struct skep_run *run, const u8 *value)
{
    if (!value)
        return NULL;
    u32 id = load_acquire((const u32 *)value);
    return id < SKEP_TABLE_SIZE ? load_acquire(&run->maps[id]) : NULL;
}

INLINE struct skep_map *skep_array_of_maps_lookup(struct skep_run *run, struct skep_map *map, const void *key, u32 max_entries)
{
    return map_by_id(run, skep_array_lookup(map, key, 4, max_entries));
}

INLINE struct skep_map *skep_hash_of_maps_lookup(struct skep_run *run, struct skep_map *map, const void *key, u32 key_size,
                                                 u32 max_entries)
{
    return map_by_id(run, skep_hash_lookup(run, map, key, key_size, 4, max_entries));
}

/* bpf_tail_call(): the program to go on with, or NULL: no such program, one of another type (its context would not fit), or
 * 33 calls were made. */
INLINE skep_program_fn skep_tail_call_target(struct skep_run *run, struct skep_map *map, u64 index, u32 max_entries)
{
    u32 slot = (u32)index; /* the kernel takes the low 32 bits */
    u8 *value = skep_array_lookup(map, &slot, 4, max_entries);
    if (!value || run->tail_calls >= SKEP_MAX_TAIL_CALLS || map->owner != run->prog_type + 1)
        return NULL;
    u32 id = load_acquire((const u32 *)value);
    void *program = id < SKEP_TABLE_SIZE ? load_acquire(&run->programs[id]) : NULL;
    if (program)
        run->tail_calls++;
    return (skep_program_fn)program;
}

#define XDP_ABORTED 0
#define XDP_REDIRECT 4
#define TC_ACT_SHOT 2
#define TC_ACT_REDIRECT 7
#define PROG_TYPE_XDP 6

/* bpf_redirect(): remember where to; the loop counts it. */
INLINE s64 skep_redirect(struct skep_run *run, u64 ifindex, u64 flags)
{
    int xdp = run->prog_type == PROG_TYPE_XDP;
    if (xdp ? flags != 0 : (flags & ~1ull) != 0)
        return xdp ? XDP_ABORTED : TC_ACT_SHOT;
    run->redirect_ifindex = (u32)ifindex;
    run->redirect_flags = (u32)flags;
    return xdp ? XDP_REDIRECT : TC_ACT_REDIRECT;
}

/* bpf_redirect_map() on devmap and devmap_hash: __bpf_xdp_redirect_map(). Without an entry: the action in the flags. */
NOINLINE s64 skep_redirect_map(struct skep_run *run, struct skep_map *map, u64 key, u64 flags)
{
    const u64 action = 3, broadcast = 1 << 3, exclude = 1 << 4;
    if (flags & ~(action | broadcast | exclude))
        return XDP_ABORTED;
    if (flags & (broadcast | exclude)) {
        run->redirect_ifindex = 0; /* to all of them */
        run->redirect_flags = (u32)flags;
        return XDP_REDIRECT;
    }
    u32 index = (u32)key;
    u8 *value = map->type == MAP_DEVMAP ? skep_array_lookup(map, &index, 0, 0)
                                        : skep_hash_lookup(run, map, &index, 0, 0, 0);
    u32 ifindex = value ? load((const u32 *)value) : 0;
    if (!ifindex)
        return (s64)(flags & action);
    run->redirect_ifindex = ifindex;
    run->redirect_flags = (u32)flags;
    return XDP_REDIRECT;
}

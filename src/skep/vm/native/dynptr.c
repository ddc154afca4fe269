/* Dynptrs (kernel/bpf/helpers.c): memory of a size that is known at run time only, behind 16 bytes of the program's stack.
 * The layout is the kernel's (struct bpf_dynptr_kern). The verifier lets nobody else write to these bytes, so what they
 * say is believed: whether an access lies inside is all that is checked here.
 */
struct dynptr {
    u8 *data; /* NULL: it could not be made, or was given back */
    u32 size;
    u32 offset;
};
_Static_assert(sizeof(struct dynptr) == 16, "the kernel's size");

#define DYNPTR_MAX_SIZE ((1u << 24) - 1)

static INLINE s64 dynptr_init(struct dynptr *ptr, u8 *data, u64 size, s64 error)
{
    ptr->data = error ? NULL : data;
    ptr->size = error ? 0 : (u32)size;
    ptr->offset = 0;
    return error;
}

/* Where `length` bytes at `offset` lie; NULL: not inside. */
static INLINE u8 *dynptr_at(const struct dynptr *ptr, u64 offset, u64 length)
{
    if (length > ptr->size || offset > ptr->size - length)
        return NULL;
    return ptr->data + ptr->offset + offset;
}

INLINE s64 skep_dynptr_from_mem(u8 *data, u64 size, u64 flags, struct dynptr *ptr)
{
    return dynptr_init(ptr, data, size, size > DYNPTR_MAX_SIZE ? -E2BIG : flags ? -EINVAL : 0);
}

NOINLINE s64 skep_ringbuf_reserve_dynptr(struct skep_run *run, struct skep_map *map, u64 size, u64 flags, struct dynptr *ptr)
{
    u32 length = (u32)size;
    s64 error = flags ? -EINVAL : length > DYNPTR_MAX_SIZE ? -E2BIG : 0;
    u8 *sample = error ? NULL : ring_reserve(run, map, length);
    return dynptr_init(ptr, sample, length, error ? error : sample ? 0 : -EINVAL);
}

static INLINE void dynptr_commit(struct dynptr *ptr, u32 mark)
{
    if (!ptr->data)
        return;
    ring_commit(ptr->data, mark);
    dynptr_init(ptr, NULL, 0, 0);
}

INLINE void skep_ringbuf_submit_dynptr(struct dynptr *ptr, u64 flags) { dynptr_commit(ptr, 0); }

INLINE void skep_ringbuf_discard_dynptr(struct dynptr *ptr, u64 flags) { dynptr_commit(ptr, RING_DISCARD); }

INLINE s64 skep_dynptr_read(u8 *to, u64 length, const struct dynptr *ptr, u64 offset, u64 flags)
{
    if (!ptr->data || flags)
        return -EINVAL;
    u8 *from = dynptr_at(ptr, offset, length);
    if (!from)
        return -E2BIG;
    memmove(to, from, length);
    return 0;
}

INLINE s64 skep_dynptr_write(const struct dynptr *ptr, u64 offset, const u8 *from, u64 length, u64 flags)
{
    if (!ptr->data)
        return -EINVAL;
    u8 *to = dynptr_at(ptr, offset, length);
    if (!to)
        return -E2BIG;
    if (flags)
        return -EINVAL;
    memmove(to, from, length);
    return 0;
}

INLINE u8 *skep_dynptr_data(const struct dynptr *ptr, u64 offset, u64 length)
{
    return ptr->data ? dynptr_at(ptr, offset, length) : NULL;
}

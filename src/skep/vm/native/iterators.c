/* Iterators over numbers (kernel/bpf/bpf_iter.c): what bpf_for() and bpf_repeat() use. The state lies in 8 bytes of the
 * program's stack, which the verifier lets nobody else write to.
 */
#define ITERATOR_MAX (8u << 20) /* BPF_MAX_LOOPS */

struct iter_num {
    s32 current; /* one less than the next number */
    s32 end;
};
_Static_assert(sizeof(struct iter_num) == 8, "the kernel's size");

INLINE s64 skep_iter_num_new(struct iter_num *it, u64 start, u64 end)
{
    s32 from = (s32)start, to = (s32)end;
    s64 error = from > to ? -EINVAL : (s64)to - from > ITERATOR_MAX ? -E2BIG : 0;
    it->current = error ? 0 : from - 1; /* wraps below the lowest number */
    it->end = error ? 0 : to;
    return error;
}

INLINE s32 *skep_iter_num_next(struct iter_num *it)
{
    if (it->current + 1 >= it->end) { /* also after an error */
        it->current = it->end = 0;
        return NULL;
    }
    it->current++;
    return &it->current;
}

INLINE void skep_iter_num_destroy(struct iter_num *it) { it->current = it->end = 0; }

/* Internet checksums (RFC 1071) as the kernel's helpers keep them: net/core/filter.c, include/net/checksum.h. */

static INLINE u32 csum_add(u32 a, u32 b)
{
    u32 sum = a + b;
    return sum + (sum < b);
}

static INLINE u16 csum_fold(u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    return (u16)~sum;
}

static INLINE u32 csum_partial(const u8 *p, u64 size, u32 seed)
{
    u64 sum = seed;
    for (; size >= 4; p += 4, size -= 4) {
        u32 word;
        memcpy(&word, p, 4);
        sum += word;
    }
    if (size) {
        u32 word = 0;
        for (u64 i = 0; i < size; i++)
            word |= (u32)p[i] << (8 * i);
        sum += word;
    }
    sum = (sum & 0xffffffffu) + (sum >> 32);
    return (u32)(sum + (sum >> 32));
}

/* bpf_csum_diff(): since 6.13 folded to 16 bits on every architecture, and of any size. */
NOINLINE s64 skep_csum_diff(const u8 *from, u64 from_size, const u8 *to, u64 to_size, u64 seed)
{
    u32 sum;
    from_size &= 0xffffffffu;
    to_size &= 0xffffffffu;
    if (from_size && to_size)
        sum = csum_add(csum_partial(to, to_size, (u32)seed), ~csum_partial(from, from_size, 0));
    else if (to_size)
        sum = csum_partial(to, to_size, (u32)seed);
    else if (from_size)
        sum = ~csum_partial(from, from_size, ~(u32)seed);
    else
        sum = (u32)seed;
    return (u16)~csum_fold(sum);
}

/* The part that l3 and l4 share: *sum changes as `from` (2 or 4 bytes) becomes `to`; size 0: by the difference `to`. */
static INLINE s64 csum_replace(u8 *at, u64 from, u64 to, u64 size)
{
    u16 sum;
    memcpy(&sum, at, 2);
    u32 inverse = (u16)~sum;
    switch (size) {
    case 0:
        if (from)
            return -EINVAL;
        sum = csum_fold(csum_add((u32)to, ~(u32)sum));
        break;
    case 2:
        sum = csum_fold(csum_add(csum_add(inverse, (u16)~from), (u16)to));
        break;
    case 4:
        sum = csum_fold(csum_add(csum_add(~(u32)sum, ~(u32)from), (u32)to));
        break;
    default:
        return -EINVAL;
    }
    memcpy(at, &sum, 2);
    return 0;
}

static INLINE u8 *csum_place(struct skep_run *run, u64 offset)
{
    offset &= 0xffffffffu;
    if (offset > 0xffff || offset & 1 || offset + 2 > packet_length(run))
        return NULL;
    return run->data + offset;
}

NOINLINE s64 skep_l3_csum_replace(struct skep_run *run, u64 offset, u64 from, u64 to, u64 flags)
{
    if (flags & ~0xfull)
        return -EINVAL;
    u8 *at = csum_place(run, offset);
    return at ? csum_replace(at, from, to, flags) : -EFAULT;
}

/* Captured packets carry finished checksums, so BPF_F_PSEUDO_HDR (0x10) changes nothing here. */
NOINLINE s64 skep_l4_csum_replace(struct skep_run *run, u64 offset, u64 from, u64 to, u64 flags)
{
    const u64 mangled_0 = 0x20, enforce = 0x40, ipv6 = 0x80;
    if (flags & ~(0xfull | 0x10 | mangled_0 | enforce | ipv6))
        return -EINVAL;
    u8 *at = csum_place(run, offset);
    if (!at)
        return -EFAULT;
    if (flags & mangled_0 && !(flags & enforce) && !at[0] && !at[1])
        return 0; /* UDP without checksum stays so */
    s64 error = csum_replace(at, from, to, flags & 0xf);
    if (!error && flags & mangled_0 && !at[0] && !at[1])
        at[0] = at[1] = 0xff;
    return error;
}

/* bpf_csum_update(): there is no CHECKSUM_COMPLETE from a network card to update. */
INLINE s64 skep_csum_update(void) { return -ENOTSUPP; }

/* bpf_csum_level(): 0 asks, 1..3 change what no card has set. */
INLINE s64 skep_csum_level(u64 level) { return level == 0 ? -EACCES : level <= 3 ? 0 : -EINVAL; }

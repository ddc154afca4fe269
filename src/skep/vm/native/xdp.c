/* Helpers of XDP programs (net/core/filter.c). Packets are linear: no fragments. */

INLINE s64 skep_xdp_get_buff_len(struct skep_run *run) { return (s64)packet_length(run); }

NOINLINE s64 skep_xdp_adjust_head(struct skep_run *run, u64 offset)
{
    s64 by = (s32)offset;
    u8 *data = run->data + by, *meta = run->data_meta;
    u64 meta_length = (u64)(run->data - meta);
    if (data < run->hard_start + XDP_FRAME_SIZE + meta_length || data > run->data_end - ETH_HLEN)
        return -EINVAL;
    if (meta_length)
        memmove(meta + by, meta, meta_length);
    if (by < 0)
        memset(data, 0, (u64)-by); /* the kernel leaves what was there; zeros tell nothing of earlier packets */
    run->data_meta = meta + by;
    run->data = data;
    return 0;
}

NOINLINE s64 skep_xdp_adjust_tail(struct skep_run *run, u64 offset)
{
    s64 by = (s32)offset;
    u8 *end = run->data_end + by;
    if (end > run->hard_end || end < run->data + ETH_HLEN)
        return -EINVAL;
    if (by > 0)
        memset(run->data_end, 0, (u64)by);
    run->data_end = end;
    return 0;
}

NOINLINE s64 skep_xdp_adjust_meta(struct skep_run *run, u64 offset)
{
    u8 *meta = run->data_meta + (s32)offset;
    if (meta < run->hard_start + XDP_FRAME_SIZE || meta > run->data)
        return -EINVAL;
    u64 length = (u64)(run->data - meta);
    if (length % 4 || length > 255)
        return -EACCES;
    if (meta < run->data_meta)
        memset(meta, 0, (u64)(run->data_meta - meta));
    run->data_meta = meta;
    return 0;
}

/* bpf_xdp_pointer() */
static INLINE s64 xdp_range(struct skep_run *run, u64 offset, u64 size)
{
    if (offset > 0xffff || size > 0xffff)
        return -EFAULT;
    return offset + size > packet_length(run) ? -EINVAL : 0;
}

NOINLINE s64 skep_xdp_load_bytes(struct skep_run *run, u64 offset, u8 *to, u64 size)
{
    offset &= 0xffffffffu;
    s64 error = xdp_range(run, offset, size);
    if (!error)
        memmove(to, run->data + offset, size);
    return error;
}

NOINLINE s64 skep_xdp_store_bytes(struct skep_run *run, u64 offset, const u8 *from, u64 size)
{
    offset &= 0xffffffffu;
    s64 error = xdp_range(run, offset, size);
    if (!error)
        memmove(run->data + offset, from, size);
    return error;
}

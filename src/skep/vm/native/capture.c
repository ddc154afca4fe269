/* pcap and pcapng, record by record, from a buffer that the caller refills (draft-ietf-opsawg-pcap, -pcapng).
 *
 * The reader checks every length before it uses it. It returns 1: a record; 0: more bytes are wanted (or the clean end);
 * -1: broken, with `error` and the file offset in `error_offset`.
 */
#define CAPTURE_MAX_PACKET 262144 /* libpcap's MAXIMUM_SNAPLEN */
#define CAPTURE_MAX_BLOCK (1u << 20)

enum capture_error {
    CAPTURE_OK, CAPTURE_NOT_A_CAPTURE, CAPTURE_TRUNCATED, CAPTURE_TOO_LONG, CAPTURE_BAD_BLOCK, CAPTURE_BAD_INTERFACE,
    CAPTURE_BAD_SECTION, CAPTURE_BAD_RECORD, CAPTURE_TOO_MANY_INTERFACES, CAPTURE_MIXED_LINKS, CAPTURE_BAD_LINK,
    CAPTURE_BAD_TIME,
};

struct skep_interface {
    u32 link_type, snaplen;
    u32 resolution; /* if_tsresol: power of ten, or of two with bit 7 */
    u32 reserved;
    s64 offset_s;
};

struct skep_capture {
    u8 *buffer;
    u64 length;      /* bytes in the buffer */
    u64 position;    /* next byte to read */
    u64 file_offset; /* of buffer[0] */
    u64 skip;        /* bytes to pass over before the next block */
    struct skep_interface *interfaces;
    u32 max_interfaces;
    u32 n_interfaces;
    u32 format; /* 0: not known yet, 1: pcap, 2: pcapng */
    u32 swapped;
    u32 nanoseconds; /* pcap: unit of the fraction; pcapng: the first packet's interface counts finer than us */
    u32 link_type;   /* pcap: of the file; pcapng: of the first packet */
    u32 snaplen;
    u32 at_end; /* the buffer holds the last bytes of the file */
    u32 error;
    u32 error_value;
    u64 error_offset;
    u64 packets, bytes;
};

struct skep_record {
    u8 *data;
    u64 time_ns;
    u32 captured, original;
    u32 link_type, interface;
};

static INLINE u32 cap32(const struct skep_capture *c, const u8 *p)
{
    u32 value;
    memcpy(&value, p, 4);
    return c->swapped ? __builtin_bswap32(value) : value;
}

static INLINE u16 cap16(const struct skep_capture *c, const u8 *p)
{
    u16 value;
    memcpy(&value, p, 2);
    return c->swapped ? __builtin_bswap16(value) : value;
}

static NOINLINE s64 capture_fail(struct skep_capture *c, u32 error, u64 position, u32 value)
{
    c->error = error;
    c->error_value = value;
    c->error_offset = c->file_offset + position;
    return -1;
}

/* Fewer bytes than a record needs: at the end of the file that is a truncated file. */
static NOINLINE s64 capture_starved(struct skep_capture *c)
{
    if (c->at_end && (c->position < c->length || c->skip))
        return capture_fail(c, CAPTURE_TRUNCATED, c->position, (u32)(c->length - c->position));
    return 0;
}

static NOINLINE s64 pcap_header(struct skep_capture *c)
{
    const u8 *p = c->buffer + c->position;
    if (c->length - c->position < 24)
        return capture_starved(c);
    u32 magic;
    memcpy(&magic, p, 4);
    c->swapped = magic == 0xd4c3b2a1u || magic == 0x4d3cb2a1u;
    c->nanoseconds = magic == 0xa1b23c4du || magic == 0x4d3cb2a1u;
    if (cap16(c, p + 4) != 2)
        return capture_fail(c, CAPTURE_BAD_SECTION, c->position + 4, cap16(c, p + 4));
    c->snaplen = cap32(c, p + 16);
    c->link_type = cap32(c, p + 20) & 0x0fffffff; /* the top bits tell of a frame check sequence */
    c->format = 1;
    c->position += 24;
    return 1;
}

static NOINLINE s64 capture_start(struct skep_capture *c)
{
    if (c->length - c->position < 4) {
        if (c->at_end)
            return capture_fail(c, CAPTURE_NOT_A_CAPTURE, c->position, 0);
        return 0;
    }
    u32 magic;
    memcpy(&magic, c->buffer + c->position, 4);
    if (magic == 0xa1b2c3d4u || magic == 0xd4c3b2a1u || magic == 0xa1b23c4du || magic == 0x4d3cb2a1u)
        return pcap_header(c);
    if (magic == 0x0a0d0d0au) {
        c->format = 2;
        return 1;
    }
    return capture_fail(c, CAPTURE_NOT_A_CAPTURE, c->position, magic);
}

static INLINE s64 pcap_next(struct skep_capture *c, struct skep_record *r)
{
    u64 left = c->length - c->position;
    u8 *p = c->buffer + c->position;
    if (unlikely(left < 16))
        return capture_starved(c);
    u32 captured = cap32(c, p + 8);
    if (unlikely(captured > CAPTURE_MAX_PACKET))
        return capture_fail(c, CAPTURE_TOO_LONG, c->position + 8, captured);
    if (unlikely(left - 16 < captured))
        return capture_starved(c);
    r->data = p + 16;
    r->captured = captured;
    r->original = cap32(c, p + 12);
    r->time_ns = cap32(c, p) * 1000000000ull + cap32(c, p + 4) * (c->nanoseconds ? 1ull : 1000ull);
    r->link_type = c->link_type;
    r->interface = 0;
    c->position += 16 + (u64)captured;
    return 1;
}

/* Units of an interface's clock to nanoseconds. */
static INLINE u64 interface_time(const struct skep_interface *i, u64 ticks)
{
    u32 n = i->resolution & 0x7f;
    u64 ns;
    if (i->resolution & 0x80) {
        ns = (u64)(((unsigned __int128)ticks * 1000000000ull) >> n);
    } else {
        u64 scale = 1;
        for (u32 power = n < 9 ? n : 9; power != (n < 9 ? 9u : n); power++)
            scale *= 10;
        ns = n < 9 ? ticks * scale : ticks / scale;
    }
    return ns + (u64)i->offset_s * 1000000000ull;
}

static NOINLINE s64 section_header(struct skep_capture *c, const u8 *block, u32 length)
{
    if (length < 28)
        return capture_fail(c, CAPTURE_BAD_BLOCK, c->position + 4, length);
    if (cap16(c, block + 12) != 1)
        return capture_fail(c, CAPTURE_BAD_SECTION, c->position + 12, cap16(c, block + 12));
    c->n_interfaces = 0;
    return 0;
}

static NOINLINE s64 interface_description(struct skep_capture *c, const u8 *block, u32 length)
{
    if (length < 20)
        return capture_fail(c, CAPTURE_BAD_BLOCK, c->position + 4, length);
    if (c->n_interfaces >= c->max_interfaces)
        return capture_fail(c, CAPTURE_TOO_MANY_INTERFACES, c->position, c->n_interfaces);
    struct skep_interface *i = &c->interfaces[c->n_interfaces++];
    i->link_type = cap16(c, block + 8);
    i->snaplen = cap32(c, block + 12);
    i->resolution = 6;
    i->offset_s = 0;
    u32 at = 16;
    while (at + 4 <= length - 4) {
        u32 code = cap16(c, block + at), size = cap16(c, block + at + 2);
        if (!code)
            break;
        if (size > length - 4 - (at + 4))
            return capture_fail(c, CAPTURE_BAD_BLOCK, c->position + at, size);
        if (code == 9 && size == 1)
            i->resolution = block[at + 4];
        if (code == 14 && size == 8) {
            u64 raw;
            memcpy(&raw, block + at + 4, 8);
            i->offset_s = (s64)(c->swapped ? __builtin_bswap64(raw) : raw);
        }
        at += 4 + (size + 3) / 4 * 4;
    }
    u32 n = i->resolution & 0x7f;
    if (n > (i->resolution & 0x80 ? 63u : 19u))
        return capture_fail(c, CAPTURE_BAD_TIME, c->position, i->resolution);
    return 0;
}

/* The three kinds of packet blocks. `at`: where the packet's bytes start in the block. */
static INLINE s64 packet_block(struct skep_capture *c, struct skep_record *r, u8 *block, u32 length, u32 type)
{
    u32 at = type == 3 ? 12 : 28;
    if (unlikely(length < at + 4))
        return capture_fail(c, CAPTURE_BAD_BLOCK, c->position + 4, length);
    u32 number = type == 6 ? cap32(c, block + 8) : type == 2 ? cap16(c, block + 8) : 0;
    if (unlikely(number >= c->n_interfaces))
        return capture_fail(c, CAPTURE_BAD_INTERFACE, c->position + 8, number);
    const struct skep_interface *i = &c->interfaces[number];
    u32 room = length - at - 4;
    if (type == 3) {
        r->original = cap32(c, block + 8);
        r->captured = i->snaplen && i->snaplen < r->original ? i->snaplen : r->original;
        if (r->captured > room)
            return capture_fail(c, CAPTURE_BAD_RECORD, c->position + 8, r->captured);
        r->time_ns = 0;
    } else {
        r->captured = cap32(c, block + 20);
        r->original = cap32(c, block + 24);
        if (unlikely(r->captured > room))
            return capture_fail(c, CAPTURE_BAD_RECORD, c->position + 20, r->captured);
        r->time_ns = interface_time(i, (u64)cap32(c, block + 12) << 32 | cap32(c, block + 16));
    }
    if (unlikely(r->captured > CAPTURE_MAX_PACKET))
        return capture_fail(c, CAPTURE_TOO_LONG, c->position, r->captured);
    r->data = block + at;
    r->link_type = i->link_type;
    r->interface = number;
    u32 n = i->resolution & 0x7f;
    if (unlikely(!c->packets)) /* an output's unit is decided by the first packet */
        c->nanoseconds = i->resolution & 0x80 ? n > 20 : n > 6;
    return 1;
}

static INLINE s64 pcapng_next(struct skep_capture *c, struct skep_record *r)
{
    for (;;) {
        if (unlikely(c->skip)) {
            u64 left = c->length - c->position, n = c->skip < left ? c->skip : left;
            c->position += n;
            c->skip -= n;
            if (c->skip)
                return capture_starved(c);
        }
        u64 left = c->length - c->position;
        u8 *block = c->buffer + c->position;
        if (unlikely(left < 12))
            return capture_starved(c);
        u32 type = cap32(c, block);
        if (unlikely(type == 0x0a0d0d0au)) {
            u32 order;
            memcpy(&order, block + 8, 4);
            if (order != 0x1a2b3c4du && order != 0x4d3c2b1au)
                return capture_fail(c, CAPTURE_BAD_SECTION, c->position + 8, order);
            c->swapped = order == 0x4d3c2b1au;
        }
        u32 length = cap32(c, block + 4);
        if (unlikely(length < 12 || length % 4))
            return capture_fail(c, CAPTURE_BAD_BLOCK, c->position + 4, length);
        int wanted = type == 6 || type == 3 || type == 2 || type == 1 || type == 0x0a0d0d0au;
        if (unlikely(!wanted)) {
            c->skip = length;
            continue;
        }
        if (unlikely(length > CAPTURE_MAX_BLOCK))
            return capture_fail(c, CAPTURE_BAD_BLOCK, c->position + 4, length);
        if (unlikely(left < length))
            return capture_starved(c);
        if (unlikely(cap32(c, block + length - 4) != length))
            return capture_fail(c, CAPTURE_BAD_BLOCK, c->position + length - 4, cap32(c, block + length - 4));
        s64 status;
        if (type == 0x0a0d0d0au)
            status = section_header(c, block, length);
        else if (type == 1)
            status = interface_description(c, block, length);
        else
            status = packet_block(c, r, block, length, type);
        if (unlikely(status < 0))
            return status;
        c->position += length;
        if (status)
            return 1;
    }
}

static INLINE s64 capture_next(struct skep_capture *c, struct skep_record *r)
{
    if (unlikely(!c->format)) {
        s64 status = capture_start(c);
        if (status <= 0)
            return status;
    }
    s64 status = c->format == 1 ? pcap_next(c, r) : pcapng_next(c, r);
    if (likely(status > 0)) {
        if (unlikely(!c->packets++))
            c->link_type = r->link_type;
        c->bytes += r->captured;
    }
    return status;
}

/* For Python's Reader: fill an array of records. Pointers are into the buffer. Returns how many; an error shows in `error`. */
NOINLINE u64 skep_capture_list(struct skep_capture *c, struct skep_record *records, u64 wanted)
{
    u64 n = 0;
    while (n < wanted && capture_next(c, &records[n]) > 0)
        n++;
    return n;
}

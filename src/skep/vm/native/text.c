/* Text helpers: bpf_trace_printk(), bpf_snprintf(), bpf_strtol() (kernel/bpf/helpers.c: bpf_bprintf_prepare()). */
#define TEXT_MAX 512
#define MAX_FORMAT_ARGS 12

struct text {
    u8 *to;
    u64 size;   /* room, the NUL included */
    u64 length; /* what the text would need */
};

static INLINE void put(struct text *t, u8 c)
{
    if (t->length + 1 < t->size)
        t->to[t->length] = c;
    t->length++;
}

struct field {
    u32 width;
    u8 zero, left, plus, space;
};

static void put_padded(struct text *t, const struct field *f, const u8 *sign, u32 signs, const u8 *body, u32 n)
{
    u32 pad = f->width > n + signs ? f->width - n - signs : 0;
    if (!f->left && !f->zero)
        for (; pad; pad--)
            put(t, ' ');
    for (u32 i = 0; i < signs; i++)
        put(t, sign[i]);
    if (!f->left)
        for (; pad; pad--)
            put(t, '0');
    for (u32 i = 0; i < n; i++)
        put(t, body[i]);
    for (; pad; pad--)
        put(t, ' ');
}

static void put_number(struct text *t, const struct field *f, u64 value, u32 base, int negative)
{
    u8 digits[20], sign[1] = {negative ? '-' : f->plus ? '+' : ' '};
    u32 n = sizeof(digits);
    do {
        digits[--n] = (u8)"0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    put_padded(t, f, sign, negative || (base == 10 && (f->plus || f->space)), digits + n, sizeof(digits) - n);
}

static void put_hex(struct text *t, u64 value, u32 digits)
{
    struct field f = {.width = digits, .zero = 1};
    put_number(t, &f, value, 16, 0);
}

/* %pi4 %pI4 %pi6 %pI6: addresses in memory. */
static s64 put_address(struct text *t, struct skep_run *run, u8 kind, u8 version, u64 argument)
{
    u8 bytes[16];
    struct field plain = {0};
    if (read_memory(bytes, version == '4' ? 4 : 16, (const void *)argument))
        memset(bytes, 0, sizeof(bytes));
    if (version == '4') {
        struct field f = {.width = kind == 'i' ? 3 : 0, .zero = 1};
        for (u32 i = 0; i < 4; i++) {
            if (i)
                put(t, '.');
            put_number(t, kind == 'i' ? &f : &plain, bytes[i], 10, 0);
        }
        return 0;
    }
    for (u32 i = 0; i < 8; i++) {
        if (i && kind == 'I')
            put(t, ':');
        put_hex(t, big16(bytes + 2 * i), 4);
    }
    return 0;
}

static void put_string(struct text *t, struct skep_run *run, const struct field *f, u64 argument)
{
    u8 copy[TEXT_MAX];
    s64 n = skep_probe_read_str(run, copy, sizeof(copy), (const u8 *)argument);
    struct field spaces = *f;
    spaces.zero = 0;
    put_padded(t, &spaces, NULL, 0, copy, n > 0 ? (u32)n - 1 : 0);
}

/* One conversion after its flags and width. Returns characters of the format used up, or -EINVAL. */
static s64 put_conversion(struct text *t, struct skep_run *run, const u8 *c, const struct field *f, u64 argument)
{
    if (c[0] == 'p') {
        if ((c[1] == 'i' || c[1] == 'I') && (c[2] == '4' || c[2] == '6')) {
            put_address(t, run, c[1], c[2], argument);
            return 3;
        }
        if ((c[1] == 'k' || c[1] == 'u') && c[2] == 's') {
            put_string(t, run, f, argument);
            return 3;
        }
        int named = c[1] == 'K' || c[1] == 'x' || c[1] == 's' || c[1] == 'S' || c[1] == 'B';
        int ends = !c[1] || c[1] == ' ' || (c[1] >= '\t' && c[1] <= '\r') || (c[1] >= '!' && c[1] <= '/') ||
                   (c[1] >= ':' && c[1] <= '@') || (c[1] >= '[' && c[1] <= '`') || (c[1] >= '{' && c[1] <= '~');
        if (!named && !ends)
            return -EINVAL;
        if (c[1] == 's' || c[1] == 'S' || c[1] == 'B') { /* no symbol names here: as the kernel prints unknown addresses */
            put(t, '0');
            put(t, 'x');
            struct field plain = {0};
            put_number(t, &plain, argument, 16, 0);
        } else {
            put_hex(t, argument, 16);
        }
        return named ? 2 : 1;
    }
    if (c[0] == 's') {
        put_string(t, run, f, argument);
        return 1;
    }
    if (c[0] == 'c') {
        u8 one[1] = {(u8)argument};
        struct field spaces = *f;
        spaces.zero = 0;
        put_padded(t, &spaces, NULL, 0, one, 1);
        return 1;
    }
    u32 longs = 0;
    while (longs < 2 && c[longs] == 'l')
        longs++;
    u8 kind = c[longs];
    if (kind == 'd' || kind == 'i') {
        s64 value = longs ? (s64)argument : (s32)argument;
        put_number(t, f, value < 0 ? 0 - (u64)value : (u64)value, 10, value < 0);
    } else if (kind == 'u' || kind == 'x') {
        put_number(t, f, longs ? argument : (u32)argument, kind == 'u' ? 10 : 16, 0);
    } else {
        return -EINVAL;
    }
    return longs + 1;
}

/* Format into `t`. 0, or -EINVAL where the kernel refuses the format. */
static NOINLINE s64 format(struct text *t, struct skep_run *run, const u8 *fmt, u64 fmt_size, const u64 *args, u32 n_args)
{
    u64 end = 0;
    u32 used = 0;
    while (end < fmt_size && fmt[end])
        end++;
    if (end == fmt_size)
        return -EINVAL;
    for (u64 i = 0; i < end;) {
        u8 c = fmt[i];
        if (c >= 127 || (c < 32 && !(c >= 9 && c <= 13)))
            return -EINVAL;
        if (c != '%') {
            put(t, c);
            i++;
            continue;
        }
        if (fmt[++i] == '%') {
            put(t, '%');
            i++;
            continue;
        }
        if (used >= n_args)
            return -EINVAL;
        struct field f = {0};
        for (; fmt[i] == '0' || fmt[i] == '+' || fmt[i] == '-' || fmt[i] == ' '; i++) {
            f.zero |= fmt[i] == '0';
            f.plus |= fmt[i] == '+';
            f.left |= fmt[i] == '-';
            f.space |= fmt[i] == ' ';
        }
        for (; fmt[i] >= '0' && fmt[i] <= '9'; i++)
            f.width = f.width > TEXT_MAX ? f.width : f.width * 10 + (fmt[i] - '0');
        if (f.left)
            f.zero = 0;
        s64 step = put_conversion(t, run, fmt + i, &f, args[used++]);
        if (step < 0)
            return step;
        i += (u64)step;
    }
    if (t->size)
        t->to[t->length < t->size ? t->length : t->size - 1] = 0;
    return 0;
}

/* Format a line and put it into the trace ring, if this run has one. Returns characters written, as the kernel does. */
static s64 trace_line(struct skep_run *run, const u8 *fmt, u64 fmt_size, const u64 *args, u32 n)
{
    u8 line[1024];
    struct text t = {line, sizeof(line), 0};
    s64 error = format(&t, run, fmt, fmt_size, args, n);
    if (error)
        return error;
    u64 length = t.length < sizeof(line) ? t.length : sizeof(line) - 1;
    if (run->trace && ring_output(run, run->trace, line, length, NULL, 0))
        __atomic_fetch_add(&run->trace->lost, 1, __ATOMIC_RELAXED);
    return (s64)length;
}

NOINLINE s64 skep_trace_printk(struct skep_run *run, const u8 *fmt, u64 fmt_size, u64 a, u64 b, u64 c)
{
    u64 args[3] = {a, b, c};
    return trace_line(run, fmt, fmt_size, args, 3);
}

NOINLINE s64 skep_trace_vprintk(struct skep_run *run, const u8 *fmt, u64 fmt_size, const u8 *data, u64 size)
{
    u64 args[MAX_FORMAT_ARGS];
    if (size % 8 || size > sizeof(args) || (size && !data))
        return -EINVAL;
    memcpy(args, data, size);
    return trace_line(run, fmt, fmt_size, args, (u32)size / 8);
}

/* bpf_snprintf(): the format is a NUL-terminated constant. Returns what the whole text needs, the NUL included. */
NOINLINE s64 skep_snprintf(struct skep_run *run, u8 *to, u64 to_size, const u8 *fmt, const u8 *data, u64 size)
{
    u64 args[MAX_FORMAT_ARGS];
    if (size % 8 || size > sizeof(args) || (size && !data))
        return -EINVAL;
    memcpy(args, data, size);
    struct text t = {to, to_size, 0};
    s64 error = format(&t, run, fmt, ~0ull, args, (u32)size / 8);
    return error ? error : (s64)t.length + 1;
}

static u32 digit_value(u8 c)
{
    u8 lower = c | 0x20;
    return c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10u : 99;
}

static INLINE int is_space(u8 c) { return c == ' ' || (c >= 9 && c <= 13) || c == 0xa0; }

/* __bpf_strtoull(): returns characters used up. */
static s64 parse_number(const u8 *text, u64 size, u64 flags, u64 *value, int *negative)
{
    u64 base = flags & 31, i = 0, result = 0;
    if (!text || !size || flags >> 5 || (base != 0 && base != 8 && base != 10 && base != 16))
        return -EINVAL;
    while (i < size && is_space(text[i]))
        i++;
    *negative = i < size && text[i] == '-';
    i += (u64)*negative;
    if (i >= size)
        return -EINVAL;
    if (size - i > 63)
        size = i + 63;
    int hexadecimal = size - i >= 2 && text[i] == '0' && (text[i + 1] | 0x20) == 'x';
    if (!base)
        base = hexadecimal && size - i >= 3 && digit_value(text[i + 2]) < 16 ? 16 : text[i] == '0' ? 8 : 10;
    if (base == 16 && hexadecimal)
        i += 2;
    u64 start = i;
    int overflow = 0;
    for (; i < size && digit_value(text[i]) < base; i++) {
        u64 wide;
        overflow |= __builtin_mul_overflow(result, base, &wide);
        overflow |= __builtin_add_overflow(wide, digit_value(text[i]), &result);
    }
    if (overflow)
        return -ERANGE;
    *value = result;
    return i == start ? -EINVAL : (s64)i;
}

NOINLINE s64 skep_strtol(const u8 *text, u64 size, u64 flags, s64 *result)
{
    u64 value;
    int negative;
    *result = 0;
    s64 used = parse_number(text, size, flags, &value, &negative);
    if (used < 0)
        return used;
    if (value > (negative ? 1ull << 63 : ~0ull >> 1))
        return -ERANGE;
    *result = (s64)(negative ? 0 - value : value);
    return used;
}

NOINLINE s64 skep_strtoul(const u8 *text, u64 size, u64 flags, u64 *result)
{
    u64 value;
    int negative;
    *result = 0;
    s64 used = parse_number(text, size, flags, &value, &negative);
    if (used < 0)
        return used;
    if (negative)
        return -EINVAL;
    *result = value;
    return used;
}

/* bpf_strncmp(s1, size of s1, s2) */
NOINLINE s64 skep_strncmp(const u8 *a, u64 size, const u8 *b)
{
    for (u64 i = 0; i < size; i++) {
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
        if (!a[i])
            break;
    }
    return 0;
}

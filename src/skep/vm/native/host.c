/* Helpers that ask the host: clocks, the CPU, the current task, random numbers, memory of this process. */

static INLINE u64 clock_ns(struct skep_run *run, int clock)
{
    struct timespec64 now;
    if (run->now_ns)
        return run->now_ns;
    clock_gettime(clock, &now);
    return (u64)now.seconds * 1000000000ull + (u64)now.nanoseconds;
}

INLINE u64 skep_ktime_get_ns(struct skep_run *run) { return clock_ns(run, 1); }          /* CLOCK_MONOTONIC */
INLINE u64 skep_ktime_get_boot_ns(struct skep_run *run) { return clock_ns(run, 7); }     /* CLOCK_BOOTTIME */
INLINE u64 skep_ktime_get_coarse_ns(struct skep_run *run) { return clock_ns(run, 6); }   /* CLOCK_MONOTONIC_COARSE */
INLINE u64 skep_ktime_get_tai_ns(struct skep_run *run) { return clock_ns(run, 11); }     /* CLOCK_TAI */

/* As a kernel with HZ=250: 4 ms, starting five minutes before it wraps at 32 bits. */
INLINE u64 skep_jiffies64(struct skep_run *run) { return clock_ns(run, 1) / 4000000ull + (u32)(-300 * 250); }

INLINE u64 skep_get_smp_processor_id(struct skep_run *run) { return run->cpu; }
INLINE u64 skep_get_numa_node_id(void) { return 0; }

/* splitmix64; seeded from the host's entropy by runtime.py. */
INLINE u64 skep_get_prandom_u32(struct skep_run *run)
{
    u64 z = run->random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (u32)(z ^ z >> 31);
}

NOINLINE u64 skep_get_current_pid_tgid(void)
{
#if defined(__x86_64__)
    long thread = syscall(186);
#else
    long thread = syscall(178);
#endif
    return (u64)(u32)getpid() << 32 | (u32)thread;
}

NOINLINE u64 skep_get_current_uid_gid(void) { return (u64)getgid() << 32 | getuid(); }

/* bpf_get_current_comm() */
NOINLINE s64 skep_get_current_comm(u8 *to, u64 size)
{
    u8 name[16] = {0};
    if (!to || !size)
        return -EINVAL;
    memset(to, 0, size);
    prctl(16, (unsigned long)name, 0, 0, 0); /* PR_GET_NAME */
    u64 n = size < 16 ? size : 16;
    memcpy(to, name, n);
    to[n - 1] = 0;
    return 0;
}

/* Any address of this process, through the kernel: a bad one gives -EFAULT and no fault. */
static NOINLINE s64 read_memory(void *to, u64 size, const void *from)
{
    struct iovec here = {to, size}, there = {(void *)from, size};
    if (!size)
        return 0;
    if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (long)size)
        return 0;
    memset(to, 0, size);
    return -EFAULT;
}

NOINLINE s64 skep_probe_read(struct skep_run *run, void *to, u64 size, const void *from) { return read_memory(to, size, from); }

/* strncpy_from_kernel_nofault(): copies up to the NUL, returns the length with it; a cut string ends with NUL, too. */
NOINLINE s64 skep_probe_read_str(struct skep_run *run, u8 *to, u64 size, const u8 *from)
{
    u64 done = 0;
    if (!size)
        return 0;
    while (done < size) {
        u64 piece = 4096 - ((u64)(from + done) & 4095); /* a page at a time: the next one may not be there */
        if (piece > size - done)
            piece = size - done;
        if (read_memory(to + done, piece, from + done)) {
            memset(to, 0, size);
            return -EFAULT;
        }
        for (u64 i = done; i < done + piece; i++)
            if (!to[i]) {
                memset(to + i, 0, done + piece - i);
                return (s64)i + 1;
            }
        done += piece;
    }
    to[size - 1] = 0;
    return (s64)size;
}

/* bpf_copy_from_user_task() and friends are refused; this one reads this process. */
NOINLINE s64 skep_copy_from_user(struct skep_run *run, void *to, u64 size, const void *from) { return read_memory(to, size, from); }

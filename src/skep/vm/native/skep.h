/* The words of skep's native half: the state of one run, the header of a map, numbers of the kernel's interface.
 *
 * Freestanding C: compiled to LLVM bitcode once, linked into every program by the JIT. Functions that programs call on hot
 * paths are INLINE and take key_size, value_size, max_entries as arguments: the JIT passes constants and LLVM folds them;
 * 0 means "not known, read the map's header".
 */
#ifndef SKEP_H
#define SKEP_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef unsigned long usize;

#define INLINE __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define NULL ((void *)0)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define memcpy(to, from, n) __builtin_memcpy(to, from, n)
#define memmove(to, from, n) __builtin_memmove(to, from, n)
#define memset(to, byte, n) __builtin_memset(to, byte, n)
#define memcmp(a, b, n) __builtin_memcmp(a, b, n)

/* Linux errno values: helpers return them negated. */
enum {
    EPERM = 1, ENOENT = 2, ESRCH = 3, E2BIG = 7, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16,
    EEXIST = 17, EINVAL = 22, ENOSPC = 28, ERANGE = 34, ENODATA = 61, EPROTONOSUPPORT = 93, EOPNOTSUPP = 95, EMSGSIZE = 90,
    EPROTO = 71, ENOTSUPP = 524,
};

enum map_type {
    MAP_HASH = 1, MAP_ARRAY = 2, MAP_PROG_ARRAY = 3, MAP_PERF_EVENT_ARRAY = 4, MAP_PERCPU_HASH = 5, MAP_PERCPU_ARRAY = 6,
    MAP_LRU_HASH = 9, MAP_LRU_PERCPU_HASH = 10, MAP_LPM_TRIE = 11, MAP_ARRAY_OF_MAPS = 12, MAP_HASH_OF_MAPS = 13,
    MAP_DEVMAP = 14, MAP_QUEUE = 22, MAP_STACK = 23, MAP_DEVMAP_HASH = 25, MAP_RINGBUF = 27, MAP_BLOOM_FILTER = 30,
};

enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2, BPF_F_LOCK = 4 };

#define SKEP_MAGIC 0x31706d70656b73ull /* "skepmp1" */
#define SKEP_VERSION 1
#define SKEP_HEADER 4096 /* bytes before the first value of an array, before the buckets of a hash */
#define SKEP_MAX_TAIL_CALLS 33
#define SKEP_TABLE_SIZE 65536 /* entries of the tables of inner maps and of programs; entry 0 stays NULL */

/* The start of a map's memory. It is mapped at different addresses by different processes: only offsets, no pointers. */
struct skep_map {
    u64 magic;
    u32 version;
    u32 type;
    u32 key_size;
    u32 value_size;
    u32 max_entries;
    u32 flags;
    u32 ncpus;        /* values per element of per-CPU maps; 1 for others */
    u32 value_stride; /* bytes from one value to the next: value_size rounded up to 8 */
    u64 size;         /* bytes of memory in all */
    u64 values;       /* offset of values (arrays, queues), elements (hash, LPM), data (rings), bits (bloom filter) */
    u64 buckets;      /* offset of hash buckets */
    u64 elem_stride;  /* bytes of an element; of one CPU's block for per-CPU arrays */
    u32 nbuckets;     /* power of two */
    u32 nhashes;      /* bloom filter */
    u64 seed;
    u64 ring_size;    /* bytes of data of a ring, power of two */
    u64 consumer;     /* offset of the consumer position of a ring */
    u64 producer;
    u64 lost;         /* records that did not fit (perf_event_array, trace) */
    u32 owner;        /* prog_array: type of the programs in it + 1; 0: none yet */
    u32 lock_end;     /* hash and array: first byte after the struct bpf_spin_lock in each value; 0: there is none */
    u8 reserved[56];
    /* What changes, away from what is only read. */
    u64 free __attribute__((aligned(64))); /* free list: generation << 32 | element number + 1 */
    u32 unused;                            /* elements never used yet start here */
    u32 hand;                              /* the LRU's clock */
    u32 lock;                              /* queue, stack, LPM writers, ring producers: pid of the owner or 0 */
    u32 head, tail;                        /* queue and stack */
};

struct skep_run;
typedef s64 (*skep_program_fn)(struct skep_run *run, void *ctx);
typedef s64 (*skep_callback_fn)(struct skep_run *run, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5);

/* The state of one run at a time: one per thread, reused. */
struct skep_run {
    skep_program_fn program; /* what skep_program() calls where no program is linked in (the runtime alone); first: the
                                runtime's stub reads it at offset 0 */
    u8 *data, *data_end;     /* the packet */
    u8 *data_meta;
    u8 *hard_start, *hard_end; /* how far the packet's bounds may be moved */
    void *ctx;                 /* the context as the program sees it: xdp_md, __sk_buff, ... */
    u32 prog_type;
    u32 cpu;  /* slot, exclusive to this run: what bpf_get_smp_processor_id() says */
    u32 ncpus;
    u32 tail_calls;
    u32 pid; /* of this process, to mark locks with */
    u32 net; /* network header's offset from data */
    u64 random;
    u64 now_ns; /* what the clocks say; 0: ask the host */
    struct skep_map **maps; /* process-wide: inner maps by id */
    void **programs;        /* process-wide: tail call targets by id */
    struct skep_map *trace; /* a ring for bpf_trace_printk, or NULL */
    u32 redirect_ifindex;   /* set by bpf_redirect() and bpf_redirect_map() */
    u32 redirect_flags;
    u32 hash_is_set;
    u32 link; /* bytes of link header before data (programs that start at the network header) */
};

/* The contexts of the kernel's interface (uapi linux/bpf.h). Pointer fields are 32 bits wide there; the JIT and the
 * interpreter replace their loads by skep_packet_data() and its sisters. */
struct xdp_md {
    u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct __sk_buff {
    u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
    u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id;
    u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
    u64 flow_keys, tstamp;
    u32 wire_len, gso_segs;
    u64 sk;
    u32 gso_size;
    u8 tstamp_type, padding[3];
    u64 hwtstamp;
};
_Static_assert(sizeof(struct __sk_buff) == 192, "the kernel's size");
_Static_assert(sizeof(struct skep_map) <= SKEP_HEADER, "the header fits its page");

/* What the host supplies (libc): resolved by the JIT, listed in runtime.HOST_SYMBOLS. */
struct timespec64 {
    s64 seconds, nanoseconds;
};
extern int clock_gettime(int clock, struct timespec64 *time);
extern int sched_yield(void);
extern int kill(int pid, int signal);
extern int *__errno_location(void);
extern u32 getuid(void), getgid(void);
extern int getpid(void);
extern long syscall(long number, ...);
extern int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
struct iovec {
    void *base;
    usize length;
};
extern long process_vm_readv(int pid, const struct iovec *to, usize to_n, const struct iovec *from, usize from_n, usize flags);

/* The program that the JIT links in. */
extern s64 skep_program(struct skep_run *run, void *ctx);

/* ---- small tools ---- */
#define load(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

static INLINE u64 round_up(u64 value, u64 to) { return (value + to - 1) / to * to; }
static INLINE u8 *at(struct skep_map *map, u64 offset) { return (u8 *)map + offset; }

static INLINE void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* The owner may have been killed (a pinned map outlives processes): after long waiting, take the lock from a dead one. */
static NOINLINE void lock_slow(u32 *lock, u32 pid)
{
    for (u32 turn = 0;; turn++) {
        u32 owner = load(lock);
        if (!owner) {
            if (__atomic_compare_exchange_n(lock, &owner, pid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                return;
            continue;
        }
        if (turn < 64) {
            cpu_relax();
            continue;
        }
        sched_yield();
        if (turn % 4096 == 4095 && owner != pid && kill((int)owner, 0) != 0 && *__errno_location() == ESRCH)
            if (__atomic_compare_exchange_n(lock, &owner, pid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                return;
    }
}

static INLINE void lock_take(u32 *lock, struct skep_run *run)
{
    u32 nobody = 0;
    if (likely(__atomic_compare_exchange_n(lock, &nobody, run->pid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
        return;
    lock_slow(lock, run->pid);
}

/* Take the lock if nobody has it, or nobody who is still there. */
static INLINE u32 lock_try(u32 *lock, struct skep_run *run)
{
    u32 owner = 0;
    if (likely(__atomic_compare_exchange_n(lock, &owner, run->pid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
        return 1;
    if (owner == run->pid || kill((int)owner, 0) == 0 || *__errno_location() != ESRCH)
        return 0;
    return __atomic_compare_exchange_n(lock, &owner, run->pid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static INLINE void lock_give(u32 *lock) { store_release(lock, 0); }

#define LOCK_SIZE 4 /* of struct bpf_spin_lock */

/* Helpers: the lock in a map's value, for threads and processes alike. The verifier allows one at a time. */
INLINE void skep_spin_lock(struct skep_run *run, void *lock) { lock_take(lock, run); }
INLINE void skep_spin_unlock(void *lock) { lock_give(lock); }

/* Copy a value into a map or out of it, but for its lock (copy_map_value()): that belongs to who holds it. */
static INLINE void value_copy(const struct skep_map *map, u8 *to, const u8 *from, u32 size)
{
    u32 end = map->lock_end;
    if (likely(!end)) {
        memmove(to, from, size);
        return;
    }
    memmove(to, from, end - LOCK_SIZE);
    memmove(to + end, from + end, size - end);
}

/* Change a value; with BPF_F_LOCK under its own lock, so that who takes it sees all of the old value or of the new. */
static INLINE void value_change(struct skep_run *run, const struct skep_map *map, u8 *to, const u8 *from, u32 size, u64 flags)
{
    u32 *lock = flags & BPF_F_LOCK ? (u32 *)(to + map->lock_end - LOCK_SIZE) : NULL;
    if (lock)
        lock_take(lock, run);
    value_copy(map, to, from, size);
    if (lock)
        lock_give(lock);
}

/* A lock that nobody holds: in new elements, and in copies that leave the map. */
static INLINE void value_unlock(const struct skep_map *map, u8 *value)
{
    if (unlikely(map->lock_end))
        memset(value + map->lock_end - LOCK_SIZE, 0, LOCK_SIZE);
}

/* Sizes: the JIT's constant if it knows it, else the map's header. */
#define KNOWN(constant, map, field) ((constant) ? (constant) : (map)->field)

#endif

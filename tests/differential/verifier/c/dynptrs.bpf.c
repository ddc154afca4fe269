// What programs do with dynptrs, right and wrong: test_dynptr_verdicts.py asks the running kernel about each.
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char _license[] SEC("license") = "GPL";
extern void *bpf_dynptr_slice(const struct bpf_dynptr *p, __u32 offset, void *buffer, __u32 buffer__szk) __ksym;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *p, __u32 offset, void *buffer, __u32 buffer__szk) __ksym;
extern int bpf_dynptr_from_skb(struct __sk_buff *s, __u64 flags, struct bpf_dynptr *ptr__uninit) __ksym;
extern int bpf_dynptr_from_skb_meta(struct __sk_buff *s, __u64 flags, struct bpf_dynptr *ptr__uninit) __ksym;
extern int bpf_dynptr_from_xdp(struct xdp_md *s, __u64 flags, struct bpf_dynptr *ptr__uninit) __ksym;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *p, __u32 start, __u32 end) __ksym;
extern bool bpf_dynptr_is_null(const struct bpf_dynptr *p) __ksym;
extern bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *p) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *p) __ksym;
extern int bpf_dynptr_clone(const struct bpf_dynptr *p, struct bpf_dynptr *clone__init) __ksym;
extern int bpf_dynptr_copy(struct bpf_dynptr *dst, __u32 do_, struct bpf_dynptr *src, __u32 so, __u32 size) __ksym;
extern int bpf_dynptr_memset(struct bpf_dynptr *p, __u32 off, __u32 size, __u8 v) __ksym;
extern int bpf_probe_read_kernel_dynptr(struct bpf_dynptr *p, __u32 off, __u32 size, const void *u) __ksym;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } urb SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64[8]); } arr SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u64); __type(value, __u64[2]); } hash SEC(".maps");
char mem[64];

#define RES struct bpf_dynptr p; bpf_ringbuf_reserve_dynptr(&rb, 16, 0, &p)
#define MEM struct bpf_dynptr p; bpf_dynptr_from_mem(mem, 32, 0, &p)
#define OUT bpf_ringbuf_submit_dynptr(&p, 0)

SEC("tc")
int slice_after_submit(void *ctx)
{
    RES;
    char *s=bpf_dynptr_slice(&p,0,0,8);
    bpf_ringbuf_submit_dynptr(&p,0);
    return s?*s:0;
}

SEC("tc")
int slice_after_overwrite_local(void *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,8);
    if(!s) return 0;
    bpf_dynptr_from_mem(mem,16,0,&p);
    return *s;
}

SEC("tc")
int data_after_overwrite_local(void *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    char *s=bpf_dynptr_data(&p,0,8);
    if(!s) return 0;
    bpf_dynptr_from_mem(mem,16,0,&p);
    return *s;
}

SEC("tc")
int slicerw_after_overwrite_skb(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    if(!s) return 0;
    bpf_dynptr_from_skb(ctx,0,&p);
    return *s;
}

SEC("tc")
int slice_as_key(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    void *s=bpf_dynptr_slice(&p,0,mem,8);
    if(!s) return 0;
    return bpf_map_lookup_elem(&hash,s)!=0;
}

SEC("tc")
int slicerw_as_key(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    void *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    if(!s) return 0;
    return bpf_map_lookup_elem(&hash,s)!=0;
}

SEC("tc")
int data_as_key(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    void *s=bpf_dynptr_data(&p,0,8);
    if(!s) return 0;
    return bpf_map_lookup_elem(&hash,s)!=0;
}

SEC("tc")
int slice_as_mem(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    void *s=bpf_dynptr_slice(&p,0,mem,8);
    if(!s) return 0;
    return bpf_csum_diff(s,8,0,0,0);
}

SEC("tc")
int slicerw_as_mem(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    void *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    if(!s) return 0;
    return bpf_skb_load_bytes(ctx,0,s,8);
}

SEC("tc")
int slice_as_outmem(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    void *s=bpf_dynptr_slice(&p,0,mem,8);
    if(!s) return 0;
    return bpf_skb_load_bytes(ctx,0,s,8);
}

SEC("tc")
int slice_null_as_mem(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    void *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    return bpf_skb_load_bytes(ctx,0,s,8);
}

SEC("tc")
int slice_as_buf(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    void *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    if(!s) return 0;
    char *t=bpf_dynptr_slice(&p,8,s,8);
    return t?*t:0;
}

SEC("tc")
int rdslice_as_buf(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    void *s=bpf_dynptr_slice(&p,0,mem,8);
    if(!s) return 0;
    char *t=bpf_dynptr_slice(&p,8,s,8);
    return t?*t:0;
}

SEC("?syscall")
int slice_rdwr_syscall(void *ctx)
{
    RES;
    char *s=bpf_dynptr_slice_rdwr(&p,0,0,8);
    bpf_ringbuf_submit_dynptr(&p,0);
    return 0;
}

SEC("cgroup_skb/egress")
int slice_rdwr_cg(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    return s?1:0;
}

SEC("tc")
int size0(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,0);
    return s?1:0;
}

SEC("tc")
int size0_use(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,0);
    return s?*s:0;
}

SEC("tc")
int size_neg(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,-1);
    return s?*s:0;
}

SEC("tc")
int size_huge(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,1u<<31);
    return s?s[1<<30]:0;
}

SEC("tc")
int size_ptr(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,(unsigned long)&p);
    return s?1:0;
}

SEC("tc")
int size_var_null(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,ctx->len&7);
    return s?1:0;
}

SEC("tc")
int size_var_buf(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,mem,ctx->len&7);
    return s?1:0;
}

SEC("tc")
int buf_small(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    char b[8];
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,b,9+(long)0);
    return s?1:0;
}

SEC("tc")
int buf_is_dynptr(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,&p,8);
    return s?1:0;
}

SEC("tc")
int data_len_var(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    char *s=bpf_dynptr_data(&p,0,ctx->len&7);
    return s?1:0;
}

SEC("tc")
int data_len0(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    char *s=bpf_dynptr_data(&p,0,0);
    return s?*s:0;
}

SEC("tc")
int clone_submit_orig_use_clone(struct __sk_buff *ctx)
{
    RES;
    struct bpf_dynptr q;
    bpf_dynptr_clone(&p,&q);
    bpf_ringbuf_submit_dynptr(&p,0);
    return bpf_dynptr_size(&q);
}

SEC("tc")
int clone_submit_clone(struct __sk_buff *ctx)
{
    RES;
    struct bpf_dynptr q;
    bpf_dynptr_clone(&p,&q);
    bpf_ringbuf_submit_dynptr(&q,0);
    return 0;
}

SEC("tc")
int clone_self(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    bpf_dynptr_clone(&p,&p);
    return 0;
}

SEC("tc")
int clone_self_ref(struct __sk_buff *ctx)
{
    RES;
    bpf_dynptr_clone(&p,&p);
    bpf_ringbuf_submit_dynptr(&p,0);
    return 0;
}

SEC("tc")
int submit_local(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    bpf_ringbuf_submit_dynptr(&p,0);
    return 0;
}

SEC("tc")
int submit_null(struct __sk_buff *ctx)
{
    bpf_ringbuf_submit_dynptr(0,0);
    return 0;
}

SEC("tc")
int submit_map(struct __sk_buff *ctx)
{
    bpf_ringbuf_submit_dynptr((void*)mem,0);
    return 0;
}

SEC("tc")
int size_null(struct __sk_buff *ctx)
{
    return bpf_dynptr_size(0);
}

SEC("tc")
int size_scalar(struct __sk_buff *ctx)
{
    return bpf_dynptr_size((void*)(long)ctx->len);
}

SEC("tc")
int size_map(struct __sk_buff *ctx)
{
    return bpf_dynptr_size((void*)mem);
}

SEC("tc")
int size_ctx(struct __sk_buff *ctx)
{
    return bpf_dynptr_size((void*)ctx);
}

SEC("tc")
int size_second(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    return bpf_dynptr_size((void*)&p+8);
}

SEC("tc")
int size_off4(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,&p);
    return bpf_dynptr_size((void*)&p+4);
}

SEC("tc")
int mem_size0(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,0,0,&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int mem_null(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(0,0,0,&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int mem_stack(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    char b[16];
    bpf_dynptr_from_mem(b,16,0,&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int mem_pkt(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    char *d=(void*)(long)ctx->data;
    if(d+16>(char*)(long)ctx->data_end) return 0;
    bpf_dynptr_from_mem(d,16,0,&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int mem_over_dynptr_out(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,32,0,(void*)mem);
    return bpf_dynptr_size(&p);
}

static long cb_ok(struct bpf_dynptr *d, void *c)
{
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_ok, 0, 0);
    return 0;
}

static long cb_ret2(struct bpf_dynptr *d, void *c)
{
    return 2;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_ret2(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_ret2, 0, 0);
    return 0;
}

static long cb_read(struct bpf_dynptr *d, void *c)
{
    char b[8];
    bpf_dynptr_read(b,8,d,0,0);
    return b[0]&1;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_read(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_read, 0, 0);
    return 0;
}

static long cb_data(struct bpf_dynptr *d, void *c)
{
    char *b=bpf_dynptr_data(d,0,8);
    if(b) b[7]=1;
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_data(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_data, 0, 0);
    return 0;
}

static long cb_write(struct bpf_dynptr *d, void *c)
{
    char b[8]={};
    bpf_dynptr_write(d,0,b,8,0);
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_write(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_write, 0, 0);
    return 0;
}

static long cb_clone(struct bpf_dynptr *d, void *c)
{
    struct bpf_dynptr q;
    bpf_dynptr_clone(d,&q);
    return bpf_dynptr_size(&q)&1;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_clone(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_clone, 0, 0);
    return 0;
}

static long cb_cloneinto(struct bpf_dynptr *d, void *c)
{
    struct bpf_dynptr q;
    bpf_dynptr_from_mem(mem,8,0,&q);
    bpf_dynptr_clone(&q,d);
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_cloneinto(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_cloneinto, 0, 0);
    return 0;
}

static long cb_adjust(struct bpf_dynptr *d, void *c)
{
    bpf_dynptr_adjust(d,0,1);
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_adjust(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_adjust, 0, 0);
    return 0;
}

static long cb_copy(struct bpf_dynptr *d, void *c)
{
    bpf_dynptr_copy(d,0,d,1,2);
    bpf_dynptr_memset(d,0,4,7);
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_copy(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_copy, 0, 0);
    return 0;
}

static long cb_load(struct bpf_dynptr *d, void *c)
{
    return *(char*)d;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_load(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_load, 0, 0);
    return 0;
}

static long cb_slice(struct bpf_dynptr *d, void *c)
{
    char *s=bpf_dynptr_slice(d,0,0,4);
    return s?*s&1:0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_slice(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_slice, 0, 0);
    return 0;
}

static long cb_off(struct bpf_dynptr *d, void *c)
{
    return bpf_dynptr_size((void*)d+8);
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_off(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_off, 0, 0);
    return 0;
}

static long cb_leak(struct bpf_dynptr *d, void *c)
{
    RES;
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_leak(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_leak, 0, 0);
    return 0;
}

static long cb_bal(struct bpf_dynptr *d, void *c)
{
    RES;
    OUT;
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_bal(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_bal, 0, 0);
    return 0;
}

static long cb_outer(struct bpf_dynptr *d, void *c)
{
    bpf_ringbuf_submit_dynptr(c,0);
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_outer(void *ctx)
{
    RES;
    bpf_user_ringbuf_drain(&urb, cb_outer, &p, 0);
    return 0;
}

static long cb_outer_read(struct bpf_dynptr *d, void *c)
{
    return bpf_dynptr_size(c)&1;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_outer_read(void *ctx)
{
    RES;
    bpf_user_ringbuf_drain(&urb, cb_outer_read, &p, 0);
    OUT;
    return 0;
}

static long cb_spill(struct bpf_dynptr *d, void *c)
{
    struct bpf_dynptr *volatile x=d;
    return bpf_dynptr_size(x)&1;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_spill(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_spill, 0, 0);
    return 0;
}

static long cb_store(struct bpf_dynptr *d, void *c)
{
    *(long*)mem=(long)d;
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_store(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_store, 0, 0);
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_wrongmap(void *ctx)
{
    bpf_user_ringbuf_drain(&rb, cb_ok, 0, 0);
    return 0;
}

SEC("tp/syscalls/sys_enter_getpid")
int drain_mapctx(void *ctx)
{
    bpf_user_ringbuf_drain(&urb, cb_ok, mem, 0);
    return 0;
}

int glob(const struct bpf_dynptr *d);
__weak int glob(const struct bpf_dynptr *d)
{
    char b[4];
    return bpf_dynptr_read(b,4,d,0,0);
}

__weak int globw(struct bpf_dynptr *d)
{
    char b[4]={1};
    return bpf_dynptr_write(d,0,b,4,0);
}

__weak int globnn(struct bpf_dynptr *d __arg_nonnull)
{
    return bpf_dynptr_size(d);
}

__weak int globnullable(struct bpf_dynptr *d __arg_nullable)
{
    return bpf_dynptr_size(d);
}

__weak int globslice(struct bpf_dynptr *d)
{
    char *s=bpf_dynptr_slice(d,0,0,4);
    return s?*s:0;
}

__weak int globclone(struct bpf_dynptr *d)
{
    struct bpf_dynptr q;
    bpf_dynptr_clone(d,&q);
    return bpf_dynptr_size(&q);
}

SEC("tc")
int g1(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    return glob(&p);
}

SEC("tc")
int g2(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    return glob(&p);
}

SEC("tc")
int g3(struct __sk_buff *ctx)
{
    RES;
    int r=glob(&p);
    OUT;
    return r;
}

SEC("tc")
int g4(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    char *d=(void*)(long)ctx->data;
    if(d+4>(char*)(long)ctx->data_end) return 0;
    bpf_dynptr_from_skb(ctx,0,&p);
    globw(&p);
    return *d;
}

SEC("tc")
int g4s(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,4);
    globw(&p);
    return s?*s:0;
}

SEC("tc")
int g5(struct __sk_buff *ctx)
{
    return glob((void*)mem);
}

SEC("tc")
int g6(struct __sk_buff *ctx)
{
    return glob(0);
}

SEC("tc")
int g7(struct __sk_buff *ctx)
{
    return globnn(0);
}

SEC("tc")
int g8(struct __sk_buff *ctx)
{
    return globnullable(0);
}

SEC("tc")
int g9(struct __sk_buff *ctx)
{
    RES;
    int r=globslice(&p)+globclone(&p);
    OUT;
    return r;
}

SEC("tc")
int g10(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,8,0,&p);
    return glob((void*)&p+8);
}

SEC("tc")
int store_ref(struct __sk_buff *c)
{
    RES;
    *(volatile long*)&p=0;
    OUT;
    return 0;
}

SEC("tc")
int store_ref2(struct __sk_buff *c)
{
    RES;
    *(volatile char*)((void*)&p+15)=0;
    OUT;
    return 0;
}

SEC("tc")
int store_loc(struct __sk_buff *c)
{
    MEM;
    *(volatile char*)((void*)&p+9)=0;
    return 0;
}

SEC("tc")
int store_loc_use(struct __sk_buff *c)
{
    MEM;
    *(volatile char*)((void*)&p+9)=0;
    return bpf_dynptr_size(&p);
}

SEC("tc")
int store_loc_load(struct __sk_buff *c)
{
    MEM;
    *(volatile char*)((void*)&p+9)=0;
    return *(volatile char*)((void*)&p+1);
}

SEC("tc")
int load_loc(struct __sk_buff *c)
{
    MEM;
    return *(volatile long*)((void*)&p+8);
}

SEC("tc")
int var_store(struct __sk_buff *c)
{
    MEM;
    char b[8]={};
    volatile char *x=(void*)&p;
    x[c->len&15]=0;
    return b[c->len&7];
}

SEC("tc")
int var_store_ref(struct __sk_buff *c)
{
    RES;
    volatile char *x=(void*)&p;
    x[c->len&15]=0;
    OUT;
    return 0;
}

SEC("tc")
int var_load(struct __sk_buff *c)
{
    MEM;
    volatile char *x=(void*)&p;
    return x[c->len&15];
}

SEC("tc")
int var_make(struct __sk_buff *c)
{
    struct bpf_dynptr p[2];
    bpf_dynptr_from_mem(mem,32,0,&p[c->len&1]);
    return 0;
}

SEC("tc")
int var_use(struct __sk_buff *c)
{
    struct bpf_dynptr p[2];
    bpf_dynptr_from_mem(mem,32,0,&p[0]);
    bpf_dynptr_from_mem(mem,32,0,&p[1]);
    return bpf_dynptr_size(&p[c->len&1]);
}

SEC("tc")
int atomic_on(struct __sk_buff *c)
{
    MEM;
    __sync_fetch_and_add((long*)&p,1);
    return 0;
}

SEC("tc")
int overlap_make(struct __sk_buff *c)
{
    struct bpf_dynptr p[2];
    bpf_dynptr_from_mem(mem,32,0,&p[0]);
    bpf_dynptr_from_mem(mem,32,0,&p[1]);
    bpf_dynptr_from_mem(mem,8,0,(void*)&p[0]+8);
    return bpf_dynptr_size(&p[0]);
}

SEC("tc")
int overlap_make2(struct __sk_buff *c)
{
    struct bpf_dynptr p[2];
    bpf_dynptr_from_mem(mem,32,0,&p[0]);
    bpf_dynptr_from_mem(mem,32,0,&p[1]);
    bpf_dynptr_from_mem(mem,8,0,(void*)&p[0]+8);
    return bpf_dynptr_size((void*)&p[0]+8);
}

SEC("tc")
int overlap_ref(struct __sk_buff *c)
{
    struct bpf_dynptr p[2];
    bpf_ringbuf_reserve_dynptr(&rb,8,0,&p[0]);
    bpf_dynptr_from_mem(mem,32,0,&p[1]);
    bpf_dynptr_from_mem(mem,8,0,(void*)&p[0]+8);
    return 0;
}

SEC("tc")
int low(struct __sk_buff *c)
{
    char b[8];
    bpf_dynptr_from_mem(mem,8,0,({void*x=b; asm volatile("%0 += -512":"+r"(x)); x;}));
    return 0;
}

SEC("tc")
int high(struct __sk_buff *c)
{
    long b;
    bpf_dynptr_from_mem(mem,8,0,(void*)&b+8);
    return 0;
}

SEC("tc")
int read_into(struct __sk_buff *c)
{
    MEM;
    bpf_dynptr_read(&p,8,&p,0,0);
    return 0;
}

SEC("tc")
int read_into_part(struct __sk_buff *c)
{
    struct { char b[8]; struct bpf_dynptr p;} s;
    bpf_dynptr_from_mem(mem,32,0,&s.p);
    bpf_dynptr_read(s.b,9,&s.p,0,0);
    return 0;
}

SEC("tc")
int read_var(struct __sk_buff *c)
{
    struct { char b[8]; struct bpf_dynptr p;} s;
    bpf_dynptr_from_mem(mem,32,0,&s.p);
    bpf_dynptr_read(s.b,c->len&15,&s.p,0,0);
    return 0;
}

SEC("tc")
int write_from(struct __sk_buff *c)
{
    MEM;
    bpf_dynptr_write(&p,0,&p,8,0);
    return 0;
}

SEC("tc")
int key_is(struct __sk_buff *c)
{
    MEM;
    return bpf_map_lookup_elem(&hash,&p)!=0;
}

SEC("tc")
int probe_over(struct __sk_buff *c)
{
    MEM;
    bpf_skb_load_bytes(c,0,&p,16);
    return 0;
}

SEC("tc")
int fillref(struct __sk_buff *c)
{
    RES;
    bpf_skb_load_bytes(c,0,&p,16);
    OUT;
    return 0;
}

SEC("tc")
int skb_write_pkt(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    char *d=(void*)(long)c->data;
    if(d+4>(char*)(long)c->data_end) return 0;
    bpf_dynptr_from_skb(c,0,&p);
    bpf_dynptr_write(&p,0,mem,4,0);
    return *d;
}

SEC("tc")
int meta_write_pkt(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    char *d=(void*)(long)c->data;
    if(d+4>(char*)(long)c->data_end) return 0;
    bpf_dynptr_from_skb_meta(c,0,&p);
    bpf_dynptr_write(&p,0,mem,4,0);
    return *d;
}

SEC("tc")
int mem_write_pkt(struct __sk_buff *c)
{
    MEM;
    char *d=(void*)(long)c->data;
    if(d+4>(char*)(long)c->data_end) return 0;
    bpf_dynptr_write(&p,0,mem+40,4,0);
    return *d;
}

SEC("xdp")
int xdp_write_slice(struct xdp_md *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_xdp(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,mem,4);
    if(!s) return 0;
    bpf_dynptr_write(&p,0,mem,4,0);
    return *s;
}

SEC("xdp")
int xdp_adjust_slice(struct xdp_md *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_xdp(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,mem,4);
    if(!s) return 0;
    bpf_xdp_adjust_head(c,4);
    return *s;
}

SEC("xdp")
int xdp_adjust_use(struct xdp_md *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_xdp(c,0,&p);
    bpf_xdp_adjust_head(c,4);
    char *s=bpf_dynptr_slice(&p,0,mem,4);
    return s?*s:0;
}

SEC("tc")
int pull_local_slice(struct __sk_buff *c)
{
    MEM;
    char *s=bpf_dynptr_slice(&p,0,0,4);
    if(!s) return 0;
    bpf_skb_pull_data(c,4);
    return *s;
}

SEC("tc")
int pull_skb_data(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_data(&p,0,4);
    if(!s) return 0;
    bpf_skb_pull_data(c,4);
    return *s;
}

SEC("tc")
int memset_keeps(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,4);
    if(!s) return 0;
    bpf_dynptr_memset(&p,0,4,1);
    return *s;
}

SEC("tc")
int copy_two(struct __sk_buff *c)
{
    MEM;
    struct bpf_dynptr q;
    bpf_dynptr_from_skb(c,0,&q);
    return bpf_dynptr_copy(&p,0,&q,0,c->len);
}

SEC("tc")
int adjust_var(struct __sk_buff *c)
{
    MEM;
    bpf_dynptr_adjust(&p,c->len,c->mark);
    return bpf_dynptr_is_null(&p)+bpf_dynptr_is_rdonly(&p);
}

SEC("tc")
int adjust_then_data(struct __sk_buff *c)
{
    MEM;
    char *s=bpf_dynptr_data(&p,0,8);
    bpf_dynptr_adjust(&p,4,8);
    return s?s[7]:0;
}

SEC("tc")
int slice_commute(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,8);
    if(!s) return 0;
    long i=c->len&7;
    asm volatile("%0 += %1":"+r"(i):"r"(s));
    bpf_skb_pull_data(c,4);
    return *(char*)i;
}

SEC("tc")
int slice_var(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,8);
    return s? s[c->len&7]:0;
}

SEC("tc")
int slice_var_bad(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,8);
    return s? s[c->len&15]:0;
}

SEC("tc")
int slice_spill(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *volatile s=bpf_dynptr_slice(&p,0,0,8);
    bpf_skb_pull_data(c,4);
    char *t=s;
    return t?*t:0;
}

static __noinline int mk(struct bpf_dynptr *p)
{
    return bpf_ringbuf_reserve_dynptr(&rb,8,0,p);
}

static __noinline int rel(struct bpf_dynptr *p)
{
    bpf_ringbuf_discard_dynptr(p,0);
    return 0;
}

static __noinline int relclone(struct bpf_dynptr *p)
{
    struct bpf_dynptr q;
    bpf_dynptr_clone(p,&q);
    bpf_ringbuf_discard_dynptr(&q,0);
    return 0;
}

SEC("tc")
int sub_mk(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    mk(&p);
    rel(&p);
    return 0;
}

SEC("tc")
int sub_mk_leak(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    mk(&p);
    return 0;
}

SEC("tc")
int sub_relclone(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    mk(&p);
    relclone(&p);
    return 0;
}

SEC("tc")
int sub_relclone_use(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    mk(&p);
    relclone(&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int two_paths(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    if(c->len) bpf_dynptr_from_mem(mem,8,0,&p);
    else bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,4);
    return s?*s:0;
}

SEC("tc")
int two_paths_bad(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    if(c->len) bpf_dynptr_from_mem(mem,8,0,&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int two_paths_ref(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    if(c->len) bpf_dynptr_from_mem(mem,8,0,&p);
    else bpf_ringbuf_reserve_dynptr(&rb,8,0,&p);
    OUT;
    return 0;
}

SEC("tc")
int loop_mk(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    for(int i=0;i<(c->len&63);i++){ bpf_dynptr_from_mem(mem,8,0,&p); mem[i]=bpf_dynptr_size(&p);} return 0;
}

SEC("tc")
int loop_res(struct __sk_buff *c)
{
    for(int i=0;i<(c->len&63);i++){ RES; OUT;} return 0;
}

SEC("tc")
int tail_leak(struct __sk_buff *c)
{
    RES;
    return bpf_skb_pull_data(c,1);
}

SEC("tc")
int null_data(struct __sk_buff *c)
{
    RES;
    char *s=bpf_dynptr_data(&p,0,16);
    if(!s){ return 0;}
    OUT;
    return 0;
}

SEC("tc")
int sz_zero_from_mem_out(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,c->len&31,0,&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int sz_over(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem(mem,65,0,&p);
    return 0;
}

SEC("tc")
int mem_nullable(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    long k=1;
    void *v=bpf_map_lookup_elem(&hash,&k);
    bpf_dynptr_from_mem(v,8,0,&p);
    return 0;
}

const char ro[8];
SEC("tc")
int mem_rdonly(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_mem((void*)ro,8,0,&p);
    return 0;
}

SEC("tc")
int local_read_after(struct __sk_buff *c)
{
    RES;
    char b[4];
    OUT;
    bpf_dynptr_read(b,4,&p,0,0);
    return 0;
}

SEC("tc")
int probe_k(struct __sk_buff *c)
{
    MEM;
    return bpf_probe_read_kernel_dynptr(&p,0,4,c);
}

SEC("tc")
int return_slice(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    return (long)bpf_dynptr_slice(&p,0,0,4);
}

SEC("tc")
int spill_slice_ref(struct __sk_buff *c)
{
    RES;
    char *volatile s=bpf_dynptr_data(&p,0,4);
    OUT;
    char*t=s;
    return t?*t:0;
}

SEC("tc")
int cmp_slices(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,4);
    char *t=bpf_dynptr_slice(&p,4,0,4);
    if(s==t) return 0;
    if(!s) return 1;
    return *t;
}

SEC("tc")
int wr_slice_ro(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,4);
    if(s) *s=0;
    return 0;
}

SEC("tc")
int atomic_slice(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    long *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    if(s) __sync_fetch_and_add(s,1);
    return 0;
}

SEC("tc")
int misalign(struct __sk_buff *c)
{
    char b[32];
    bpf_dynptr_from_mem(mem,8,0,(void*)b+4);
    return 0;
}

extern int bpf_get_file_xattr(struct file *f, const char *n, struct bpf_dynptr *v) __ksym;
extern int bpf_get_dentry_xattr(struct dentry *f, const char *n, struct bpf_dynptr *v) __ksym;
extern int bpf_set_dentry_xattr(struct dentry *f, const char *n, const struct bpf_dynptr *v, int fl) __ksym;
extern int bpf_cgroup_read_xattr(struct cgroup *f, const char *n, struct bpf_dynptr *v) __ksym;
extern int bpf_copy_from_user_dynptr(struct bpf_dynptr *p, __u32 off, __u32 size, const void *u) __ksym;
extern int bpf_copy_from_user_str_dynptr(struct bpf_dynptr *p, __u32 off, __u32 size, const void *u) __ksym;
extern int bpf_copy_from_user_task_dynptr(struct bpf_dynptr *p, __u32 off, __u32 size, const void *u, struct task_struct *t) __ksym;
extern int bpf_probe_read_user_str_dynptr(struct bpf_dynptr *p, __u32 off, __u32 size, const void *u) __ksym;
extern struct bpf_crypto_ctx *bpf_crypto_ctx_create(const struct bpf_crypto_params *params, u32 params__sz, int *err) __ksym;
extern void bpf_crypto_ctx_release(struct bpf_crypto_ctx *ctx) __ksym;
extern int bpf_crypto_encrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *src, const struct bpf_dynptr *dst, const struct bpf_dynptr *iv) __ksym;
extern struct cgroup *bpf_cgroup_from_id(u64 id) __ksym;
extern void bpf_cgroup_release(struct cgroup *c) __ksym;
const char name[]="user.x";
SEC("syscall")
int copyu(void *c)
{
    MEM;
    return bpf_copy_from_user_dynptr(&p,0,8,(void*)1)+bpf_copy_from_user_str_dynptr(&p,0,8,0);
}

SEC("kprobe/x")
int prob(void *c)
{
    MEM;
    return bpf_probe_read_user_str_dynptr(&p,0,8,(void*)5);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(tpskb, struct sk_buff *skb, void *loc)
{
    struct bpf_dynptr p;
    char b[4]={};
    bpf_dynptr_from_skb((void*)skb,0,&p);
    bpf_dynptr_write(&p,0,b,4,0);
    char *s=bpf_dynptr_slice(&p,0,0,4);
    return s?*s&0:0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(tpskb_rdwr, struct sk_buff *skb, void *loc)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb((void*)skb,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,0,4);
    return s?*s&0:0;
}

SEC("netfilter")
int nf(struct bpf_nf_ctx *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb((void*)c->skb,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,4);
    return s?*s&1:1;
}

SEC("socket")
int sf(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,4);
    return s?*s:0;
}

SEC("socket")
int sf_rdwr(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,0,4);
    return s?*s:0;
}

SEC("sk_skb/stream_verdict")
int skskb(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,0,4);
    return s?*s&1:0;
}

SEC("cgroup/getsockopt")
int gso(struct bpf_sockopt *c)
{
    MEM;
    char *s=bpf_dynptr_slice_rdwr(&p,0,0,4);
    return s?*s&1:0;
}

SEC("lwt_xmit")
int lx(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,0,4);
    return 0;
}

SEC("lwt_in")
int li(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,0,4);
    return 0;
}

SEC("raw_tp/x")
int rawtp(void *c)
{
    MEM;
    char *s=bpf_dynptr_slice(&p,0,0,4);
    return s?*s&0:0;
}

SEC("perf_event")
int pe(void *c)
{
    MEM;
    return bpf_dynptr_is_null(&p);
}

SEC("tc")
int metasize(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb_meta(c,0,&p);
    return bpf_dynptr_size(&p);
}

SEC("xdp")
int metax(struct xdp_md *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb_meta((void*)c,0,&p);
    return 0;
}

SEC("socket")
int metas(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb_meta(c,0,&p);
    return 0;
}

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct cv { struct bpf_crypto_ctx __kptr *ctx; }); } cm SEC(".maps");
extern void bpf_rcu_read_lock(void) __ksym; extern void bpf_rcu_read_unlock(void) __ksym;
SEC("tc")
int enc(struct __sk_buff *c)
{
    MEM;
    struct bpf_dynptr q;
    bpf_dynptr_from_skb(c,0,&q);
    u32 k=0;
    struct cv *v=bpf_map_lookup_elem(&cm,&k);
    if(!v) return 0;
    struct bpf_crypto_ctx *x=v->ctx;
    if(!x) return 0;
    return bpf_crypto_encrypt(x,&q,&p,0);
}

SEC("tc")
int enc_iv(struct __sk_buff *c)
{
    MEM;
    struct bpf_dynptr q;
    bpf_dynptr_from_skb(c,0,&q);
    u32 k=0;
    struct cv *v=bpf_map_lookup_elem(&cm,&k);
    if(!v) return 0;
    struct bpf_crypto_ctx *x=v->ctx;
    if(!x) return 0;
    return bpf_crypto_encrypt(x,&q,&p,&p);
}

SEC("tc")
int enc_badiv(struct __sk_buff *c)
{
    MEM;
    struct bpf_dynptr q;
    bpf_dynptr_from_skb(c,0,&q);
    u32 k=0;
    struct cv *v=bpf_map_lookup_elem(&cm,&k);
    if(!v) return 0;
    struct bpf_crypto_ctx *x=v->ctx;
    if(!x) return 0;
    return bpf_crypto_encrypt(x,&q,&p,(void*)mem);
}

SEC("tc")
int enc_nulldst(struct __sk_buff *c)
{
    MEM;
    u32 k=0;
    struct cv *v=bpf_map_lookup_elem(&cm,&k);
    if(!v) return 0;
    struct bpf_crypto_ctx *x=v->ctx;
    if(!x) return 0;
    return bpf_crypto_encrypt(x,&p,0,0);
}

SEC("tc")
int enc_nullctx(struct __sk_buff *c)
{
    MEM;
    u32 k=0;
    struct cv *v=bpf_map_lookup_elem(&cm,&k);
    if(!v) return 0;
    struct bpf_crypto_ctx *x=v->ctx;
    return bpf_crypto_encrypt(x,&p,&p,0);
}

SEC("syscall")
int create(void *c)
{
    struct bpf_crypto_params pa={};
    int err;
    struct bpf_crypto_ctx *x=bpf_crypto_ctx_create(&pa,sizeof(pa),&err);
    if(x) bpf_crypto_ctx_release(x);
    return 0;
}

SEC("syscall")
int create_leak(void *c)
{
    struct bpf_crypto_params pa={};
    int err;
    struct bpf_crypto_ctx *x=bpf_crypto_ctx_create(&pa,sizeof(pa),&err);
    return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgx2, struct cgroup *c)
{
    MEM;
    bpf_cgroup_read_xattr(c,"user.a",&p);
    return 0;
}


// Beside iterators, locks, callbacks, exceptions, global functions.
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym __weak;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym __weak;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym __weak;
extern void bpf_local_irq_save(unsigned long *) __ksym;
extern void bpf_local_irq_restore(unsigned long *) __ksym;
extern void bpf_throw(u64 cookie) __ksym;
extern void bpf_preempt_disable(void) __ksym; extern void bpf_preempt_enable(void) __ksym;
extern void bpf_rcu_read_lock(void) __ksym; extern void bpf_rcu_read_unlock(void) __ksym;
SEC("tc")
int iter_over_dyn(struct __sk_buff *c)
{
    MEM;
    bpf_iter_num_new((void*)&p,0,5);
    bpf_iter_num_destroy((void*)&p);
    return 0;
}

SEC("tc")
int iter_over_dyn_use(struct __sk_buff *c)
{
    MEM;
    bpf_iter_num_new((void*)&p,0,5);
    bpf_iter_num_destroy((void*)&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int iter_over_ref(struct __sk_buff *c)
{
    RES;
    bpf_iter_num_new((void*)&p,0,5);
    bpf_iter_num_destroy((void*)&p);
    OUT;
    return 0;
}

SEC("tc")
int iter_over_dyn2(struct __sk_buff *c)
{
    MEM;
    bpf_iter_num_new((void*)&p+8,0,5);
    bpf_iter_num_destroy((void*)&p+8);
    return *(volatile char*)&p;
}

SEC("tc")
int dyn_over_iter(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_iter_num_new((void*)&p,0,5);
    bpf_dynptr_from_mem(mem,8,0,&p);
    return 0;
}

SEC("tc")
int dyn_over_iter_dead(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_iter_num_new((void*)&p,0,5);
    bpf_iter_num_destroy((void*)&p);
    bpf_dynptr_from_mem(mem,8,0,&p);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int irq_over_dyn(struct __sk_buff *c)
{
    MEM;
    bpf_local_irq_save((void*)&p);
    bpf_local_irq_restore((void*)&p);
    return 0;
}

SEC("tc")
int irq_over_ref(struct __sk_buff *c)
{
    RES;
    bpf_local_irq_save((void*)&p);
    bpf_local_irq_restore((void*)&p);
    OUT;
    return 0;
}

SEC("tc")
int dyn_over_irq(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_local_irq_save((void*)&p);
    bpf_dynptr_from_mem(mem,8,0,&p);
    bpf_local_irq_restore((void*)&p);
    return 0;
}

SEC("tc")
int iter_slices(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    struct bpf_iter_num it;
    int *v;
    bpf_dynptr_from_skb(c,0,&p);
    bpf_iter_num_new(&it,0,100);
    int s=0;
    while((v=bpf_iter_num_next(&it))){ char b[4]; char *x=bpf_dynptr_slice(&p,*v,b,4); if(!x) break; s+=*x; } bpf_iter_num_destroy(&it);
    return s;
}

SEC("tc")
int iter_adjust(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    struct bpf_iter_num it;
    int *v;
    bpf_dynptr_from_mem(mem,64,0,&p);
    bpf_iter_num_new(&it,0,100);
    while((v=bpf_iter_num_next(&it))){ struct bpf_dynptr q; bpf_dynptr_clone(&p,&q); bpf_dynptr_adjust(&q,*v,64); char *d=bpf_dynptr_data(&q,0,1); if(d) *d=1; } bpf_iter_num_destroy(&it);
    return 0;
}

SEC("tc")
int iter_res(struct __sk_buff *c)
{
    struct bpf_iter_num it;
    int *v;
    bpf_iter_num_new(&it,0,100);
    while((v=bpf_iter_num_next(&it))){ RES; bpf_dynptr_write(&p,0,v,4,0); OUT; } bpf_iter_num_destroy(&it);
    return 0;
}

SEC("tc")
int iter_res_leak(struct __sk_buff *c)
{
    struct bpf_iter_num it;
    int *v;
    struct bpf_dynptr p;
    bpf_iter_num_new(&it,0,100);
    while((v=bpf_iter_num_next(&it))){ bpf_ringbuf_reserve_dynptr(&rb,16,0,&p); } bpf_iter_num_destroy(&it);
    return 0;
}

SEC("tc")
int throw_ref(struct __sk_buff *c)
{
    RES;
    if(c->len) bpf_throw(0);
    OUT;
    return 0;
}

SEC("tc")
int throw_loc(struct __sk_buff *c)
{
    MEM;
    if(c->len) bpf_throw(0);
    return 0;
}

SEC("tc")
int in_preempt(struct __sk_buff *c)
{
    bpf_preempt_disable();
    RES;
    OUT;
    bpf_preempt_enable();
    return 0;
}

SEC("tc")
int in_rcu(struct __sk_buff *c)
{
    bpf_rcu_read_lock();
    RES;
    char *s=bpf_dynptr_data(&p,0,8);
    bpf_rcu_read_unlock();
    if(s) *s=1;
    OUT;
    return 0;
}

static long lcb(u32 i, void *x)
{
    struct bpf_dynptr *p=x;
    char b=i;
    return bpf_dynptr_write(p,i,&b,1,0)!=0;
}

SEC("tc")
int loop_dyn(struct __sk_buff *c)
{
    MEM;
    bpf_loop(100,lcb,&p,0);
    return 0;
}

SEC("tc")
int loop_dyn_ref(struct __sk_buff *c)
{
    RES;
    bpf_loop(100,lcb,&p,0);
    OUT;
    return 0;
}

static long lcb2(u32 i, void *x)
{
    bpf_dynptr_from_mem(mem,8,0,x);
    return 0;
}

SEC("tc")
int loop_remake(struct __sk_buff *c)
{
    MEM;
    bpf_loop(100,lcb2,&p,0);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int loop_make(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_loop(100,lcb2,&p,0);
    return bpf_dynptr_size(&p);
}

static long lcb3(u32 i, void *x)
{
    bpf_ringbuf_submit_dynptr(x,0);
    return 1;
}

SEC("tc")
int loop_submit(struct __sk_buff *c)
{
    RES;
    bpf_loop(1,lcb3,&p,0);
    return 0;
}

static long lcb4(u32 i, void *x)
{
    bpf_ringbuf_reserve_dynptr(&rb,8,0,x);
    bpf_ringbuf_discard_dynptr(x,0);
    return 0;
}

SEC("tc")
int loop_resdis(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_loop(100,lcb4,&p,0);
    return 0;
}

struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); } pa SEC(".maps");
SEC("tc")
int tail_ref(struct __sk_buff *c)
{
    RES;
    bpf_tail_call(c,&pa,0);
    OUT;
    return 0;
}

SEC("tc")
int tail_loc(struct __sk_buff *c)
{
    MEM;
    bpf_tail_call(c,&pa,0);
    return bpf_dynptr_size(&p);
}

SEC("tc")
int ldabs(struct __sk_buff *c)
{
    RES;
    asm volatile("r6=%0; r0 = *(u8*)skb[0]"::"r"(c):"r0","r1","r2","r3","r4","r5","r6");
    OUT;
    return 0;
}

struct lk { struct bpf_spin_lock l; int x; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct lk); } lm SEC(".maps");
SEC("tc")
int mem_with_lock(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    u32 k=0;
    struct lk *v=bpf_map_lookup_elem(&lm,&k);
    if(!v) return 0;
    bpf_dynptr_from_mem(v,8,0,&p);
    return 0;
}

SEC("tc")
int mem_beside_lock(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    u32 k=0;
    struct lk *v=bpf_map_lookup_elem(&lm,&k);
    if(!v) return 0;
    bpf_dynptr_from_mem(&v->x,4,0,&p);
    return 0;
}

SEC("tc")
int dyn_in_lock(struct __sk_buff *c)
{
    MEM;
    u32 k=0;
    char b[4];
    struct lk *v=bpf_map_lookup_elem(&lm,&k);
    if(!v) return 0;
    bpf_spin_lock(&v->l);
    bpf_dynptr_read(b,4,&p,0,0);
    bpf_spin_unlock(&v->l);
    return 0;
}

SEC("tc")
int dynk_in_lock(struct __sk_buff *c)
{
    MEM;
    u32 k=0;
    char b[4];
    struct lk *v=bpf_map_lookup_elem(&lm,&k);
    if(!v) return 0;
    bpf_spin_lock(&v->l);
    bpf_dynptr_size(&p);
    bpf_spin_unlock(&v->l);
    return 0;
}

SEC("tc")
int pass_slice_static(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,0,8);
    return s?*s:0;
}

__weak int gmem(char *x __arg_nonnull)
{
    return *x;
}

SEC("tc")
int slice_global(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    return s?gmem(s):0;
}

SEC("tc")
int rdslice_global(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice(&p,0,mem,8);
    return s?gmem(s):0;
}

SEC("tc")
int slice_maybe_global(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    return gmem(s);
}

__weak int gnull(char *x)
{
    return x?*x:0;
}

SEC("tc")
int slice_null_global(struct __sk_buff *c)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(c,0,&p);
    char *s=bpf_dynptr_slice_rdwr(&p,0,mem,8);
    return gnull(s);
}


// A slice that may be the buffer on the stack that it was given: what is stored there may be changed through it.
SEC("tc")
int alias_of_a_pointer(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    void *volatile buffer[1];
    bpf_dynptr_from_skb(ctx, 0, &p);
    long *s = bpf_dynptr_slice_rdwr(&p, 0, (void *)buffer, 8);
    if (!s) return 0;
    buffer[0] = mem;
    *s = ctx->len;
    return *(char *)buffer[0];
}

SEC("tc")
int alias_in_a_helper(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    void *volatile buffer[1];
    bpf_dynptr_from_skb(ctx, 0, &p);
    long *s = bpf_dynptr_slice_rdwr(&p, 0, (void *)buffer, 8);
    if (!s) return 0;
    buffer[0] = mem;
    bpf_skb_load_bytes(ctx, 0, s, 8);
    return *(char *)buffer[0];
}

SEC("tc")
int alias_of_a_dynptr(struct __sk_buff *ctx)
{
    struct bpf_dynptr p, q;
    bpf_dynptr_from_skb(ctx, 0, &p);
    char *s = bpf_dynptr_slice_rdwr(&p, 0, &q, 16);
    if (!s) return 0;
    bpf_dynptr_from_mem(mem, 8, 0, &q);
    s[1] = 7;
    return bpf_dynptr_size(&q);
}

static __noinline char *taken_from_a_frame(struct bpf_dynptr *p)
{
    char buffer[16];
    return bpf_dynptr_slice_rdwr(p, 0, buffer, 16);
}

SEC("tc")
int alias_of_a_frame_that_ended(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    bpf_dynptr_from_skb(ctx, 0, &p);
    char *s = taken_from_a_frame(&p);
    if (!s) return 0;
    *s = 1;
    return 0;
}

SEC("tc")
int alias_of_numbers(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    char buffer[8] = {};
    bpf_dynptr_from_skb(ctx, 0, &p);
    char *s = bpf_dynptr_slice_rdwr(&p, 0, buffer, 8);
    if (!s) return 0;
    s[1] = 7;
    if (s == buffer) bpf_dynptr_write(&p, 0, buffer, 8, 0);
    return buffer[1];
}

SEC("tc")
int alias_that_is_only_read(struct __sk_buff *ctx)
{
    struct bpf_dynptr p;
    void *volatile buffer[1];
    bpf_dynptr_from_skb(ctx, 0, &p);
    long *s = bpf_dynptr_slice(&p, 0, (void *)buffer, 8);
    if (!s) return 0;
    buffer[0] = mem;
    return *(char *)buffer[0] + *s;
}

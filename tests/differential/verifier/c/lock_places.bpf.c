/* Locks in inner maps and local storage, memory beside a lock, callbacks that may sleep: the border of one rule each. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (callback_fn)(void *map, int *key, void *value), unsigned int flags, void *aux__prog) __ksym;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;
extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
struct val { long a; struct bpf_spin_lock lock; int b; char buf[64]; };
struct wval { int a; int c; struct bpf_wq wq; int b; };
struct hm { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, struct val);} h SEC(".maps");
struct am { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, int); __type(value, struct val);} a SEC(".maps"), in1 SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 4); __type(key, int); __type(value, int); __array(values, struct am);} outer SEC(".maps") = {.values = {&in1}};
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, int); __type(value, struct wval);} w SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, struct val);} sks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, int);} progs SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
#define GET int k = 0; struct val *v = bpf_map_lookup_elem(&h, &k); if (!v) return 0;
SEC("kprobe") int kp_inner(void *ctx) { int k=0; void *m = bpf_map_lookup_elem(&outer, &k); if (!m) return 0; struct val *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; bpf_spin_lock(&v->lock); v->a++; bpf_spin_unlock(&v->lock); return 0; }
SEC("socket") int sk_inner(void *ctx) { int k=0; void *m = bpf_map_lookup_elem(&outer, &k); if (!m) return 0; struct val *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; bpf_spin_lock(&v->lock); v->a++; bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int inner_two(void *ctx) { int k=0; void *m = bpf_map_lookup_elem(&outer, &k); if (!m) return 0; struct val *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; struct val *u = bpf_map_lookup_elem(m, &k); if (!u) return 0; bpf_spin_lock(&v->lock); v->a++; bpf_spin_unlock(&u->lock); return 0; }
__noinline int glob(struct val *v) { if (!v) return 0; v->a = 1; return 0; }
__noinline int globp(long *v) { if (!v) return 0; *v = 1; return 0; }
SEC("tc") int glob_val(void *ctx) { GET return glob(v); }
SEC("tc") int glob_part(void *ctx) { GET return globp(&v->a); }
__noinline int glob_lock(int x) { GET bpf_spin_lock(&v->lock); v->a += x; bpf_spin_unlock(&v->lock); return x; }
SEC("tc") int glob_locks(void *ctx) { return glob_lock(3); }
__noinline int glob_leak(int x) { GET bpf_spin_lock(&v->lock); v->a += x; return x; }
SEC("tc") int glob_leaks(void *ctx) { return glob_leak(3); }
SEC("tc") int dyn(void *ctx) { GET struct bpf_dynptr p; bpf_dynptr_from_mem(v, sizeof(*v), 0, &p); return 0; }
SEC("tc") int dyn_part(void *ctx) { GET struct bpf_dynptr p; bpf_dynptr_from_mem(v->buf, 64, 0, &p); return 0; }
SEC("tc") int varhelp(struct __sk_buff *ctx) { GET u32 n = ctx->len & 31; bpf_get_current_comm(v->buf + n, 16); return 0; }
SEC("tc") int varhelp2(struct __sk_buff *ctx) { GET u32 n = ctx->len & 63; bpf_probe_read_kernel((char*)v, n, 0); return 0; }
SEC("tc") int varload(struct __sk_buff *ctx) { GET u32 n = ctx->len & 63; return v->buf[n]; }
SEC("tc") int varload2(struct __sk_buff *ctx) { GET u32 n = ctx->len & 63; return ((char*)v)[n]; }
SEC("tc") int at(void *ctx) { GET __sync_fetch_and_add((int*)&v->lock, 1); return 0; }
SEC("tc") int rbout(void *ctx) { GET bpf_ringbuf_output(&rb, v, sizeof(*v), 0); return 0; }
SEC("tc") int rbout2(void *ctx) { GET bpf_ringbuf_output(&rb, v->buf, 64, 0); return 0; }
SEC("tc") int tail(void *ctx) { GET bpf_spin_lock(&v->lock); bpf_tail_call(ctx, &progs, 0); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int ldabs(struct __sk_buff *skb) { GET bpf_spin_lock(&v->lock); register long r6 asm("r6") = (long)skb; long r; asm volatile("r6 = %[s]; r0 = *(u8 *)skb[0]; %[r] = r0" : [r]"=r"(r) : [s]"r"(skb) : "r0","r1","r2","r3","r4","r5","r6"); bpf_spin_unlock(&v->lock); return r; }
SEC("tc") int skst(struct __sk_buff *skb) { struct bpf_sock *sk = skb->sk; if (!sk) return 0; sk = bpf_sk_fullsock(sk); if (!sk) return 0; struct val *v = bpf_sk_storage_get(&sks, sk, 0, 1); if (!v) return 0; bpf_spin_lock(&v->lock); v->a++; bpf_spin_unlock(&v->lock); return 0; }
__noinline int sleepy(int x) { char b[8]; bpf_copy_from_user(b, 8, 0); return x; }
static int wcb(void *map, int *key, void *value) { return sleepy(0) & 0; }
static int wcb_task(void *map, int *key, void *value) { struct task_struct *t = bpf_task_from_pid(1); if (t) bpf_task_release(t); return 0; }
static int wcb_leak(void *map, int *key, void *value) { struct task_struct *t = bpf_task_from_pid(1); return 0; }
static int wcb_rcu(void *map, int *key, void *value) { struct task_struct *t = bpf_get_current_task_btf(); struct task_struct *p = t->real_parent; return p ? p->pid & 0 : 0; }
static int wcb_rcu2(void *map, int *key, void *value) { struct task_struct *t = bpf_get_current_task_btf(); struct task_struct *p = bpf_task_from_pid(1); int r = 0; bpf_rcu_read_lock(); if (p) { struct task_struct *q = p->real_parent; if (q) r = q->pid; } bpf_rcu_read_unlock(); if (p) bpf_task_release(p); return r & 0; }
static int wcb_rcusleep(void *map, int *key, void *value) { char b[8]; bpf_rcu_read_lock(); bpf_copy_from_user(b, 8, 0); bpf_rcu_read_unlock(); return 0; }
#define WSET(name,cb) SEC("tc") int name(void *ctx) { int k=0; struct wval *v = bpf_map_lookup_elem(&w, &k); if (!v) return 0; bpf_wq_set_callback_impl(&v->wq, cb, 0, 0); return 0; }
WSET(w_glob, wcb) WSET(w_task, wcb_task) WSET(w_leak, wcb_leak) WSET(w_rcu, wcb_rcu) WSET(w_rcu2, wcb_rcu2) WSET(w_rcusleep, wcb_rcusleep)
SEC("tc") int three(struct __sk_buff *c) { int i; GET bpf_spin_lock(&v->lock); for (i = 0; i < 5; i++) v->a += i; bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int swap(struct __sk_buff *c) { int k=0,k2=1; struct val *v = bpf_map_lookup_elem(&h, &k), *u = bpf_map_lookup_elem(&h, &k2); if (!v || !u) return 0; struct val *x = c->len > 5 ? v : u; bpf_spin_lock(&x->lock); x->a++; bpf_spin_unlock(&x->lock); return 0; }
SEC("tc") int swap2(struct __sk_buff *c) { int k=0,k2=1; struct val *v = bpf_map_lookup_elem(&h, &k), *u = bpf_map_lookup_elem(&h, &k2); if (!v || !u) return 0; struct val *x = c->len > 5 ? v : u; bpf_spin_lock(&x->lock); x->a++; x = c->len > 6 ? v : u; bpf_spin_unlock(&x->lock); return 0; }

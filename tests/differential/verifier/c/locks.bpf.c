/* Spin locks: each program is at the border of one rule. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
extern int bpf_res_spin_lock(struct bpf_res_spin_lock *lock) __ksym;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
char LICENSE[] SEC("license") = "GPL";
struct val { int a; struct bpf_spin_lock lock; int b; };
struct rval { int a; struct bpf_res_spin_lock lock; struct bpf_res_spin_lock *x; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, struct val);} h SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, int); __type(value, struct val);} a SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, struct rval);} r1 SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, struct rval);} r2 SEC(".maps");
struct bpf_spin_lock glock SEC(".data.A");
int gx SEC(".data.A");
struct bpf_res_spin_lock rlock SEC(".data.B");
#define LOOK(m) int k = 0; typeof(*(struct val*)0) *v = bpf_map_lookup_elem(&m, &k); if (!v) return 0;
SEC("tc") int good(void *ctx) { LOOK(h) bpf_spin_lock(&v->lock); v->a++; bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int good_array(void *ctx) { LOOK(a) bpf_spin_lock(&v->lock); v->a++; bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int two(void *ctx) { LOOK(h) int k2=1; struct val *w = bpf_map_lookup_elem(&h,&k2); if(!w) return 0; bpf_spin_lock(&v->lock); bpf_spin_lock(&w->lock); bpf_spin_unlock(&w->lock); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int wrong(void *ctx) { LOOK(h) struct val *w = bpf_map_lookup_elem(&h,&k); if(!w) return 0; bpf_spin_lock(&v->lock); bpf_spin_unlock(&w->lock); return 0; }
SEC("tc") int noinit(void *ctx) { int k=0; struct val *v = bpf_map_lookup_elem(&h,&k); bpf_spin_lock(&v->lock); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int rcu(void *ctx) { LOOK(h) bpf_spin_lock(&v->lock); bpf_rcu_read_lock(); bpf_rcu_read_unlock(); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int res(void *ctx) { int k=0; struct rval *v = bpf_map_lookup_elem(&r2,&k); if(!v) return 0; if (bpf_res_spin_lock(&v->lock)) return 1; v->a++; bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int res_ign(void *ctx) { int k=0; struct rval *v = bpf_map_lookup_elem(&r2,&k); if(!v) return 0; bpf_res_spin_lock(&v->lock); v->a++; bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int res_aa(void *ctx) { int k=0; struct rval *v = bpf_map_lookup_elem(&r2,&k); if(!v) return 0; if (bpf_res_spin_lock(&v->lock)) return 1; if (bpf_res_spin_lock(&v->lock)) { bpf_res_spin_unlock(&v->lock); return 1;} bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int res_two(void *ctx) { int k=0; struct rval *v = bpf_map_lookup_elem(&r2,&k); if(!v) return 0; if (bpf_res_spin_lock(&v->lock)) return 1; if (bpf_res_spin_lock(&rlock)) { bpf_res_spin_unlock(&v->lock); return 1;} bpf_res_spin_unlock(&rlock); bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int res_order(void *ctx) { int k=0; struct rval *v = bpf_map_lookup_elem(&r2,&k); if(!v) return 0; if (bpf_res_spin_lock(&v->lock)) return 1; if (bpf_res_spin_lock(&rlock)) { bpf_res_spin_unlock(&v->lock); return 1;} bpf_res_spin_unlock(&v->lock); bpf_res_spin_unlock(&rlock);  return 0; }
SEC("tc") int res_in_spin(void *ctx) { LOOK(h) bpf_spin_lock(&v->lock); if (!bpf_res_spin_lock(&rlock)) bpf_res_spin_unlock(&rlock); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int spin_in_res(void *ctx) { LOOK(h) if (!bpf_res_spin_lock(&rlock)) {bpf_spin_lock(&v->lock); bpf_spin_unlock(&v->lock);  bpf_res_spin_unlock(&rlock);} return 0; }
SEC("tc") int res_unbalanced(void *ctx) { LOOK(h) bpf_spin_lock(&v->lock); if (!bpf_res_spin_lock(&rlock)) {bpf_spin_unlock(&v->lock); bpf_res_spin_unlock(&rlock);} else bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int leak(void *ctx) { LOOK(h) bpf_spin_lock(&v->lock); return 0; }
SEC("tc") int global_lock(void *ctx) { bpf_spin_lock(&glock); gx++; bpf_spin_unlock(&glock); return 0; }
SEC("tc") int touch(void *ctx) { LOOK(h) *(volatile int*)&v->lock = 0; return 0; }
SEC("tc") int touch2(void *ctx) { LOOK(h) return *(volatile short*)((char*)&v->lock+2); }
SEC("tc") int touch_helper(void *ctx) { LOOK(h) bpf_get_current_comm(v, 8); return 0; }
SEC("tc") int touch_key(void *ctx) { LOOK(h) bpf_map_update_elem(&a, &v->lock, v, 0); return 0; }
SEC("tc") int value_as_value(void *ctx) { LOOK(h) bpf_map_update_elem(&a, &k, v, 0); return 0; }
static __noinline int sub_unlock(struct val *v) { v->b = 1; bpf_spin_unlock(&v->lock); return 0; }
static __noinline int sub_lock(struct val *v) { v->b = 1; bpf_spin_lock(&v->lock); return 0; }
__noinline int glob(int x) { return x + 1; }
SEC("tc") int sub(void *ctx) { LOOK(h) sub_lock(v); v->a = 2; sub_unlock(v); return 0; }
SEC("tc") int glob_held(void *ctx) { LOOK(h) bpf_spin_lock(&v->lock); v->a = glob(v->b); bpf_spin_unlock(&v->lock); return 0; }
SEC("kprobe") int kprobe_lock(void *ctx) { LOOK(h) return 0; }
SEC("socket") int socket_lock(void *ctx) { LOOK(h) return 0; }
SEC("socket") int socket_rlock(void *ctx) { int k=0; return bpf_map_lookup_elem(&r2,&k)==0; }
SEC("xdp") int loop_lock(void *ctx) { int i; for (i = 0; i < 10; i++) { LOOK(h) bpf_spin_lock(&v->lock); v->a++; bpf_spin_unlock(&v->lock); } return 2; }
static int cb_lock(int i, void *c) { LOOK(h) bpf_spin_lock(&v->lock); return 0; }
static int cb_ok(int i, void *c) { LOOK(h) bpf_spin_lock(&v->lock); v->b=0; bpf_spin_unlock(&v->lock); return 0; }
static long cb_each(void *map, int *key, struct val *v, void *c) { bpf_spin_lock(&v->lock); v->b=0; bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int cb(void *ctx) { bpf_loop(10, cb_lock, 0, 0); return 0; }
SEC("tc") int cb2(void *ctx) { bpf_loop(10, cb_ok, 0, 0); return 0; }
SEC("tc") int each(void *ctx) { bpf_for_each_map_elem(&h, cb_each, 0, 0); return 0; }
SEC("tc") int maybe(struct __sk_buff *ctx) { LOOK(h) if (ctx->len > 10) bpf_spin_lock(&v->lock); v->a++; if (ctx->len > 10) bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int maybe2(struct __sk_buff *ctx) { LOOK(h) int l = ctx->len > 10; if (l) bpf_spin_lock(&v->lock); v->a++; if (l) bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int off(struct __sk_buff *ctx) { LOOK(h) bpf_spin_lock((void*)&v->a); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int varoff(struct __sk_buff *ctx) { LOOK(h) void *p = (char*)v + (ctx->len & 4); bpf_spin_lock(p); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int nolock(struct __sk_buff *ctx) { LOOK(r2) bpf_spin_lock((void*)&v->lock); bpf_spin_unlock((void*)&v->lock); return 0; }
SEC("syscall") int sleepable_lock(void *ctx) { LOOK(h) bpf_spin_lock(&v->lock); v->a++; bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int stack_lock(void *ctx) { struct bpf_spin_lock l = {}; bpf_spin_lock(&l); bpf_spin_unlock(&l); return 0; }
SEC("tc") int res_stack(void *ctx) { struct bpf_res_spin_lock l = {}; if (bpf_res_spin_lock(&l)) return 0; bpf_res_spin_unlock(&l); return 0; }
SEC("tc") int res_null(void *ctx) { int k=0; struct rval *v = bpf_map_lookup_elem(&r2,&k); if (bpf_res_spin_lock(&v->lock)) return 0; bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int unlock_twice(void *ctx) { LOOK(h) bpf_spin_lock(&v->lock); bpf_spin_unlock(&v->lock); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int use_after(void *ctx) { LOOK(h) int l = bpf_spin_lock(&v->lock); bpf_spin_unlock(&v->lock); return l; }

/* Locks with interrupt flags, in loops, beside exceptions and timers: each program is at the border of one rule. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
extern int bpf_res_spin_lock(struct bpf_res_spin_lock *lock) __ksym;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock) __ksym;
extern int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag) __ksym;
extern void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag) __ksym;
extern void bpf_local_irq_save(unsigned long *flags__irq_flag) __ksym;
extern void bpf_local_irq_restore(unsigned long *flags__irq_flag) __ksym;
extern void bpf_throw(u64 cookie) __ksym;
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (callback_fn)(void *map, int *key, void *value), unsigned int flags, void *aux__prog) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
struct rval { int a; struct bpf_res_spin_lock lock; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, struct rval);} r2 SEC(".maps");
struct tval { int a; int c; struct bpf_timer timer; struct bpf_spin_lock lock; int b; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, int); __type(value, struct tval);} a SEC(".maps");
struct bpf_res_spin_lock lock1 SEC(".data.B");
struct bpf_res_spin_lock lock2 SEC(".data.C");
#define GET int k=0; struct rval *v = bpf_map_lookup_elem(&r2,&k); if(!v) return 0;
SEC("tc") int ok(void *ctx) { unsigned long f; if (bpf_res_spin_lock_irqsave(&lock1, &f)) return 0; bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0; }
SEC("tc") int noerr(void *ctx) { unsigned long f; bpf_res_spin_lock_irqsave(&lock1, &f); bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0; }
SEC("tc") int wrongun(void *ctx) { unsigned long f; if (bpf_res_spin_lock_irqsave(&lock1, &f)) return 0; bpf_res_spin_unlock(&lock1); bpf_local_irq_restore(&f); return 0; }
SEC("tc") int wrongun2(void *ctx) { unsigned long f; if (bpf_res_spin_lock(&lock1)) return 0; bpf_local_irq_save(&f); bpf_res_spin_unlock_irqrestore(&lock1, &f);  return 0; }
SEC("tc") int wrongirq(void *ctx) { unsigned long f, g; bpf_local_irq_save(&g); if (bpf_res_spin_lock_irqsave(&lock1, &f)) { bpf_local_irq_restore(&g); return 0;} bpf_res_spin_unlock_irqrestore(&lock1, &g); bpf_local_irq_restore(&f); return 0; }
SEC("tc") int nested(void *ctx) { unsigned long f, g; bpf_local_irq_save(&g); if (bpf_res_spin_lock_irqsave(&lock1, &f)) { bpf_local_irq_restore(&g); return 0;} bpf_res_spin_unlock_irqrestore(&lock1, &f); bpf_local_irq_restore(&g); return 0; }
SEC("tc") int nested2(void *ctx) { unsigned long f, g; if (bpf_res_spin_lock_irqsave(&lock1, &f)) return 0; if (bpf_res_spin_lock_irqsave(&lock2, &g)) { bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0;} bpf_res_spin_unlock_irqrestore(&lock2, &g); bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0; }
SEC("tc") int nested_swap(void *ctx) { unsigned long f, g; if (bpf_res_spin_lock_irqsave(&lock1, &f)) return 0; if (bpf_res_spin_lock_irqsave(&lock2, &g)) { bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0;} bpf_res_spin_unlock_irqrestore(&lock2, &f); bpf_res_spin_unlock_irqrestore(&lock1, &g); return 0; }
SEC("tc") int aa(void *ctx) { unsigned long f, g; if (bpf_res_spin_lock_irqsave(&lock1, &f)) return 0; if (bpf_res_spin_lock(&lock1)) { bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0;} bpf_res_spin_unlock(&lock1); bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0; }
SEC("tc") int leak(void *ctx) { unsigned long f; if (bpf_res_spin_lock_irqsave(&lock1, &f)) return 0; return 0; }
SEC("tc") int uninit(void *ctx) { unsigned long f; if (bpf_res_spin_lock(&lock1)) return 0; bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0; }
SEC("tc") int call_in(void *ctx) { unsigned long f; if (bpf_res_spin_lock_irqsave(&lock1, &f)) return 0; bpf_get_prandom_u32(); bpf_res_spin_unlock_irqrestore(&lock1, &f); return 0; }
SEC("tc") int save_in(void *ctx) { unsigned long f; if (bpf_res_spin_lock(&lock1)) return 0; bpf_local_irq_save(&f); bpf_local_irq_restore(&f);  bpf_res_spin_unlock(&lock1); return 0; }
SEC("tc") int two_same_map(void *ctx) { GET int k2=1; struct rval *w = bpf_map_lookup_elem(&r2,&k2); if (!w) return 0; if (bpf_res_spin_lock(&v->lock)) return 0; if (bpf_res_spin_lock(&w->lock)) {bpf_res_spin_unlock(&v->lock); return 0;} bpf_res_spin_unlock(&w->lock); bpf_res_spin_unlock(&v->lock); return 0; }
static __noinline int take(struct rval *v) { return bpf_res_spin_lock(&v->lock); }
SEC("tc") int sub(void *ctx) { GET if (take(v)) return 0; v->a++; bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int sub_noerr(void *ctx) { GET take(v); v->a++; bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int err_range(void *ctx) { GET int e = bpf_res_spin_lock(&v->lock); if (e < 0) return 0; v->a++; bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int err_range2(void *ctx) { GET int e = bpf_res_spin_lock(&v->lock); if (e > 0) return 0; v->a++; bpf_res_spin_unlock(&v->lock); return 0; }
SEC("tc") int loop(void *ctx) { GET for (int i = 0; i < 100; i++) { if (bpf_res_spin_lock(&v->lock)) continue; v->a++; bpf_res_spin_unlock(&v->lock); } return 0; }
SEC("tc") int thr(void *ctx) { GET if (bpf_res_spin_lock(&v->lock)) return 0; bpf_throw(1); bpf_res_spin_unlock(&v->lock); return 0; }
static int cbthrow(void *map, int *key, struct tval *v) { if (v->a) bpf_throw(0); return 0; }
static int cbthrow2(int i, void *c) { if (i == 3) bpf_throw(0); return 0; }
static __noinline int thrower(int x) { if (x) bpf_throw(0); return 0; }
static int cbthrow3(void *map, int *key, struct tval *v) { return thrower(v->a); }
SEC("tc") int timer_throw(void *ctx) { int k=0; struct tval *v = bpf_map_lookup_elem(&a,&k); if(!v) return 0; bpf_timer_set_callback(&v->timer, cbthrow); return 0; }
SEC("tc") int timer_throw3(void *ctx) { int k=0; struct tval *v = bpf_map_lookup_elem(&a,&k); if(!v) return 0; bpf_timer_set_callback(&v->timer, cbthrow3); return 0; }
SEC("tc") int loop_throw(void *ctx) { bpf_loop(10, cbthrow2, 0, 0); return 0; }
static int cb0(void *map, int *key, struct tval *v) { v->a++; return 0; }
SEC("tc") int timer_rcu(void *ctx) { int k=0; struct tval *v = bpf_map_lookup_elem(&a,&k); if(!v) return 0; bpf_rcu_read_lock(); bpf_timer_set_callback(&v->timer, cb0); bpf_timer_start(&v->timer, 1, 0); bpf_timer_cancel(&v->timer); bpf_rcu_read_unlock(); return 0; }
SEC("tc") int timer_preempt(void *ctx) { int k=0; struct tval *v = bpf_map_lookup_elem(&a,&k); if(!v) return 0; bpf_preempt_disable(); bpf_timer_set_callback(&v->timer, cb0); bpf_timer_cancel(&v->timer); bpf_preempt_enable(); return 0; }
static int cbrcu(void *map, int *key, struct tval *v) { bpf_rcu_read_lock(); return 0; }
SEC("tc") int timer_leak_rcu(void *ctx) { int k=0; struct tval *v = bpf_map_lookup_elem(&a,&k); if(!v) return 0; bpf_timer_set_callback(&v->timer, cbrcu); return 0; }
static int cbnest2(void *map, int *key, struct tval *v) { return bpf_loop(3, cbthrow2, 0, 0) & 0; }
static int cbsub(int i, void *c) { return 0; }
static int cbnest(void *map, int *key, struct tval *v) { bpf_loop(3, cbsub, 0, 0); return 0; }
SEC("tc") int timer_loop(void *ctx) { int k=0; struct tval *v = bpf_map_lookup_elem(&a,&k); if(!v) return 0; bpf_timer_set_callback(&v->timer, cbnest); return 0; }
static int setter(int i, void *c) { int k=0; struct tval *v = bpf_map_lookup_elem(&a,&k); if(!v) return 0; bpf_timer_set_callback(&v->timer, cb0); return 0; }
SEC("tc") int loop_timer(void *ctx) { bpf_loop(100, setter, 0, 0); return 0; }
__noinline int gsetter(int x) { int k=0; struct tval *v = bpf_map_lookup_elem(&a,&k); if(!v) return 0; bpf_timer_set_callback(&v->timer, cb0); return x; }
SEC("tc") int glob_timer(void *ctx) { return gsetter(1) & 0; }

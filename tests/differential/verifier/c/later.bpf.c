/* Timers, work queues, task work: each program is at the border of one rule. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
extern int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (callback_fn)(void *map, int *key, void *value), unsigned int flags, void *aux__prog) __ksym;
extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map, int (*cb)(struct bpf_map*, void*, void*), void *aux__prog) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern struct cgroup *bpf_cgroup_from_id(__u64 id) __ksym;
struct tval { int a; int c; struct bpf_timer timer; struct bpf_spin_lock lock; int b; };
struct wval { int a; int c; struct bpf_wq wq; int b; };
struct kval { int a; int c; struct bpf_task_work tw; int b; };
struct hmap { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, struct tval);} h SEC(".maps");
struct amap { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, int); __type(value, struct tval);} a SEC(".maps"), a2 SEC(".maps"), in1 SEC(".maps");
struct wmap { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, int); __type(value, struct wval);} w SEC(".maps"), w2 SEC(".maps"), inw SEC(".maps");
struct kmap { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, int); __type(value, struct kval);} km SEC(".maps"), km2 SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 4); __type(key, int); __type(value, int); __array(values, struct amap);} outer SEC(".maps") = {.values = {&in1}};
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 4); __type(key, int); __type(value, int); __array(values, struct wmap);} outerw SEC(".maps") = {.values = {&inw}};
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, int);} progs SEC(".maps");
int g;
#define GET(T,m) int k = 0; struct T *v = bpf_map_lookup_elem(&m, &k); if (!v) return 0;
static int cb0(void *map, int *key, struct tval *v) { v->a++; return 0; }
static int cb1(void *map, int *key, struct tval *v) { return 1; }
static int cbr(void *map, int *key, struct tval *v) { return g; }
static int cbself(void *map, int *key, struct tval *v) { bpf_timer_set_callback(&v->timer, cbself); bpf_timer_start(&v->timer, 1000, 0); return 0; }
static int cblock(void *map, int *key, struct tval *v) { bpf_spin_lock(&v->lock); v->b++; bpf_spin_unlock(&v->lock); return 0; }
static int cbleak(void *map, int *key, struct tval *v) { bpf_spin_lock(&v->lock); v->b++; return 0; }
static int cbkey(void *map, int *key, struct tval *v) { bpf_map_delete_elem(map, key); return *key & 0; }
static int cbkeyw(void *map, int *key, struct tval *v) { *key = 1; return 0; }
static int cbinit(void *map, int *key, struct tval *v) { bpf_timer_init(&v->timer, map, 1); return 0; }
static int cbinit2(void *map, int *key, struct tval *v) { bpf_timer_init(&v->timer, &a2, 1); return 0; }
static int cbtouch(void *map, int *key, struct tval *v) { *(volatile int*)&v->timer = 1; return 0; }
static int cbtail(void *ctx, int *key, struct tval *v) { bpf_tail_call(ctx, &progs, 0); return 0; }
static int cbsleep(void *map, int *key, struct tval *v) { char b[8]; bpf_copy_from_user(b, 8, 0); return 0; }
static int cbctx(void *map, int *key, struct tval *v) { return bpf_get_current_pid_tgid() & 0; }
static __noinline int deep(int x) { char b[256]; __builtin_memset(b, x, 256); asm volatile("" :: "r"(b)); return b[x & 255]; }
static int cbdeep(void *map, int *key, struct tval *v) { volatile char b[240]; b[0] = v->a; v->a = deep(b[0]); return 0; }
static int cbdeep2(void *map, int *key, struct tval *v) { volatile char b[280]; b[0] = v->a; v->a = deep(b[0]); return 0; }
static int cbthr(void *map, int *key, struct tval *v) { char x[8]; return bpf_probe_read_kernel(x, 8, 0) & 0; }
SEC("tc") int ok(void *ctx) { GET(tval,a) bpf_timer_init(&v->timer, &a, 1); bpf_timer_set_callback(&v->timer, cb0); bpf_timer_start(&v->timer, 1000, 0); bpf_timer_cancel(&v->timer); return 0; }
#define SET(name,cb) SEC("tc") int name(void *ctx) { GET(tval,a) bpf_timer_set_callback(&v->timer, cb); return 0; }
SET(set1, cb1) SET(setr, cbr) SET(setself, cbself) SET(setlock, cblock) SET(setleak, cbleak) SET(setkey, cbkey) SET(setkeyw, cbkeyw) SET(setinit, cbinit) SET(setinit2, cbinit2)
SET(settouch, cbtouch) SET(settail, cbtail) SET(setdeep, cbdeep) SET(setdeep2, cbdeep2) SET(setctx, cbctx) SET(setthr, cbthr)
SEC("tc") int setsleep(void *ctx) { GET(tval,a) bpf_timer_set_callback(&v->timer, cbsleep); return 0; }
SEC("syscall") int sys_setsleep(void *ctx) { GET(tval,a) bpf_timer_set_callback(&v->timer, cbsleep); return 0; }
SEC("syscall") int sys_ok(void *ctx) { GET(tval,a) bpf_timer_init(&v->timer, &a, 1); bpf_timer_set_callback(&v->timer, cb0); return 0; }
SEC("tc") int wrongmap(void *ctx) { GET(tval,a) bpf_timer_init(&v->timer, &a2, 1); return 0; }
SEC("tc") int off(void *ctx) { GET(tval,a) bpf_timer_cancel((void*)&v->a); return 0; }
SEC("tc") int nulltimer(void *ctx) { int k=0; struct tval *v = bpf_map_lookup_elem(&h, &k); bpf_timer_cancel((void*)v); return 0; }
SEC("tc") int stacktimer(void *ctx) { struct bpf_timer t = {}; bpf_timer_cancel(&t); return 0; }
SEC("tc") int notimer(void *ctx) { int k=0; struct wval *v = bpf_map_lookup_elem(&w, &k); if (!v) return 0; bpf_timer_cancel((void*)&v->wq); return 0; }
SEC("tc") int touch(void *ctx) { GET(tval,a) return *(volatile int*)&v->timer; }
SEC("kprobe") int kp(void *ctx) { GET(tval,a) return 0; }
SEC("tc") int underlock(void *ctx) { GET(tval,a) bpf_spin_lock(&v->lock); bpf_timer_cancel(&v->timer); bpf_spin_unlock(&v->lock); return 0; }
SEC("tc") int inner_ok(void *ctx) { int k=0; void *m = bpf_map_lookup_elem(&outer, &k); if (!m) return 0; struct tval *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; bpf_timer_init(&v->timer, m, 1); bpf_timer_set_callback(&v->timer, cb0); return 0; }
SEC("tc") int inner_mix(void *ctx) { int k=0,k2=1; void *m = bpf_map_lookup_elem(&outer, &k); if (!m) return 0; void *m2 = bpf_map_lookup_elem(&outer, &k2); if (!m2) return 0; struct tval *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; bpf_timer_init(&v->timer, m2, 1); return 0; }
SEC("tc") int inner_outer(void *ctx) { int k=0; void *m = bpf_map_lookup_elem(&outer, &k); if (!m) return 0; struct tval *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; bpf_timer_init(&v->timer, &in1, 1); return 0; }
SEC("tc") int inner_cbinit(void *ctx) { int k=0; void *m = bpf_map_lookup_elem(&outer, &k); if (!m) return 0; struct tval *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; bpf_timer_set_callback(&v->timer, cbinit); return 0; }
static long each(void *m, int *key, struct tval *v, void *c) { bpf_timer_init(&v->timer, m, 1); return 0; }
SEC("tc") int inner_each(void *ctx) { int k=0; void *m = bpf_map_lookup_elem(&outer, &k); if (!m) return 0; bpf_for_each_map_elem(m, each, 0, 0); return 0; }
SEC("tc") int each_plain(void *ctx) { bpf_for_each_map_elem(&a, each, 0, 0); return 0; }
static int wcb(void *map, int *key, void *value) { return 0; }
static int wcb1(void *map, int *key, void *value) { return 1; }
static int wcbsleep(void *map, int *key, void *value) { char b[8]; bpf_copy_from_user(b, 8, 0); return 0; }
static int wcbrcu(void *map, int *key, void *value) { bpf_rcu_read_lock(); bpf_rcu_read_unlock(); return 0; }
static int wcbself(void *map, int *key, void *value) { struct wval *v = value; bpf_wq_set_callback_impl(&v->wq, wcbself, 0, 0); bpf_wq_start(&v->wq, 0); return 0; }
SEC("tc") int wok(void *ctx) { GET(wval,w) bpf_wq_init(&v->wq, &w, 0); bpf_wq_set_callback_impl(&v->wq, wcb, 0, 0); bpf_wq_start(&v->wq, 0); return 0; }
#define WSET(name,cb) SEC("tc") int name(void *ctx) { GET(wval,w) bpf_wq_set_callback_impl(&v->wq, cb, 0, 0); return 0; }
WSET(wset1, wcb1) WSET(wsetrcu, wcbrcu) WSET(wsetself, wcbself)
SEC("syscall") int wset_sys_sleep(void *ctx) { GET(wval,w) bpf_wq_set_callback_impl(&v->wq, wcbsleep, 0, 0); return 0; }
SEC("tc") int wset_sleep(void *ctx) { GET(wval,w) bpf_wq_set_callback_impl(&v->wq, wcbsleep, 0, 0); return 0; }
SEC("tc") int wwrong(void *ctx) { GET(wval,w) bpf_wq_init(&v->wq, &w2, 0); return 0; }
SEC("tc") int woff(void *ctx) { GET(wval,w) bpf_wq_init((void*)v, &w, 0); return 0; }
SEC("tc") int wstack(void *ctx) { struct bpf_wq x = {}; bpf_wq_init(&x, &w, 0); return 0; }
SEC("tc") int winner(void *ctx) { int k=0; void *m = bpf_map_lookup_elem(&outerw, &k); if (!m) return 0; struct wval *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; bpf_wq_init(&v->wq, m, 0); return 0; }
SEC("tc") int winner_mix(void *ctx) { int k=0,k2=1; void *m = bpf_map_lookup_elem(&outerw, &k); if (!m) return 0; void *m2 = bpf_map_lookup_elem(&outerw, &k2); if (!m2) return 0; struct wval *v = bpf_map_lookup_elem(m, &k); if (!v) return 0; bpf_wq_init(&v->wq, m2, 0); return 0; }
SEC("kprobe") int wkp(void *ctx) { GET(wval,w) return 0; }
static int kcb(struct bpf_map *map, void *key, void *value) { return 5; }
static int kcbptr(struct bpf_map *map, void *key, void *value) { return (long)value; }
static int kcbsleep(struct bpf_map *map, void *key, void *value) { char b[8]; bpf_copy_from_user(b, 8, 0); return 0; }
#define KSET(sec,name,cb) SEC(sec) int name(void *ctx) { GET(kval,km) struct task_struct *t = bpf_get_current_task_btf(); bpf_task_work_schedule_signal_impl(t, &v->tw, &km, cb, 0); return 0; }
KSET("perf_event", kok, kcb) KSET("tc", ktc, kcb) KSET("syscall", ksys, kcb) KSET("perf_event", kptr, kcbptr) KSET("perf_event", ksleep, kcbsleep) KSET("kprobe", kkp, kcb)
SEC("perf_event") int kwrong(void *ctx) { GET(kval,km) struct task_struct *t = bpf_get_current_task_btf(); bpf_task_work_schedule_signal_impl(t, &v->tw, &km2, kcb, 0); return 0; }
SEC("perf_event") int koff(void *ctx) { GET(kval,km) struct task_struct *t = bpf_get_current_task_btf(); bpf_task_work_schedule_signal_impl(t, (void*)&v->a, &km, kcb, 0); return 0; }
SEC("perf_event") int knull(void *ctx) { GET(kval,km) struct task_struct *t = bpf_get_current_task_btf(); bpf_task_work_schedule_signal_impl(t, &v->tw, &km, 0, 0); return 0; }
SEC("tc") int direct(void *ctx) { GET(tval,a) cb0(ctx, &k, v); bpf_timer_set_callback(&v->timer, cb0); return 0; }

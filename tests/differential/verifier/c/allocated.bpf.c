// Programs near the borders of the rules for kptrs, allocated objects, lists and trees. The running kernel judges each;
// skep's verifier must say the same (test_allocated_kernel.py). Nothing is attached or run.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define __kptr __attribute__((btf_type_tag("kptr")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))
#define __contains(name, node) __attribute__((btf_decl_tag("contains:" #name ":" #node)))
#define private(name) SEC(".bss." #name) __attribute__((aligned(8)))
#define NEW(type) ((type *)bpf_obj_new_impl(bpf_core_type_id_local(type), 0))
#define NEW_PERCPU(type) ((type *)bpf_percpu_obj_new_impl(bpf_core_type_id_local(type), 0))
#define DROP(p) bpf_obj_drop_impl(p, 0)
#define bpf_core_type_id_local(type) __builtin_btf_type_id(*(type *)0, 0)

char LICENSE[] SEC("license") = "GPL";

struct cpumask;

extern void *bpf_obj_new_impl(__u64 local_type_id, void *meta) __ksym;
extern void bpf_obj_drop_impl(void *p, void *meta) __ksym;
extern void *bpf_percpu_obj_new_impl(__u64 local_type_id, void *meta) __ksym;
extern void bpf_percpu_obj_drop_impl(void *p, void *meta) __ksym;
extern void *bpf_refcount_acquire_impl(void *p, void *meta) __ksym;
extern int bpf_list_push_front_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta, __u64 off) __ksym;
extern int bpf_list_push_back_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta, __u64 off) __ksym;
extern struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *head) __ksym;
extern struct bpf_list_node *bpf_list_pop_back(struct bpf_list_head *head) __ksym;
extern struct bpf_list_node *bpf_list_front(struct bpf_list_head *head) __ksym;
extern struct bpf_list_node *bpf_list_back(struct bpf_list_head *head) __ksym;
extern struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *root, struct bpf_rb_node *node) __ksym;
extern int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node,
			       bool(less)(struct bpf_rb_node *a, const struct bpf_rb_node *b), void *meta, __u64 off) __ksym;
extern struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *root) __ksym;
extern struct bpf_rb_node *bpf_rbtree_root(struct bpf_rb_root *root) __ksym;
extern struct bpf_rb_node *bpf_rbtree_left(struct bpf_rb_root *root, struct bpf_rb_node *node) __ksym;
extern struct bpf_rb_node *bpf_rbtree_right(struct bpf_rb_root *root, struct bpf_rb_node *node) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern void bpf_throw(__u64 cookie) __ksym;
extern struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;
extern struct cgroup *bpf_cgroup_from_id(__u64 cgid) __ksym;
extern void bpf_cgroup_release(struct cgroup *cgrp) __ksym;
extern struct cgroup *bpf_cgroup_acquire(struct cgroup *cgrp) __ksym;
extern struct bpf_cpumask *bpf_cpumask_create(void) __ksym;
extern void bpf_cpumask_release(struct bpf_cpumask *mask) __ksym;
extern __u32 bpf_cpumask_first(const struct cpumask *mask) __ksym;
extern bool bpf_cpumask_test_cpu(__u32 cpu, const struct cpumask *mask) __ksym;
extern void bpf_cpumask_set_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym;

struct my_plain { __u64 a; __u32 b; __u8 c[4]; void *p; };
struct with_pointer { __u64 a; struct my_plain *next; char *text; };
struct locked { struct bpf_spin_lock lock; __u64 data; };
struct my_item { __u64 key; struct bpf_list_node link; __u64 data; };
struct my_tree_item { __u64 key; struct bpf_rb_node link; __u64 data; };
struct my_first { struct bpf_rb_node link; __u64 data; };
struct my_counted { __u64 key; struct bpf_list_node link; struct bpf_refcount refs; struct bpf_rb_node tree; };
struct my_refonly { __u64 key; struct bpf_refcount refs; };
struct with_list { struct bpf_spin_lock lock; struct bpf_list_head head __contains(my_item, link); __u64 data; };
struct other_node { __u64 key; struct bpf_list_node link; };
struct my_holder { __u64 a; struct my_plain __kptr *mine; struct task_struct __kptr *task; };
struct my_part { __u64 count; __u32 more[4]; };
struct deep { struct { struct bpf_spin_lock lock; __u64 x; } in; __u64 y; };

struct value {
	struct my_plain __kptr *mine;
	struct task_struct __kptr *task;
	struct task_struct __kptr_untrusted *loose;
	struct my_part __percpu_kptr *parts;
	struct my_item __kptr *node;
	struct my_counted __kptr *counted;
	struct my_holder __kptr *holder;
	struct cgroup __kptr *cgroup;
	struct my_refonly __kptr *refonly;
	__u64 data;
};

struct list_value {
	struct bpf_spin_lock lock;
	__u32 pad;
	struct bpf_list_head head __contains(my_item, link);
	struct bpf_rb_root tree __contains(my_tree_item, link);
	__u64 data;
};

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, struct value); } values SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, struct list_value); } lists SEC(".maps");

private(A) struct bpf_spin_lock lock;
private(A) struct bpf_list_head head __contains(my_item, link);
private(A) struct bpf_rb_root tree __contains(my_tree_item, link);
private(A) struct bpf_rb_root firsts __contains(my_first, link);
private(A) struct bpf_list_head counted_list __contains(my_counted, link);
private(A) struct bpf_rb_root counted_tree __contains(my_counted, tree);
private(B) struct bpf_spin_lock other_lock;
private(B) struct bpf_list_head other_head __contains(my_item, link);

static struct value *value(void)
{
	__u32 key = 1;

	return bpf_map_lookup_elem(&values, &key);
}

static struct list_value *list_value(__u32 key)
{
	return bpf_map_lookup_elem(&lists, &key);
}

static bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct my_tree_item, link)->key < container_of(b, struct my_tree_item, link)->key;
}

static bool less_counted(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct my_counted, tree)->key < container_of(b, struct my_counted, tree)->key;
}

static bool less_first(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct my_first, link)->data < container_of(b, struct my_first, link)->data;
}

static bool less_writes(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	container_of(a, struct my_tree_item, link)->data = 3;
	return false;
}

static bool less_rcu(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	return false;
}

static bool less_first_call(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	bpf_rbtree_first(&tree);
	return false;
}

static bool less_left(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return bpf_rbtree_left(&tree, a) != 0;
}

#define PROGRAM(name) SEC("tc") int name(struct __sk_buff *ctx)
#define SLEEPABLE(name) SEC("syscall") int name(void *ctx)

// Allocation
PROGRAM(new_and_drop) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; p->a = 1; p->b = p->a; p->c[2] = 7; DROP(p); return 0; }
PROGRAM(new_leaks) { struct my_plain *p = NEW(struct my_plain); return 0; }
PROGRAM(new_unchecked) { struct my_plain *p = NEW(struct my_plain); DROP(p); return 0; }
PROGRAM(new_used_unchecked) { struct my_plain *p = NEW(struct my_plain); p->a = 1; DROP(p); return 0; }
PROGRAM(new_double_drop) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; DROP(p); DROP(p); return 0; }
PROGRAM(new_use_after_drop) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; DROP(p); return p->a; }
PROGRAM(new_beyond) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; *(volatile __u64 *)((void *)p + 32) = 1; DROP(p); return 0; }
PROGRAM(new_across_members) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; *(volatile __u64 *)((void *)p + 8) = 1; DROP(p); return 0; }
PROGRAM(new_drop_inside) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; DROP((void *)p + 8); return 0; }
PROGRAM(new_variable) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; p->c[ctx->len & 3] = 1; DROP(p); return 0; }
PROGRAM(new_pointer_member) { struct with_pointer *p = NEW(struct with_pointer); if (!p) return 0; struct my_plain *n = p->next; p->next = 0; DROP(p); return n != 0; }
PROGRAM(new_pointer_followed) { struct with_pointer *p = NEW(struct with_pointer); if (!p) return 0; struct my_plain *n = p->next; int r = n ? n->b : 0; DROP(p); return r; }
PROGRAM(new_text_followed) { struct with_pointer *p = NEW(struct with_pointer); if (!p) return 0; char *n = p->text; int r = n ? *n : 0; DROP(p); return r; }
PROGRAM(new_atomic) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; __sync_fetch_and_add(&p->a, 1); DROP(p); return 0; }
PROGRAM(new_lock) { struct locked *p = NEW(struct locked); if (!p) return 0; bpf_spin_lock(&p->lock); p->data++; bpf_spin_unlock(&p->lock); DROP(p); return 0; }
PROGRAM(new_lock_dropped) { struct locked *p = NEW(struct locked); if (!p) return 0; bpf_spin_lock(&p->lock); DROP(p); return 0; }
PROGRAM(new_lock_other) { struct locked *p = NEW(struct locked); if (!p) return 0; struct locked *q = NEW(struct locked); if (!q) { DROP(p); return 0; } bpf_spin_lock(&p->lock); bpf_spin_unlock(&q->lock); DROP(p); DROP(q); return 0; }
PROGRAM(new_lock_written) { struct locked *p = NEW(struct locked); if (!p) return 0; *(volatile __u32 *)&p->lock = 0; DROP(p); return 0; }
PROGRAM(new_lock_read) { struct locked *p = NEW(struct locked); if (!p) return 0; int r = *(volatile __u32 *)&p->lock; DROP(p); return r; }
PROGRAM(new_deep_lock) { struct deep *p = NEW(struct deep); if (!p) return 0; *(volatile __u32 *)&p->in.lock = 0; DROP(p); return 0; }
PROGRAM(new_deep_locked) { struct deep *p = NEW(struct deep); if (!p) return 0; bpf_spin_lock(&p->in.lock); bpf_spin_unlock(&p->in.lock); DROP(p); return 0; }
PROGRAM(new_spilled) { struct my_plain *p = NEW(struct my_plain); volatile __u64 keep = 0; struct my_plain *q = p; if (!q) return 0; bpf_get_prandom_u32(); p->a = keep; DROP(p); return 0; }
PROGRAM(new_in_branches) { struct my_plain *p = ctx->len & 1 ? NEW(struct my_plain) : 0; if (p) DROP(p); return 0; }
PROGRAM(new_to_helper) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; bpf_probe_read_kernel(p, 8, ctx); DROP(p); return 0; }
PROGRAM(new_read_by_helper) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; bpf_trace_printk((void *)p, 8); DROP(p); return 0; }
PROGRAM(new_in_rcu) { bpf_rcu_read_lock(); struct my_plain *p = NEW(struct my_plain); bpf_rcu_read_unlock(); if (!p) return 0; p->a = 1; DROP(p); return 0; }
PROGRAM(new_thrown) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; bpf_throw(0); DROP(p); return 0; }
PROGRAM(new_released_as_task) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; bpf_task_release((void *)p); return 0; }
PROGRAM(task_dropped) { struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; DROP(t); return 0; }
PROGRAM(drop_null) { DROP((void *)0); return 0; }
PROGRAM(drop_number) { DROP((void *)5); return 0; }
PROGRAM(drop_stack) { __u64 x = 0; DROP(&x); return 0; }
PROGRAM(new_unknown_type) { void *p = bpf_obj_new_impl(ctx->len, 0); if (p) DROP(p); return 0; }
PROGRAM(new_no_type) { void *p = bpf_obj_new_impl(1, 0); if (p) DROP(p); return 0; }
PROGRAM(new_huge_type) { void *p = bpf_obj_new_impl(1ull << 32, 0); if (p) DROP(p); return 0; }
PROGRAM(new_beyond_types) { void *p = bpf_obj_new_impl(100000, 0); if (p) DROP(p); return 0; }
// Per CPU
PROGRAM(percpu_new) { struct my_part *p = NEW_PERCPU(struct my_part); if (!p) return 0; bpf_percpu_obj_drop_impl(p, 0); return 0; }
PROGRAM(percpu_read) { struct my_part *p = NEW_PERCPU(struct my_part); if (!p) return 0; int r = p->count; bpf_percpu_obj_drop_impl(p, 0); return r; }
PROGRAM(percpu_plain_drop) { struct my_part *p = NEW_PERCPU(struct my_part); if (!p) return 0; DROP(p); return 0; }
PROGRAM(plain_percpu_drop) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; bpf_percpu_obj_drop_impl(p, 0); return 0; }
PROGRAM(percpu_pointers) { struct with_pointer *p = NEW_PERCPU(struct with_pointer); if (!p) return 0; bpf_percpu_obj_drop_impl(p, 0); return 0; }
PROGRAM(percpu_locked) { struct locked *p = NEW_PERCPU(struct locked); if (!p) return 0; bpf_percpu_obj_drop_impl(p, 0); return 0; }
PROGRAM(percpu_this_unstored) { struct my_part *p = NEW_PERCPU(struct my_part); if (!p) return 0; struct my_part *q = bpf_this_cpu_ptr(p); q->count = 1; bpf_percpu_obj_drop_impl(p, 0); return 0; }
PROGRAM(percpu_stored) { struct value *v = value(); struct my_part *p, *q, *old; if (!v) return 0; p = NEW_PERCPU(struct my_part); if (!p) return 0; old = bpf_kptr_xchg(&v->parts, p); if (old) bpf_percpu_obj_drop_impl(old, 0); q = bpf_this_cpu_ptr(p); q->count++; return q->more[1]; }
PROGRAM(percpu_loaded) { struct value *v = value(); struct my_part *p, *q; if (!v) return 0; p = v->parts; if (!p) return 0; q = bpf_per_cpu_ptr(p, 0); if (!q) return 0; q->count = 3; return q->more[2]; }
PROGRAM(percpu_loaded_unchecked) { struct value *v = value(); struct my_part *p, *q; if (!v) return 0; p = v->parts; q = bpf_this_cpu_ptr(p); return q->count; }
PROGRAM(percpu_wrong) { struct value *v = value(); if (!v) return 0; struct my_plain *p = NEW(struct my_plain); if (!p) return 0; p = bpf_kptr_xchg(&v->parts, p); if (p) bpf_percpu_obj_drop_impl(p, 0); return 0; }
SLEEPABLE(percpu_sleepable) { struct value *v = value(); struct my_part *p, *q; if (!v) return 0; p = v->parts; if (!p) return 0; q = bpf_this_cpu_ptr(p); return q->count; }
SLEEPABLE(percpu_rcu) { struct value *v = value(); struct my_part *p, *q; int r = 0; if (!v) return 0; bpf_rcu_read_lock(); p = v->parts; if (p) { q = bpf_this_cpu_ptr(p); q->count = 1; r = q->count; } bpf_rcu_read_unlock(); return r; }
SLEEPABLE(percpu_after_rcu) { struct value *v = value(); struct my_part *p, *q = 0; if (!v) return 0; bpf_rcu_read_lock(); p = v->parts; if (!p) { bpf_rcu_read_unlock(); return 0; } q = bpf_this_cpu_ptr(p); bpf_rcu_read_unlock(); return q->count; }
SLEEPABLE(percpu_stored_sleepable) { struct value *v = value(); struct my_part *p, *q, *old; if (!v) return 0; p = NEW_PERCPU(struct my_part); if (!p) return 0; old = bpf_kptr_xchg(&v->parts, p); if (old) bpf_percpu_obj_drop_impl(old, 0); q = bpf_this_cpu_ptr(p); return q->count; }
// Exchanges
PROGRAM(xchg_mine) { struct value *v = value(); struct my_plain *p; if (!v) return 0; p = NEW(struct my_plain); if (!p) return 0; p = bpf_kptr_xchg(&v->mine, p); if (p) DROP(p); return 0; }
PROGRAM(xchg_leaks) { struct value *v = value(); struct my_plain *p; if (!v) return 0; p = NEW(struct my_plain); if (!p) return 0; bpf_kptr_xchg(&v->mine, p); return 0; }
PROGRAM(xchg_null) { struct value *v = value(); struct my_plain *p; if (!v) return 0; p = bpf_kptr_xchg(&v->mine, 0); if (p) DROP(p); return 0; }
PROGRAM(xchg_used_after) { struct value *v = value(); struct my_plain *p, *old; if (!v) return 0; p = NEW(struct my_plain); if (!p) return 0; old = bpf_kptr_xchg(&v->mine, p); if (old) DROP(old); return p->a; }
PROGRAM(xchg_inside) { struct value *v = value(); struct my_plain *p; if (!v) return 0; p = NEW(struct my_plain); if (!p) return 0; p = bpf_kptr_xchg(&v->mine, (void *)p + 8); if (p) DROP(p); return 0; }
PROGRAM(xchg_other_type) { struct value *v = value(); void *p; if (!v) return 0; p = NEW(struct locked); if (!p) return 0; p = bpf_kptr_xchg(&v->mine, p); if (p) DROP(p); return 0; }
PROGRAM(xchg_wrong_field) { struct value *v = value(); void *p; if (!v) return 0; p = bpf_kptr_xchg(&v->data, 0); if (p) DROP(p); return 0; }
PROGRAM(xchg_loose) { struct value *v = value(); void *p; if (!v) return 0; p = bpf_kptr_xchg(&v->loose, 0); if (p) bpf_task_release(p); return 0; }
PROGRAM(xchg_variable) { struct value *v = value(); void *p; if (!v) return 0; p = bpf_kptr_xchg((void *)v + (ctx->len & 8), 0); if (p) DROP(p); return 0; }
PROGRAM(xchg_nullable) { struct value *v = value(); void *p; if (!v) return 0; p = bpf_kptr_xchg(&v->mine, NEW(struct my_plain)); if (p) DROP(p); return 0; }
PROGRAM(xchg_task) { struct value *v = value(); struct task_struct *t; if (!v) return 0; t = bpf_task_from_pid(1); if (!t) return 0; t = bpf_kptr_xchg(&v->task, t); if (t) bpf_task_release(t); return 0; }
PROGRAM(xchg_task_borrowed) { struct value *v = value(); struct task_struct *t; if (!v) return 0; t = bpf_kptr_xchg(&v->task, bpf_get_current_task_btf()); if (t) bpf_task_release(t); return 0; }
PROGRAM(xchg_task_as_cgroup) { struct value *v = value(); struct task_struct *t; if (!v) return 0; t = bpf_task_from_pid(1); if (!t) return 0; t = bpf_kptr_xchg(&v->cgroup, t); if (t) bpf_task_release(t); return 0; }
PROGRAM(xchg_task_unchecked_release) { struct value *v = value(); if (!v) return 0; bpf_task_release(bpf_kptr_xchg(&v->task, 0)); return 0; }
PROGRAM(xchg_stack) { __u64 x = 0; void *p = bpf_kptr_xchg(&x, 0); if (p) DROP(p); return 0; }
PROGRAM(xchg_unchecked_value) { void *p = bpf_kptr_xchg(&value()->mine, 0); if (p) DROP(p); return 0; }
PROGRAM(xchg_in_object) { struct my_holder *h = NEW(struct my_holder); struct my_plain *p; if (!h) return 0; p = NEW(struct my_plain); if (!p) { DROP(h); return 0; } p = bpf_kptr_xchg(&h->mine, p); if (p) DROP(p); DROP(h); return 0; }
PROGRAM(xchg_task_in_object) { struct my_holder *h = NEW(struct my_holder); struct task_struct *t; if (!h) return 0; t = bpf_kptr_xchg(&h->task, 0); if (t) bpf_task_release(t); DROP(h); return 0; }
PROGRAM(object_field_read) { struct my_holder *h = NEW(struct my_holder); __u64 r; if (!h) return 0; r = *(volatile __u64 *)&h->mine; DROP(h); return r; }
PROGRAM(object_field_written) { struct my_holder *h = NEW(struct my_holder); if (!h) return 0; *(volatile __u64 *)&h->mine = 0; DROP(h); return 0; }
PROGRAM(xchg_in_object_wrong) { struct my_holder *h = NEW(struct my_holder); void *p; if (!h) return 0; p = bpf_kptr_xchg(&h->a, 0); if (p) DROP(p); DROP(h); return 0; }
PROGRAM(xchg_in_loaded_holder) { struct value *v = value(); struct my_holder *h; void *p; if (!v) return 0; h = v->holder; if (!h) return 0; p = bpf_kptr_xchg(&h->mine, 0); if (p) DROP(p); return 0; }
PROGRAM(xchg_holder) { struct value *v = value(); struct my_holder *h = NEW(struct my_holder); if (!h) return 0; if (!v) { DROP(h); return 0; } h = bpf_kptr_xchg(&v->holder, h); if (h) DROP(h); return 0; }
PROGRAM(xchg_under_lock) { struct value *v = value(); struct my_plain *p; if (!v) return 0; bpf_spin_lock(&lock); p = bpf_kptr_xchg(&v->mine, 0); bpf_spin_unlock(&lock); if (p) DROP(p); return 0; }
PROGRAM(xchg_refonly) { struct value *v = value(); struct my_refonly *p; if (!v) return 0; p = NEW(struct my_refonly); if (!p) return 0; p = bpf_kptr_xchg(&v->refonly, p); if (p) DROP(p); return 0; }
// Loads and stores of fields
PROGRAM(load_mine) { struct value *v = value(); struct my_plain *p; if (!v) return 0; p = v->mine; return p ? p->b : 0; }
PROGRAM(load_mine_unchecked) { struct value *v = value(); if (!v) return 0; return v->mine->b; }
PROGRAM(load_mine_written) { struct value *v = value(); struct my_plain *p; if (!v) return 0; p = v->mine; if (p) p->a = 1; return 0; }
PROGRAM(load_mine_dropped) { struct value *v = value(); struct my_plain *p; if (!v) return 0; p = v->mine; if (p) DROP(p); return 0; }
PROGRAM(load_node_written) { struct value *v = value(); struct my_item *p; if (!v) return 0; p = v->node; if (p) p->data = 1; return 0; }
PROGRAM(load_counted) { struct value *v = value(); struct my_counted *p; if (!v) return 0; p = v->counted; if (!p) return 0; p = bpf_refcount_acquire_impl(p, 0); if (!p) return 0; DROP(p); return 0; }
PROGRAM(load_counted_unchecked) { struct value *v = value(); struct my_counted *p; if (!v) return 0; p = v->counted; if (!p) return 0; p = bpf_refcount_acquire_impl(p, 0); DROP(p); return 0; }
PROGRAM(load_refonly) { struct value *v = value(); struct my_refonly *p; if (!v) return 0; p = v->refonly; if (!p) return 0; p = bpf_refcount_acquire_impl(p, 0); DROP(p); return 0; }
SLEEPABLE(load_sleepable) { struct value *v = value(); struct my_plain *p; if (!v) return 0; p = v->mine; return p ? p->b : 0; }
SLEEPABLE(load_sleepable_unchecked) { struct value *v = value(); if (!v) return 0; return v->mine->b; }
SLEEPABLE(load_rcu) { struct value *v = value(); struct my_plain *p; int r = 0; if (!v) return 0; bpf_rcu_read_lock(); p = v->mine; if (p) r = p->b; bpf_rcu_read_unlock(); return r; }
SLEEPABLE(load_rcu_after) { struct value *v = value(); struct my_plain *p; if (!v) return 0; bpf_rcu_read_lock(); p = v->mine; bpf_rcu_read_unlock(); if (!p) return 0; return p->b; }
SLEEPABLE(load_rcu_counted_after) { struct value *v = value(); struct my_counted *p; if (!v) return 0; bpf_rcu_read_lock(); p = v->counted; if (!p) { bpf_rcu_read_unlock(); return 0; } bpf_rcu_read_unlock(); return p->key; }
SLEEPABLE(load_rcu_task) { struct value *v = value(); struct task_struct *p; int r = 0; if (!v) return 0; bpf_rcu_read_lock(); p = v->task; if (p) { p = bpf_task_acquire(p); if (p) bpf_task_release(p); } bpf_rcu_read_unlock(); return r; }
SLEEPABLE(load_task_no_rcu) { struct value *v = value(); struct task_struct *p; if (!v) return 0; p = v->task; if (p) { p = bpf_task_acquire(p); if (p) bpf_task_release(p); } return 0; }
PROGRAM(load_task) { struct value *v = value(); struct task_struct *p; if (!v) return 0; p = v->task; if (!p) return 0; p = bpf_task_acquire(p); if (p) bpf_task_release(p); return 0; }
PROGRAM(load_task_released) { struct value *v = value(); struct task_struct *p; if (!v) return 0; p = v->task; if (p) bpf_task_release(p); return 0; }
PROGRAM(load_loose) { struct value *v = value(); struct task_struct *p; if (!v) return 0; p = v->loose; return p ? p->pid : 0; }
PROGRAM(load_loose_acquired) { struct value *v = value(); struct task_struct *p; if (!v) return 0; p = v->loose; if (!p) return 0; p = bpf_task_acquire(p); if (p) bpf_task_release(p); return 0; }
PROGRAM(load_loose_unchecked) { struct value *v = value(); if (!v) return 0; return v->loose->pid; }
PROGRAM(store_loose) { struct value *v = value(); if (!v) return 0; v->loose = bpf_get_current_task_btf(); return 0; }
PROGRAM(store_loose_again) { struct value *v = value(); if (!v) return 0; v->loose = v->loose; return 0; }
PROGRAM(store_loose_null) { struct value *v = value(); if (!v) return 0; v->loose = 0; return 0; }
PROGRAM(store_loose_mine) { struct value *v = value(); if (!v) return 0; v->loose = (void *)v->mine; return 0; }
PROGRAM(store_loose_member) { struct value *v = value(); if (!v) return 0; v->loose = (void *)&bpf_get_current_task_btf()->pid; return 0; }
PROGRAM(store_owned) { struct value *v = value(); if (!v) return 0; v->task = 0; return 0; }
PROGRAM(store_owned_partly) { struct value *v = value(); if (!v) return 0; *(volatile __u32 *)&v->task = 0; return 0; }
PROGRAM(store_percpu) { struct value *v = value(); if (!v) return 0; v->parts = 0; return 0; }
PROGRAM(atomic_field) { struct value *v = value(); if (!v) return 0; __sync_fetch_and_add((__u64 *)&v->loose, 1); return 0; }
PROGRAM(read_across_fields) { struct value *v = value(); if (!v) return 0; return *(volatile __u64 *)((void *)v + 4); }
PROGRAM(read_variable_field) { struct value *v = value(); if (!v) return 0; return *(volatile __u64 *)((void *)v + (ctx->len & 8)); }
PROGRAM(read_variable_data) { struct value *v = value(); if (!v) return 0; return *((volatile __u8 *)&v->data + (ctx->len & 7)); }
PROGRAM(helper_reads_field) { struct value *v = value(); if (!v) return 0; bpf_trace_printk((void *)&v->mine, 8); return 0; }
PROGRAM(helper_reads_data) { struct value *v = value(); if (!v) return 0; bpf_trace_printk((void *)&v->data, 8); return 0; }
PROGRAM(helper_writes_all) { struct value *v = value(); if (!v) return 0; bpf_probe_read_kernel(v, sizeof(*v), ctx); return 0; }
// Lists
#define PUSH(list, n) bpf_list_push_front_impl(list, &(n)->link, 0, 0)
#define PUSH_BACK(list, n) bpf_list_push_back_impl(list, &(n)->link, 0, 0)
#define ADD(root, n, by) bpf_rbtree_add_impl(root, &(n)->link, by, 0, 0)
#define NODE_OR_RETURN(n) struct my_item *n = NEW(struct my_item); if (!n) return 0
#define TREE_NODE_OR_RETURN(n) struct my_tree_item *n = NEW(struct my_tree_item); if (!n) return 0
PROGRAM(list_push) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_back_used) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH_BACK(&head, n); n->data = n->key; bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_used_after) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); return n->data; }
PROGRAM(list_push_dropped) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); DROP(n); return 0; }
PROGRAM(list_push_twice) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); PUSH(&head, n); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_unlocked) { NODE_OR_RETURN(n); PUSH(&head, n); return 0; }
PROGRAM(list_push_other_lock) { NODE_OR_RETURN(n); bpf_spin_lock(&other_lock); PUSH(&head, n); bpf_spin_unlock(&other_lock); return 0; }
PROGRAM(list_push_other_list) { NODE_OR_RETURN(n); bpf_spin_lock(&other_lock); PUSH(&other_head, n); bpf_spin_unlock(&other_lock); return 0; }
PROGRAM(list_push_other_type) { struct other_node *n = NEW(struct other_node); if (!n) return 0; bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_start) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); bpf_list_push_front_impl(&head, (void *)n, 0, 0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_variable) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); bpf_list_push_front_impl(&head, (void *)n + (ctx->len & 8), 0, 0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_nothing) { bpf_spin_lock(&lock); bpf_list_push_front_impl(&head, 0, 0, 0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_tree_node) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); bpf_list_push_front_impl(&head, (void *)&n->link, 0, 0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_to_tree) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH((void *)&tree, n); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_to_lock) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH((void *)&lock, n); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_push_to_stack) { NODE_OR_RETURN(n); struct bpf_list_head h = {}; bpf_spin_lock(&lock); PUSH(&h, n); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_pop) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_pop_front(&head); bpf_spin_unlock(&lock); if (l) DROP(container_of(l, struct my_item, link)); return 0; }
PROGRAM(list_pop_back_used) { struct bpf_list_node *l; struct my_item *n; int r; bpf_spin_lock(&lock); l = bpf_list_pop_back(&head); bpf_spin_unlock(&lock); if (!l) return 0; n = container_of(l, struct my_item, link); r = n->data; n->key = 1; DROP(n); return r; }
PROGRAM(list_pop_leaks) { bpf_spin_lock(&lock); bpf_list_pop_front(&head); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_pop_drop_link) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_pop_front(&head); bpf_spin_unlock(&lock); if (l) DROP(l); return 0; }
PROGRAM(list_pop_unchecked) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_pop_front(&head); bpf_spin_unlock(&lock); DROP(container_of(l, struct my_item, link)); return 0; }
PROGRAM(list_pop_push) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_pop_front(&head); if (l) bpf_list_push_back_impl(&head, l, 0, 0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_drop_locked) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_pop_front(&head); if (l) DROP(container_of(l, struct my_item, link)); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_pop_moved) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_pop_front((void *)&head + 1); bpf_spin_unlock(&lock); if (l) DROP(container_of(l, struct my_item, link)); return 0; }
PROGRAM(list_front) { struct bpf_list_node *l; int r = 0; bpf_spin_lock(&lock); l = bpf_list_front(&head); if (l) r = container_of(l, struct my_item, link)->data; bpf_spin_unlock(&lock); return r; }
PROGRAM(list_back_written) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_back(&head); if (l) container_of(l, struct my_item, link)->data = 5; bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_front_after) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_front(&head); bpf_spin_unlock(&lock); return l ? container_of(l, struct my_item, link)->data : 0; }
PROGRAM(list_front_dropped) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_front(&head); bpf_spin_unlock(&lock); if (l) DROP(container_of(l, struct my_item, link)); return 0; }
PROGRAM(list_front_pushed) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_front(&head); if (l) bpf_list_push_front_impl(&head, l, 0, 0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_front_unlocked) { return bpf_list_front(&head) != 0; }
PROGRAM(list_in_value) { struct list_value *v = list_value(0); NODE_OR_RETURN(n); if (!v) { DROP(n); return 0; } bpf_spin_lock(&v->lock); PUSH(&v->head, n); bpf_spin_unlock(&v->lock); return 0; }
PROGRAM(list_in_other_value) { struct list_value *v = list_value(0), *w = list_value(1); NODE_OR_RETURN(n); if (!v || !w) { DROP(n); return 0; } bpf_spin_lock(&v->lock); PUSH(&w->head, n); bpf_spin_unlock(&v->lock); return 0; }
PROGRAM(list_in_value_global_lock) { struct list_value *v = list_value(0); NODE_OR_RETURN(n); if (!v) { DROP(n); return 0; } bpf_spin_lock(&lock); PUSH(&v->head, n); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_value_read) { struct list_value *v = list_value(0); if (!v) return 0; return *(volatile __u32 *)&v->head; }
PROGRAM(list_value_data) { struct list_value *v = list_value(0); if (!v) return 0; return v->data; }
PROGRAM(list_in_object) { struct with_list *w = NEW(struct with_list); if (!w) return 0; struct my_item *n = NEW(struct my_item); if (!n) { DROP(w); return 0; } bpf_spin_lock(&w->lock); PUSH(&w->head, n); bpf_spin_unlock(&w->lock); DROP(w); return 0; }
PROGRAM(list_in_object_unlocked) { struct with_list *w = NEW(struct with_list); if (!w) return 0; struct bpf_list_node *l = bpf_list_pop_front(&w->head); if (l) DROP(container_of(l, struct my_item, link)); DROP(w); return 0; }
PROGRAM(list_in_object_other) { struct with_list *w = NEW(struct with_list); if (!w) return 0; struct with_list *x = NEW(struct with_list); if (!x) { DROP(w); return 0; } bpf_spin_lock(&w->lock); struct bpf_list_node *l = bpf_list_pop_front(&x->head); bpf_spin_unlock(&w->lock); if (l) DROP(container_of(l, struct my_item, link)); DROP(w); DROP(x); return 0; }
PROGRAM(list_loop) { struct bpf_list_node *l; for (int i = 0; i < 4; i++) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); } return 0; }
PROGRAM(list_calls_helper) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); bpf_ktime_get_ns(); bpf_spin_unlock(&lock); return 0; }
PROGRAM(list_field_written) { NODE_OR_RETURN(n); *(volatile __u64 *)&n->link = 0; DROP(n); return 0; }
PROGRAM(list_exit_locked) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); return 0; }
PROGRAM(list_spilled) { struct my_item *keep[1]; NODE_OR_RETURN(n); *(struct my_item *volatile *)&keep[0] = n; bpf_spin_lock(&lock); PUSH(&head, n); n = *(struct my_item *volatile *)&keep[0]; n->data = 1; bpf_spin_unlock(&lock); n = *(struct my_item *volatile *)&keep[0]; return n->data; }
// Trees
PROGRAM(tree_add) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, less); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_writes) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, less_writes); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_rcu) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, less_rcu); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_first) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, less_first_call); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_left) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, less_left); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_wrong_less) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, less_first); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_unlocked) { TREE_NODE_OR_RETURN(n); ADD(&tree, n, less); return 0; }
PROGRAM(tree_add_no_less) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, (void *)0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_first_member) { struct my_first *n = NEW(struct my_first); if (!n) return 0; bpf_spin_lock(&lock); ADD(&firsts, n, less_first); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_wrong_root) { struct my_first *n = NEW(struct my_first); if (!n) return 0; bpf_spin_lock(&lock); ADD(&tree, n, less); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_used) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, less); n->data = 4; bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_add_removed) { TREE_NODE_OR_RETURN(n); struct bpf_rb_node *r; bpf_spin_lock(&lock); ADD(&tree, n, less); r = bpf_rbtree_remove(&tree, &n->link); bpf_spin_unlock(&lock); if (r) DROP(container_of(r, struct my_tree_item, link)); return 0; }
PROGRAM(tree_remove_used_after) { TREE_NODE_OR_RETURN(n); struct bpf_rb_node *r; bpf_spin_lock(&lock); ADD(&tree, n, less); r = bpf_rbtree_remove(&tree, &n->link); n->data = 4; bpf_spin_unlock(&lock); if (r) DROP(container_of(r, struct my_tree_item, link)); return 0; }
PROGRAM(tree_remove_leaks) { TREE_NODE_OR_RETURN(n); bpf_spin_lock(&lock); ADD(&tree, n, less); bpf_rbtree_remove(&tree, &n->link); bpf_spin_unlock(&lock); return 0; }
PROGRAM(tree_remove_unadded) { TREE_NODE_OR_RETURN(n); struct bpf_rb_node *r; bpf_spin_lock(&lock); r = bpf_rbtree_remove(&tree, &n->link); bpf_spin_unlock(&lock); DROP(n); if (r) DROP(container_of(r, struct my_tree_item, link)); return 0; }
PROGRAM(tree_first) { struct bpf_rb_node *r; int x = 0; bpf_spin_lock(&lock); r = bpf_rbtree_first(&tree); if (r) x = container_of(r, struct my_tree_item, link)->data; bpf_spin_unlock(&lock); return x; }
PROGRAM(tree_first_removed) { struct bpf_rb_node *r; bpf_spin_lock(&lock); r = bpf_rbtree_first(&tree); if (!r) { bpf_spin_unlock(&lock); return 0; } r = bpf_rbtree_remove(&tree, r); bpf_spin_unlock(&lock); if (r) DROP(container_of(r, struct my_tree_item, link)); return 0; }
PROGRAM(tree_first_removed_twice) { struct bpf_rb_node *r, *s, *u; bpf_spin_lock(&lock); r = bpf_rbtree_first(&tree); if (!r) { bpf_spin_unlock(&lock); return 0; } s = bpf_rbtree_remove(&tree, r); u = bpf_rbtree_remove(&tree, r); bpf_spin_unlock(&lock); if (s) DROP(container_of(s, struct my_tree_item, link)); if (u) DROP(container_of(u, struct my_tree_item, link)); return 0; }
PROGRAM(tree_first_unchecked) { struct bpf_rb_node *r; bpf_spin_lock(&lock); r = bpf_rbtree_first(&tree); r = bpf_rbtree_remove(&tree, r); bpf_spin_unlock(&lock); if (r) DROP(container_of(r, struct my_tree_item, link)); return 0; }
PROGRAM(tree_first_member_unchecked) { struct bpf_rb_node *r; bpf_spin_lock(&lock); r = bpf_rbtree_first(&firsts); r = bpf_rbtree_remove(&firsts, r); bpf_spin_unlock(&lock); if (r) DROP(container_of(r, struct my_first, link)); return 0; }
PROGRAM(tree_first_after) { struct bpf_rb_node *r; bpf_spin_lock(&lock); r = bpf_rbtree_first(&tree); bpf_spin_unlock(&lock); return r ? container_of(r, struct my_tree_item, link)->data : 0; }
PROGRAM(tree_root_children) { struct bpf_rb_node *r, *l; int x = 0; bpf_spin_lock(&lock); r = bpf_rbtree_root(&tree); if (r) { l = bpf_rbtree_left(&tree, r); if (l) x = container_of(l, struct my_tree_item, link)->data; l = bpf_rbtree_right(&tree, r); if (l) x += container_of(l, struct my_tree_item, link)->data; } bpf_spin_unlock(&lock); return x; }
PROGRAM(tree_left_unchecked) { struct bpf_rb_node *r, *l; bpf_spin_lock(&lock); r = bpf_rbtree_root(&tree); l = bpf_rbtree_left(&tree, r); bpf_spin_unlock(&lock); return l != 0; }
PROGRAM(tree_left_of_other) { struct bpf_rb_node *r, *l; bpf_spin_lock(&lock); r = bpf_rbtree_root(&tree); l = r ? bpf_rbtree_left(&firsts, r) : 0; bpf_spin_unlock(&lock); return l != 0; }
PROGRAM(tree_root_unlocked) { return bpf_rbtree_root(&tree) != 0; }
PROGRAM(tree_in_value) { struct list_value *v = list_value(0); TREE_NODE_OR_RETURN(n); if (!v) { DROP(n); return 0; } bpf_spin_lock(&v->lock); ADD(&v->tree, n, less); bpf_spin_unlock(&v->lock); return 0; }
// Counted references
#define COUNTED_OR_RETURN(n) struct my_counted *n = NEW(struct my_counted); if (!n) return 0
PROGRAM(counted_twice) { COUNTED_OR_RETURN(n); struct my_counted *m = bpf_refcount_acquire_impl(n, 0); DROP(m); DROP(n); return 0; }
PROGRAM(counted_leaks) { COUNTED_OR_RETURN(n); bpf_refcount_acquire_impl(n, 0); DROP(n); return 0; }
PROGRAM(counted_in_both) { COUNTED_OR_RETURN(n); struct my_counted *m = bpf_refcount_acquire_impl(n, 0); bpf_spin_lock(&lock); bpf_list_push_front_impl(&counted_list, &n->link, 0, 0); bpf_rbtree_add_impl(&counted_tree, &m->tree, less_counted, 0, 0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(counted_borrowed) { COUNTED_OR_RETURN(n); struct my_counted *m; bpf_spin_lock(&lock); bpf_list_push_front_impl(&counted_list, &n->link, 0, 0); m = bpf_refcount_acquire_impl(n, 0); bpf_spin_unlock(&lock); if (m) DROP(m); return 0; }
PROGRAM(counted_borrowed_unchecked) { COUNTED_OR_RETURN(n); struct my_counted *m; bpf_spin_lock(&lock); bpf_list_push_front_impl(&counted_list, &n->link, 0, 0); m = bpf_refcount_acquire_impl(n, 0); bpf_spin_unlock(&lock); DROP(m); return 0; }
PROGRAM(counted_after_unlock) { COUNTED_OR_RETURN(n); bpf_spin_lock(&lock); bpf_list_push_front_impl(&counted_list, &n->link, 0, 0); bpf_spin_unlock(&lock); return n->key; }
SLEEPABLE(counted_after_unlock_rcu) { COUNTED_OR_RETURN(n); int r; bpf_rcu_read_lock(); bpf_spin_lock(&lock); bpf_list_push_front_impl(&counted_list, &n->link, 0, 0); bpf_spin_unlock(&lock); r = n->key; bpf_rcu_read_unlock(); return r; }
PROGRAM(counted_not) { NODE_OR_RETURN(n); struct my_item *m = bpf_refcount_acquire_impl(n, 0); if (m) DROP(m); DROP(n); return 0; }
PROGRAM(counted_null) { void *m = bpf_refcount_acquire_impl(0, 0); if (m) DROP(m); return 0; }
PROGRAM(counted_task) { void *m = bpf_refcount_acquire_impl(bpf_get_current_task_btf(), 0); if (m) DROP(m); return 0; }
PROGRAM(counted_inside) { COUNTED_OR_RETURN(n); struct my_counted *m = bpf_refcount_acquire_impl(&n->link, 0); if (m) DROP(m); DROP(n); return 0; }
PROGRAM(counted_stashed) { struct value *v = value(); COUNTED_OR_RETURN(n); struct my_counted *m; if (!v) { DROP(n); return 0; } m = bpf_refcount_acquire_impl(n, 0); m = bpf_kptr_xchg(&v->counted, m); if (m) DROP(m); bpf_spin_lock(&lock); bpf_list_push_front_impl(&counted_list, &n->link, 0, 0); bpf_spin_unlock(&lock); return 0; }
PROGRAM(counted_stash_borrowed) { struct value *v = value(); COUNTED_OR_RETURN(n); struct my_counted *m; if (!v) { DROP(n); return 0; } bpf_spin_lock(&lock); bpf_list_push_front_impl(&counted_list, &n->link, 0, 0); m = bpf_kptr_xchg(&v->counted, n); bpf_spin_unlock(&lock); if (m) DROP(m); return 0; }
PROGRAM(counted_loaded_removed) { struct value *v = value(); struct my_counted *n; struct bpf_rb_node *r; if (!v) return 0; n = v->counted; if (!n) return 0; bpf_spin_lock(&lock); r = bpf_rbtree_remove(&counted_tree, &n->tree); bpf_spin_unlock(&lock); if (r) DROP(container_of(r, struct my_counted, tree)); return 0; }
PROGRAM(node_loaded_locked) { struct value *v = value(); struct my_item *n; int r; if (!v) return 0; n = v->node; if (!n) return 0; bpf_spin_lock(&lock); bpf_spin_unlock(&lock); return n->data; }
SLEEPABLE(node_after_rcu_written) { struct value *v = value(); struct my_item *n; if (!v) return 0; bpf_rcu_read_lock(); n = v->node; if (!n) { bpf_rcu_read_unlock(); return 0; } bpf_rcu_read_unlock(); n->data = 1; return 0; }
SLEEPABLE(counted_after_rcu_acquired) { struct value *v = value(); struct my_refonly *n; if (!v) return 0; bpf_rcu_read_lock(); n = v->refonly; if (!n) { bpf_rcu_read_unlock(); return 0; } bpf_rcu_read_unlock(); n = bpf_refcount_acquire_impl(n, 0); if (n) DROP(n); return 0; }
SLEEPABLE(sleepable_list) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); return 0; }
SEC("kprobe") int list_in_kprobe(void *ctx) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); return 0; }
SEC("raw_tp") int obj_in_raw_tp(void *ctx) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; DROP(p); return 0; }
// Other maps, nested fields, arrays
struct nested { __u64 a; struct { struct my_plain __kptr *deep; __u64 b; } in[2]; struct task_struct __kptr *tasks[2]; };
struct both { struct bpf_spin_lock lock; struct my_plain __kptr *mine; struct bpf_list_head heads[2] __contains(my_item, link); __u64 data; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct nested); } percpu_values SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, struct nested); } lru_values SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, struct nested); } storage SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, struct both); } both_values SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } plain_values SEC(".maps");

#define LOOKED_UP(type, v, map, k) __u32 key_of_##v = k; type *v = bpf_map_lookup_elem(&map, &key_of_##v); if (!v) return 0
PROGRAM(nested_xchg) { LOOKED_UP(struct nested, v, lru_values, 1); struct my_plain *p = bpf_kptr_xchg(&v->in[1].deep, 0); if (p) DROP(p); return 0; }
PROGRAM(nested_xchg_task) { LOOKED_UP(struct nested, v, lru_values, 1); struct task_struct *p = bpf_kptr_xchg(&v->tasks[1], 0); if (p) bpf_task_release(p); return 0; }
PROGRAM(nested_xchg_indexed) { LOOKED_UP(struct nested, v, lru_values, 1); struct task_struct *p = bpf_kptr_xchg(&v->tasks[ctx->len & 1], 0); if (p) bpf_task_release(p); return 0; }
PROGRAM(nested_plain) { LOOKED_UP(struct nested, v, lru_values, 1); v->in[1].b = v->a; return 0; }
PROGRAM(nested_plain_indexed) { LOOKED_UP(struct nested, v, lru_values, 1); v->in[ctx->len & 1].b = v->a; return 0; }
PROGRAM(percpu_map_xchg) { LOOKED_UP(struct nested, v, percpu_values, 0); struct my_plain *p = NEW(struct my_plain); if (!p) return 0; p = bpf_kptr_xchg(&v->in[0].deep, p); if (p) DROP(p); return 0; }
PROGRAM(storage_xchg) { struct nested *v = bpf_task_storage_get(&storage, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE); if (!v) return 0; struct my_plain *p = bpf_kptr_xchg(&v->in[0].deep, 0); if (p) DROP(p); return 0; }
PROGRAM(storage_of_loaded_task) { LOOKED_UP(struct nested, w, lru_values, 1); struct task_struct *t = w->tasks[0]; if (!t) return 0; struct nested *v = bpf_task_storage_get(&storage, t, 0, 0); return v ? v->a : 0; }
SLEEPABLE(storage_of_loaded_task_sleepable) { LOOKED_UP(struct nested, w, lru_values, 1); struct task_struct *t = w->tasks[0]; if (!t) return 0; struct nested *v = bpf_task_storage_get(&storage, t, 0, 0); return v ? v->a : 0; }
PROGRAM(update_from_fields) { LOOKED_UP(struct nested, v, lru_values, 1); __u32 k = 2; bpf_map_update_elem(&lru_values, &k, v, 0); return 0; }
PROGRAM(update_to_plain) { LOOKED_UP(struct nested, v, lru_values, 1); __u32 k = 2; bpf_map_update_elem(&plain_values, &k, &v->a, 0); return 0; }
PROGRAM(update_plain_from_kptr) { LOOKED_UP(struct nested, v, lru_values, 1); __u32 k = 2; bpf_map_update_elem(&plain_values, &k, &v->in[0].deep, 0); return 0; }
PROGRAM(update_from_object) { struct my_plain *p = NEW(struct my_plain); __u32 k = 2; if (!p) return 0; bpf_map_update_elem(&plain_values, &k, p, 0); DROP(p); return 0; }
PROGRAM(update_from_stack) { struct nested n = {}; __u32 k = 2; bpf_map_update_elem(&lru_values, &k, &n, 0); return 0; }
PROGRAM(key_from_object) { struct my_plain *p = NEW(struct my_plain); if (!p) return 0; __u64 *v = bpf_map_lookup_elem(&plain_values, p); DROP(p); return v ? *v : 0; }
PROGRAM(delete_in_use) { LOOKED_UP(struct nested, v, lru_values, 1); __u32 k = 1; bpf_map_delete_elem(&lru_values, &k); return v->a; }
PROGRAM(both_locked) { LOOKED_UP(struct both, v, both_values, 1); bpf_spin_lock(&v->lock); struct my_plain *p = bpf_kptr_xchg(&v->mine, 0); v->data++; bpf_spin_unlock(&v->lock); if (p) DROP(p); return 0; }
PROGRAM(both_heads) { LOOKED_UP(struct both, v, both_values, 1); NODE_OR_RETURN(n); bpf_spin_lock(&v->lock); PUSH(&v->heads[1], n); bpf_spin_unlock(&v->lock); return 0; }
PROGRAM(both_heads_indexed) { LOOKED_UP(struct both, v, both_values, 1); NODE_OR_RETURN(n); bpf_spin_lock(&v->lock); PUSH(&v->heads[ctx->len & 1], n); bpf_spin_unlock(&v->lock); return 0; }
PROGRAM(both_moved) { LOOKED_UP(struct both, v, both_values, 1); struct bpf_list_node *l; bpf_spin_lock(&v->lock); l = bpf_list_pop_front(&v->heads[0]); if (l) bpf_list_push_back_impl(&v->heads[1], l, 0, 0); bpf_spin_unlock(&v->lock); return 0; }
PROGRAM(both_xchg_head) { LOOKED_UP(struct both, v, both_values, 1); void *p = bpf_kptr_xchg(&v->heads[0], 0); if (p) DROP(p); return 0; }

// References through functions, loops and callbacks
static __attribute__((noinline)) struct my_plain *make(__u32 x) { struct my_plain *p = NEW(struct my_plain); if (p) p->a = x; return p; }
static __attribute__((noinline)) int give_back(struct my_plain *p) { if (p) DROP(p); return 0; }
static __attribute__((noinline)) int use(struct my_plain *p) { return p->b; }
static __attribute__((noinline)) struct my_item *popped(void) { struct bpf_list_node *l; bpf_spin_lock(&lock); l = bpf_list_pop_front(&head); bpf_spin_unlock(&lock); return l ? container_of(l, struct my_item, link) : 0; }
static __attribute__((noinline)) int pushed(struct my_item *n) { bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); return 0; }
static __attribute__((noinline)) int push_locked(struct my_item *n) { PUSH(&head, n); return 0; }
__attribute__((noinline)) int global_use(struct my_plain *p) { return p ? p->b : 0; }
__attribute__((noinline)) int global_plain(__u64 x) { return x; }
PROGRAM(sub_make) { struct my_plain *p = make(ctx->len); if (!p) return 0; p->b = 1; DROP(p); return 0; }
PROGRAM(sub_make_leaks) { make(ctx->len); return 0; }
PROGRAM(sub_give_back) { return give_back(make(1)); }
PROGRAM(sub_give_back_used) { struct my_plain *p = make(1); give_back(p); return p ? p->a : 0; }
PROGRAM(sub_use) { struct my_plain *p = make(1); int r; if (!p) return 0; r = use(p); DROP(p); return r; }
PROGRAM(sub_use_unchecked) { struct my_plain *p = make(1); int r = use(p); if (p) DROP(p); return r; }
PROGRAM(sub_popped) { struct my_item *n = popped(); if (!n) return 0; n->data = 2; DROP(n); return 0; }
PROGRAM(sub_pushed) { NODE_OR_RETURN(n); pushed(n); return 0; }
PROGRAM(sub_pushed_used) { NODE_OR_RETURN(n); pushed(n); return n->data; }
PROGRAM(sub_push_locked) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); push_locked(n); n->data = 1; bpf_spin_unlock(&lock); return 0; }
PROGRAM(sub_global) { struct my_plain *p = make(1); int r; if (!p) return 0; r = global_use(p); DROP(p); return r; }
PROGRAM(sub_global_locked) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); int r = global_plain(1); bpf_spin_unlock(&lock); return r; }
PROGRAM(loop_pops) { struct bpf_list_node *l; for (int i = 0; i < 8; i++) { bpf_spin_lock(&lock); l = bpf_list_pop_front(&head); bpf_spin_unlock(&lock); if (!l) return 0; DROP(container_of(l, struct my_item, link)); } return 0; }
PROGRAM(loop_leaks) { struct bpf_list_node *l = 0; for (int i = 0; i < 3; i++) { bpf_spin_lock(&lock); l = bpf_list_pop_front(&head); bpf_spin_unlock(&lock); } if (l) DROP(container_of(l, struct my_item, link)); return 0; }
PROGRAM(loop_xchg) { LOOKED_UP(struct nested, v, lru_values, 1); struct my_plain *p = make(1); if (!p) return 0; for (int i = 0; i < 5; i++) { p = bpf_kptr_xchg(&v->in[0].deep, p); if (!p) return 0; } DROP(p); return 0; }
PROGRAM(num_iter_pushes) { int i; bpf_for(i, 0, 100) { struct my_item *n = NEW(struct my_item); if (!n) break; n->key = i; bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); } return 0; }
PROGRAM(num_iter_locked) { int i, sum = 0; bpf_spin_lock(&lock); bpf_for(i, 0, 100) { struct bpf_list_node *l = bpf_list_front(&head); if (!l) break; sum += container_of(l, struct my_item, link)->data; } bpf_spin_unlock(&lock); return sum; }
PROGRAM(num_iter_walks) { struct bpf_rb_node *r; int i, found = 0; bpf_spin_lock(&lock); r = bpf_rbtree_root(&tree); bpf_for(i, 0, 100) { if (!r) break; struct my_tree_item *n = container_of(r, struct my_tree_item, link); if (n->key == ctx->len) { found = n->data; break; } r = n->key < ctx->len ? bpf_rbtree_left(&tree, r) : bpf_rbtree_right(&tree, r); } bpf_spin_unlock(&lock); return found; }
PROGRAM(num_iter_leaks) { int i; bpf_for(i, 0, 100) { make(i); } return 0; }
static long each_pushes(__u32 i, void *unused) { NODE_OR_RETURN(n); bpf_spin_lock(&lock); PUSH(&head, n); bpf_spin_unlock(&lock); return 0; }
static long each_leaks(__u32 i, void *unused) { return make(i) == 0; }
static long each_drops(__u32 i, void *held) { struct my_plain **p = held; if (*p) { DROP(*p); *p = 0; } return 0; }
PROGRAM(callback_pushes) { bpf_loop(10, each_pushes, 0, 0); return 0; }
PROGRAM(callback_leaks) { bpf_loop(10, each_leaks, 0, 0); return 0; }
PROGRAM(callback_owned) { struct my_plain *p = make(1); if (!p) return 0; bpf_loop(10, each_pushes, 0, 0); DROP(p); return 0; }
PROGRAM(callback_drops) { struct my_plain *p = make(1); if (!p) return 0; bpf_loop(1, each_drops, &p, 0); if (p) DROP(p); return 0; }
static long each_value(void *map, __u32 *key, struct nested *v, void *unused) { struct my_plain *p = bpf_kptr_xchg(&v->in[0].deep, 0); if (p) DROP(p); return 0; }
static long each_value_leaks(void *map, __u32 *key, struct nested *v, void *unused) { bpf_kptr_xchg(&v->in[0].deep, 0); return 0; }
static long each_value_reads(void *map, __u32 *key, struct nested *v, void *unused) { struct my_plain *p = v->in[0].deep; return p ? p->b & 1 : 0; }
PROGRAM(each_xchg) { bpf_for_each_map_elem(&lru_values, each_value, 0, 0); return 0; }
PROGRAM(each_xchg_leaks) { bpf_for_each_map_elem(&lru_values, each_value_leaks, 0, 0); return 0; }
PROGRAM(each_reads) { bpf_for_each_map_elem(&lru_values, each_value_reads, 0, 0); return 0; }
PROGRAM(tail_open) { struct my_plain *p = make(1); if (p) bpf_throw(1); if (p) DROP(p); return 0; }
PROGRAM(spill_and_check) { struct my_plain *p = make(1); struct my_plain *volatile keep = p; if (!keep) return 0; p = keep; if (!p) return 0; p->a = 2; DROP(p); return 0; }
PROGRAM(compared_to_itself) { LOOKED_UP(struct nested, v, lru_values, 1); struct my_plain *p = v->in[0].deep, *q = v->in[1].deep; if (!p) return 0; if (p == q) return q->b; return 0; }
PROGRAM(rcu_nested) { LOOKED_UP(struct nested, v, lru_values, 1); int r = 0; bpf_rcu_read_lock(); struct my_plain *p = v->in[0].deep; if (p) r = p->b; bpf_rcu_read_unlock(); return p ? r + p->b : r; }
SLEEPABLE(rcu_task_fields) { LOOKED_UP(struct nested, v, lru_values, 1); int r = 0; bpf_rcu_read_lock(); struct task_struct *t = v->tasks[0]; if (t) { struct task_struct *u = t->real_parent; r = u->pid; } bpf_rcu_read_unlock(); return r; }
SLEEPABLE(rcu_task_released) { LOOKED_UP(struct nested, v, lru_values, 1); struct task_struct *t; bpf_rcu_read_lock(); t = v->tasks[0]; if (t) bpf_task_release(t); bpf_rcu_read_unlock(); return 0; }
SLEEPABLE(lock_is_rcu) { LOOKED_UP(struct both, v, both_values, 1); struct my_plain *p; int r = 0; bpf_spin_lock(&v->lock); p = v->mine; if (p) r = p->b; bpf_spin_unlock(&v->lock); return r; }
SLEEPABLE(lock_is_rcu_after) { LOOKED_UP(struct both, v, both_values, 1); struct my_plain *p; bpf_spin_lock(&v->lock); p = v->mine; bpf_spin_unlock(&v->lock); return p ? p->b : 0; }
SLEEPABLE(cpumask_kept) { struct bpf_cpumask *m = bpf_cpumask_create(); if (!m) return 0; bpf_cpumask_set_cpu(0, m); int r = bpf_cpumask_first((void *)m); bpf_cpumask_release(m); return r; }
SLEEPABLE(cpumask_dropped) { struct bpf_cpumask *m = bpf_cpumask_create(); if (!m) return 0; DROP(m); return 0; }
SLEEPABLE(cpumask_inside) { struct bpf_cpumask *m = bpf_cpumask_create(); if (!m) return 0; bpf_cpumask_release((void *)m + 4); return 0; }
SLEEPABLE(preempt_lock) { struct my_plain *p; bpf_preempt_disable(); p = make(1); bpf_preempt_enable(); if (p) DROP(p); return 0; }
// Which structures have special fields
typedef struct bpf_spin_lock my_lock;
struct lock_by_name { my_lock lock; __u64 x; };
struct lock_and_name { my_lock first; struct bpf_refcount refs; __u64 x; };
struct bpf_res_spin_lock { __u32 val; };
struct res_only { struct bpf_res_spin_lock lock; __u64 x; };
struct res_and_refs { struct bpf_res_spin_lock lock; struct bpf_refcount refs; __u64 x; };
struct array_only { struct my_plain __kptr *all[2]; __u64 x; };
struct array_and_one { struct my_plain __kptr *one; struct my_plain __kptr *all[2]; __u64 x; };
struct inner_only { struct { struct my_plain __kptr *p; } in; __u64 x; };
struct inner_and_one { struct { struct my_plain __kptr *p; } in; struct my_plain __kptr *one; __u64 x; };
struct const_pointer { struct my_plain __kptr *const p; __u64 x; };
struct volatile_pointer { struct my_plain __kptr *volatile p; __u64 x; };
struct union_pointer { union { struct my_plain __kptr *p; __u64 y; }; __u64 x; };
struct timer_inside { struct bpf_timer timer; struct bpf_refcount refs; __u64 x; };
struct bits { __u32 a : 8; __u32 b : 24; struct bpf_refcount refs; };
struct with_union { union { struct my_plain __kptr *p; __u64 y; } u; __u64 x; };
typedef struct { struct my_plain __kptr *p; } by_name;
struct with_name { by_name n; __u64 x; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, struct with_union); } union_values SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, struct with_name); } name_values SEC(".maps");
extern int bpf_res_spin_lock(struct bpf_res_spin_lock *lock) __ksym;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock) __ksym;
#define TOUCH(type, at) struct type *p = NEW(struct type); if (!p) return 0; *(volatile __u32 *)((void *)p + (at)) = 1; DROP(p); return 0
PROGRAM(touch_lock_by_name) { TOUCH(lock_by_name, 0); }
PROGRAM(touch_lock_and_name) { TOUCH(lock_and_name, 0); }
PROGRAM(touch_res_only) { TOUCH(res_only, 0); }
PROGRAM(touch_res_and_refs) { TOUCH(res_and_refs, 0); }
PROGRAM(touch_array_only) { TOUCH(array_only, 8); }
PROGRAM(touch_array_and_one) { TOUCH(array_and_one, 16); }
PROGRAM(touch_inner_only) { TOUCH(inner_only, 0); }
PROGRAM(touch_inner_and_one) { TOUCH(inner_and_one, 0); }
PROGRAM(touch_const_pointer) { TOUCH(const_pointer, 0); }
PROGRAM(touch_volatile_pointer) { TOUCH(volatile_pointer, 0); }
PROGRAM(touch_union_pointer) { TOUCH(union_pointer, 0); }
PROGRAM(touch_timer) { TOUCH(timer_inside, 0); }
PROGRAM(touch_refs_after_timer) { TOUCH(timer_inside, 16); }
PROGRAM(touch_bits) { TOUCH(bits, 0); }
PROGRAM(touch_union_value) { LOOKED_UP(struct with_union, v, union_values, 1); *(volatile __u32 *)v = 1; return 0; }
PROGRAM(xchg_union_value) { LOOKED_UP(struct with_union, v, union_values, 1); void *p = bpf_kptr_xchg(&v->u.p, 0); if (p) DROP(p); return 0; }
PROGRAM(touch_name_value) { LOOKED_UP(struct with_name, v, name_values, 1); *(volatile __u32 *)v = 1; return 0; }
PROGRAM(touch_padding) { TOUCH(locked, 4); }
PROGRAM(lock_res_only) { struct res_only *p = NEW(struct res_only); if (!p) return 0; if (!bpf_res_spin_lock(&p->lock)) bpf_res_spin_unlock(&p->lock); DROP(p); return 0; }
PROGRAM(lock_res_and_refs) { struct res_and_refs *p = NEW(struct res_and_refs); if (!p) return 0; if (!bpf_res_spin_lock(&p->lock)) { p->x = 1; bpf_res_spin_unlock(&p->lock); } DROP(p); return 0; }
PROGRAM(lock_by_typedef) { struct lock_by_name *p = NEW(struct lock_by_name); if (!p) return 0; bpf_spin_lock(&p->lock); bpf_spin_unlock(&p->lock); DROP(p); return 0; }
PROGRAM(xchg_array_only) { struct array_only *p = NEW(struct array_only); void *q; if (!p) return 0; q = bpf_kptr_xchg(&p->all[1], 0); if (q) DROP(q); DROP(p); return 0; }
PROGRAM(xchg_array_and_one) { struct array_and_one *p = NEW(struct array_and_one); void *q; if (!p) return 0; q = bpf_kptr_xchg(&p->all[1], 0); if (q) DROP(q); DROP(p); return 0; }
PROGRAM(xchg_inner_only) { struct inner_only *p = NEW(struct inner_only); void *q; if (!p) return 0; q = bpf_kptr_xchg(&p->in.p, 0); if (q) DROP(q); DROP(p); return 0; }
PROGRAM(xchg_inner_and_one) { struct inner_and_one *p = NEW(struct inner_and_one); void *q; if (!p) return 0; q = bpf_kptr_xchg(&p->in.p, 0); if (q) DROP(q); DROP(p); return 0; }
PROGRAM(xchg_volatile) { struct volatile_pointer *p = NEW(struct volatile_pointer); void *q; if (!p) return 0; q = bpf_kptr_xchg((void *)&p->p, 0); if (q) DROP(q); DROP(p); return 0; }
// Pages of user space in task storage; maps that take no such fields
#define __uptr __attribute__((btf_type_tag("uptr")))
struct user_part { __u64 a; __u32 b[4]; };
struct with_user { struct user_part __uptr *part; __u64 x; };
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, struct with_user); } user_parts SEC(".maps");
struct trie_key { __u32 prefixlen; __u32 address; };
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 4); __type(key, struct trie_key); __type(value, struct nested); } trie SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, struct nested); } sk_values SEC(".maps");
#define USER_PART(v) struct with_user *v = bpf_task_storage_get(&user_parts, bpf_get_current_task_btf(), 0, 0); if (!v) return 0
PROGRAM(user_read) { USER_PART(v); struct user_part *p = v->part; if (!p) return 0; p->a = 1; return p->b[3]; }
PROGRAM(user_unchecked) { USER_PART(v); return v->part->a; }
PROGRAM(user_beyond) { USER_PART(v); struct user_part *p = v->part; if (!p) return 0; return *(volatile __u32 *)((void *)p + 24); }
PROGRAM(user_indexed) { USER_PART(v); struct user_part *p = v->part; if (!p) return 0; return p->b[ctx->len & 3]; }
PROGRAM(user_stored) { USER_PART(v); v->part = 0; return 0; }
PROGRAM(user_xchg) { USER_PART(v); void *p = bpf_kptr_xchg((void *)&v->part, 0); if (p) DROP(p); return 0; }
PROGRAM(user_partly) { USER_PART(v); return *(volatile __u32 *)v; }
PROGRAM(user_plain) { USER_PART(v); v->x = 1; return v->x; }
PROGRAM(user_to_helper) { USER_PART(v); struct user_part *p = v->part; if (!p) return 0; bpf_probe_read_kernel(p, 8, ctx); return 0; }
PROGRAM(user_helper_on_field) { USER_PART(v); bpf_probe_read_kernel(v, 8, ctx); return 0; }
SLEEPABLE(user_sleepable) { USER_PART(v); struct user_part *p = v->part; if (!p) return 0; return p->a; }
PROGRAM(trie_touched) { struct trie_key k = {}; struct nested *v = bpf_map_lookup_elem(&trie, &k); if (!v) return 0; *(volatile __u32 *)&v->in[0].deep = 1; return 0; }
PROGRAM(trie_xchg) { struct trie_key k = {}; struct nested *v = bpf_map_lookup_elem(&trie, &k); if (!v) return 0; void *p = bpf_kptr_xchg(&v->in[0].deep, 0); if (p) DROP(p); return 0; }
PROGRAM(sk_xchg) { struct bpf_sock *sk = ctx->sk; if (!sk) return 0; sk = bpf_sk_fullsock(sk); if (!sk) return 0; struct nested *v = bpf_sk_storage_get(&sk_values, sk, 0, BPF_SK_STORAGE_GET_F_CREATE); if (!v) return 0; void *p = bpf_kptr_xchg(&v->in[0].deep, 0); if (p) DROP(p); return 0; }
PROGRAM(storage_initial) { struct nested n = {}; struct nested *v = bpf_task_storage_get(&storage, bpf_get_current_task_btf(), &n, BPF_LOCAL_STORAGE_GET_F_CREATE); return v ? v->a : 0; }

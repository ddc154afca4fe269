/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every eBPF program in C needs: sections, map definitions, attributes, printing, loops.
 * The names are those of libbpf. Include vmlinux.h or <linux/types.h> first: it brings __u32 and its family.
 */
#ifndef __BPF_HELPERS__
#define __BPF_HELPERS__

#include "bpf_helper_defs.h"

/* ---- Map definitions: each macro is a member whose type carries the value, so that BTF keeps it. ---- */

#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
/* An enumerator can hold 64 bits, the dimension of an array cannot. */
#define __ulong(name, val)                                                                                             \
	enum { ___bpf_apply(__unique_value, __COUNTER__) = val } name

/* ---- Macro tools ---- */

#ifndef ___bpf_concat
#define ___bpf_concat(a, b) a##b
#endif
#ifndef ___bpf_apply
#define ___bpf_apply(fn, n) ___bpf_concat(fn, n)
#endif
#ifndef ___bpf_nth
#define ___bpf_nth(_, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, N, ...) N
#endif
#ifndef ___bpf_narg
#define ___bpf_narg(...) ___bpf_nth(_, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#endif

/* ---- Sections and attributes ---- */

#define SEC(name)                                                                                                      \
	_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wignored-attributes\"")                      \
	__attribute__((section(name), used)) _Pragma("GCC diagnostic pop")

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#ifndef __hidden
/* Hidden functions are verified like static ones: inlined into each caller's proof. */
#define __hidden __attribute__((visibility("hidden")))
#endif
#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))
#define __uptr __attribute__((btf_type_tag("uptr")))

#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#define __arg_nonnull __attribute((btf_decl_tag("arg:nonnull")))
#define __arg_nullable __attribute((btf_decl_tag("arg:nullable")))
#define __arg_trusted __attribute((btf_decl_tag("arg:trusted")))
#define __arg_untrusted __attribute((btf_decl_tag("arg:untrusted")))
#define __arg_arena __attribute((btf_decl_tag("arg:arena")))

enum libbpf_pin_type {
	LIBBPF_PIN_NONE,
	LIBBPF_PIN_BY_NAME,
};

enum libbpf_tristate {
	TRI_NO = 0,
	TRI_YES = 1,
	TRI_MODULE = 2,
};

/* ---- Small things of the C language ---- */

#ifndef NULL
#define NULL ((void *)0)
#endif
#ifndef KERNEL_VERSION
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + ((patch) < 255 ? (patch) : 255))
#endif
#undef offsetof
#define offsetof(type, member) ((unsigned long)&((type *)0)->member)
#undef container_of
#define container_of(ptr, type, member)                                                                                \
	({                                                                                                             \
		void *___inner = (void *)(ptr);                                                                        \
		(type *)(___inner - offsetof(type, member));                                                           \
	})
#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#endif
#ifndef unlikely
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

/* Keep the compiler from moving memory accesses, or from knowing anything about a value. */
#ifndef barrier
#define barrier() __asm__ __volatile__("" ::: "memory")
#endif
#ifndef barrier_var
#define barrier_var(var) __asm__ __volatile__("" : "+r"(var))
#endif

#ifndef __bpf_unreachable
#define __bpf_unreachable() __builtin_trap()
#endif

/* A __ksym __weak symbol that this kernel does not have is address zero. */
#undef bpf_ksym_exists
#define bpf_ksym_exists(sym)                                                                                           \
	({                                                                                                             \
		_Static_assert(!__builtin_constant_p(!!sym), #sym " should be marked as __weak");                      \
		!!sym;                                                                                                 \
	})

/*
 * Tail call with a slot that is known when compiling: the map and the slot reach the call as constants, which lets the
 * kernel's JIT turn it into a direct jump.
 */
#if defined(__bpf__)
static __always_inline void bpf_tail_call_static(void *ctx, const void *map, const __u32 slot)
{
	if (!__builtin_constant_p(slot))
		__bpf_unreachable();
	__asm__ volatile("r1 = %[context]\n\t"
			 "r2 = %[programs]\n\t"
			 "r3 = %[index]\n\t"
			 "call 12"
			 :
			 : [context] "r"(ctx), [programs] "r"(map), [index] "i"(slot)
			 : "r0", "r1", "r2", "r3", "r4", "r5");
}
#endif

/* ---- Printing ---- */

/*
 * Arguments of a format as an array of 64-bit words, filled one by one: with an initializer the array would be copied from
 * .rodata (and clang 22 with -mcpu=v4 forgets to emit such a constant when it holds the address of a string).
 */
#define ___bpf_fill0(arr, p, x)
#define ___bpf_fill1(arr, p, x) arr[p] = (unsigned long long)(x)
#define ___bpf_fill2(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill1(arr, (p) + 1, args)
#define ___bpf_fill3(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill2(arr, (p) + 1, args)
#define ___bpf_fill4(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill3(arr, (p) + 1, args)
#define ___bpf_fill5(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill4(arr, (p) + 1, args)
#define ___bpf_fill6(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill5(arr, (p) + 1, args)
#define ___bpf_fill7(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill6(arr, (p) + 1, args)
#define ___bpf_fill8(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill7(arr, (p) + 1, args)
#define ___bpf_fill9(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill8(arr, (p) + 1, args)
#define ___bpf_fill10(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill9(arr, (p) + 1, args)
#define ___bpf_fill11(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill10(arr, (p) + 1, args)
#define ___bpf_fill12(arr, p, x, args...) arr[p] = (unsigned long long)(x), ___bpf_fill11(arr, (p) + 1, args)
#define ___bpf_fill(arr, args...) ___bpf_apply(___bpf_fill, ___bpf_narg(args))(arr, 0, ##args)

/* Declares ___fmt (a string in .rodata) and ___words (the arguments, on the stack). */
#define ___skep_format(fmt, args...)                                                                                   \
	static const char ___fmt[] = fmt;                                                                              \
	unsigned long long ___words[___bpf_narg(args)];                                                                \
	_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                          \
	___bpf_fill(___words, args);                                                                                   \
	_Pragma("GCC diagnostic pop")

#define BPF_SEQ_PRINTF(seq, fmt, args...)                                                                              \
	({                                                                                                             \
		___skep_format(fmt, args) bpf_seq_printf(seq, ___fmt, sizeof(___fmt), ___words, sizeof(___words));     \
	})

#define BPF_SNPRINTF(out, out_size, fmt, args...)                                                                      \
	({                                                                                                             \
		___skep_format(fmt, args) bpf_snprintf(out, out_size, ___fmt, ___words, sizeof(___words));             \
	})

/* With BPF_NO_GLOBAL_DATA (kernels before 5.2) the format lives on the stack. */
#ifdef BPF_NO_GLOBAL_DATA
#define BPF_PRINTK_FMT_MOD
#else
#define BPF_PRINTK_FMT_MOD static const
#endif

#define __bpf_printk(fmt, ...)                                                                                         \
	({                                                                                                             \
		BPF_PRINTK_FMT_MOD char ___fmt[] = fmt;                                                                \
		bpf_trace_printk(___fmt, sizeof(___fmt), ##__VA_ARGS__);                                               \
	})

#define __bpf_vprintk(fmt, args...)                                                                                    \
	({                                                                                                             \
		___skep_format(fmt, args) bpf_trace_vprintk(___fmt, sizeof(___fmt), ___words, sizeof(___words));       \
	})

/* bpf_trace_printk takes three arguments at most. */
#define ___bpf_pick_printk(...)                                                                                        \
	___bpf_nth(_, ##__VA_ARGS__, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk,        \
		   __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_printk, __bpf_printk,             \
		   __bpf_printk, __bpf_printk)
#define bpf_printk(fmt, args...) ___bpf_pick_printk(args)(fmt, ##args)

extern int bpf_stream_vprintk_impl(int stream_id, const char *fmt__str, const void *args, __u32 len__sz,
				   void *aux__prog) __weak __ksym;

#define bpf_stream_printk(stream_id, fmt, args...)                                                                     \
	({                                                                                                             \
		___skep_format(fmt, args) bpf_stream_vprintk_impl(stream_id, ___fmt, ___words, sizeof(___words), NULL); \
	})

/* ---- Loops over the kernel's open-coded iterators ---- */

struct bpf_iter_num;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __weak __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __weak __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __weak __ksym;

/* for (pointer to element) over iterator `bpf_iter_TYPE`; the cleanup attribute destroys it however the loop ends. */
#ifndef bpf_for_each
#define bpf_for_each(type, cur, args...)                                                                               \
	for (struct bpf_iter_##type ___it __attribute__((aligned(8), cleanup(bpf_iter_##type##_destroy))),             \
	     *___p __attribute__((unused)) =                                                                           \
		     (bpf_iter_##type##_new(&___it, ##args), (void)bpf_iter_##type##_destroy, (void *)0);              \
	     (((cur) = bpf_iter_##type##_next(&___it)));)
#endif

/* for (i = start; i < end; i++), which the verifier need not unroll. */
#ifndef bpf_for
#define bpf_for(i, start, end)                                                                                         \
	for (struct bpf_iter_num ___it __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))),                     \
	     *___p __attribute__((unused)) =                                                                           \
		     (bpf_iter_num_new(&___it, (start), (end)), (void)bpf_iter_num_destroy, (void *)0);                \
	     ({                                                                                                        \
		     int *___next = bpf_iter_num_next(&___it);                                                         \
		     (___next && ((i) = *___next, (i) >= (start) && (i) < (end)));                                     \
	     });)
#endif

#ifndef bpf_repeat
#define bpf_repeat(N)                                                                                                  \
	for (struct bpf_iter_num ___it __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))),                     \
	     *___p __attribute__((unused)) =                                                                           \
		     (bpf_iter_num_new(&___it, 0, (N)), (void)bpf_iter_num_destroy, (void *)0);                        \
	     bpf_iter_num_next(&___it);)
#endif

#endif

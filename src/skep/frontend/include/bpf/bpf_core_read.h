/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CO-RE: reads and questions about kernel types that the loader adapts to the running kernel.
 * The names are those of libbpf; the numbers are those of the BPF relocation ABI (Documentation/bpf/llvm_reloc.rst).
 */
#ifndef __BPF_CORE_READ_H__
#define __BPF_CORE_READ_H__

#include "bpf_helpers.h"

enum bpf_field_info_kind {
	BPF_FIELD_BYTE_OFFSET = 0,
	BPF_FIELD_BYTE_SIZE = 1,
	BPF_FIELD_EXISTS = 2,
	BPF_FIELD_SIGNED = 3,
	BPF_FIELD_LSHIFT_U64 = 4,
	BPF_FIELD_RSHIFT_U64 = 5,
};

enum bpf_type_id_kind {
	BPF_TYPE_ID_LOCAL = 0,
	BPF_TYPE_ID_TARGET = 1,
};

enum bpf_type_info_kind {
	BPF_TYPE_EXISTS = 0,
	BPF_TYPE_SIZE = 1,
	BPF_TYPE_MATCHES = 2,
};

enum bpf_enum_value_kind {
	BPF_ENUMVAL_EXISTS = 0,
	BPF_ENUMVAL_VALUE = 1,
};

/* ---- Questions about fields, types and enumerators ---- */

/* A field is named by an expression (ptr->a.b) or by a type and a member (struct x, a.b). */
#define ___skep_field1(field) (field)
#define ___skep_field2(type, field) (((typeof(type) *)0)->field)
#define ___skep_field(args...) ___bpf_apply(___skep_field, ___bpf_narg(args))(args)

#define bpf_core_field_exists(field...) __builtin_preserve_field_info(___skep_field(field), BPF_FIELD_EXISTS)
#define bpf_core_field_size(field...) __builtin_preserve_field_info(___skep_field(field), BPF_FIELD_BYTE_SIZE)
#define bpf_core_field_offset(field...) __builtin_preserve_field_info(___skep_field(field), BPF_FIELD_BYTE_OFFSET)

#if __has_builtin(__builtin_preserve_type_info)
#define ___skep_type(type) (*(typeof(type) *)0)
#define bpf_core_type_id_local(type) __builtin_btf_type_id(___skep_type(type), BPF_TYPE_ID_LOCAL)
#define bpf_core_type_id_kernel(type) __builtin_btf_type_id(___skep_type(type), BPF_TYPE_ID_TARGET)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(___skep_type(type), BPF_TYPE_EXISTS)
#define bpf_core_type_matches(type) __builtin_preserve_type_info(___skep_type(type), BPF_TYPE_MATCHES)
#define bpf_core_type_size(type) __builtin_preserve_type_info(___skep_type(type), BPF_TYPE_SIZE)

#define bpf_core_enum_value_exists(enum_type, enum_value)                                                              \
	__builtin_preserve_enum_value(*(typeof(enum_type) *)enum_value, BPF_ENUMVAL_EXISTS)
#define bpf_core_enum_value(enum_type, enum_value)                                                                     \
	__builtin_preserve_enum_value(*(typeof(enum_type) *)enum_value, BPF_ENUMVAL_VALUE)
#endif

/* ---- Reads: the address carries a relocation for the offset of the field ---- */

#define bpf_core_read(dst, sz, src) bpf_probe_read_kernel(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user(dst, sz, src)                                                                               \
	bpf_probe_read_user(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_str(dst, sz, src)                                                                                \
	bpf_probe_read_kernel_str(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user_str(dst, sz, src)                                                                           \
	bpf_probe_read_user_str(dst, sz, (const void *)__builtin_preserve_access_index(src))

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __weak __ksym;
#define bpf_core_cast(ptr, type) ((typeof(type) *)bpf_rdonly_cast((ptr), bpf_core_type_id_kernel(type)))

/*
 * Walk a chain of pointers, ptr->a->b->c: `hop` reads each pointer, `last` the final field into *dst. Every level has a
 * variable of its own with the pointer's type, so that each hop is a relocatable access. The value is the last read's.
 */
/* The type of an expression without const: a comma yields a value. */
#define ___skep_plain(expression) typeof((void)0, expression)

#define ___skep_walk1(hop, last, dst, ptr, a) last((void *)(dst), sizeof(*(dst)), &(ptr)->a)
#define ___skep_walk2(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p2;                                                                                \
		hop((void *)&___p2, sizeof(___p2), &(ptr)->a);                                                         \
		___skep_walk1(hop, last, dst, ___p2, __VA_ARGS__);                                                     \
	})
#define ___skep_walk3(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p3;                                                                                \
		hop((void *)&___p3, sizeof(___p3), &(ptr)->a);                                                         \
		___skep_walk2(hop, last, dst, ___p3, __VA_ARGS__);                                                     \
	})
#define ___skep_walk4(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p4;                                                                                \
		hop((void *)&___p4, sizeof(___p4), &(ptr)->a);                                                         \
		___skep_walk3(hop, last, dst, ___p4, __VA_ARGS__);                                                     \
	})
#define ___skep_walk5(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p5;                                                                                \
		hop((void *)&___p5, sizeof(___p5), &(ptr)->a);                                                         \
		___skep_walk4(hop, last, dst, ___p5, __VA_ARGS__);                                                     \
	})
#define ___skep_walk6(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p6;                                                                                \
		hop((void *)&___p6, sizeof(___p6), &(ptr)->a);                                                         \
		___skep_walk5(hop, last, dst, ___p6, __VA_ARGS__);                                                     \
	})
#define ___skep_walk7(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p7;                                                                                \
		hop((void *)&___p7, sizeof(___p7), &(ptr)->a);                                                         \
		___skep_walk6(hop, last, dst, ___p7, __VA_ARGS__);                                                     \
	})
#define ___skep_walk8(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p8;                                                                                \
		hop((void *)&___p8, sizeof(___p8), &(ptr)->a);                                                         \
		___skep_walk7(hop, last, dst, ___p8, __VA_ARGS__);                                                     \
	})
#define ___skep_walk9(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p9;                                                                                \
		hop((void *)&___p9, sizeof(___p9), &(ptr)->a);                                                         \
		___skep_walk8(hop, last, dst, ___p9, __VA_ARGS__);                                                     \
	})
#define ___skep_walk10(hop, last, dst, ptr, a, ...)                                                                       \
	({                                                                                                             \
		___skep_plain((ptr)->a) ___p10;                                                                                \
		hop((void *)&___p10, sizeof(___p10), &(ptr)->a);                                                         \
		___skep_walk9(hop, last, dst, ___p10, __VA_ARGS__);                                                     \
	})
#define ___skep_walk(hop, last, dst, ptr, args...) ___bpf_apply(___skep_walk, ___bpf_narg(args))(hop, last, dst, ptr, ##args)

/* The type of ptr->a->b->c. */
#define ___skep_arrow1(a) ->a
#define ___skep_arrow2(a, ...) ->a ___skep_arrow1(__VA_ARGS__)
#define ___skep_arrow3(a, ...) ->a ___skep_arrow2(__VA_ARGS__)
#define ___skep_arrow4(a, ...) ->a ___skep_arrow3(__VA_ARGS__)
#define ___skep_arrow5(a, ...) ->a ___skep_arrow4(__VA_ARGS__)
#define ___skep_arrow6(a, ...) ->a ___skep_arrow5(__VA_ARGS__)
#define ___skep_arrow7(a, ...) ->a ___skep_arrow6(__VA_ARGS__)
#define ___skep_arrow8(a, ...) ->a ___skep_arrow7(__VA_ARGS__)
#define ___skep_arrow9(a, ...) ->a ___skep_arrow8(__VA_ARGS__)
#define ___skep_arrow10(a, ...) ->a ___skep_arrow9(__VA_ARGS__)
#define ___skep_typeof(ptr, args...) ___skep_plain((ptr)___bpf_apply(___skep_arrow, ___bpf_narg(args))(args))
#define ___skep_value(hop, last, ptr, args...)                                                                         \
	({                                                                                                             \
		___skep_typeof((ptr), ##args) ___value;                                                                \
		___skep_walk(hop, last, &___value, (ptr), ##args);                                                     \
		___value;                                                                                              \
	})

#define BPF_CORE_READ(src, a, ...) ___skep_value(bpf_core_read, bpf_core_read, src, a, ##__VA_ARGS__)
#define BPF_CORE_READ_USER(src, a, ...) ___skep_value(bpf_core_read_user, bpf_core_read_user, src, a, ##__VA_ARGS__)
#define BPF_PROBE_READ(src, a, ...) ___skep_value(bpf_probe_read_kernel, bpf_probe_read_kernel, src, a, ##__VA_ARGS__)
#define BPF_PROBE_READ_USER(src, a, ...) ___skep_value(bpf_probe_read_user, bpf_probe_read_user, src, a, ##__VA_ARGS__)

#define BPF_CORE_READ_INTO(dst, src, a, ...)                                                                           \
	___skep_walk(bpf_core_read, bpf_core_read, dst, (src), a, ##__VA_ARGS__)
#define BPF_CORE_READ_USER_INTO(dst, src, a, ...)                                                                      \
	___skep_walk(bpf_core_read_user, bpf_core_read_user, dst, (src), a, ##__VA_ARGS__)
#define BPF_PROBE_READ_INTO(dst, src, a, ...)                                                                          \
	___skep_walk(bpf_probe_read_kernel, bpf_probe_read_kernel, dst, (src), a, ##__VA_ARGS__)
#define BPF_PROBE_READ_USER_INTO(dst, src, a, ...)                                                                     \
	___skep_walk(bpf_probe_read_user, bpf_probe_read_user, dst, (src), a, ##__VA_ARGS__)

#define BPF_CORE_READ_STR_INTO(dst, src, a, ...)                                                                       \
	___skep_walk(bpf_core_read, bpf_core_read_str, dst, (src), a, ##__VA_ARGS__)
#define BPF_CORE_READ_USER_STR_INTO(dst, src, a, ...)                                                                  \
	___skep_walk(bpf_core_read_user, bpf_core_read_user_str, dst, (src), a, ##__VA_ARGS__)
#define BPF_PROBE_READ_STR_INTO(dst, src, a, ...)                                                                      \
	___skep_walk(bpf_probe_read_kernel, bpf_probe_read_kernel_str, dst, (src), a, ##__VA_ARGS__)
#define BPF_PROBE_READ_USER_STR_INTO(dst, src, a, ...)                                                                 \
	___skep_walk(bpf_probe_read_user, bpf_probe_read_user_str, dst, (src), a, ##__VA_ARGS__)

/* ---- Bitfields: found by relocated byte offset and size, cut out by relocated shifts ---- */

#define ___skep_relo(src, field, kind) __builtin_preserve_field_info((src)->field, BPF_FIELD_##kind)

#define ___skep_cut(src, field, word)                                                                                  \
	({                                                                                                             \
		word <<= ___skep_relo(src, field, LSHIFT_U64);                                                         \
		___skep_relo(src, field, SIGNED) ? (unsigned long long)((long long)word >>                             \
								___skep_relo(src, field, RSHIFT_U64))          \
						 : word >> ___skep_relo(src, field, RSHIFT_U64);               \
	})

/* The bitfield's storage unit sits in the low-address end of the word on little endian, in the high end on big endian. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ___skep_unit_start(word, size) ((void *)&(word))
#else
#define ___skep_unit_start(word, size) ((void *)&(word) + (8 - (size)))
#endif

/* Through bpf_probe_read_kernel: for any pointer. */
#define BPF_CORE_READ_BITFIELD_PROBED(s, field)                                                                        \
	({                                                                                                             \
		unsigned long long ___word = 0;                                                                        \
		bpf_probe_read_kernel(___skep_unit_start(___word, ___skep_relo(s, field, BYTE_SIZE)),                  \
				      ___skep_relo(s, field, BYTE_SIZE),                                               \
				      (const void *)(s) + ___skep_relo(s, field, BYTE_OFFSET));                        \
		___skep_cut(s, field, ___word);                                                                        \
	})

/* By a plain load: for pointers that the verifier lets a program follow. */
#define BPF_CORE_READ_BITFIELD(s, field)                                                                               \
	({                                                                                                             \
		const void *___unit = (const void *)(s) + ___skep_relo(s, field, BYTE_OFFSET);                         \
		unsigned long long ___word = 0;                                                                        \
		/* Hide the address: merged with the offset it would no longer be a relocation. */                     \
		barrier_var(___unit);                                                                                  \
		switch (___skep_relo(s, field, BYTE_SIZE)) {                                                           \
		case 1: ___word = *(const unsigned char *)___unit; break;                                              \
		case 2: ___word = *(const unsigned short *)___unit; break;                                             \
		case 4: ___word = *(const unsigned int *)___unit; break;                                               \
		case 8: ___word = *(const unsigned long long *)___unit; break;                                         \
		}                                                                                                      \
		___skep_cut(s, field, ___word);                                                                        \
	})

#define BPF_CORE_WRITE_BITFIELD(s, field, new_val)                                                                     \
	({                                                                                                             \
		void *___unit = (void *)(s) + ___skep_relo(s, field, BYTE_OFFSET);                                     \
		unsigned int ___size = ___skep_relo(s, field, BYTE_SIZE);                                              \
		unsigned int ___left = ___skep_relo(s, field, LSHIFT_U64);                                             \
		unsigned int ___right = ___skep_relo(s, field, RSHIFT_U64);                                            \
		unsigned long long ___mask = (~0ULL << ___right) >> ___left, ___word = 0;                              \
		unsigned long long ___new = ((unsigned long long)(new_val) << ___right) >> ___left;                    \
		barrier_var(___unit);                                                                                  \
		switch (___size) {                                                                                     \
		case 1: ___word = *(unsigned char *)___unit; break;                                                    \
		case 2: ___word = *(unsigned short *)___unit; break;                                                   \
		case 4: ___word = *(unsigned int *)___unit; break;                                                     \
		case 8: ___word = *(unsigned long long *)___unit; break;                                               \
		}                                                                                                      \
		___word = (___word & ~___mask) | (___new & ___mask);                                                   \
		switch (___size) {                                                                                     \
		case 1: *(unsigned char *)___unit = ___word; break;                                                    \
		case 2: *(unsigned short *)___unit = ___word; break;                                                   \
		case 4: *(unsigned int *)___unit = ___word; break;                                                     \
		case 8: *(unsigned long long *)___unit = ___word; break;                                               \
		}                                                                                                      \
	})

#endif

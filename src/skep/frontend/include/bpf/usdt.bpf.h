/* SPDX-License-Identifier: Apache-2.0 */
/*
 * USDT probes: the loader parses the probe's argument descriptions from the ELF notes and puts one spec for each probe
 * into __bpf_usdt_specs; the program finds its spec by attach cookie, or by instruction pointer where there are none.
 * Layout of the specs and names of the maps are those of libbpf: any loader fills them.
 */
#ifndef __USDT_BPF_H__
#define __USDT_BPF_H__

#include <linux/errno.h>
#include "bpf_helpers.h"
#include "bpf_tracing.h"

/* Kinds of programs times places where one is attached. */
#ifndef BPF_USDT_MAX_SPEC_CNT
#define BPF_USDT_MAX_SPEC_CNT 256
#endif
#ifndef BPF_USDT_MAX_IP_CNT
#define BPF_USDT_MAX_IP_CNT (4 * BPF_USDT_MAX_SPEC_CNT)
#endif
#define BPF_USDT_MAX_ARG_CNT 12

enum __bpf_usdt_arg_type {
	BPF_USDT_ARG_CONST,
	BPF_USDT_ARG_REG,
	BPF_USDT_ARG_REG_DEREF,
	BPF_USDT_ARG_SIB,
};

struct __bpf_usdt_arg_spec {
	/* the constant, or the displacement from the register(s) */
	__u64 val_off;
	/* enum __bpf_usdt_arg_type, then (for SIB) the index register's offset in pt_regs and log2 of its scale */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	enum __bpf_usdt_arg_type arg_type : 8;
	__u16 idx_reg_off : 12;
	__u16 scale_bitshift : 4;
	__u8 __reserved : 8;
#else
	__u8 __reserved : 8;
	__u16 idx_reg_off : 12;
	__u16 scale_bitshift : 4;
	enum __bpf_usdt_arg_type arg_type : 8;
#endif
	/* offset of the (base) register in struct pt_regs */
	short reg_off;
	_Bool arg_signed;
	/* 64 - number of bits of the argument: shift left then right to extend it */
	char arg_bitshift;
};

struct __bpf_usdt_spec {
	struct __bpf_usdt_arg_spec args[BPF_USDT_MAX_ARG_CNT];
	__u64 usdt_cookie;
	short arg_cnt;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BPF_USDT_MAX_SPEC_CNT);
	__type(key, int);
	__type(value, struct __bpf_usdt_spec);
} __bpf_usdt_specs SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BPF_USDT_MAX_IP_CNT);
	__type(key, long);
	__type(value, __u32);
} __bpf_usdt_ip_to_spec_id SEC(".maps") __weak;

extern const _Bool LINUX_HAS_BPF_COOKIE __kconfig;

static __always_inline int __bpf_usdt_spec_id(struct pt_regs *ctx)
{
	if (LINUX_HAS_BPF_COOKIE)
		return bpf_get_attach_cookie(ctx);

	long ip = PT_REGS_IP(ctx);
	int *id = bpf_map_lookup_elem(&__bpf_usdt_ip_to_spec_id, &ip);

	return id ? *id : -ESRCH;
}

static __always_inline struct __bpf_usdt_spec *__bpf_usdt_find_spec(struct pt_regs *ctx)
{
	int id = __bpf_usdt_spec_id(ctx);

	return id < 0 ? NULL : bpf_map_lookup_elem(&__bpf_usdt_specs, &id);
}

/* Number of arguments of the probe that is running, or -ESRCH. */
__weak __hidden int bpf_usdt_arg_cnt(struct pt_regs *ctx)
{
	struct __bpf_usdt_spec *spec = __bpf_usdt_find_spec(ctx);

	return spec ? spec->arg_cnt : -ESRCH;
}

/* Bytes of an argument, as the probe declares it; -ESRCH without a probe, -ENOENT without such an argument. */
__weak __hidden int bpf_usdt_arg_size(struct pt_regs *ctx, __u64 arg_num)
{
	struct __bpf_usdt_spec *spec = __bpf_usdt_find_spec(ctx);

	if (!spec)
		return -ESRCH;
	if (arg_num >= BPF_USDT_MAX_ARG_CNT)
		return -ENOENT;
	barrier_var(arg_num);
	if (arg_num >= spec->arg_cnt)
		return -ENOENT;
	return (64 - spec->args[arg_num].arg_bitshift) / 8;
}

/* Value of an argument into *res; 0, or a negative error. */
__weak __hidden int bpf_usdt_arg(struct pt_regs *ctx, __u64 arg_num, long *res)
{
	struct __bpf_usdt_spec *spec;
	struct __bpf_usdt_arg_spec *arg;
	unsigned long value, index;
	int error;

	*res = 0;
	spec = __bpf_usdt_find_spec(ctx);
	if (!spec)
		return -ESRCH;
	if (arg_num >= BPF_USDT_MAX_ARG_CNT)
		return -ENOENT;
	barrier_var(arg_num);
	if (arg_num >= spec->arg_cnt)
		return -ENOENT;

	arg = &spec->args[arg_num];
	switch (arg->arg_type) {
	case BPF_USDT_ARG_CONST:
		value = arg->val_off;
		break;
	case BPF_USDT_ARG_REG:
		error = bpf_probe_read_kernel(&value, sizeof(value), (void *)ctx + arg->reg_off);
		if (error)
			return error;
		break;
	case BPF_USDT_ARG_REG_DEREF:
	case BPF_USDT_ARG_SIB:
		error = bpf_probe_read_kernel(&value, sizeof(value), (void *)ctx + arg->reg_off);
		if (error)
			return error;
		if (arg->arg_type == BPF_USDT_ARG_SIB) {
			error = bpf_probe_read_kernel(&index, sizeof(index), (void *)ctx + arg->idx_reg_off);
			if (error)
				return error;
			value += index << arg->scale_bitshift;
		}
		error = bpf_probe_read_user(&value, sizeof(value), (void *)value + arg->val_off);
		if (error)
			return error;
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
		/* the argument is in the first bytes of what was read */
		value >>= arg->arg_bitshift;
#endif
		break;
	default:
		return -EINVAL;
	}

	/* cut to its size, extend by its sign */
	value <<= arg->arg_bitshift;
	*res = arg->arg_signed ? (long)value >> arg->arg_bitshift : value >> arg->arg_bitshift;
	return 0;
}

/* The cookie that was given when attaching, or 0. */
__weak __hidden long bpf_usdt_cookie(struct pt_regs *ctx)
{
	struct __bpf_usdt_spec *spec = __bpf_usdt_find_spec(ctx);

	return spec ? spec->usdt_cookie : 0;
}

#define ___bpf_usdt_args0() ctx
#define ___bpf_usdt_value(n)                                                                                           \
	({                                                                                                             \
		long ___x;                                                                                             \
		bpf_usdt_arg(ctx, n, &___x);                                                                           \
		(void *)___x;                                                                                          \
	})
#define ___bpf_usdt_args1(x) ___bpf_usdt_args0(), ___bpf_usdt_value(0)
#define ___bpf_usdt_args2(x, ...) ___bpf_usdt_args1(__VA_ARGS__), ___bpf_usdt_value(1)
#define ___bpf_usdt_args3(x, ...) ___bpf_usdt_args2(__VA_ARGS__), ___bpf_usdt_value(2)
#define ___bpf_usdt_args4(x, ...) ___bpf_usdt_args3(__VA_ARGS__), ___bpf_usdt_value(3)
#define ___bpf_usdt_args5(x, ...) ___bpf_usdt_args4(__VA_ARGS__), ___bpf_usdt_value(4)
#define ___bpf_usdt_args6(x, ...) ___bpf_usdt_args5(__VA_ARGS__), ___bpf_usdt_value(5)
#define ___bpf_usdt_args7(x, ...) ___bpf_usdt_args6(__VA_ARGS__), ___bpf_usdt_value(6)
#define ___bpf_usdt_args8(x, ...) ___bpf_usdt_args7(__VA_ARGS__), ___bpf_usdt_value(7)
#define ___bpf_usdt_args9(x, ...) ___bpf_usdt_args8(__VA_ARGS__), ___bpf_usdt_value(8)
#define ___bpf_usdt_args10(x, ...) ___bpf_usdt_args9(__VA_ARGS__), ___bpf_usdt_value(9)
#define ___bpf_usdt_args11(x, ...) ___bpf_usdt_args10(__VA_ARGS__), ___bpf_usdt_value(10)
#define ___bpf_usdt_args12(x, ...) ___bpf_usdt_args11(__VA_ARGS__), ___bpf_usdt_value(11)

#define BPF_USDT(name, args...) ___skep_traced(name, struct pt_regs *ctx, ___bpf_usdt_args, ##args)

#endif

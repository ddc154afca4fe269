#include "vmlinux.h"
#include "bpf_helpers.h"
#include "usdt.bpf.h"

char LICENSE[] SEC("license") = "GPL";
long sum;

SEC("usdt/libc.so.6:libc:setjmp") int BPF_USDT(setjmp, void *a1, int a2, void *a3)
{
	sum += (long)a1 + a2 + (long)a3;
	return 0;
}

SEC("usdt") int by_hand(struct pt_regs *ctx)
{
	long value;
	if (bpf_usdt_arg_cnt(ctx) > 2 && !bpf_usdt_arg(ctx, 2, &value))
		sum += value + bpf_usdt_arg_size(ctx, 2) + bpf_usdt_cookie(ctx);
	return 0;
}
SEC("usdt") int BPF_USDT(none) { return 0; }
SEC("usdt")
int BPF_USDT(twelve, int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l)
{
	return a + b + c + d + e + f + g + h + i + j + k + l;
}

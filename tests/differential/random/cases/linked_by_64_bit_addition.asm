# The same with a 64-bit addition, which 6.11 brought.
type: XDP
kernel: accept

r6 = r1
r7 = *(u32 *)(r6 +0)
r8 = *(u32 *)(r6 +4)
r3 = r7
r3 += 42
if r3 > r8 goto out
r3 = *(u16 *)(r7 +0)
r1 = r3
r1 += 1
if r1 > 32 goto out
r4 = r3
r4 += 1
r2 = 0
r3 = r10
r3 += -64
r1 = r6
*(u64 *)(r10 -64) = 0
call bpf_xdp_load_bytes#189
out: r0 = 0
exit

# Found by scripts/fuzz_programs.py --only 50267.
# A copy is moved by a 32-bit addition and compared: Linux 6.18.44 carries what it learns over to the original.
type: XDP
kernel: accept
since: 6.18

r6 = r1
r7 = *(u32 *)(r6 +0)
r8 = *(u32 *)(r6 +4)
r3 = r7
r3 += 42
if r3 > r8 goto out
r3 = *(u16 *)(r7 +0)
r1 = r3
w1 += 1
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

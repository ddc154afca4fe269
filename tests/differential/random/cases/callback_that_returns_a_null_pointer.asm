# Found by scripts.fuzz_programs --seed 6000454 --mutation 0 --only: the result of the callback is that of a lookup, where
# it is NULL; the JIT took the callback's pointer for a number.
type: SCHED_CLS
map: table HASH 4 8 4
kernel: accept
result: 2

r1 = 2
r2 = subprog[+5]
r3 = 0
r4 = 0
call bpf_loop#181
exit
*(u32 *)(r10 -4) = 3
r2 = r10
r2 += -4
r1 = map[name:table]
call bpf_map_lookup_elem#1
if r0 == 0x0 goto pc+1
r0 = 0
exit

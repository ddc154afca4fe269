# Found by scripts/fuzz_programs.py --only 207: bpf_loop of no turns; the JIT had no code for its callback.
type: SCHED_CLS
kernel: accept
result: 0

r1 = 0
r2 = subprog[+5]
r3 = 0
r4 = 0
call bpf_loop#181
exit
r0 = 0
exit

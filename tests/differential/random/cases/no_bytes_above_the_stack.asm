# Found by scripts/fuzz_programs.py --seed 20295521 --mutation 2 --only.
# A helper may be given no bytes at all, but not those at r10 + 0.
type: XDP
kernel: reject

r1 = 0
r2 = 0
r3 = r10
r4 = 0
r5 = 0
call 28
r0 = 0
exit

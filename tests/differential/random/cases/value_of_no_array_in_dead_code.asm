# Found by tests/differential/random/corpus.py: we accepted, the kernel resolves map values in dead code, too.
type: XDP
map: table HASH 4 8 4
kernel: reject

r0 = 0
if r0 == 0 goto out
r1 = map[name:table][0]+0
r0 = *(u64 *)(r1 +0)
out: exit

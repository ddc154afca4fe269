# Found by scripts/fuzz_programs.py --seed 20298471 --mutation 2 --only.
# Without an attach type Linux takes an XDP program for one of an interface: egress_ifindex is not its to read.
type: XDP
kernel: reject

r0 = *(u32 *)(r1 +20)
r0 = 0
exit

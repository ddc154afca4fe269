"""The kernel engine: programs in the running Linux, through bpf(2)."""

"""The kernel engine: programs in the running Linux, through bpf(2). So far its first stone, the system call."""

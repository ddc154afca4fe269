"""C to eBPF: finds clang, runs it, reads what it says."""
